"""Rows as statements that D1 takes: whatever is in an archive comes back in a database with D1's limits."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clodo.backups.d1.dump import Dump
from clodo.backups.d1.literals import literal
from clodo.backups.d1.script import read_script
from clodo.backups.restoring.databases import _spool, part_of
from clodo.backups.restoring.statements import OPENING, cells_of, content_of, statements_of
from clodo.emulator.runtime.ports import Statement
from clodo.errors import NoSpaceLeft, SnapshotDamaged
from tests.backups.d1.databases import D1, TEXTS, VALUES
from tests.backups.d1.test_every_database import MEMORY, TABLES, fill

CELLS = st.lists(VALUES, min_size=1, max_size=6)


def restored(text: bytes, folder: Path, *, expect_scratch: bool = False):
    """Return the contents of a database with D1's limits in which an archive's text was restored."""
    target = D1(folder)
    statements = [*OPENING, *statements_of(read_script([text]))]
    assert all(len(sql.encode()) <= 100_000 for sql in statements)
    assert any("_clodo_restoring" in sql for sql in statements) == expect_scratch
    target._engine.run([Statement(sql, ()) for sql in statements])
    return target.contents()


def comes_back(made, texts):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        database = D1(Path(folder) / "source")
        try:
            fill(database, made, texts)
            text = b"".join(Dump.of(database.query))
        finally:
            source = database.contents()

        assert restored(text, Path(folder) / "target") == source


common = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


@settings(common, max_examples=15)
@given(TABLES, st.lists(TEXTS, max_size=3))
def test_every_database_comes_back_within_the_limits_of_d1(made, texts):
    """Generated columns, WITHOUT ROWID, triggers, views and full-text tables among them."""
    comes_back(made, texts)


@pytest.mark.exhaustive
@settings(common, max_examples=200)
@given(TABLES, st.lists(TEXTS, max_size=3))
def test_two_hundred_databases_come_back_within_the_limits_of_d1(made, texts):
    """The same, two hundred times."""
    comes_back(made, texts)


def test_rows_that_are_larger_than_a_statement_come_back(tmp_path):
    """Two megabytes of text with quotes and line ends, of bytes, as a key; next to many small rows."""
    database = D1(tmp_path / "source")
    random.seed(7)
    large = "it's\r\n" * 100_000
    database.run("CREATE TABLE t(a, b, c)")
    database.run("INSERT INTO t VALUES(?, ?, 7)", large, random.randbytes(300_000))
    database.run("INSERT INTO t VALUES(?, NULL, 0.1)", "é" * 60_000)
    database.run("CREATE TABLE k(a TEXT PRIMARY KEY, b) WITHOUT ROWID")
    database.run("INSERT INTO k VALUES(?, 1)", "k" * 200_000)
    database.run("CREATE TABLE small(id INTEGER PRIMARY KEY AUTOINCREMENT, a, b)")
    database.run(
        "INSERT INTO small(a, b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<9000)"
        " SELECT i, i/7.0 FROM n"
    )
    database.run("CREATE TRIGGER never AFTER INSERT ON t BEGIN DELETE FROM t; END")
    text = b"".join(Dump.of(database.query))
    source = database.contents()

    assert restored(text, tmp_path / "target", expect_scratch=True) == source


@settings(common, max_examples=50)
@given(CELLS)
def test_a_row_is_taken_apart_as_it_was_put_together(values):
    """Cell by cell, whatever quotes, brackets and commas are in it; texts and bytes give their content."""
    texts = [literal(value) for value in values]

    cells = cells_of(f"({','.join(texts)})")

    assert cells == texts
    for value, cell in zip(values, cells, strict=True):
        if isinstance(value, str | bytes):
            expected = value.encode("utf-8") if isinstance(value, str) else value
            assert content_of(cell) == (expected, isinstance(value, str))
        else:
            assert content_of(cell) is None
    with pytest.raises(SnapshotDamaged):
        cells_of("('never ends)")


def test_the_disk_may_be_full():
    """The SQL text of a database needs room on this machine; the device that is always full plays a disk without."""
    with pytest.raises(NoSpaceLeft, match="SQL text"):
        _spool(Path("/dev/full"), OPENING, iter(["INSERT INTO t VALUES(1)"] * 1000), 1_000_000)


def test_the_numbers_that_were_given_out_come_with_a_table(tmp_path):
    """AUTOINCREMENT goes on where it was; other tables' numbers stay as they are."""
    database = D1(tmp_path / "source")
    for name in ("a", "it's"):
        quoted = f'"{name}"'
        database.run(f"CREATE TABLE {quoted}(id INTEGER PRIMARY KEY AUTOINCREMENT)")
        database.run(f"INSERT INTO {quoted} VALUES(41)")
        database.run(f"DELETE FROM {quoted}")
    text = b"".join(Dump.of(database.query))
    database.close()
    part = part_of(read_script([text]), "it's", alone=True)

    found = list(statements_of(part.of(read_script([text]))))

    assert found[0].startswith('CREATE TABLE "it\'s"')
    assert found[1:] == [
        "DELETE FROM sqlite_sequence WHERE name='it''s'",
        "INSERT INTO sqlite_sequence(name,seq) VALUES('it''s',41)",
    ]
