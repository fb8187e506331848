"""Changes JSON with comments by touching only the characters that must change."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from clodo.workspace import jsonc
from clodo.workspace.documents import KeyPath
from clodo.workspace.editing.changes import Append, Change, Put, Remove
from clodo.workspace.editing.members import Brackets, indent_at, insert, remove

MAX_LINE = 100
_FIRST_INDENT = re.compile(r"^([ \t]+)\S", re.MULTILINE)


def read(text: str) -> dict[str, Any]:
    """Return the values of *text*, which is an object."""
    data = jsonc.parse(text)[0]
    assert isinstance(data, dict)
    return data


def write(text: str, change: Change) -> str:
    """
    Return *text* after *change*.

    Raises:
        SyntaxFault: *text* is no JSON.
    """
    spans = jsonc.spans(text)
    unit = _unit(text)
    if isinstance(change, Remove):
        return remove(text, _brackets(text, spans, change.path[:-1]), _position(spans, change.path))
    if isinstance(change, Append):
        if not _is_there(text, spans, change.path):
            return write(text, Put(change.path, [change.value]))
        return _insert(text, spans, change.path, lambda indent: render(change.value, indent, unit), unit)
    if change.path in spans:
        return _replace(text, spans[change.path], change.value, unit)
    parent, key = change.path[:-1], change.path[-1]
    if not _is_there(text, spans, parent):
        return write(text, Put(parent, {key: change.value}))
    name = json.dumps(key, ensure_ascii=False)
    return _insert(text, spans, parent, lambda indent: f"{name}: {render(change.value, indent, unit)}", unit)


def _is_there(text: str, spans: Mapping[KeyPath, jsonc.Span], path: KeyPath) -> bool:
    return path in spans and not text.startswith("null", spans[path].value)


def render(value: Any, indent: str, unit: str) -> str:
    """
    Write *value* as a person would: lists of plain values on one line, tables over several.

    Args:
        indent: White space of the line it begins on.

        unit: One step of indentation; empty for a file that is all on one line.
    """
    inner = indent + unit
    if isinstance(value, Mapping) and value:
        items = [f"{json.dumps(key, ensure_ascii=False)}: {render(item, inner, unit)}" for key, item in value.items()]
        return _spread("{", items, "}", indent, unit)
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        flat = json.dumps(value, ensure_ascii=False)
        if not any(isinstance(item, Mapping | list) for item in value) and len(flat) <= MAX_LINE:
            return flat
        return _spread("[", [render(item, inner, unit) for item in value], "]", indent, unit)
    return json.dumps(value, ensure_ascii=False)


def _spread(opening: str, items: list[str], closing: str, indent: str, unit: str) -> str:
    if not unit:
        return f"{opening}{', '.join(items)}{closing}"
    joint = f",\n{indent}{unit}"
    return f"{opening}\n{indent}{unit}{joint.join(items)}\n{indent}{closing}"


def _replace(text: str, span: jsonc.Span, value: Any, unit: str) -> str:
    return text[: span.value] + render(value, indent_at(text, span.start), unit) + text[span.end :]


def _insert(text: str, spans: Mapping[KeyPath, jsonc.Span], path: KeyPath, written: Any, unit: str) -> str:
    return insert(text, _brackets(text, spans, path), written, unit=unit, spread=bool(unit))


def _brackets(text: str, spans: Mapping[KeyPath, jsonc.Span], path: KeyPath) -> Brackets:
    members = sorted((span.start, span.end) for other, span in spans.items() if other and other[:-1] == path)
    whole = spans[path]
    return Brackets(whole.value, whole.end, members, jsonc.SPACE_AND_COMMENTS)


def _position(spans: Mapping[KeyPath, jsonc.Span], path: KeyPath) -> int:
    starts = sorted(span.start for other, span in spans.items() if other and other[:-1] == path[:-1])
    return starts.index(spans[path].start)


def _unit(text: str) -> str:
    """Return one step of the file's own indentation; empty when it is all on one line."""
    found = _FIRST_INDENT.search(text, max(text.find("{"), 0))
    if found:
        return found[1]
    return "  " if "\n" in text.strip() or text.strip() == "{}" else ""
