"""Checksums that S3 clients send along: what hashlib has, and three kinds of CRC."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable
from functools import cache
from typing import Protocol

from clodo.emulator.r2.errors import BAD_DIGEST, INVALID_DIGEST, R2Refused

#: By the name in ``x-amz-checksum-<name>`` and in a binding's put: how many bytes it has.
LENGTHS = {
    "md5": 16,
    "sha1": 20,
    "sha256": 32,
    "sha384": 48,
    "sha512": 64,
    "crc32": 4,
    "crc32c": 4,
    "crc64nvme": 8,
}
#: Those that S3's headers know.
S3_ALGORITHMS = ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")
#: Its polynomial, least significant bit first.
CRC64NVME = 0x9A6C9329AC4BC9B5


class Hash(Protocol):
    """What adds up bytes."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Return the sum so far in hex."""


class _Crc:
    def __init__(self, width: int, step: Callable[[bytes, int], int]) -> None:
        self._width = width
        self._step = step
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = self._step(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:0{self._width // 4}x}"


@cache
def _table(polynomial: int) -> tuple[int, ...]:
    table = []
    for index in range(256):
        value = index
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _reflected(width: int, polynomial: int) -> Callable[[bytes, int], int]:
    """Return a table-driven CRC, least significant bit first; some 10 MB/s, which is enough for rehearsals."""
    ones = (1 << width) - 1

    def step(data: bytes, value: int) -> int:
        table = _table(polynomial)
        value ^= ones
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
        return value ^ ones

    return step


def new_hash(name: str) -> Hash:
    """Return a fresh sum of the algorithm *name*."""
    match name:
        case "md5":
            return hashlib.md5(usedforsecurity=False)
        case "sha1":
            return hashlib.sha1(usedforsecurity=False)
        case "crc32":
            return _Crc(32, zlib.crc32)
        case "crc32c":
            return _Crc(32, _reflected(32, 0x82F63B78))
        case "crc64nvme":
            return _Crc(64, _reflected(64, CRC64NVME))
        case _:
            return hashlib.new(name)


def from_base64(name: str, text: str) -> str:
    """
    Return a checksum's hex digits from its base64.

    Raises:
        R2Refused: 400, 10014: no base64, or of another length than the algorithm's.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise R2Refused(INVALID_DIGEST) from error
    if len(raw) != LENGTHS[name]:
        raise R2Refused(INVALID_DIGEST)
    return raw.hex()


def to_base64(digits: str) -> str:
    """Return a checksum as S3's headers write it; a number of parts stays behind it."""
    value, hyphen, parts = digits.partition("-")
    return base64.b64encode(bytes.fromhex(value)).decode() + hyphen + parts


def raise_if_different(name: str, told: str, found: str) -> None:
    """
    Refuse content that isn't what its sender summed up.

    Raises:
        R2Refused: 400, 10037.
    """
    if told != found:
        raise R2Refused(
            BAD_DIGEST.saying(
                f"The {name.upper()} checksum you specified did not match what we received.\n"
                f"You provided a {name.upper()} checksum with value: {told}\nActual {name.upper()} was: {found}"
            )
        )
