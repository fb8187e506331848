"""What D1 lets one say, what it refuses and in which words, and what it tells about each statement."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clodo.emulator.d1.engine import SCHEMA, DatabaseTooLarge, Engine, OutOfTime, Result
from clodo.emulator.d1.history import History
from clodo.emulator.d1.limits import Limits
from clodo.emulator.runtime.ports import Statement, StatementFailed


def _engine(folder: Path, limits: Limits) -> Engine:
    folder.mkdir()
    History.create(folder, 0, SCHEMA)
    history = History(folder)
    return Engine(history.database, limits, on_commit=lambda frames: history.committed(frames, 0))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An empty database with the real limits."""
    opened = _engine(tmp_path / "database", Limits())
    yield opened
    opened.close()


def run(engine: Engine, sql: str, *params: Any) -> list[Result]:
    """Run one text with its parameters."""
    return engine.run([Statement(sql, params)])[0]


def last(engine: Engine, sql: str, *params: Any) -> list[tuple[Any, ...]]:
    """Run one text and return the rows of its last statement."""
    return run(engine, sql, *params)[-1].rows


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", 'near "SELEC": syntax error at offset 0: SQLITE_ERROR'),
        ("SELECT * FROM nope", "no such table: nope: SQLITE_ERROR"),
        ("SELECT nope", "no such column: nope at offset 7: SQLITE_ERROR"),
        ("CREATE TABLE t(a)", "table t already exists at offset 13: SQLITE_ERROR"),
        (
            "INSERT INTO t VALUES(1, 'x')",
            "UNIQUE constraint failed: t.id: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_PRIMARYKEY)",
        ),
        (
            "INSERT INTO child VALUES(9)",
            "FOREIGN KEY constraint failed: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_FOREIGNKEY)",
        ),
        (
            "INSERT INTO t VALUES(2, NULL)",
            "NOT NULL constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_NOTNULL)",
        ),
        (
            "SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6",
            "too many terms in compound SELECT: SQLITE_ERROR",
        ),
        (f"SELECT 'a' LIKE '{'a' * 51}'", "LIKE or GLOB pattern too complex: SQLITE_ERROR"),
        (f"SELECT 'a' GLOB '{'a' * 51}'", "LIKE or GLOB pattern too complex: SQLITE_ERROR"),
        (f"SELECT '{'x' * 100_000}'", "statement too long: SQLITE_TOOBIG"),
        (f"SELECT '{'ü' * 50_001}'", "statement too long: SQLITE_TOOBIG"),
        ("SELECT zeroblob(2000001)", "string or blob too big: SQLITE_TOOBIG"),
        (f"CREATE TABLE wide({', '.join(f'c{n}' for n in range(101))})", "too many columns on wide: SQLITE_ERROR"),
        (f"SELECT max({', '.join('1' * 33)})", "too many arguments on function max at offset 7: SQLITE_ERROR"),
        ("", "No SQL statements detected."),
        ("-- nothing", "No SQL statements detected."),
        ("SELECT ?", "Wrong number of parameter bindings for SQL query."),
        ("ATTACH ':memory:' AS other", "not authorized: SQLITE_AUTH"),
        ("DETACH main", "not authorized: SQLITE_AUTH"),
        ("CREATE TEMP TABLE x(a)", "not authorized: SQLITE_AUTH"),
        ("CREATE TABLE _cf_x(a)", "not authorized: SQLITE_AUTH"),
        ("DROP TABLE _cf_KV", "not authorized: SQLITE_AUTH"),
        ("SELECT * FROM _CF_kv", "access to _cf_KV.key is prohibited: SQLITE_AUTH"),
        ("INSERT INTO _cf_KV VALUES('a', 1)", "not authorized: SQLITE_AUTH"),
        ("CREATE VIRTUAL TABLE x USING fts4(a)", "not authorized: SQLITE_AUTH"),
        ("SELECT * FROM dbstat", "no such table: dbstat: SQLITE_ERROR"),
        ("SELECT sqlite_version()", "not authorized to use function: sqlite_version at offset 7: SQLITE_ERROR"),
        ("SELECT load_extension('x')", "not authorized: SQLITE_ERROR"),
        ("SELECT CAST(x'ff' AS TEXT)", "text that is not UTF-8: SQLITE_MISMATCH"),
    ],
)
def test_what_d1_refuses_it_refuses_in_its_own_words(engine: Engine, sql: str, message: str):
    """Errors carry SQLite's sentence, the offset where there is one, and the name of the code; nothing is changed."""
    run(
        engine,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL); INSERT INTO t VALUES(1, 'a');"
        "CREATE TABLE child(t REFERENCES t(id))",
    )

    with pytest.raises(StatementFailed) as refusal:
        run(engine, sql)

    assert refusal.value.message == message
    assert last(engine, "SELECT * FROM t") == [(1, "a")]


