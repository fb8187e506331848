"""
Reads the literals of a JavaScript module without running it: objects, lists, strings, numbers, true, false and null.

Whatever would have to be run (calls, names, templates with holes, spreads, computed keys) is reported, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from clodo.workspace.documents import KeyPath

MAX_DEPTH = 100
DEFAULT = "default"
MAX_CODE_POINT = 0x10FFFF
REPLACEMENT = "\ufffd"

_BLANK = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_$][\w$]*")
_NUMBER = re.compile(r"[-+]?(?:0[xX][\da-fA-F_]+|(?:\d[\d_]*)?\.?\d[\d_]*(?:[eE][+-]?\d+)?)")
_DECLARATION = re.compile(r"(?:export\s+)?(?:const|let|var)\s+(?P<name>[A-Za-z_$][\w$]*)\s*(?::[^=]+)?=(?!=)")
_EXPORT = re.compile(r"(?:export\s+default\b|(?:module\.)?exports(?:\.(?P<name>[A-Za-z_$][\w$]*))?\s*=(?!=))")
_FREEZE = re.compile(r"Object\.freeze\s*\(")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_HEX = re.compile(r"x([\da-fA-F]{2})|u\{([\da-fA-F]{1,6})\}|u([\da-fA-F]{4})")
# A slash begins a regular expression only where a value may begin.
_REGEX = re.compile(r"/(?![*/])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/\w*")
_BEFORE_VALUES = ("(", ",", "=", ":", "[", "!", "&", "|", "?", "{", "}", ";", "")
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Computed:
    """A value that only running the module would give; *line* from 1, *what* in a few words."""

    path: KeyPath
    line: int
    what: str


@dataclass(frozen=True, slots=True)
class Module:
    """
    What a module says in literals.

    Attributes:
        values: Each constant by its name, ``default`` for the default export; values that are computed are left out.

        lines: Of each key path, its first part the constant's name; from 1.

        computed: What was left out.
    """

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    computed: tuple[Computed, ...] = ()


class NotReadable(ValueError):
    """The text ends inside something, or is nested too deeply; *line* from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.what = what


def read(text: str) -> Module:
    """
    Read the constants of a module.

    Raises:
        NotReadable: Brackets or quotes are never closed.
    """
    return _Reader(text).module()


class _Absent:
    """Stands for a value that is computed, while its surroundings are read."""


