"""Splitting SQL text into statements, without running any of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import apsw

# What can hide a semicolon, and the semicolon itself. An unclosed quote or comment reaches to the end, as for SQLite.
_TOKEN = re.compile(
    r"""
    ;
    | '[^']*(?:'|\Z)          # doubled quotes are two strings side by side, which ends at the same place
    | "[^"]*(?:"|\Z)
    | `[^`]*(?:`|\Z)
    | \[[^\]]*(?:\]|\Z)
    | --[^\n]*(?:\n|\Z)
    | /\*(?:.*?\*/|.*\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*(?:.*?\*/|.*\Z))*", re.DOTALL)
# SQLite's own rule (sqlite3_complete): a statement that begins so ends only at ``;END;``.
_TRIGGER = re.compile(r"(?:EXPLAIN\b(?:\s*QUERY\s+PLAN\b)?\s*)?CREATE\s+(?:TEMP(?:ORARY)?\s+)?TRIGGER\b", re.IGNORECASE)


def split(text: str) -> list[str]:
    """
    Cut *text* into statements.

    Returns:
        The statements in order, each with its semicolon if it has one, without leading blanks and comments; those of
        blanks and comments only are left out.
    """
    if text.find(";", 0, -1) == -1:
        # By far the most calls: one statement.
        statement = _trimmed(text)
        return [statement] if statement else []
    splitter = Splitter()
    return [*splitter.feed(text), *splitter.finish()]


class Splitter:
    """
    Cut a text that comes in pieces into statements, holding no more than one statement and one piece.

    Args:
        max_characters: A statement that grows beyond this is given out unfinished, so that SQLite's own limit refuses
            it; None for no limit.
    """

    def __init__(self, *, max_characters: int | None = None) -> None:
        self._pending = ""
        self._scanned = 0
        self._max_characters = max_characters

    def feed(self, piece: str) -> Iterator[str]:
        """Take the next piece; return the statements that are complete now."""
        self._pending += piece
        start = 0
        position = self._scanned
        while match := _TOKEN.search(self._pending, position):
            if match.group() != ";":
                if match.end() == len(self._pending):
                    # What hides semicolons may go on in the next piece: look at it again from its beginning.
                    position = match.start()
                    break
                position = match.end()
                continue
            position = match.end()
            candidate = _trimmed(self._pending[start:position])
            if _TRIGGER.match(candidate) and not apsw.complete(candidate):
                continue
            start = position
            if statement := _trimmed(candidate):
                yield statement
        else:
            # A comment's or a string's first character may be the last one here.
            position = max(position, len(self._pending) - 1, start)
        self._pending = self._pending[start:]
        self._scanned = max(0, position - start)
        if self._max_characters is not None and len(self._pending) > self._max_characters:
            yield self._pending
            self._pending, self._scanned = "", 0

    def finish(self) -> Iterator[str]:
        """Return the last statement, when it has no semicolon."""
        if statement := _trimmed(self._pending):
            yield statement
        self._pending, self._scanned = "", 0


def split_stream(pieces: Iterable[str], *, max_characters: int | None = None) -> Iterator[str]:
    """Cut a text that comes in pieces into statements, as a `Splitter` does."""
    splitter = Splitter(max_characters=max_characters)
    for piece in pieces:
        yield from splitter.feed(piece)
    yield from splitter.finish()


def _trimmed(statement: str) -> str:
    blank = _BLANK.match(statement)
    assert blank is not None
    statement = statement[blank.end() :].rstrip()
    return "" if statement == ";" else statement
