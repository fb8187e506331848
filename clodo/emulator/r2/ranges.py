"""Which bytes of an object are asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clodo.emulator.r2.errors import INVALID_RANGE, R2Refused

_HEADER = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


@dataclass(frozen=True, slots=True)
class Span:
    """Some bytes of an object: *length* of them from *start*."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + self.length


def span_of(size: int, *, offset: int | None = None, length: int | None = None, suffix: int | None = None) -> Span:
    """
    Return the bytes that a binding's range means.

    Args:
        suffix: The last so many bytes; wins over the others.

    Raises:
        R2Refused: 416, nothing of it is in the object.
    """
    if suffix is not None:
        if suffix <= 0 or size == 0:
            raise R2Refused(INVALID_RANGE)
        return Span(max(0, size - suffix), min(suffix, size))
    start = offset or 0
    if start < 0 or start > size or (length is not None and length <= 0) or (start == size and size > 0):
        raise R2Refused(INVALID_RANGE)
    return Span(start, size - start if length is None else min(length, size - start))


def span_of_header(header: str | None, size: int) -> Span | None:
    """
    Return the bytes that a Range header means; None for the whole object.

    Other units, several ranges and what can't be read mean the whole object, as RFC 9110 says.

    Raises:
        R2Refused: 416, nothing of it is in the object.
    """
    match = _HEADER.fullmatch(header.replace(" ", "")) if header else None
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        return span_of(size, suffix=int(last))
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise R2Refused(INVALID_RANGE)
    return span_of(size, offset=int(first), length=int(last) - int(first) + 1 if last else None)
