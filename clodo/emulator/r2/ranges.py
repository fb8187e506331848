"""Which bytes of an object are asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clodo.emulator.r2.errors import INVALID_ARGUMENT, INVALID_RANGE, R2Refused

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


def strict_span_of_header(header: str | None, size: int) -> Span | None:
    """
    Return the bytes that a Range header means to R2's own doors; None without one.

    Raises:
        R2Refused: 400 for other units, several ranges and what can't be read; 416: nothing of it is in the object.

    Source:
        miniflare's S3 endpoint, captured from a real bucket; the quotes are R2's.
    """
    if header is None:
        return None
    match = _HEADER.fullmatch(header)
    if match is None or match[0] == "bytes=-":
        told = "range must be in format 'bytes=start-end', 'bytes=start-' or 'bytes=-suffix'.'"
        raise R2Refused(INVALID_ARGUMENT.saying(told))
    if match[1] and match[2] and int(match[2]) < int(match[1]):
        raise R2Refused(INVALID_ARGUMENT.saying("range must be positive."))
    return span_of_header(header, size)


def span_of_copy(header: str | None, size: int) -> Span | None:
    """
    Return the bytes that ``x-amz-copy-source-range`` means; None without one.

    Raises:
        R2Refused: 400 for what isn't a first and a last byte; 416: nothing of it is in the object.
    """
    if header is None:
        return None
    match = _HEADER.fullmatch(header)
    if match is None or not match[1] or not match[2]:
        raise R2Refused(INVALID_ARGUMENT.saying(f"Invalid x-amz-copy-source-range: {header[:100]}"))
    if int(match[2]) < int(match[1]):
        raise R2Refused(INVALID_ARGUMENT.saying("x-amz-copy-source-range must be positive."))
    return span_of_header(header, size)


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
