"""Finding the statement that failed."""

from clodo.migrations import split
from clodo.migrations.locating import locate

FILE = split("CREATE VIRTUAL TABLE v USING no_such_module(x);\nINSERT INTO a VALUES (1);\nINSERT INTO b VALUES (1);")


def test_a_failure_of_another_kind_proves_nothing():
    """When the copy of the schema trips over something that D1 didn't complain of, no statement is accused."""
    assert locate(FILE, "no such table: b: SQLITE_ERROR", []) is None


def test_a_constraint_that_two_statements_may_have_broken_is_laid_to_neither():
    """Only one statement that writes to the table can be accused."""
    schema = [{"type": "table", "name": "b", "sql": "CREATE TABLE b (x UNIQUE)"}]
    twice = split("INSERT INTO b VALUES (2);\nSELECT 1;\nUPDATE b SET x = 1;")

    assert locate(FILE, "UNIQUE constraint failed: b.x", schema) == 3
    assert locate(twice, "UNIQUE constraint failed: b.x", schema) is None


def test_views_and_triggers_may_stand_before_their_tables():
    """The schema is copied tables first, and inner tables of virtual ones don't disturb."""
    schema = [
        {"type": "view", "name": "seen", "sql": "CREATE VIEW seen AS SELECT x FROM words"},
        {"type": "table", "name": "words_data", "sql": "CREATE TABLE 'words_data'(id INTEGER PRIMARY KEY, block BLOB)"},
        {"type": "table", "name": "words", "sql": "CREATE VIRTUAL TABLE words USING fts5(x)"},
        {"type": "index", "name": "sqlite_autoindex_a_1", "sql": None},
        {"type": "table", "name": "_cf_KV", "sql": "nonsense"},
    ]
    statements = split("SELECT * FROM seen;\nINSERT INTO words VALUES ('a');\nSELECT y FROM seen;")

    assert locate(statements, "no such column: y at offset 7: SQLITE_ERROR", schema) == 3


def test_a_file_cannot_write_to_this_machine(tmp_path):
    """A statement that D1 refused is not allowed to attach a file here."""
    path = tmp_path / "attached.sqlite3"
    statements = split(f"ATTACH '{path}' AS here;\nCREATE TABLE here.x (y);\nSELECT 1;")

    locate(statements, "not authorized: SQLITE_AUTH", [])

    assert not path.exists()


def test_an_endless_statement_is_given_up():
    """A statement that runs for ever here ends the search instead of the release."""
    seconds = iter(range(10_000))
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n;"

    assert locate(split(f"{endless}\nSELECT 1;"), "timeout", [], elapsed=lambda: next(seconds)) is None