_ABSENT = _Absent()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.computed: list[Computed] = []

    # -- the module

    def module(self) -> Module:
        values: dict[str, Any] = {}
        while True:
            self.skip()
            if self.at >= len(self.text):
                break
            found = _DECLARATION.match(self.text, self.at) or _EXPORT.match(self.text, self.at)
            if found is None:
                self.statement(tuple(values))
                continue
            name = found["name"] or DEFAULT
            here = self.at
            self.at = found.end()
            self.lines[(name,)] = self.line(here)
            word = self.peek_word()
            if word in values and self.ends_after(word):
                # export default domains;
                values[name] = values[word]
                self.lines |= {(name, *path[1:]): line for path, line in self.lines.items() if path[:1] == (word,)}
                self.at += len(word)
                continue
            value = self.value((name,), 0)
            if not isinstance(value, _Absent):
                values[name] = value
        return Module(values, self.lines, tuple(self.computed))

    def statement(self, known: tuple[str, ...]) -> None:
        """Pass over what is no constant, and notice when it changes one."""
        start, line = self.at, self.line()
        self.pass_over(lambda char: char in ";\n", stops_at_brackets=False)
        said = self.text[start : self.at]
        self.at = max(self.at, start + 1)
        if self.text[self.at : self.at + 1] == ";":
            self.at += 1
        for name in known:
            changes = rf"\b{re.escape(name)}\s*(?:\.\w+|\[[^\]]*\])+\s*=(?!=)|Object\.assign\(\s*{re.escape(name)}\b"
            if re.search(changes, said):
                self.computed.append(Computed((name,), line, "is changed by code further down"))

    # -- values

    def value(self, path: KeyPath, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise NotReadable(self.line(), f"values are nested more than {MAX_DEPTH} deep")
        self.skip()
        start = self.at
        value = self.literal(path, depth)
        if not isinstance(value, _Absent):
            self.skip()
            if self.is_end():
                return value
        # What looked like a literal goes on: 'a' + b, [..].map(..), {..} as X.
        self.at = start
        self.computed = [item for item in self.computed if item.path[: len(path)] != path]
        self.lines = {known: line for known, line in self.lines.items() if known == path or known[: len(path)] != path}
        self.report(path, start)
        return _ABSENT

    def literal(self, path: KeyPath, depth: int) -> Any:
        head = self.text[self.at : self.at + 1]
        if head == "{":
            return self.object(path, depth)
        if head == "[":
            return self.array(path, depth)
        if head in "'\"" and head:
            return self.string(head)
        if head == "`":
            return self.template()
        frozen = _FREEZE.match(self.text, self.at)
        if frozen:
            return self.frozen(frozen.end(), path, depth)
        number = _NUMBER.match(self.text, self.at)
        if number and number[0] not in ("", "-", "+"):
            self.at = number.end()
            return _number(number[0].replace("_", ""))
        word = self.peek_word()
        if word in ("true", "false", "null", "undefined"):
            self.at += len(word)
            return {"true": True, "false": False}.get(word)
        return _ABSENT

    def frozen(self, inside: int, path: KeyPath, depth: int) -> Any:
        self.at = inside
        value = self.value(path, depth + 1)
        self.skip()
        if self.text[self.at : self.at + 1] != ")":
            return _ABSENT
        self.at += 1
        return value

    def object(self, path: KeyPath, depth: int) -> Any:
        found: dict[str, Any] = {}
        self.at += 1
        while True:
            self.skip()
            head = self.text[self.at : self.at + 1]
            if head == "":
                raise NotReadable(self.line(), "a { is never closed")
            if head == "}":
                self.at += 1
                return found
            if head == ",":
                self.at += 1
                continue
            key = self.key()
            self.skip()
            if key is None or self.text[self.at : self.at + 1] != ":":
                self.report((*path, key) if key else path, self.at)
                continue
            here = (*path, key)
            if key in found:
                self.computed.append(Computed(here, self.line(), "is given twice, and the last one counts"))
            self.lines[here] = self.line()
            self.at += 1
            value = self.value(here, depth + 1)
            if isinstance(value, _Absent):
                found.pop(key, None)
            else:
                found[key] = value

    def key(self) -> str | None:
        head = self.text[self.at : self.at + 1]
        if head in ("'", '"'):
            return self.string(head)
        word = _WORD.match(self.text, self.at) or re.compile(r"\d+").match(self.text, self.at)
        if word is None:
            return None
        self.at = word.end()
        return word[0]

    def array(self, path: KeyPath, depth: int) -> Any:
        found: list[Any] = []
        self.at += 1
        while True:
            self.skip()
            head = self.text[self.at : self.at + 1]
            if head == "":
                raise NotReadable(self.line(), "a [ is never closed")
            if head == "]":
                self.at += 1
                return found
            if head == ",":
                self.at += 1
                continue
            here = (*path, len(found))
            self.lines[here] = self.line()
            value = self.value(here, depth + 1)
            if not isinstance(value, _Absent):
                found.append(value)

    def string(self, quote: str) -> str:
        opened = self.line()
        parts: list[str] = []
        self.at += 1
        while True:
            char = self.text[self.at : self.at + 1]
            if char in ("", "\n") and not (char and quote == "`"):
                raise NotReadable(opened, "a string is never closed")
            self.at += 1
            if char == quote:
                return _paired("".join(parts))
            parts.append(self.escape() if char == "\\" else char)

    def escape(self) -> str:
        hexadecimal = _HEX.match(self.text, self.at)
        if hexadecimal:
            self.at = hexadecimal.end()
            point = int(next(group for group in hexadecimal.groups() if group), 16)
            return chr(point) if point <= MAX_CODE_POINT else REPLACEMENT
        char = self.text[self.at : self.at + 1]
        self.at += 1
        return "" if char == "\n" else _ESCAPES.get(char, char)

    def template(self) -> Any:
        start = self.at
        text = self.string("`")
        # A hole is looked for as it is written: \${ is none.
        if re.search(r"(?<!\\)\$\{", self.text[start : self.at]):
            return _ABSENT
        return text

    # -- passing over code

    def report(self, path: KeyPath, start: int) -> None:
        """Note that the value at *path* is computed, and pass over it."""
        line = self.line(start)
        self.at = start
        self.pass_over(lambda char: char in ",;\n", stops_at_brackets=True)
        # What stands there is not quoted: it may be `process.env.TOKEN || "the token"`.
        self.computed.append(Computed(path, line, "is computed"))
        if self.at == start:
            self.at += 1

    def pass_over(self, ends: Callable[[str], bool], *, stops_at_brackets: bool) -> None:
        """Move to the end of an expression or statement, over brackets, strings and comments inside it."""
        depth = 0
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in "'\"`":
                self.quoted(char)
                continue
            blank = _BLANK.match(self.text, self.at)
            if blank and blank.end() > self.at and self.text.startswith(("//", "/*"), self.at):
                self.at = blank.end()
                continue
            if char == "/" and self.text[: self.at].rstrip()[-1:] in _BEFORE_VALUES:
                regular = _REGEX.match(self.text, self.at)
                if regular:
                    self.at = regular.end()
                    continue
            if char in _OPENING:
                depth += 1
            elif char in _CLOSING:
                if depth == 0:
                    if stops_at_brackets:
                        return
                    self.at += 1
                    return
                depth -= 1
            elif depth == 0 and ends(char) and (char != "\n" or not self.goes_on()):
                return
            self.at += 1
        if depth:
            raise NotReadable(self.line(), "a bracket is never closed")

    def quoted(self, quote: str) -> None:
        if quote != "`":
            self.string(quote)
            return
        self.at += 1
        while self.at < len(self.text) and self.text[self.at] != "`":
            if self.text.startswith("\\", self.at):
                self.at += 2
            elif self.text.startswith("${", self.at):
                self.at += 2
                self.pass_over(lambda _: False, stops_at_brackets=True)
                self.at += 1
            else:
                self.at += 1
        if self.at >= len(self.text):
            raise NotReadable(self.line(), "a template is never closed")
        self.at += 1

    def goes_on(self) -> bool:
        """Whether an expression goes on after the newline here: the next line begins with an operator."""
        blank = _BLANK.match(self.text, self.at)
        following = self.text[blank.end() : blank.end() + 1] if blank else ""
        return following in tuple(".+?:|&*=-/") or self.text[: self.at].rstrip().endswith(("=", "+", "=>", "(", "||"))

    # -- small things

    def skip(self) -> None:
        blank = _BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at
        if self.text.startswith("/*", self.at):
            raise NotReadable(self.line(), "a comment that opens with /* is never closed")

    def line(self, at: int | None = None) -> int:
        return self.text.count("\n", 0, self.at if at is None else at) + 1

    def peek_word(self) -> str:
        self.skip()
        word = _WORD.match(self.text, self.at)
        return word[0] if word else ""

    def ends_after(self, word: str) -> bool:
        blank = _BLANK.match(self.text, self.at + len(word))
        return (blank is not None and self.text[blank.end() : blank.end() + 1] in ("", ";")) or "\n" in (
            blank[0] if blank else ""
        )

    def is_end(self) -> bool:
        """Whether the value that was just read ends here, and is no part of a larger expression."""
        head = self.text[self.at : self.at + 1]
        if head in ("", ",", "}", "]", ")", ";"):
            return True
        before = self.text[: self.at]
        is_new_line = (
            "\n" in before[len(before.rstrip()) :] or before.rstrip().endswith("*/") or _ends_in_comment(before)
        )
        return (
            is_new_line
            and head not in tuple(".+?|&*=-/(`")
            and not self.text.startswith(("as ", "satisfies "), self.at)
        )


def _ends_in_comment(before: str) -> bool:
    return "//" in before.rstrip("\n").rpartition("\n")[2]


def _paired(text: str) -> str:
    """Join the halves of surrogate pairs, as JavaScript writes characters beyond the basic plane."""
    if text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _number(text: str) -> int | float:
    if text.lower().lstrip("+-").startswith("0x"):
        return int(text, 16)
    return float(text) if any(char in text for char in ".eE") else int(text)
