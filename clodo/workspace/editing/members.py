"""Puts a member into a bracketed list of members, or takes one out, touching nothing else; JSON and TOML alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# What may stand after a member on its own line.
_REST_OF_LINE = re.compile(r"[ \t]*(?:/\*[^\n]*?\*/[ \t]*)*(?://[^\n]*|#[^\n]*)?")
_INDENT = re.compile(r"[ \t]*")

Render = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Brackets:
    """
    ``{…}`` or ``[…]`` in a text.

    Attributes:
        start: Offset of the opening bracket.

        end: Offset after the closing one.

        members: Start and end of each, in order.

        blank: Matches white space and comments of the language.
    """

    start: int
    end: int
    members: Sequence[tuple[int, int]]
    blank: re.Pattern[str]

    def comma_after(self, text: str, at: int) -> int | None:
        """Return the offset of the comma that follows the member ending *at*; None when none does."""
        match = self.blank.match(text, at)
        here = match.end() if match else at
        return here if text[here : here + 1] == "," else None


def line_start(text: str, at: int) -> int:
    """Return the offset of the first character of the line that *at* is on."""
    return text.rfind("\n", 0, at) + 1


def line_end(text: str, at: int) -> int:
    """Return the offset after the line that *at* is on, its newline included."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def indent_at(text: str, at: int) -> str:
    """Return the white space that the line of *at* begins with."""
    match = _INDENT.match(text, line_start(text, at))
    return match[0] if match else ""


def insert(text: str, brackets: Brackets, render: Render, *, unit: str, spread: bool) -> str:
    """
    Add a member at the end.

    Args:
        render: Writes the member, given the white space that its further lines begin with.

        unit: One step of indentation.

        spread: Whether an empty pair of brackets is opened over several lines.
    """
    if not brackets.members:
        return _insert_first(text, brackets, render, unit=unit, spread=spread)
    first, last_end = brackets.members[0][0], brackets.members[-1][1]
    comma = brackets.comma_after(text, last_end)
    if "\n" not in text[brackets.start : first]:
        rendered = render(indent_at(text, brackets.start))
        if comma is None:
            return f"{text[:last_end]}, {rendered}{text[last_end:]}"
        return f"{text[: comma + 1]} {rendered},{text[comma + 1 :]}"
    indent = indent_at(text, first)
    rendered = render(indent)
    after = last_end if comma is None else comma + 1
    rest = _REST_OF_LINE.match(text, after)
    here = rest.end() if rest else after
    if text[here : here + 1] != "\n":
        # The closing bracket, or another comment, is on the same line.
        here = after
    head = text[:here] if comma is not None else f"{text[:last_end]},{text[last_end:here]}"
    tail = "," if comma is not None else ""
    return f"{head}\n{indent}{rendered}{tail}{text[here:]}"


def _insert_first(text: str, brackets: Brackets, render: Render, *, unit: str, spread: bool) -> str:
    inside = text[brackets.start + 1 : brackets.end - 1]
    outer = indent_at(text, brackets.start)
    if not inside.strip() and not spread:
        padding = " " if text[brackets.start] == "{" else ""
        return f"{text[: brackets.start + 1]}{padding}{render(outer)}{padding}{text[brackets.end - 1 :]}"
    indent = outer + unit
    kept = inside.rstrip()
    return f"{text[: brackets.start + 1]}{kept}\n{indent}{render(indent)}\n{outer}{text[brackets.end - 1 :]}"


def remove(text: str, brackets: Brackets, index: int) -> str:
    """Take the member at *index* away, with its comma and what is said about it on the same line."""
    start, end = brackets.members[index]
    comma = brackets.comma_after(text, end)
    if comma is None and index > 0:
        # The one before becomes the last, which had no comma.
        before = brackets.comma_after(text, brackets.members[index - 1][1])
        if before is not None:
            text = text[:before] + text[before + 1 :]
            start, end = start - 1, end - 1
    after = end if comma is None else comma + 1
    own_line = not text[line_start(text, start) : start].strip()
    rest = _REST_OF_LINE.match(text, after)
    stop = rest.end() if rest else after
    kept = "" if comma is None or not text[end:comma].strip() else text[end:comma]
    if own_line and text[stop : stop + 1] == "\n":
        result = text[: line_start(text, start)] + kept + text[stop + 1 :]
    elif comma is None:
        result = text[:start].rstrip(" \t") + text[end:]
    else:
        tail = text[after:]
        result = text[:start] + kept + tail.lstrip(" \t")
    if len(brackets.members) == 1:
        return _closed(text, result, brackets)
    return result


def _closed(before: str, result: str, brackets: Brackets) -> str:
    end = brackets.end - (len(before) - len(result))
    if result[brackets.start + 1 : end - 1].strip():
        return result
    return result[: brackets.start + 1] + result[end - 1 :]
