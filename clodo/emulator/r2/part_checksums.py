"""
The checksum of an upload in parts: of the parts' checksums (COMPOSITE), or of all bytes (FULL_OBJECT).

Source:
    https://developers.cloudflare.com/r2/api/s3/api/#checksum-types, by which each algorithm has one type.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from clodo.emulator.r2.checksums import CRC64NVME, new_hash
from clodo.emulator.r2.records import Part

FULL_OBJECT, COMPOSITE = "FULL_OBJECT", "COMPOSITE"
_BITS = 64


def type_of(algorithm: str) -> str:
    """Return the type of an algorithm's checksums of uploads in parts."""
    return FULL_OBJECT if algorithm == "crc64nvme" else COMPOSITE


def checksum_of(algorithm: str, parts: Sequence[Part]) -> str:
    """Return the checksum of an object in hex, with the number of parts behind it if it is one of checksums."""
    if type_of(algorithm) == FULL_OBJECT:
        value = 0
        for part in parts:
            value = joined_crc64(value, int(part.checksums[algorithm], 16), part.size)
        return f"{value:016x}"
    together = new_hash(algorithm)
    together.update(b"".join(bytes.fromhex(part.checksums[algorithm]) for part in parts))
    return f"{together.hexdigest()}-{len(parts)}"


def joined_crc64(first: int, second: int, size: int) -> int:
    """
    Return the CRC of two stretches from the CRC of each, without a look at their bytes.

    Args:
        size: Bytes of the second.
    """
    return _times(_zeros_behind(size), first) ^ second


@lru_cache(maxsize=16)
def _zeros_behind(size: int) -> list[int]:
    """Return what bytes of zeros do to the CRC before them: a linear map of its bits, the same for parts of a size."""
    step = [CRC64NVME] + [1 << bit for bit in range(_BITS - 1)]
    for _ in range(3):
        step = _after(step, step)
    found = [1 << bit for bit in range(_BITS)]
    while size:
        if size & 1:
            found = _after(step, found)
        step = _after(step, step)
        size >>= 1
    return found


def _times(matrix: Sequence[int], vector: int) -> int:
    found = 0
    for column in matrix:
        if not vector:
            break
        if vector & 1:
            found ^= column
        vector >>= 1
    return found


def _after(second: Sequence[int], first: Sequence[int]) -> list[int]:
    return [_times(second, column) for column in first]
