"""
Archives: zstd streams in age files, written and read in constant memory.

``age -d -i identity.txt ARCHIVE | zstd -d`` gives back what was put in, without Clodo.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyrage
import zstandard

from clodo.errors import BadConfiguration, IdentityMissing, NoSpaceLeft, SnapshotDamaged

ZSTD_LEVEL = 3
CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Sealed:
    """
    An archive that was written.

    Attributes:
        sha256: Of the age file.

        plain_sha256: Of what was put in.
    """

    sha256: str
    size: int
    plain_sha256: str
    plain_size: int


def recipient(text: str) -> pyrage.x25519.Recipient:
    """
    Read a public key, ``age1…``.

    Raises:
        BadConfiguration: It is none.
    """
    try:
        return pyrage.x25519.Recipient.from_str(text.strip())
    except pyrage.RecipientError as error:
        raise BadConfiguration(
            f'"{text[:80]}" is no age recipient', hint="Recipients begin with age1; `clodo backup key` makes one."
        ) from error


def seal(chunks: Iterable[bytes], target: Path, recipients: Sequence[pyrage.x25519.Recipient]) -> Sealed:
    """
    Write *chunks*, compressed and encrypted for *recipients*, into *target*.

    Raises:
        NoSpaceLeft: The disk is full.
    """
    plain = _Measured(chunks)
    try:
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            written = _Written(file)
            source = Source(_compressed(plain))
            try:
                pyrage.encrypt_io(source, written, list(recipients))
            except (OSError, pyrage.EncryptError):
                # The error that the source or the disk raised, not what became of it on the way through age.
                source.raise_if_failed()
                written.raise_if_failed()
                raise
            source.raise_if_failed()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpaceLeft(f"No space left for {target.name}") from error
        raise
    return Sealed(written.sha256.hexdigest(), written.size, plain.sha256.hexdigest(), plain.size)


def unseal(
    source: Iterable[bytes], keys: Sequence[pyrage.x25519.Identity], *, what: str = "archive"
) -> Iterator[bytes]:
    """
    Yield what was put into an archive.

    Args:
        source: The age file in chunks of any size; what it raises is raised here.

    Raises:
        IdentityMissing: None of *keys* opens it.
        SnapshotDamaged: Its bytes are not what was written.
    """
    if not keys:
        raise IdentityMissing(f"No age identity is given that would open {what}", hint="Give --identity FILE.")
    failure: list[BaseException] = []
    reading, writing = os.pipe()
    reader = Source(iter(source))

    def decrypt() -> None:
        try:
            with os.fdopen(writing, "wb", buffering=CHUNK_BYTES) as pipe:
                pyrage.decrypt_io(reader, pipe, list(keys))
        except (OSError, pyrage.DecryptError, ValueError) as error:
            failure.append(error)

    thread = threading.Thread(target=decrypt, name=f"decrypt {what}", daemon=True)
    thread.start()
    try:
        with os.fdopen(reading, "rb") as pipe:
            try:
                with zstandard.ZstdDecompressor().stream_reader(pipe, read_across_frames=True) as stream:
                    while chunk := stream.read(CHUNK_BYTES):
                        yield chunk
            except zstandard.ZstdError as error:
                thread.join()
                _raise_what_failed(reader, failure, what)
                raise SnapshotDamaged(f"{what}: its compressed stream is damaged") from error
    finally:
        thread.join()
    _raise_what_failed(reader, failure, what)


def _raise_what_failed(reader: Source, failure: Sequence[BaseException], what: str) -> None:
    reader.raise_if_failed()
    if not failure:
        return
    if "No matching keys found" in str(failure[0]):
        raise IdentityMissing(
            f"{what}: none of the given age identities opens it", hint="Give the identity of one of its recipients."
        ) from failure[0]
    raise SnapshotDamaged(f"{what}: its encrypted stream is damaged or cut off") from failure[0]


def _compressed(plain: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj()
    for chunk in plain:
        if done := compressor.compress(chunk):
            yield done
    yield compressor.flush()


class _Measured:
    """Passes chunks on, and knows their size and SHA-256."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.sha256.update(chunk)
            self.size += len(chunk)
            yield chunk


class Source:
    """Chunks as a file that can be read; remembers what went wrong meanwhile."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = memoryview(b"")
        self._failure: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        """Return up to *size* bytes; none at the end."""
        try:
            while not self._held:
                # An empty view would hold the whole chunk that it is the end of.
                self._held = memoryview(b"")
                chunk = next(self._chunks, None)
                if chunk is None:
                    return b""
                self._held = memoryview(chunk)
        except BaseException as error:
            self._failure = error
            raise
        size = len(self._held) if size < 0 else size
        taken, self._held = self._held[:size], self._held[size:]
        return bytes(taken)

    def readable(self) -> bool:
        """Say that it can be."""
        return True

    def raise_if_failed(self) -> None:
        """Raise what went wrong while it was read."""
        if self._failure is not None:
            raise self._failure


class _Written:
    """A file that knows its size and SHA-256."""

    def __init__(self, file: IO[bytes]) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self._file = file
        self._failure: OSError | None = None

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        self.size += len(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self._failure = error
            raise

    def flush(self) -> None:
        self._file.flush()

    def raise_if_failed(self) -> None:
        if self._failure is not None:
            raise self._failure
