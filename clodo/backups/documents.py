"""Archives of one JSON document a line: what Cloudflare said of a Worker or a zone, whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from clodo.errors import SnapshotDamaged


def to_line(what: str, value: Any) -> bytes:
    """Return a document as a line, ``{"what": …, "value": …}``; the same document gives the same bytes."""
    line = {"what": what, "value": value}
    return json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def read_documents(chunks: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """
    Yield what each document is, and the document.

    Raises:
        SnapshotDamaged: A line is none, or the last one ends early.
    """
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            try:
                found = json.loads(line)
                yield str(found["what"]), found["value"]
            except (ValueError, KeyError, TypeError) as error:
                raise SnapshotDamaged("The archive has a line that is no document") from error
    if rest:
        raise SnapshotDamaged("The archive ends in the middle of a document")
