"""Shapes of JSON: which keys there are, whether always, and of which types; what the recordings are condensed to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_IDENTIFIERS = (
    (re.compile(r"(?<=/)[0-9a-f]{8}-[0-9a-f-]{27}(?=/|$)|(?<=/)[0-9a-f]{32}(?=/|$)"), "{id}"),
    (re.compile(r"(?<=/scripts/)[^/]+"), "{script}"),
    (re.compile(r"(?<=/buckets/)[^/]+"), "{bucket}"),
    (re.compile(r"(?<=/projects/)[^/]+"), "{project}"),
    (re.compile(r"(?<=/settings/)[^/]+"), "{setting}"),
)

Shape = dict[str, Any]


def kind_of(method: str, path: str, status: int) -> str:
    """Name the kind of a call: its ids and names don't matter."""
    for pattern, name in _IDENTIFIERS:
        path = pattern.sub(name, path)
    return f"{method} {path} {status}"


def shape_of(value: Any) -> Shape:
    """
    Return the shape of one value.

    Shape:
        ``{"types": [...], "keys": {name: {"always": bool, **shape}}, "items": shape}``; ``keys`` for objects, ``items``
        for arrays that aren't empty.
    """
    match value:
        case None:
            return {"types": ["null"]}
        case bool():
            return {"types": ["boolean"]}
        case int() | float():
            return {"types": ["number"]}
        case str():
            return {"types": ["string"]}
        case list():
            shape: Shape = {"types": ["array"]}
            if value:
                shape["items"] = merged(map(shape_of, value))
            return shape
        case _:
            return {
                "types": ["object"],
                "keys": {key: {"always": True, **shape_of(inner)} for key, inner in value.items()},
            }


def merged(shapes: Iterable[Shape]) -> Shape:
    """Return the shape of which all of *shapes* are examples."""
    whole: Shape = {}
    for shape in shapes:
        whole = _both(whole, shape) if whole else shape
    return whole


def _both(one: Shape, other: Shape) -> Shape:
    both: Shape = {"types": sorted({*one["types"], *other["types"]})}
    if "always" in one:
        both = {"always": one["always"] and other.get("always", False), **both}
    if "items" in one or "items" in other:
        both["items"] = merged(shape["items"] for shape in (one, other) if "items" in shape)
    if "keys" in one and "keys" in other:
        keys: dict[str, Shape] = {}
        for key in {**one["keys"], **other["keys"]}:
            found = [shape["keys"][key] for shape in (one, other) if key in shape["keys"]]
            keys[key] = merged(found) if len(found) == 2 else {**found[0], "always": False}
        both["keys"] = keys
    elif "keys" in one or "keys" in other:
        both["keys"] = (one if "keys" in one else other)["keys"]
    return both


def differences(ours: Any, recorded: Shape, *, also: Mapping[str, Any], place: str = "") -> list[str]:
    """
    Say where an answer isn't as recorded: a key that was always there and is missing, one never seen, another type.

    Args:
        also: Keys that newer answers have too, by the place of their object: ``{"result[]": {"jurisdiction"}}``; and
            under ``nullable`` and ``empty`` the places that may be null or without items.
    """
    found: list[str] = []
    (kind,) = shape_of(ours)["types"]
    if kind not in recorded["types"] and recorded["types"] != ["null"] and ours is not None:
        return [f"{place or '.'}: {kind}, recorded {'/'.join(recorded['types'])}"]
    if ours is None and "null" not in recorded["types"] and place not in also.get("nullable", ()):
        return [f"{place or '.'}: null, recorded {'/'.join(recorded['types'])}"]
    if isinstance(ours, dict) and "keys" in recorded:
        for key, shape in recorded["keys"].items():
            inner = f"{place}.{key}".lstrip(".")
            if key in ours:
                found += differences(ours[key], shape, also=also, place=inner)
            elif shape["always"]:
                found.append(f"{inner}: missing")
        unknown = set(ours) - set(recorded["keys"]) - set(also.get(place, ()))
        found += [f"{f'{place}.{key}'.lstrip('.')}: never recorded" for key in sorted(unknown)]
    if isinstance(ours, list) and "items" in recorded:
        if not ours and place not in also.get("empty", ()):
            found.append(f"{place}: empty, so that nothing was compared")
        for each in ours:
            found += differences(each, recorded["items"], also=also, place=f"{place}[]")
    return found


def condensed(folder: Path) -> dict[str, Any]:
    """
    Return the shape of each kind of call in a folder of recordings; of several eras only the newest counts.

    Shape:
        ``{"GET /accounts 200": {"sources": [...], "example": {path, query, request_body?}, "shape": {...}}}``
    """
    lines = [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        kinds.setdefault(kind_of(line["method"], line["path"], line["status"]), []).append(line)
    found: dict[str, Any] = {}
    for kind, calls in sorted(kinds.items()):
        # Sources with a commit ("repo@commit:path") are the older eras.
        newest = [call for call in calls if "@" not in call["source"].split(":")[0]] or calls
        found[kind] = {
            "sources": sorted({call["source"].split(":")[0] for call in newest}),
            "lines": len(newest),
            "shape": merged(shape_of(call["body"]) for call in newest),
        }
    return found
