"""The lines of a KV archive, written and read."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

from clodo.cloudflare.kv import Pair
from clodo.errors import SnapshotDamaged


def to_line(pair: Pair) -> bytes:
    """Return one key as a line; the same key gives the same bytes."""
    line: dict[str, Any] = {"key": pair.key}
    try:
        line["value"] = pair.value.decode()
    except UnicodeDecodeError:
        line["base64"] = base64.b64encode(pair.value).decode()
    if pair.expiration is not None:
        line["expiration"] = pair.expiration
    if pair.metadata is not None:
        line["metadata"] = pair.metadata
    return json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def read_lines(chunks: Iterable[bytes]) -> Iterator[Pair]:
    """
    Yield the keys of an archive.

    Raises:
        SnapshotDamaged: A line is none, or the last one ends early.
    """
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from map(_pair, whole)
    if rest:
        raise SnapshotDamaged("The archive ends in the middle of a key")


def _pair(line: bytes) -> Pair:
    try:
        found = json.loads(line)
        value = base64.b64decode(found["base64"], validate=True) if "base64" in found else found["value"].encode()
        return Pair(found["key"], value, expiration=found.get("expiration"), metadata=found.get("metadata"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotDamaged("The archive has a line that is no key") from error
