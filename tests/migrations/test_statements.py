"""Splitting SQL."""

import sqlite3

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from clodo.migrations import split

FRAGMENTS = some.sampled_from(
    [
        ";", ";", ";", " ", "\n", "\r\n", "\t", "'", '"', "`", "[", "]", "--", "/*", "*/", "/", "*", "-", "''",
        "CREATE", "create", "TEMP", "TEMPORARY", "TRIGGER", "Trigger", "END", "end", "EXPLAIN", "BEGIN", "CASE",
        "SELECT", "1", "x", "é", "\U0001f600", "$a", "(", ")", ",", "\x0b", "\xa0", "end1", "_end",
    ]
)  # fmt: skip
TEXTS = some.lists(FRAGMENTS, max_size=40).map("".join)


def ends_by_sqlite(sql):
    """Where SQLite says that a statement is complete, asked at each semicolon."""
    ends, start = [], 0
    for index, character in enumerate(sql):
        if character == ";" and sqlite3.complete_statement(sql[start : index + 1]):
            ends.append(index)
            start = index + 1
    return ends


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END; SELECT 2")
@example("/*/;*/;")
@example("EXPLAIN CREATE TEMP TRIGGER x; END; ;")
def test_statements_end_where_sqlite_says(sql):
    """For any text, the closed statements end exactly where sqlite3_complete says they do."""
    statements = split(sql)

    ends = ends_by_sqlite(sql)
    starts = [0, *(end + 1 for end in ends)]
    closed = [statement for statement in statements if statement.is_closed]
    for statement in closed:
        end = min(end for end in ends if end >= statement.offset)
        assert sql[statement.offset : end].startswith(statement.text)
        assert split(sql[statement.offset + len(statement.text) : end + 1]) == []
    useful = [end for start, end in zip(starts, ends, strict=False) if split(sql[start:end])]
    assert len(closed) == len(useful)


@settings(max_examples=120, deadline=None)
@given(TEXTS)
def test_every_statement_says_where_it_stands(sql):
    """Text, offset and line agree with the source, and statements follow one another without overlapping."""
    position = 0
    for statement in split(sql):
        assert statement.offset >= position
        assert sql.startswith(statement.text, statement.offset)
        assert statement.line == sql.count("\n", 0, statement.offset) + 1
        assert statement.text
        position = statement.offset + len(statement.text)
    assert all(statement.is_closed for statement in split(sql)[:-1])


STATEMENTS = some.sampled_from(
    [
        "CREATE TABLE IF NOT EXISTS \"a;b\" (x TEXT DEFAULT 'it''s; fine' /* ; */)",
        "INSERT INTO \"a;b\" VALUES ('--;'), ('/*;')",
        'CREATE TRIGGER IF NOT EXISTS t AFTER INSERT ON "a;b" BEGIN SELECT CASE WHEN 1 THEN 2 END; SELECT 3; END',
        'SELECT [x] FROM "a;b" -- a comment; with a semicolon\n WHERE 1',
        'UPDATE "a;b" SET x = \'END; END\' WHERE `x` = "x"',
        "DROP TRIGGER IF EXISTS t",
    ]
)
SEPARATORS = some.sampled_from([";", ";\n", " ;\r\n-- END;\n", ";;", "; /* CREATE TRIGGER */ "])


@settings(max_examples=80, deadline=None)
@given(some.lists(STATEMENTS, max_size=6), SEPARATORS)
def test_real_statements_are_split_as_sqlite_runs_them(statements, separator):
    """Joined statements are found again one by one, and SQLite itself runs as many."""
    sql = separator.join(statements) + separator
    begun = []
    connection = apsw.Connection(":memory:")
    connection.execute('CREATE TABLE "a;b" (x)')
    cursor = connection.cursor()
    cursor.exec_trace = lambda cursor, text, bindings: begun.append(text) or True
    list(cursor.execute(sql))

    found = split(sql)

    assert [" ".join(statement.text.split()) for statement in found] == [
        " ".join(statement.split()) for statement in statements
    ]
    # SQLite hands what is left of a text to its tracer too, blanks and comments though it be.
    assert len([text for text in begun if split(text)]) == len(found)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT 'a;\n", "quote"),
        ('SELECT "a;', "quote"),
        ("SELECT [a;", "bracket"),
        ("SELECT 1; /* a;", "comment"),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;", "trigger"),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END, x", "trigger"),
    ],
)
def test_what_is_left_open_is_said(sql, problem):
    """A quote, comment or trigger that never ends is named on the last statement."""
    assert problem in split(sql)[-1].problem


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("", []),
        (" ; ;; -- nothing\n /* at all; */", []),
        ("select 1", ["SELECT"]),
        ("/* first */ -- then\n  begin;;commit", ["BEGIN", "COMMIT"]),
        ("(SELECT 1); x", ["", "X"]),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END", ["CREATE"]),
    ],
)
def test_first_words_are_known(sql, words):
    """The first word of each statement is given in upper case, comments before it don't count."""
    statements = split(sql)

    assert [statement.first_word for statement in statements] == words
    assert all(statement.problem is None for statement in statements)


@pytest.mark.timeout(20)
def test_a_large_file_is_split_in_no_time():
    """Ten thousand statements of one megabyte take half a second; squares would take minutes."""
    sql = (
        "INSERT INTO t VALUES (1, 'some text; with a semicolon', NULL, 3.14, x'00ff', 'and some more of it');\n"
        * 10_000
    )

    statements = split(sql)

    assert len(statements) == 10_000
    assert statements[-1].line == 10_000
