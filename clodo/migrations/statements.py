"""Splitting SQL text into statements by SQLite's own rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """
    One statement of a text.

    Attributes:
        text: From its first token to its last, without the closing semicolon.

        line: Line of its first token, counted from 1.

        offset: Index of its first token in the text, in characters.

        first_word: Its first word in upper case; empty when it opens with something else.

        is_closed: Does a semicolon (for a trigger: after its END) close it?

        problem: What is left open at the end of the text: a quote, a comment, a trigger's body; None when nothing is.
    """

    text: str
    line: int
    offset: int
    first_word: str
    is_closed: bool
    problem: str | None = None


def split(sql: str) -> Sequence[Statement]:
    """
    Split *sql* as SQLite's ``sqlite3_complete`` does; triggers, quotes and comments are kept whole.

    Returns:
        The statements in order; stretches of only blanks and comments are no statements.

    Source:
        https://www.sqlite.org/c3ref/complete.html
    """
    raise NotImplementedError
