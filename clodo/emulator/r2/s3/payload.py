"""
The body of an upload: plain, or in signed or unsigned chunks with trailers behind them (``aws-chunked``).

Source:
    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and …/sigv4-streaming-trailers.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from clodo.emulator.r2.checksums import S3_ALGORITHMS, from_base64
from clodo.emulator.r2.errors import (
    ENTITY_TOO_LARGE,
    INCOMPLETE_BODY,
    INVALID_ARGUMENT,
    INVALID_DIGEST,
    MISSING_CONTENT_LENGTH,
    PAYLOAD_HASH_DIFFERS,
    SIGNATURE_DOES_NOT_MATCH,
    R2Refused,
)
from clodo.emulator.r2.s3.signatures import UNSIGNED_PAYLOAD, Claim, sign

SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_CHUNKS_AND_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_CHUNKS_AND_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_STREAMED = (SIGNED_CHUNKS, SIGNED_CHUNKS_AND_TRAILER, UNSIGNED_CHUNKS_AND_TRAILER)

#: A chunk must be gathered before its signature can be checked; AWS's own clients send 64 KiB to 1 MiB.
MAX_CHUNK_BYTES = 16 * 1024**2
_MAX_LINE_BYTES = 4096
_EMPTY = hashlib.sha256(b"").hexdigest()
_CHUNK_HEAD = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")


@dataclass
class Payload:
    """
    The bytes of one upload, and what their sender says they sum up to.

    Args:
        stream: The body as it arrives.

        headers: By lower-case name.

        key: Signs the chunks of a streamed body.

    Attributes:
        trailers: Headers behind the body; there once it was read.
    """

    stream: AsyncIterator[bytes]
    headers: Mapping[str, str]
    claim: Claim
    key: bytes
    trailers: dict[str, str] = field(default_factory=dict)

    @property
    def is_streamed(self) -> bool:
        """Whether the body is in chunks."""
        return self.claim.payload_hash in _STREAMED

    def algorithms(self) -> list[str]:
        """
        Return the checksums that are to be kept with the object.

        Raises:
            R2Refused: More than one, or one that nobody knows.
        """
        named = [name for name in S3_ALGORITHMS if f"x-amz-checksum-{name}" in self.headers]
        for trailer in self.headers.get("x-amz-trailer", "").split(","):
            name = trailer.strip().lower().removeprefix("x-amz-checksum-")
            if trailer.strip() and name not in S3_ALGORITHMS:
                raise R2Refused(INVALID_ARGUMENT.saying(f"The trailer {trailer.strip()[:60]!r} is not supported."))
            if name:
                named.append(name)
        if len(set(named)) > 1:
            raise R2Refused(
                INVALID_ARGUMENT.saying("Expecting a single x-amz-checksum- header. Multiple are not allowed.")
            )
        return named

    def told(self) -> dict[str, str]:
        """
        Return the checksums that the sender gave, in hex.

        Raises:
            R2Refused: One can't be a checksum, or a trailer that was announced is missing.
        """
        found = {}
        if "content-md5" in self.headers:
            found["md5"] = from_base64("md5", self.headers["content-md5"])
        for name in self.algorithms():
            text = self.headers.get(f"x-amz-checksum-{name}") or self.trailers.get(f"x-amz-checksum-{name}")
            if text is None:
                raise R2Refused(INVALID_DIGEST)
            found[name] = from_base64(name, text)
        return found

    async def read(self, limit: int | None = None) -> AsyncIterator[bytes]:
        """
        Give the bytes of the object.

        Args:
            limit: What is announced as larger is refused before a byte is read.

        Raises:
            R2Refused: They aren't what was announced or signed.
        """
        announced = self._announced()
        if limit is not None and announced > limit:
            raise R2Refused(ENTITY_TOO_LARGE)
        received = 0
        source = self._chunks() if self.is_streamed else self._whole()
        async for piece in source:
            received += len(piece)
            if received > announced:
                raise R2Refused(INCOMPLETE_BODY)
            yield piece
        if received != announced:
            raise R2Refused(INCOMPLETE_BODY)

    def _announced(self) -> int:
        name = "x-amz-decoded-content-length" if self.is_streamed else "content-length"
        text = self.headers.get(name, "")
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise R2Refused(MISSING_CONTENT_LENGTH)
        return int(text)

    async def _whole(self) -> AsyncIterator[bytes]:
        wanted = self.claim.payload_hash
        summed = None if wanted == UNSIGNED_PAYLOAD else hashlib.sha256()
        async for piece in self.stream:
            if summed is not None:
                summed.update(piece)
            yield piece
        if summed is not None and not hmac.compare_digest(summed.hexdigest().encode(), wanted.encode()):
            raise R2Refused(PAYLOAD_HASH_DIFFERS)

    async def _chunks(self) -> AsyncIterator[bytes]:
        lines = _Buffered(self.stream)
        signed = self.claim.payload_hash != UNSIGNED_CHUNKS_AND_TRAILER
        previous = self.claim.signature
        while True:
            match = _CHUNK_HEAD.fullmatch(await lines.line())
            if match is None or (signed and match[2] is None):
                raise R2Refused(INCOMPLETE_BODY)
            size = int(match[1], 16)
            if signed:
                if size > MAX_CHUNK_BYTES:
                    raise R2Refused(INVALID_ARGUMENT.saying(f"A signed chunk may have {MAX_CHUNK_BYTES} bytes."))
                piece = await lines.exactly(size)
                previous = self._checked(piece, previous, match[2].decode())
                if piece:
                    yield piece
            else:
                async for piece in lines.at_most(size):
                    yield piece
            if size == 0:
                break
            if await lines.line():
                raise R2Refused(INCOMPLETE_BODY)
        await self._read_trailers(lines, previous)

    def _checked(self, piece: bytes, previous: str, told: str) -> str:
        text = "\n".join(
            (
                "AWS4-HMAC-SHA256-PAYLOAD",
                self.claim.moment,
                self.claim.scope,
                previous,
                _EMPTY,
                hashlib.sha256(piece).hexdigest(),
            )
        )
        if not hmac.compare_digest(sign(self.key, text), told):
            raise R2Refused(SIGNATURE_DOES_NOT_MATCH)
        return told

    async def _read_trailers(self, lines: _Buffered, previous: str) -> None:
        canonical = b""
        signature = None
        while line := await lines.line(optional=True):
            name, _, value = line.partition(b":")
            text = value.strip().decode("latin-1")
            if name.strip().lower() == b"x-amz-trailer-signature":
                signature = text
            else:
                lowered = name.strip().lower().decode("latin-1")
                self.trailers[lowered] = text
                canonical += f"{lowered}:{text}\n".encode()
        if self.claim.payload_hash == SIGNED_CHUNKS_AND_TRAILER:
            text = "\n".join(
                (
                    "AWS4-HMAC-SHA256-TRAILER",
                    self.claim.moment,
                    self.claim.scope,
                    previous,
                    hashlib.sha256(canonical).hexdigest(),
                )
            )
            if not hmac.compare_digest(sign(self.key, text).encode(), (signature or "").encode()):
                raise R2Refused(SIGNATURE_DOES_NOT_MATCH)
        await lines.drain()


class _Buffered:
    """A stream that can be asked for lines."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def line(self, *, optional: bool = False) -> bytes:
        """Return the next line without its end; an empty one at the end of the stream if it is optional."""
        while (at := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _MAX_LINE_BYTES:
                raise R2Refused(INCOMPLETE_BODY)
            if not await self._more():
                if optional:
                    return b""
                raise R2Refused(INCOMPLETE_BODY)
        found = bytes(self._buffer[:at])
        del self._buffer[: at + 2]
        return found

    async def exactly(self, size: int) -> bytes:
        """Return so many bytes."""
        return b"".join([piece async for piece in self.at_most(size)])

    async def at_most(self, size: int) -> AsyncIterator[bytes]:
        """Give so many bytes, as they arrive."""
        while size:
            if not self._buffer and not await self._more():
                raise R2Refused(INCOMPLETE_BODY)
            piece = bytes(self._buffer[:size])
            del self._buffer[: len(piece)]
            size -= len(piece)
            yield piece

    async def drain(self) -> None:
        """Read on to the end."""
        self._buffer.clear()
        while await self._more():
            self._buffer.clear()

    async def _more(self) -> bool:
        async for piece in self._stream:
            if piece:
                self._buffer += piece
                return True
        return False
