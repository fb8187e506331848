"""Finds where every key stands in TOML text that `tomllib` has already accepted: its line, and its characters."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL = re.compile(r"'[^']*'")
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''.*?'''(?:'{0,2})", re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\n]+")
_AT_LINE = re.compile(r"^(?P<what>.*?)(?: \(at (?:line (?P<line>\d+), column \d+|end of document)\))?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Span:
    """
    A value that is written out, as offsets into the text.

    Attributes:
        start: Of the key as written (``a.b`` when dotted); of the value itself in an array.

        value: Where the value begins.

        end: Where the value ends.

        base: The table, inline table or array it is written in.

        header: Which of `Layout.headers` it stands under; -1 for those before the first.
    """

    start: int
    value: int
    end: int
    base: KeyPath
    header: int


@dataclass(frozen=True, slots=True)
class Header:
    """A ``[table]`` or ``[[array]]`` line; *path* of the latter ends with the element's index."""

    path: KeyPath
    start: int
    end: int
    is_array: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Where all of a TOML text stands; *lines* are counted from 1."""

    lines: dict[KeyPath, int] = field(default_factory=dict)
    spans: dict[KeyPath, Span] = field(default_factory=dict)
    headers: list[Header] = field(default_factory=list)


def find(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of each key path; items of a list have the item's own line."""
    return scan(text).lines


def scan(text: str) -> Layout:
    """Return where all of *text* stands."""
    return _Scanner(text).scan()


def locate(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """Return the line (from 1) and the plain words of a TOML syntax error."""
    match = _AT_LINE.match(str(error))
    assert match is not None
    line = int(match["line"]) if match["line"] else text.rstrip("\n").count("\n") + 1
    return line, match["what"]


class _Scanner:
    """Walks valid TOML; it never has to complain, only to count."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.layout = Layout()
        self.lines = self.layout.lines
        self.table: KeyPath = ()
        self.lengths: dict[KeyPath, int] = {}
        self._line = 1
        self._counted = 0

    def scan(self) -> Layout:
        while True:
            self._match(_BLANK)
            if self.at >= len(self.text):
                return self.layout
            if self.text.startswith("[", self.at):
                self._header()
            else:
                self._pair(self.table)

    def _line_here(self) -> int:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match[0]

    def _header(self) -> None:
        line, start = self._line_here(), self.at
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        keys = self._keys()
        self.at += 2 if is_array else 1
        path = self._resolve((), keys[:-1], line)
        here: KeyPath = (*path, keys[-1])
        self._note(here, line)
        if is_array:
            index = self.lengths.get(here, 0)
            self.lengths[here] = index + 1
            here = (*here, index)
            self._note(here, line)
        self.layout.headers.append(Header(here, start, self.at, is_array))
        self.table = here

    def _resolve(self, base: KeyPath, keys: list[str], line: int) -> KeyPath:
        """Follow *keys* from *base*; a name of an array of tables means its last table."""
        path = base
        for key in keys:
            path = (*path, key)
            self._note(path, line)
            if path in self.lengths:
                path = (*path, self.lengths[path] - 1)
        return path

    def _note(self, path: KeyPath, line: int) -> None:
        self.lines.setdefault(path, line)

    def _keys(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._match(_SPACE)
            keys.append(self._key())
            self._match(_SPACE)
            if not self.text.startswith(".", self.at):
                return keys
            self.at += 1

    def _key(self) -> str:
        if self.text.startswith('"', self.at):
            return _text_of(self._match(_BASIC))
        if self.text.startswith("'", self.at):
            return self._match(_LITERAL)[1:-1]
        return self._match(_BARE_KEY)

    def _pair(self, base: KeyPath) -> None:
        line, start = self._line_here(), self.at
        keys = self._keys()
        self.at += 1  # the equals sign
        path = base
        for key in keys:
            path = (*path, key)
            self._note(path, line)
        self._match(_SPACE)
        self._spanned(path, start, base)

    def _spanned(self, path: KeyPath, start: int, base: KeyPath) -> None:
        begin = self.at
        self._value(path)
        end = begin + len(self.text[begin : self.at].rstrip(" \t"))
        self.layout.spans[path] = Span(start, begin, end, base, len(self.layout.headers) - 1)

    def _value(self, path: KeyPath) -> None:
        for opening, pattern in (('"""', _LONG_BASIC), ("'''", _LONG_LITERAL), ('"', _BASIC), ("'", _LITERAL)):
            if self.text.startswith(opening, self.at):
                self._match(pattern)
                return
        if self.text.startswith("[", self.at):
            self._array(path)
        elif self.text.startswith("{", self.at):
            self._inline_table(path)
        else:
            self._match(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while True:
            self._match(_BLANK)
            if self.text.startswith("]", self.at):
                self.at += 1
                return
            if self.text.startswith(",", self.at):
                self.at += 1
                continue
            here = (*path, index)
            self._note(here, self._line_here())
            self._spanned(here, self.at, path)
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while True:
            self._match(_BLANK)
            if self.text.startswith("}", self.at):
                self.at += 1
                return
            if self.text.startswith(",", self.at):
                self.at += 1
                continue
            self._pair(path)


def _text_of(quoted: str) -> str:
    value: Any = tomllib.loads(f"key = {quoted}")["key"]
    return str(value)
