"""Rehearsals on a copy."""

from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from clodo.errors import MigrationFailed
from clodo.migrations import apply
from clodo.migrations.files import find_migrations
from clodo.migrations.rehearsal import rehearse
from clodo.migrations.schema import rows_of

USERS = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE);"
SAVED_AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def schema_of(sql):
    connection = apsw.Connection(":memory:")
    connection.execute(sql)
    return rows_of(connection)


class Snapshot:
    """What a snapshot held, as SQL."""

    def __init__(self, sql: str | None) -> None:
        self.sql = sql
        self.asked: list[str] = []

    def fill(self, database_id: str, file: Path) -> datetime | None:
        self.asked.append(database_id)
        if self.sql is None:
            return None
        connection = apsw.Connection(str(file))
        connection.execute(self.sql)
        connection.close()
        return SAVED_AT


def test_files_that_work_are_told_with_what_they_cost(folder, write):
    """Statements, rows and time of each file are told, and nothing is left on the disk."""
    write("0001_a.sql", f"{USERS} INSERT INTO users VALUES (1, 'mia'), (2, 'bo');")
    write("0002_b.sql", "CREATE TABLE more (x); CREATE INDEX i ON more (x);")
    seconds = iter(range(100))

    found = rehearse(find_migrations(folder), [], elapsed=lambda: float(next(seconds)))

    assert [(item.name, item.statements) for item in found.files] == [("0001_a.sql", 2), ("0002_b.sql", 2)]
    assert found.files[0].rows_written >= 2
    assert [item.duration.total_seconds() for item in found.files] == [1.0, 1.0]
    assert (found.failures, found.data_of, found.rows) == ((), None, {})
    found.raise_if_failed()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (f"CREATE TABLE wide ({', '.join(f'c{number}' for number in range(101))});", "too many columns"),
        (f"SELECT {' + '.join(['1'] * 102)};", "Expression tree is too large"),
        ("SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6;", "compound SELECT"),
        ("PRAGMA writable_schema = on;", "not authorized"),
        ("ATTACH 'x' AS y;", "not authorized"),
        ("CREATE TABLE _cf_mine (x);", "not authorized"),
        ("CREATE TEMP TABLE t (x);", "not authorized"),
        ("SELECT load_extension('x');", "not authorized"),
        ("VACUUM;", "VACUUM"),
    ],
)
def test_what_d1_refuses_is_refused_here(folder, write, sql, said):
    """Limits and rules of D1 that plain SQLite knows nothing of are found on the copy."""
    write("0001_a.sql", f"{USERS}\n{sql}")

    found = rehearse(find_migrations(folder), [])

    assert said in found.failures[0]
    assert found.failures[0].startswith(f"{folder / '0001_a.sql'}:2: statement 2 of 2 failed")


def test_the_first_failure_ends_it(folder, write):
    """A file after one that failed isn't run, as it wouldn't be in earnest; the statement's number is kept."""
    write("0001_a.sql", "SELECT 1; SELECT nonsense;")
    write("0002_b.sql", "SELECT 1;")

    found = rehearse(find_migrations(folder), [])

    assert [item.name for item in found.files] == ["0001_a.sql"]
    with pytest.raises(MigrationFailed, match="rehearsal without rows") as caught:
        found.raise_if_failed()
    assert caught.value.statement == 2


def test_what_only_rows_decide_stays_open_without_rows(folder, write):
    """A reference to a row that isn't on the empty copy is a question, no failure; what comes after is still tried."""
    write("0001_a.sql", "INSERT INTO orders VALUES (1, 7);\nSELECT 1;\nSELECT nonsense;")
    schema = schema_of(f"{USERS} CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id REFERENCES users (id));")

    [found] = rehearse(find_migrations(folder), schema).files

    assert "FOREIGN KEY constraint failed" in found.open_questions[0]
    assert ":3: statement 3" in (found.failure or "")


