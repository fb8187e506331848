"""JSON with comments and trailing commas, read with the line of every key, as wrangler reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 100

SPACE_AND_COMMENTS = re.compile(r"(?:[ \t\r\n\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_WORD = re.compile(r"[A-Za-z_$][\w$]*")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HEX = re.compile(r"[0-9a-fA-F]{4}")


class SyntaxFault(ValueError):
    """The text is not JSON with comments; says on which line (from 1) and why."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.what = what


@dataclass(frozen=True, slots=True)
class Span:
    """
    Where something stands in a text, as offsets.

    Attributes:
        start: Of the key with its quotes; of the value itself in a list.

        value: Where the value begins.

        end: Where the value ends.
    """

    start: int
    value: int
    end: int


def spans(text: str) -> dict[tuple[str | int, ...], Span]:
    """
    Return where each key and value of *text* stands; ``()`` is the whole value.

    Raises:
        SyntaxFault: As `parse`.
    """
    reader = _Reader(text)
    reader.value((), 0)
    return reader.spans


def parse(text: str) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    """
    Read *text* and tell on which line each value's key (or, in a list, the value itself) stands.

    Raises:
        SyntaxFault: Not JSON, a key given twice, or nested more than 100 deep.
    """
    reader = _Reader(text)
    value = reader.value((), 0)
    reader.skip()
    if reader.at < len(text):
        raise reader.fault(f"unexpected {text[reader.at]!r} after the end of the value")
    return value, reader.lines


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[tuple[str | int, ...], int] = {}
        self.spans: dict[tuple[str | int, ...], Span] = {}
        self._key_start = 0
        self._line = 1
        self._counted = 0

    def line(self) -> int:
        # Positions only grow, so newlines are counted once over the whole file.
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def fault(self, what: str) -> SyntaxFault:
        return SyntaxFault(self.line(), what)

    def skip(self) -> None:
        match = SPACE_AND_COMMENTS.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        if self.text.startswith("/*", self.at):
            raise self.fault("a comment that opens with /* is never closed")

    def peek(self) -> str:
        self.skip()
        return self.text[self.at : self.at + 1]

    def value(self, path: tuple[str | int, ...], depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self.fault(f"values are nested more than {MAX_DEPTH} deep")
        head = self.peek()
        begin = self.at
        start = self._key_start if path and isinstance(path[-1], str) else begin
        found: Any
        if head == "{":
            found = self.object(path, depth)
        elif head == "[":
            found = self.array(path, depth)
        elif head == '"':
            found = self.string()
        else:
            found = self.scalar(head)
        self.spans[path] = Span(start, begin, self.at)
        return found

    def object(self, path: tuple[str | int, ...], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.at += 1
        while self.peek() != "}":
            if self.peek() != '"':
                raise self.fault('expected a key in double quotes, or "}"' + self._seen())
            line, start = self.line(), self.at
            key = self.string()
            here = (*path, key)
            if key in found:
                raise SyntaxFault(line, f'"{key}" is given twice; the first is on line {self.lines[here]}')
            self.lines[here] = line
            if self.peek() != ":":
                raise self.fault(f'expected ":" after "{key}"' + self._seen())
            self.at += 1
            self._key_start = start
            found[key] = self.value(here, depth + 1)
            self.separator("}")
        self.at += 1
        return found

    def array(self, path: tuple[str | int, ...], depth: int) -> list[Any]:
        found: list[Any] = []
        self.at += 1
        while self.peek() != "]":
            here = (*path, len(found))
            self.lines[here] = self.line()
            found.append(self.value(here, depth + 1))
            self.separator("]")
        self.at += 1
        return found

    def separator(self, end: str) -> None:
        head = self.peek()
        if head == ",":
            self.at += 1
        elif head != end:
            raise self.fault(f'expected "," or "{end}"' + self._seen())

    def string(self) -> str:
        parts: list[str] = []
        opened = self.line()
        self.at += 1
        while True:
            match = _PLAIN.match(self.text, self.at)
            assert match is not None
            parts.append(match[0])
            self.at = match.end()
            head = self.text[self.at : self.at + 1]
            if head == '"':
                self.at += 1
                return "".join(parts)
            if head == "\\":
                parts.append(self.escape())
            elif head in ("", "\n"):
                raise SyntaxFault(opened, "a string is never closed")
            else:
                raise self.fault(f"the control character {head!r} must be written as an escape")

    def escape(self) -> str:
        letter = self.text[self.at + 1 : self.at + 2]
        if letter == "u":
            first = self._code_unit()
            if 0xD800 <= first < 0xDC00 and self.text.startswith("\\u", self.at):
                here = self.at
                second = self._code_unit()
                if 0xDC00 <= second < 0xE000:
                    return chr(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
                self.at = here
            if 0xD800 <= first < 0xE000:
                raise self.fault("half of a surrogate pair stands alone")
            return chr(first)
        if letter not in _ESCAPES:
            raise self.fault(f"unknown escape \\{letter}")
        self.at += 2
        return _ESCAPES[letter]

    def _code_unit(self) -> int:
        match = _HEX.match(self.text, self.at + 2)
        if match is None:
            raise self.fault("\\u needs four hex digits")
        self.at += 6
        return int(match[0], 16)

    def scalar(self, head: str) -> Any:
        if not head:
            raise self.fault("a value is missing at the end of the file")
        number = _NUMBER.match(self.text, self.at)
        if number is not None:
            self.at = number.end()
            return float(number[0]) if number[1] or number[2] else int(number[0])
        word = _WORD.match(self.text, self.at)
        if word is not None and word[0] in ("true", "false", "null"):
            self.at = word.end()
            return {"true": True, "false": False, "null": None}[word[0]]
        raise self.fault("expected a value" + self._seen())

    def _seen(self) -> str:
        word = _WORD.match(self.text, self.at)
        seen = word[0] if word else self.text[self.at : self.at + 1]
        return f", found {seen!r}" if seen else ", found the end of the file"
