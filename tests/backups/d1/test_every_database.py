"""Any schema and data that SQLite accepts and D1 allows comes back as it was."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clodo.backups.d1.dump import Dump
from clodo.backups.d1.sqlite import compare, restore_to_file
from clodo.emulator.runtime.ports import StatementFailed
from tests.backups.d1.databases import D1, TEXTS, VALUES, contents, tables
from tests.fixtures.programs import need

# In memory where there is such a folder: what is proven here is not that disks are slow.
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
TABLES = st.lists(st.tuples(tables(), st.lists(st.lists(VALUES, min_size=5, max_size=5), max_size=8)), max_size=3)


def literal(value):
    """Bind what JSON can't carry as SQL: large integers, infinities."""
    if isinstance(value, int) and abs(value) > 2**53:
        return str(value), []
    if isinstance(value, float) and abs(value) == float("inf"):
        return ("9e999" if value > 0 else "-9e999"), []
    return "?", [value]


def fill(database, made, texts):
    """Make tables and rows, as far as SQLite takes them; and what else a schema has."""
    for number, ((columns, count, definition), rows) in enumerate(made):
        name = f'"table {number}"'
        try:
            database.run(f"CREATE TABLE {name} {definition}")
        except StatementFailed:
            continue
        for row in rows:
            cells = [literal(value) for value in row[:count]]
            marks = ",".join(mark for mark, _ in cells)
            params = [value for _, values in cells for value in values]
            try:
                database.run(f"INSERT INTO {name}({','.join(columns)}) VALUES({marks})", *params)
            except StatementFailed:
                continue
        database.run(f'CREATE INDEX "index {number}" ON {name}({columns[0]})')
        database.run(f'CREATE VIEW "view {number}" AS SELECT * FROM {name} -- all of it\n')
        database.run(f'CREATE TRIGGER "trigger {number}" AFTER INSERT ON {name}\nBEGIN\n DELETE FROM {name}; END')
    database.run("CREATE VIRTUAL TABLE words USING fts5(text, kind UNINDEXED)")
    for text in texts:
        database.run("INSERT INTO words VALUES(?, 1)", text)


def check(made, texts, *, by_program):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        database = D1(Path(folder) / "d1")
        try:
            fill(database, made, texts)
            dump = Dump.of(database.query)
            text = b"".join(dump)
        finally:
            source = database.contents()
        restored = Path(folder) / "restored.sqlite3"
        if by_program:
            subprocess.run(["sqlite3", "-bail", restored], input=text, check=True)
        else:
            restore_to_file([text[start : start + 1000] for start in range(0, len(text), 1000)], restored)

        comparison = compare(
            restored,
            {
                "schema_sha256": dump.layout.schema_sha256,
                "tables": {name: facts.to_json() for name, facts in dump.tables.items()},
            },
        )

        assert comparison.findings == []
        assert contents(str(restored)) == source


common = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


@settings(common, max_examples=20)
@given(TABLES, st.lists(TEXTS, max_size=3))
def test_every_database_comes_back(made, texts):
    """Rows bit by bit, schema word by word, full-text search, sequences; by our own reader."""
    check(made, texts, by_program=False)


@settings(common, max_examples=5)
@given(TABLES, st.lists(TEXTS, max_size=3))
def test_every_database_comes_back_by_the_plain_program(made, texts):
    """The same with Debian's sqlite3, which is years older than the SQLite that wrote it."""
    need("sqlite3")
    check(made, texts, by_program=True)


@pytest.mark.exhaustive
@settings(common, max_examples=2_000)
@given(TABLES, st.lists(TEXTS, max_size=3))
def test_thousands_of_databases_come_back(made, texts):
    """The same, two thousand times."""
    check(made, texts, by_program=False)


@pytest.mark.exhaustive
@settings(common, max_examples=300)
@given(TABLES, st.lists(TEXTS, max_size=3))
def test_hundreds_of_databases_come_back_by_the_plain_program(made, texts):
    """The same with Debian's sqlite3, three hundred times."""
    need("sqlite3")
    check(made, texts, by_program=True)
