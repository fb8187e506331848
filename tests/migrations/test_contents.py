"""What a database held: whether going back in time would lose a row is told by comparing, not by guessing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.migrations.contents import MAX_DATABASE_BYTES, MAX_TABLES, Contents, holds_the_same, read_contents
from clodo.migrations.stored import read_stored

from .database import Answer, InMemoryD1


class SizedD1(InMemoryD1):
    """The same with a size, and with somebody who may write between two looks."""

    def __init__(self, *statements: str) -> None:
        super().__init__()
        self.in_between = ""
        self.between = ""
        for statement in statements:
            self.connection.execute(statement)

    def query(self, database_id: str, sql: str, *, only_reads: bool = False) -> list[Answer]:
        found = super().query(database_id, sql, only_reads=only_reads)
        if self.in_between and "SELECT *" in sql:
            self.connection.execute(self.in_between)
            self.in_between = ""
        return found

    def write(self, sql: str) -> None:
        self.connection.execute(sql)


TABLES = (
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, price REAL)",
    "CREATE TABLE empty (id INTEGER)",
    "CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY, name TEXT, applied_at TEXT)",
    "CREATE TABLE clodo_migrations (name TEXT, sha256 TEXT, release_id TEXT)",
    "INSERT INTO orders VALUES (1, 'pen', 1.5), (2, NULL, 2)",
)


def noted(d1: SizedD1) -> Contents:
    """Read, write down and read back, as the journal does."""
    stored = read_stored(d1, "db", "d1_migrations")
    d1.calls.clear()
    between, d1.between = d1.between, ""
    if between:
        d1.connection.execute(between)
    contents = read_contents(d1, "db", schema=stored.schema, size=stored.size, leaving_out=["d1_migrations"])
    return Contents.from_json(json.loads(json.dumps(contents.to_json())))


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE orders ADD COLUMN note TEXT DEFAULT 'x'",
        "ALTER TABLE empty ADD COLUMN note TEXT",
        "CREATE TABLE more (id INTEGER)",
        "CREATE INDEX by_item ON orders (item)",
        "INSERT INTO d1_migrations (name) VALUES ('0002')",
        "INSERT INTO clodo_migrations (name) VALUES ('0002')",
        "UPDATE orders SET item = item",
    ],
)
def test_what_a_migration_adds_is_no_difference(sql):
    """New tables, columns and indexes, and what is recorded of migrations, don't matter."""
    d1 = SizedD1(*TABLES)
    before = noted(d1)

    d1.write(sql)

    assert before.tables is not None
    assert holds_the_same(d1, "db", before)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO orders VALUES (3, 'ink', 1)",
        "INSERT INTO empty VALUES (1)",
        "DELETE FROM orders WHERE id = 1",
        "DELETE FROM orders",
        "UPDATE orders SET item = 'pencil' WHERE id = 1",
        "UPDATE orders SET item = 'NULL' WHERE id = 2",
        "UPDATE orders SET item = '' WHERE id = 2",
        "DROP TABLE empty",
        "ALTER TABLE orders RENAME COLUMN item TO what",
        "ALTER TABLE orders DROP COLUMN price",
        "ALTER TABLE orders RENAME TO sales",
    ],
)
def test_every_change_to_what_was_there_is_seen(sql):
    """A row more, less or other, and a table or column that is gone, all forbid going back."""
    d1 = SizedD1(*TABLES)
    before = noted(d1)

    d1.write(sql)

    assert not holds_the_same(d1, "db", before)


def test_nothing_is_known_when_somebody_wrote_while_it_was_read():
    """Only what stood between two equal bookmarks is what the bookmark stands for."""
    d1 = SizedD1(*TABLES)
    d1.in_between = "INSERT INTO orders VALUES (3, 'ink', 1)"

    before = noted(d1)

    assert before.tables is None
    assert not holds_the_same(d1, "db", before)


@pytest.mark.parametrize("sql", ["CREATE TABLE more (id INTEGER)", "DROP TABLE empty"])
def test_nothing_is_known_when_the_schema_changed_since_it_was_read(sql):
    """The tables that are read are those that were there when somebody looked last; else nobody goes back."""
    d1 = SizedD1(*TABLES)
    d1.between = sql

    assert noted(d1).tables is None


def test_it_takes_three_requests_to_note_and_two_to_compare():
    """Two bookmarks and one query over all tables; then one for what is there, and one for the rows."""
    d1 = SizedD1(*TABLES)

    before = noted(d1)

    assert (len(d1.calls), d1.bookmarks) == (1, 2)
    assert holds_the_same(d1, "db", before)
    assert (len(d1.calls), d1.bookmarks) == (3, 2)


@pytest.mark.parametrize("size", [None, MAX_DATABASE_BYTES + 1])
def test_a_database_that_is_too_large_is_not_read(size):
    """Nor is one whose size nobody tells; then nobody goes back by himself."""
    d1 = SizedD1(*TABLES)
    d1.size = size

    before = noted(d1)

    assert (before.bookmark != "", before.tables) == (True, None)
    assert d1.calls == []


def test_a_database_of_many_tables_is_not_read():
    """The journal has room for some tables only."""
    d1 = SizedD1(*(f"CREATE TABLE t{number} (id INTEGER)" for number in range(MAX_TABLES + 1)))

    assert noted(d1).tables is None


def test_an_empty_database_holds_the_same_until_a_table_of_before_is_missing():
    """Nothing is there, so nothing can be lost."""
    d1 = SizedD1()
    before = noted(d1)
    d1.write("CREATE TABLE orders (id INTEGER)")

    assert before.tables == {}
    assert holds_the_same(d1, "db", before)


VALUES = st.one_of(st.none(), st.integers(-(2**31), 2**31), st.floats(allow_nan=False, allow_infinity=False), st.text())


@given(st.lists(st.tuples(VALUES, VALUES), max_size=6), st.lists(st.tuples(VALUES, VALUES), max_size=6))
def test_two_tables_are_the_same_exactly_if_their_rows_are(first, second):
    """Whatever the order of rows; numbers, text and NULL are told apart."""
    d1 = SizedD1("CREATE TABLE t (a, b)")
    insert(d1, first)
    before = noted(d1)
    d1.write("DELETE FROM t")
    insert(d1, second)

    assert holds_the_same(d1, "db", before) == (sorted(map(repr, first)) == sorted(map(repr, second)))


def insert(d1: SizedD1, rows: list[tuple[Any, Any]]) -> None:
    """Insert *rows*."""
    d1.connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