def test_with_rows_a_broken_constraint_is_a_failure(folder, write):
    """The latest snapshot's rows decide; they are counted before and after, and the message says so."""
    write("0001_a.sql", "INSERT INTO users VALUES (2, 'bo');\nCREATE TABLE new (x);")
    write("0002_b.sql", "CREATE UNIQUE INDEX one ON orders (item);")
    saved = f"{USERS} INSERT INTO users VALUES (1, 'mia'); CREATE TABLE orders (item);"
    good, bad = Snapshot(saved), Snapshot(saved + "INSERT INTO orders VALUES ('x'), ('x');")

    found = rehearse(find_migrations(folder), schema_of(saved), source=good, database_id="db")
    broken = rehearse(find_migrations(folder), schema_of(saved), source=bad, database_id="db")

    assert (good.asked, found.data_of, found.failures) == (["db"], SAVED_AT, ())
    assert found.rows == {"new": (None, 0), "orders": (0, 0), "users": (1, 2)}
    with pytest.raises(MigrationFailed, match=r"0002_b\.sql:1: .*UNIQUE constraint failed.* rows of a snapshot"):
        broken.raise_if_failed()


def test_what_was_applied_after_the_snapshot_is_caught_up_first(d1, folder, write):
    """Rows that were saved before the last migration get it before the pending one is tried on them."""
    write("0001_users.sql", USERS)
    apply(d1, "db", folder)
    saved = Snapshot(f"{USERS} CREATE TABLE d1_migrations (name); INSERT INTO d1_migrations VALUES ('0001_users.sql')")
    write("0002_age.sql", "ALTER TABLE users ADD COLUMN age;")
    apply(d1, "db", folder)
    write("0003_row.sql", "INSERT INTO users (name, age) VALUES ('mia', 7);")
    told = []

    applied = apply(d1, "db", folder, source=saved, on_rehearsed=told.append)

    assert [one.name for one in applied] == ["0003_row.sql"]
    assert [item.name for item in told[0].files] == ["0003_row.sql"]
    assert told[0].rows["users"] == (0, 1)


def test_without_a_snapshot_the_schema_is_used(folder, write):
    """A database that was never saved is rehearsed empty, and that is said."""
    write("0001_a.sql", "INSERT INTO users (name) VALUES ('mia');")

    found = rehearse(find_migrations(folder), schema_of(USERS), source=Snapshot(None), database_id="db")

    assert (found.data_of, found.failures) == (None, ())


def test_references_that_a_file_breaks_are_found_and_old_ones_are_not_its_fault(folder, write):
    """foreign_key_check counts what the files broke; what was broken in the snapshot already is passed over."""
    write("0001_a.sql", "PRAGMA defer_foreign_keys = on;\nALTER TABLE users RENAME TO people;")
    saved = (
        f"{USERS} CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id REFERENCES users (id));"
        "PRAGMA foreign_keys = off; INSERT INTO orders VALUES (1, 99);"
    )

    assert rehearse(find_migrations(folder), [], source=Snapshot(saved)).failures == ()
    keyed = "CREATE TABLE a (x); CREATE UNIQUE INDEX i ON a (x); CREATE TABLE b (y REFERENCES a (x));"
    write("0002_b.sql", "DROP INDEX i;")
    broken = rehearse(find_migrations(folder)[1:], schema_of(keyed)).broken

    assert "foreign key mismatch" in broken[0]


def test_a_copy_that_lacks_something_blocks_nobody(d1, folder, write):
    """A virtual table whose module is missing here can't be copied: what fails for want of it proves nothing."""
    schema = [
        {"type": "table", "name": "a", "tbl_name": "a", "sql": "CREATE VIRTUAL TABLE a USING nobody_knows(x)"},
    ]
    write("0001_a.sql", "INSERT INTO a VALUES (1);")

    found = rehearse(find_migrations(folder), schema)

    assert (found.missing, len(found.failures)) == (("a",), 1)
    found.raise_if_failed()


def test_full_text_tables_are_rehearsed(d1, folder, write):
    """FTS5 is in D1, so a database with such a table is copied whole and its files are tried."""
    d1.connection.execute("CREATE VIRTUAL TABLE words USING fts5 (x); INSERT INTO words VALUES ('a')")
    write("0001_a.sql", "INSERT INTO words VALUES ('b'); CREATE VIEW v AS SELECT * FROM words;")

    assert [one.name for one in apply(d1, "db", folder)] == ["0001_a.sql"]
