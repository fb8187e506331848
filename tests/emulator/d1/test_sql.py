"""Splitting SQL text into statements."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.emulator.d1.sql import split, split_stream

TRIGGER = "CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET b=';'; DELETE FROM c; END;"

_FRAGMENTS = st.sampled_from(
    [
        "SELECT 1",
        "SELECT ';'",
        "SELECT 'it''s;'",
        'SELECT "a;b" FROM (SELECT 1 AS "a;b")',
        "SELECT `a` FROM (SELECT 1 AS `a`)",
        "SELECT [a;] FROM (SELECT 1 AS [a;])",
        "SELECT 1 -- no; end\n",
        "SELECT /* ; */ 2",
        "CREATE TABLE IF NOT EXISTS a(b)",
        "CREATE TEMP TRIGGER IF NOT EXISTS t AFTER INSERT ON a BEGIN UPDATE a SET b=';'; DELETE FROM a; END",
        "VALUES(1), (2)",
        "-- only a comment\n",
        "/* only a comment */",
        " ",
        "\n",
        "",
    ]
)
_TEXTS = st.lists(_FRAGMENTS, max_size=8).map(";".join)


def _as_sqlite_sees_it(text: str) -> list[str]:
    """Let SQLite itself run the text, and note each statement as it begins."""
    seen: list[str] = []
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE a(b)")

    def begun(cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
        seen.append(sql)
        return True

    connection.set_exec_trace(begun)
    connection.execute(text).fetchall()
    return seen


def _bare(statement: str) -> str:
    return statement.strip().rstrip(";").strip()


@given(_TEXTS)
def test_statements_end_where_sqlite_ends_them(text: str):
    """What is cut out is what SQLite would run, one after the other."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE a(b)")
    for statement in split(text):
        seen: list[str] = []
        connection.set_exec_trace(lambda cursor, sql, bindings, seen=seen: seen.append(sql) or True)
        connection.execute(statement).fetchall()
        assert len(seen) == 1, statement

    assert len(split(text)) == len([sql for sql in _as_sqlite_sees_it(text) if split(sql)])


@given(_TEXTS, st.integers(1, 9))
def test_pieces_of_any_size_give_the_same_statements(text: str, size: int):
    """A text read in small pieces is cut like the whole."""
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    assert [_bare(sql) for sql in split_stream(pieces)] == [_bare(sql) for sql in split(text)]


def test_a_trigger_is_one_statement():
    """Semicolons inside a trigger's body don't end it."""
    assert split(f"SELECT 1; {TRIGGER} SELECT 2") == ["SELECT 1;", TRIGGER, "SELECT 2"]


@pytest.mark.parametrize("text", ["", ";", " ;; ", "-- nothing", "/* nothing */;", "/* never closed"])
def test_blanks_and_comments_are_no_statements(text: str):
    """Text without a statement gives none."""
    assert split(text) == []


@pytest.mark.parametrize("text", ["SELECT 'open; SELECT 2", 'SELECT "open; 2', "SELECT 1 /* open; SELECT 2"])
def test_what_is_not_closed_reaches_to_the_end(text: str):
    """An unclosed string, name or comment hides all semicolons after it."""
    assert split(text) == [text]


def test_a_statement_that_never_ends_is_given_out_at_the_limit():
    """A stream without semicolons doesn't fill the memory: SQLite's own limit gets to refuse it."""
    endless = ("x" * 1000 for _ in range(1_000_000))

    first = next(split_stream(endless, max_characters=5000))

    assert 5000 < len(first) <= 6000