@pytest.mark.parametrize(
    "sql", ["BEGIN", "begin immediate", "COMMIT", "END", "ROLLBACK", "SAVEPOINT x", "RELEASE x", "ROLLBACK TO x"]
)
def test_transactions_of_ones_own_are_refused_with_the_advice_to_use_the_api(engine: Engine, sql: str):
    """Each call is a transaction already; the message is the one that users of D1 know."""
    with pytest.raises(StatementFailed, match=r"please use the state\.storage\.transaction\(\)"):
        run(engine, sql)


@pytest.mark.parametrize("sql", ["VACUUM", "VACUUM INTO 'elsewhere.sqlite'"])
def test_vacuum_is_refused(engine: Engine, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No statement writes a file of its choice."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StatementFailed):
        run(engine, sql)

    assert not (tmp_path / "elsewhere.sqlite").exists()


@pytest.mark.parametrize(
    "pragma",
    [
        "journal_mode=DELETE",
        "journal_mode",
        "wal_checkpoint(TRUNCATE)",
        "wal_autocheckpoint=1",
        "locking_mode=NORMAL",
        "writable_schema=ON",
        "user_version=3",
        "user_version",
        "function_list",
        "page_count",
        "synchronous=OFF",
        "page_size=512",
        "max_page_count=10",
        "query_only=1",
        "cache_size=1",
        "mmap_size=0",
        "foreign_keys=maybe",
    ],
)
def test_most_pragmas_are_refused(engine: Engine, pragma: str):
    """Nothing that would touch how the file is kept may be said, above all nothing that would fold the log."""
    with pytest.raises(StatementFailed, match="not authorized: SQLITE_AUTH"):
        run(engine, f"PRAGMA {pragma}")


@pytest.mark.parametrize(
    "pragma",
    [
        "table_info(t)",
        "table_xinfo(t)",
        "table_list",
        "index_list(t)",
        "index_info(i)",
        "index_xinfo(i)",
        "foreign_key_list(t)",
        "foreign_key_check",
        "quick_check",
        "optimize",
        "defer_foreign_keys=ON",
        "defer_foreign_keys=TRUE",
        "case_sensitive_like=1",
        "legacy_alter_table=off",
    ],
)
def test_the_pragmas_of_d1s_documentation_work(engine: Engine, pragma: str):
    """What D1 documents may be said."""
    run(engine, "CREATE TABLE t(a); CREATE INDEX i ON t(a)")

    run(engine, f"PRAGMA {pragma}")


def test_pragmas_count_for_their_own_call_only(engine: Engine):
    """A switch is back where it was when the transaction is over."""
    assert last(engine, "PRAGMA case_sensitive_like=1; SELECT 'a' LIKE 'A'") == [(0,)]
    assert last(engine, "SELECT 'a' LIKE 'A'") == [(1,)]

    with pytest.raises(StatementFailed):
        run(engine, "PRAGMA ignore_check_constraints=1; SELECT nope")
    run(engine, "CREATE TABLE t(a CHECK (a > 0))")
    with pytest.raises(StatementFailed, match="CHECK constraint failed"):
        run(engine, "INSERT INTO t VALUES(0)")


def test_foreign_keys_stay_on_and_can_be_deferred(engine: Engine):
    """Foreign keys can't be switched off, but checked at the end of the call."""
    run(engine, "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id))")

    with pytest.raises(StatementFailed, match="FOREIGN KEY"):
        run(engine, "PRAGMA foreign_keys=OFF; INSERT INTO c VALUES(1)")
    run(engine, "PRAGMA defer_foreign_keys=ON; INSERT INTO c VALUES(1); INSERT INTO p VALUES(1)")
    with pytest.raises(StatementFailed, match="FOREIGN KEY"):
        run(engine, "PRAGMA defer_foreign_keys=ON; INSERT INTO c VALUES(2)")

    assert last(engine, "SELECT * FROM c") == [(1,)]


def test_a_call_is_all_or_nothing(engine: Engine):
    """When the last of many statements fails, none of them has happened, schema changes included."""
    run(engine, "CREATE TABLE t(a UNIQUE)")

    with pytest.raises(StatementFailed):
        engine.run(
            [
                Statement("INSERT INTO t VALUES(1)"),
                Statement("CREATE TABLE u(a); INSERT INTO u VALUES(1)"),
                Statement("INSERT INTO t VALUES(?)", [1]),
            ]
        )

    assert last(engine, "SELECT count(*) FROM t") == [(0,)]
    assert last(engine, "SELECT name FROM sqlite_schema WHERE name = 'u'") == []


def test_only_the_last_of_several_statements_may_have_parameters(engine: Engine):
    """Parameters of a text with several statements go to the last."""
    run(engine, "CREATE TABLE t(a)")

    assert last(engine, "INSERT INTO t VALUES(1); SELECT a + ? FROM t", 5) == [(6,)]
    with pytest.raises(StatementFailed, match="Wrong number of parameter bindings"):
        run(engine, "INSERT INTO t VALUES(?); SELECT 1", 5)


def test_100_parameters_may_be_bound_and_101_not(engine: Engine):
    """The documented limit holds at its edge."""
    assert last(engine, f"SELECT 7 IN ({', '.join('?' * 100)})", *range(100)) == [(1,)]
    with pytest.raises(StatementFailed, match="too many SQL variables"):
        run(engine, f"SELECT 7 IN ({', '.join('?' * 101)})", *range(101))


def test_values_pass_as_javascript_would_hold_them(engine: Engine):
    """Booleans are numbers, arrays are blobs, integers beyond 2^53 lose precision, infinity is null."""
    sent = [True, [1, 2, 255], 2**53 - 1, 2**53 + 1, 2**70, "ü\ud800", None, -1.5]

    ((*got,),) = last(engine, f"SELECT {', '.join('?' * 8)}", *sent)

    assert got == [1, b"\x01\x02\xff", 2**53 - 1, float(2**53), float(2**70), "ü\ufffd", None, -1.5]
    assert last(engine, "SELECT 1e999, -1e999, 9223372036854775807") == [(None, None, 9223372036854775807.0)]
    assert all(value is None or math.isfinite(value) for row in last(engine, "SELECT 1e999") for value in row)


@pytest.mark.parametrize("value", [{"a": 1}, [1, 256], ["x"], [[1]]])
def test_values_without_a_column_type_are_refused(engine: Engine, value: Any):
    """Objects and arrays of anything but bytes can't be bound."""
    with pytest.raises(StatementFailed, match="D1_TYPE_ERROR"):
        run(engine, "SELECT ?", value)


def test_columns_are_told_also_without_rows(engine: Engine):
    """An empty result still has its columns; duplicates stay."""
    (result,) = run(engine, "SELECT 1 AS a, 2 AS a, 3 AS b WHERE 0")

    assert result.columns == ("a", "a", "b")
    assert result.rows == []


def test_meta_tells_what_changed(engine: Engine):
    """Changes, last row id, size and the approximate counts of rows read and written."""
    create, *_ = run(engine, "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b); CREATE INDEX i ON t(b)")
    insert, select = run(engine, "INSERT INTO t(a, b) VALUES(1, 1), (2, 2), (3, 3); SELECT * FROM t")
    (update,) = run(engine, "UPDATE t SET a = a + 10 WHERE id < 3")
    (nothing,) = run(engine, "UPDATE t SET b = 1 WHERE id = 99")
    (by_key,) = run(engine, "SELECT * FROM t WHERE id = 2")

    assert create.meta["changed_db"] is True
    assert (insert.meta["changes"], insert.meta["last_row_id"], insert.meta["changed_db"]) == (3, 3, True)
    assert insert.meta["rows_written"] == 9  # the rows and both of their index entries
    assert (select.meta["changes"], select.meta["changed_db"], select.meta["rows_read"]) == (0, False, 3)
    assert (update.meta["changes"], update.meta["rows_written"]) == (2, 4)  # the index on b is not touched
    assert (nothing.meta["changes"], nothing.meta["changed_db"]) == (0, False)
    assert by_key.meta["rows_read"] == 1
    assert insert.meta["size_after"] == engine.size
    assert engine.size % 4096 == 0
    assert insert.meta["duration"] >= 0


def test_the_size_grows_and_is_right_after_a_failure(engine: Engine):
    """The size after a failed call is the size before it."""
    run(engine, "CREATE TABLE t(a)")
    before = engine.size

    with pytest.raises(StatementFailed):
        run(engine, "INSERT INTO t VALUES(zeroblob(100000)); SELECT nope")
    assert engine.size == before
    run(engine, "INSERT INTO t VALUES(zeroblob(100000))")
    assert engine.size > before + 90_000


def test_full_text_search_works(engine: Engine):
    """FTS5 tables can be made, filled, searched, altered and dropped."""
    run(engine, "CREATE VIRTUAL TABLE f USING fts5(title, body)")
    run(engine, "INSERT INTO f VALUES('one', 'the quick brown fox'), ('two', 'lazy dog')")

    assert last(engine, "SELECT title, highlight(f, 1, '<', '>') FROM f('quick')") == [("one", "the <quick> brown fox")]
    run(engine, "DELETE FROM f WHERE title = 'one'; INSERT INTO f(f) VALUES('optimize')")
    assert last(engine, "SELECT bm25(f) < 0 FROM f WHERE f MATCH 'dog'") == [(1,)]
    run(engine, "DROP TABLE f")


def test_schema_changes_and_triggers_work(engine: Engine):
    """What migrations do: rename, add and drop columns, views, triggers, generated columns, analyze."""
    run(engine, "CREATE TABLE t(id INTEGER PRIMARY KEY, a, g AS (a * 2)); INSERT INTO t(a) VALUES(1)")
    for sql in (
        "ALTER TABLE t RENAME COLUMN a TO b",
        "ALTER TABLE t ADD COLUMN c DEFAULT 7",
        "ALTER TABLE t RENAME TO u",
        "CREATE VIEW v AS SELECT b, c, g FROM u",
        "CREATE TRIGGER r AFTER INSERT ON u BEGIN UPDATE u SET c = 8 WHERE id = new.id; END",
        "ANALYZE",
        "REINDEX",
        "INSERT INTO u(b) VALUES(2)",
    ):
        run(engine, sql)

    assert last(engine, "SELECT * FROM v") == [(1, 7, 2), (2, 8, 4)]
    run(engine, "DROP TRIGGER r; DROP VIEW v; ALTER TABLE u DROP COLUMN c; DROP TABLE u")


def test_an_index_made_later_counts_in_rows_written(engine: Engine):
    """A statement that was prepared before an index was made knows of it afterwards."""
    run(engine, "CREATE TABLE t(a)")
    (before,) = run(engine, "INSERT INTO t VALUES(1)")
    run(engine, "CREATE INDEX i ON t(a)")
    (after,) = run(engine, "INSERT INTO t VALUES(1)")

    assert before.meta["rows_written"] == 1
    assert after.meta["rows_written"] == 2


def test_our_own_statements_dont_open_a_door(engine: Engine):
    """After many calls, whose own BEGIN and COMMIT are cached, a user's BEGIN is still refused."""
    for _ in range(300):
        run(engine, "SELECT 1")

    for sql in ("BEGIN", "COMMIT", "PRAGMA page_count", "PRAGMA synchronous=NORMAL"):
        with pytest.raises(StatementFailed):
            run(engine, sql)


def test_a_runaway_query_is_cut_off_and_undone(tmp_path: Path):
    """A query beyond its time fails with D1's words, what its call did before is undone, and the next one runs."""
    engine = _engine(tmp_path / "database", Limits(query_duration=timedelta(milliseconds=100)))
    run(engine, "CREATE TABLE t(a)")

    with pytest.raises(OutOfTime, match="exceeded its CPU time limit and was reset"):
        run(
            engine,
            "INSERT INTO t VALUES(1);"
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
        )

    assert last(engine, "SELECT count(*) FROM t") == [(0,)]
    engine.close()


def test_a_database_can_not_outgrow_its_limit(tmp_path: Path):
    """At the size limit writes fail, reads go on, and deleting makes room again."""
    engine = _engine(tmp_path / "database", Limits(database_bytes=400_000))
    run(engine, "CREATE TABLE t(a)")

    def fill() -> None:
        for _ in range(20):
            run(engine, "INSERT INTO t VALUES(zeroblob(50000))")

    with pytest.raises(DatabaseTooLarge):
        fill()
    kept = last(engine, "SELECT count(*) FROM t")[0][0]
    run(engine, "DELETE FROM t")
    run(engine, "INSERT INTO t VALUES(zeroblob(50000))")

    assert 1 < kept < 20
    engine.close()


def test_a_call_may_not_hold_endless_statements(tmp_path: Path):
    """A text with more statements than a call may have is refused before any of it runs."""
    engine = _engine(tmp_path / "database", Limits(statements_per_call=10))

    with pytest.raises(StatementFailed, match="too many statements"):
        run(engine, "CREATE TABLE t(a);" * 11)

    assert last(engine, "SELECT name FROM sqlite_schema WHERE name = 't'") == []
    engine.close()
