"""Splitting SQL text into statements by SQLite's own rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


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


class Token(IntEnum):
    """What matters to where a statement ends; the columns of TRANSITIONS."""

    SEMICOLON = 0
    BLANK = 1
    OTHER = 2
    EXPLAIN = 3
    CREATE = 4
    TEMP = 5
    TRIGGER = 6
    END = 7


class State(IntEnum):
    """How far a statement is read; the rows of TRANSITIONS."""

    NOTHING = 0
    START = 1
    NORMAL = 2
    EXPLAIN = 3
    CREATE = 4
    TRIGGER = 5
    TRIGGER_SEMICOLON = 6
    TRIGGER_END = 7


# Source: https://sqlite.org/src/file/src/complete.c
TRANSITIONS = (
    (1, 0, 2, 3, 4, 2, 2, 2),
    (1, 1, 2, 3, 4, 2, 2, 2),
    (1, 2, 2, 2, 2, 2, 2, 2),
    (1, 3, 3, 2, 4, 2, 2, 2),
    (1, 4, 2, 2, 2, 4, 5, 2),
    (6, 5, 5, 5, 5, 5, 5, 5),
    (6, 6, 5, 5, 5, 5, 5, 7),
    (1, 7, 5, 5, 5, 5, 5, 5),
)

WORDS = {
    "EXPLAIN": Token.EXPLAIN,
    "CREATE": Token.CREATE,
    "TEMP": Token.TEMP,
    "TEMPORARY": Token.TEMP,
    "TRIGGER": Token.TRIGGER,
    "END": Token.END,
}

LEXEMES = re.compile(
    r"""
      (?P<blank> [ \t\n\f\r]+ | --[^\n]* | /\*.*?\*/ )
    | (?P<open_comment> /\* )
    | (?P<quoted> '[^']*' | "[^"]*" | `[^`]*` | \[[^\]]*\] )
    | (?P<open_quote> ['"`\[] )
    | (?P<semicolon> ; )
    | (?P<word> [A-Za-z0-9_$\u0080-\U0010ffff]+ )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)

LEFT_OPEN = {
    "open_comment": "a comment that opens with /* and never ends",
    "open_quote": "a quote or bracket that opens and never closes",
}

TRIGGER_WITHOUT_END = "a trigger whose body never ends with END;"


def split(sql: str) -> Sequence[Statement]:
    """
    Split *sql* as SQLite's ``sqlite3_complete`` does; triggers, quotes and comments are kept whole.

    Returns:
        The statements in order; stretches of only blanks and comments are no statements, unless a comment is left open.

    Source:
        https://www.sqlite.org/c3ref/complete.html
    """
    statements: list[Statement] = []
    state = State.NOTHING
    first: re.Match[str] | None = None
    end = 0
    line, counted_to = 1, 0

    def close(*, is_closed: bool, problem: str | None = None) -> None:
        nonlocal first, line, counted_to
        if first is not None:
            line += sql.count("\n", counted_to, first.start())
            counted_to = first.start()
            word = first.group().upper() if first.lastgroup == "word" else ""
            text = sql[first.start() : end]
            statements.append(Statement(text, line, first.start(), word, is_closed, problem))
        first = None

    for lexeme in LEXEMES.finditer(sql):
        kind = lexeme.lastgroup or "other"
        if kind in LEFT_OPEN:
            first, end = first or lexeme, len(sql)
            close(is_closed=False, problem=LEFT_OPEN[kind])
            return statements
        token = _token(kind, lexeme.group())
        state = State(TRANSITIONS[state][token])
        if state is State.START:
            close(is_closed=True)
        elif token is not Token.BLANK:
            first, end = first or lexeme, lexeme.end()
    in_trigger = state in (State.TRIGGER, State.TRIGGER_SEMICOLON)
    close(is_closed=False, problem=TRIGGER_WITHOUT_END if in_trigger else None)
    return statements


def _token(kind: str, text: str) -> Token:
    match kind:
        case "blank":
            return Token.BLANK
        case "semicolon":
            return Token.SEMICOLON
        case "word" if len(text) <= len("TEMPORARY"):
            return WORDS.get(text.upper(), Token.OTHER)
        case _:
            return Token.OTHER
