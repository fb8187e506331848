"""
Changes TOML by touching only the lines that must change.

tomlkit writes the values. The places are found by `toml_lines`, because tomlkit counts the comment above a table as a
part of the table before it, and would take it away, or write between the two.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit

from clodo.workspace.documents import KeyPath
from clodo.workspace.editing.changes import Append, Change, Remove
from clodo.workspace.editing.members import Brackets, indent_at, insert, line_end, line_start, remove
from clodo.workspace.toml_lines import Layout, scan

BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_COMMENT_LINES = re.compile(r"(?:[ \t]*#[^\n]*\n)+\Z")


def read(text: str) -> dict[str, Any]:
    """Return the values of *text*."""
    return tomllib.loads(text)


def write(text: str, change: Change) -> str:
    """Return *text*, which is TOML, after *change*."""
    editor = _Editor(text)
    if isinstance(change, Remove):
        return editor.remove(change.path)
    if isinstance(change, Append):
        return editor.append(change.path, change.value)
    return editor.put(change.path, change.value)


def render(value: Any) -> str:
    """Write *value* on one line, or a list of tables on one line each."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(key)} = {render(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(render(item) for item in value) + "]"
    return str(tomlkit.item(value).as_string())


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else str(tomlkit.item(name).as_string())


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(_key(step) for step in path if isinstance(step, str))


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


