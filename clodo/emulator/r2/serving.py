"""An object as an HTTP answer: whole, a range of it, or that nothing has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from starlette.responses import Response, StreamingResponse

from clodo.emulator.r2.conditions import from_headers
from clodo.emulator.r2.errors import PRECONDITION_FAILED, R2Refused
from clodo.emulator.r2.objects import OpenObject
from clodo.emulator.r2.ranges import Span, strict_span_of_header


def answer_with(
    opened: OpenObject,
    described: dict[str, str],
    headers: Mapping[str, str],
    *,
    part: Span | None = None,
    of_whole: Mapping[str, str] | None = None,
    with_body: bool = True,
) -> Response:
    """
    Answer a request for an object; the object is closed by the end of the answer, or at once.

    Args:
        described: Headers that describe the object.

        headers: The request's, by lower-case name: conditions and ranges are heeded.

        part: The bytes that are asked for otherwise than by a range.

        of_whole: Headers that are true of all of the bytes only: clients compare them with what they get.

    Raises:
        R2Refused: 400, 412 or 416.
    """
    found = opened.object
    try:
        outcome = from_headers(headers).outcome(found)
        if outcome == "failed":
            raise R2Refused(PRECONDITION_FAILED)
        if outcome == "not modified":
            opened.close()
            return Response(status_code=304, headers=described)
        is_current = headers.get("if-range") in (None, f'"{found.etag}"')
        span = part or strict_span_of_header(headers.get("range") if is_current else None, found.size)
    except R2Refused:
        opened.close()
        raise
    wanted = span or Span(0, found.size)
    described = {**described, "content-length": str(wanted.length)}
    if span is not None:
        described["content-range"] = f"bytes {span.start}-{span.end - 1}/{found.size}"
    else:
        described.update(of_whole or {})
    status = 200 if span is None else 206
    if not with_body or not wanted.length:
        opened.close()
        return Response(status_code=status, headers=described)
    return StreamingResponse(bytes_of(opened, wanted), status_code=status, headers=described)


async def bytes_of(opened: OpenObject, span: Span, first: bytes = b"") -> AsyncIterator[bytes]:
    """Give *first* and then the bytes of *span*, and close the object."""
    try:
        if first:
            yield first
        async for chunk in opened.read(span):
            yield chunk
    finally:
        opened.close()
