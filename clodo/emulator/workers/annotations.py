"""What a client may note on a version or a deployment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from clodo.emulator.envelope import ApiError
from clodo.emulator.workers.limits import MAX_ANNOTATION_BYTES, MAX_MESSAGE_BYTES

#: Assumed: no recording of this refusal exists.
BAD_ANNOTATION = 10021

ALIAS = re.compile(r"^[a-z]([a-z0-9-]*[a-z0-9])?$")


def annotations_from(body: Any, *, triggered_by: str | None) -> dict[str, str]:
    """
    Return the annotations to keep.

    Args:
        body: What the client sent: an object of strings, or nothing.

        triggered_by: Noted as ``workers/triggered_by``; clients can't set that one.

    Raises:
        ApiError: One is no string or too long. A message is cut to its limit instead.
    """
    if body is not None and not isinstance(body, Mapping):
        raise ApiError(400, BAD_ANNOTATION, "annotations must be an object of strings")
    kept: dict[str, str] = {}
    for name, value in (body or {}).items():
        if value is None or name == "workers/triggered_by":
            continue
        if not isinstance(value, str):
            raise ApiError(400, BAD_ANNOTATION, f"annotation {name!r} must be a string")
        if name == "workers/message":
            value = _cut(value, MAX_MESSAGE_BYTES)
        limit = MAX_ANNOTATION_BYTES.get(name)
        size = len(value.encode("utf-8", "surrogatepass"))
        if limit is not None and size > limit:
            raise ApiError(
                400, BAD_ANNOTATION, f"annotation {name!r} of {size} bytes exceeds the limit of {limit} bytes"
            )
        if name == "workers/alias" and not ALIAS.match(value):
            raise ApiError(400, BAD_ANNOTATION, f"annotation {name!r}: {value!r} can't be part of a hostname")
        if value:
            kept[name] = value
    if triggered_by:
        kept["workers/triggered_by"] = triggered_by
    return kept


def _cut(text: str, limit: int) -> str:
    return text.encode("utf-8", "surrogatepass")[:limit].decode("utf-8", "ignore")