class _Editor:
    """One change to one text; the layout is that of the text before it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.layout: Layout = scan(text)

    # -- put

    def put(self, path: KeyPath, value: Any) -> str:
        parent, key = path[:-1], path[-1]
        span = self.layout.spans.get(path)
        if span is not None:
            return self.text[: span.value] + render(value) + self.text[span.end :]
        written = (*(header.path for header in self.layout.headers), *self.layout.spans)
        if any(other[: len(path)] == path for other in written):
            # It is a table with headers or dotted keys of its own: written anew.
            return _Editor(self.remove(path)).put(path, value)
        inline = self._inline_above(path)
        if inline is not None:
            for step in reversed(path[len(inline) + 1 :]):
                value = {str(step): value}
            return self._insert_inside(inline, f"{_key(str(path[len(inline)]))} = {render(value)}")
        if isinstance(value, Mapping):
            return self._add_section(path, value, is_array=False)
        if _is_tables(value):
            text = self.text
            for item in value:
                text = _Editor(text).append(path, item)
            return text
        section = self._section_of(parent)
        if section is not None:
            return self._add_pair(section, f"{_key(str(key))} = {render(value)}")
        dotted = [span for other, span in self.layout.spans.items() if other[: len(parent)] == parent and parent]
        dotted = [span for span in dotted if len(span.base) < len(parent)]
        if dotted:
            last = max(dotted, key=lambda span: span.end)
            name = _dotted((*parent[len(last.base) :], key))
            return self._add_line(line_end(self.text, last.end), f"{name} = {render(value)}", last.start)
        return self._add_section(parent, {str(key): value}, is_array=False)

    def append(self, path: KeyPath, value: Any) -> str:
        if path in self.layout.spans:
            return self._insert_inside(path, render(value))
        if isinstance(value, Mapping) and self._inline_above(path) is None:
            return self._add_section(path, value, is_array=True)
        return self.put(path, [value])

    def _inline_above(self, path: KeyPath) -> KeyPath | None:
        """Return the path of the innermost inline table or array around *path*, if it lies in one."""
        above = (path[:length] for length in range(len(path) - 1, 0, -1))
        return next((other for other in above if other in self.layout.spans), None)

    def _insert_inside(self, path: KeyPath, written: str) -> str:
        brackets = self._brackets(path)
        return insert(self.text, brackets, lambda _: written, unit="  ", spread=False)

    def _brackets(self, path: KeyPath) -> Brackets:
        whole = self.layout.spans[path]
        members = sorted((span.start, span.end) for span in self.layout.spans.values() if span.base == path)
        members = [member for member in members if whole.value <= member[0] and member[1] <= whole.end]
        return Brackets(whole.value, whole.end, members, BLANK)

    # -- sections

    def _section_of(self, path: KeyPath) -> int | None:
        """Return the index of the header that opens *path*; -1 for the top of the file, None when none does."""
        if not path:
            return -1
        return next((index for index, header in enumerate(self.layout.headers) if header.path == path), None)

    def _content_end(self, index: int) -> int:
        """Return the offset after the last line that says something in a section; comments below are the next one's."""
        spans = [span for span in self.layout.spans.values() if span.header == index]
        if spans:
            return line_end(self.text, max(span.end for span in spans))
        return line_end(self.text, self.layout.headers[index].end) if index >= 0 else 0

    def _add_pair(self, section: int, written: str) -> str:
        spans = [span for span in self.layout.spans.values() if span.header == section]
        if spans:
            model = max(spans, key=lambda span: span.end)
            outermost = [span for span in spans if span.start <= model.start and span.end >= model.end]
            return self._add_line(self._content_end(section), written, min(span.start for span in outermost))
        if section >= 0:
            return self._add_line(self._content_end(section), written, self.layout.headers[section].start)
        if not self.layout.headers:
            return self._add_line(len(self.text), written, 0)
        at = self._above(self.layout.headers[0].start)
        return f"{self.text[:at]}{written}\n\n{self.text[at:]}"

    def _add_line(self, at: int, written: str, model: int) -> str:
        head = self.text[:at]
        if head and not head.endswith("\n"):
            # The last line of a file that doesn't end with a newline; it still doesn't.
            return f"{head}\n{indent_at(self.text, model)}{written}"
        indent = indent_at(self.text, model) if head else ""
        return f"{head}{indent}{written}\n{self.text[at:]}"

    def _add_section(self, path: KeyPath, values: Mapping[str, Any], *, is_array: bool) -> str:
        name = _dotted(path)
        lines = [f"[[{name}]]" if is_array else f"[{name}]"]
        lines += [f"{_key(key)} = {render(value)}" for key, value in values.items() if not _is_tables(value)]
        for key, value in values.items():
            if _is_tables(value):
                for item in value:
                    lines += ["", f"[[{name}.{_key(key)}]]"]
                    lines += [f"{_key(inner)} = {render(given)}" for inner, given in item.items()]
        at = self._place_for(path)
        head, tail = self.text[:at], self.text[at:]
        ends_with_newline = not self.text or self.text.endswith("\n")
        if head and not head.endswith("\n"):
            head += "\n"
        if head.strip() and not head.endswith("\n\n"):
            head += "\n"
        written = "\n".join(lines)
        if not tail.strip():
            return head + written + ("\n" if ends_with_newline else "")
        return f"{head}{written}\n" + ("" if tail.startswith("\n") else "\n") + tail

    def _place_for(self, path: KeyPath) -> int:
        """Return where a new section belongs: after those it is closest to, and before the environments."""
        headers = self.layout.headers
        for length in range(len(path), 0, -1):
            near = [index for index, header in enumerate(headers) if header.path[:length] == path[:length]]
            if near:
                return self._content_end(near[-1])
        environments = [header for header in headers if header.path[0] == "env"]
        if path[0] != "env" and environments:
            return self._above(environments[0].start)
        return len(self.text)

    def _above(self, start: int) -> int:
        """Return the offset of the comment right above the line of *start*, or of that line."""
        begin = line_start(self.text, start)
        comment = _COMMENT_LINES.search(self.text[:begin])
        return comment.start() if comment else begin

    # -- remove

    def remove(self, path: KeyPath) -> str:
        span = self.layout.spans.get(path)
        if span is not None and span.base in self.layout.spans:
            brackets = self._brackets(span.base)
            position = [start for start, _ in brackets.members].index(span.start)
            return remove(self.text, brackets, position)
        cuts = []
        for other, found in self.layout.spans.items():
            if other[: len(path)] == path and found.base not in self.layout.spans and len(found.base) < len(path):
                cuts.append((line_start(self.text, found.start), line_end(self.text, found.end)))
        for index, header in enumerate(self.layout.headers):
            if header.path[: len(path)] == path:
                cuts.append((line_start(self.text, header.start), self._content_end(index)))
        text = self.text
        for start, end in sorted(cuts, reverse=True):
            head, tail = text[:start], text[end:]
            if (not head or head.endswith("\n\n")) and (tail.startswith("\n") or not tail):
                # One blank line between two things is enough.
                head, tail = (head[:-1], tail) if not tail else (head, tail[1:])
            text = head + tail
        return text
