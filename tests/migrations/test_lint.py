"""The lint: each rule fires where it should, and stays silent next to it."""

import itertools
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from clodo.errors import BadConfiguration
from clodo.migrations.files import find_migrations
from clodo.migrations.lint import SMALL_DATABASE_BYTES, lint, takes_something_away, verdict_of
from clodo.migrations.rules import RULES, Verdict
from clodo.migrations.schema import Schema, rows_of

SCHEMA = """
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, age INTEGER NOT NULL DEFAULT 0);
CREATE INDEX users_by_name ON users (name);
CREATE UNIQUE INDEX users_by_age ON users (age, name);
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (id) ON DELETE CASCADE, item TEXT);
CREATE INDEX orders_by_user ON orders (user_id);
CREATE TABLE notes (id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders (id));
CREATE INDEX notes_by_order ON notes (order_id);
CREATE VIEW grown AS SELECT id, name FROM users WHERE age > 17;
CREATE TRIGGER log AFTER INSERT ON orders BEGIN UPDATE users SET age = 1 WHERE id = new.user_id; END;
CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
"""
REBUILD = """
PRAGMA defer_foreign_keys = on;
CREATE TABLE new_notes (id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders (id){more});
INSERT INTO new_notes (id, order_id) SELECT id, order_id FROM notes;
DROP TABLE notes;
ALTER TABLE new_notes RENAME TO notes;
CREATE INDEX notes_by_order ON notes (order_id);
"""


@pytest.fixture
def found(folder, write):
    """Write a file, run the lint on it, and give what it found as rule, line and words."""
    numbers = itertools.count(1)
    connection = apsw.Connection(":memory:")
    connection.execute(SCHEMA)
    schema = rows_of(connection)

    def run(*texts, size=None):
        for text in texts:
            write(f"{next(numbers):04}_x.sql", text)
        hazards = lint(find_migrations(folder), schema, records=["d1_migrations"], database_bytes=size)
        return [(item.rule.name, item.line, item.what) for item in hazards]

    return run


FIRING = [
    ("drop-table", "SELECT 1;\nDROP TABLE notes;", 2, "drops the table notes"),
    ("rename-table", "ALTER TABLE notes RENAME TO remarks;", 1, "renames the table notes to remarks"),
    ("drop-column", "ALTER TABLE orders DROP COLUMN item;", 1, "drops the column item of orders"),
    (
        "drop-column",
        "DROP VIEW grown;\nCREATE VIEW grown AS SELECT id FROM users;",
        2,
        "takes the column name out of the view grown",
    ),
    ("rename-column", "ALTER TABLE orders RENAME item TO what;", 1, "renames the column item of orders to what"),
    ("drop-view", "DROP VIEW grown;", 1, "drops the view grown"),
    ("drop-index", "DROP INDEX users_by_name;", 1, "drops the index users_by_name of users"),
    (
        "drop-index",
        "DROP INDEX users_by_name;\nCREATE INDEX users_by_name ON users (age);",
        1,
        "drops the index users_by_name of users",
    ),
    ("drop-trigger", "DROP TRIGGER log;", 1, "drops the trigger log of orders"),
    ("tightened-column", REBUILD.format(more=", why TEXT NOT NULL"), 5, "adds the column why to notes, NOT NULL"),
    (
        "not-null-without-default",
        "ALTER TABLE users ADD COLUMN mail TEXT NOT NULL;",
        1,
        "adds the column mail to users, NOT NULL and without a default",
    ),
    ("drop-cascades", "DROP TABLE users;", 1, "dropping users deletes rows of orders"),
    ("drop-referenced", "DROP TABLE orders;", 1, "rows of notes may refer to orders"),
    ("touches-record", "INSERT INTO d1_migrations (name) VALUES ('x');", 1, "changes the rows of d1_migrations"),
    ("touches-record", "DROP TABLE d1_migrations;", 1, "drops the table d1_migrations"),
    (
        "foreign-key-without-index",
        "CREATE TABLE a (x);\nCREATE TABLE b (x REFERENCES users (id), y);",
        2,
        "no index of b begins with x, which refers to users",
    ),
    (
        "foreign-key-without-index",
        "ALTER TABLE orders ADD COLUMN giver INTEGER REFERENCES users (id);",
        1,
        "no index of orders begins with giver, which refers to users",
    ),
    ("unique-index", "CREATE UNIQUE INDEX one ON orders (item);", 1, "makes the unique index one on rows of orders"),
    ("delete-every-row", "DELETE FROM notes;", 1, "deletes every row of notes"),
    ("delete-every-row", "DELETE FROM users;", 1, "deletes every row of users"),
    ("long-rewrite", "UPDATE users SET age = age + 1;", 1, "changes users"),
    ("long-rewrite", "DELETE FROM orders WHERE item LIKE '%x%';", 1, "changes orders"),
    ("long-rewrite", "CREATE TABLE copy (x);\nINSERT INTO copy SELECT name FROM users AS u;", 2, "copies users"),
    ("rebuild-table", REBUILD.format(more=""), 5, "rebuilds the table notes"),
    ("pragma-without-effect", "PRAGMA foreign_keys = off;", 1, "sets PRAGMA foreign_keys"),
]


@pytest.mark.parametrize(("rule", "text", "line", "what"), FIRING)
def test_a_rule_fires(found, rule, text, line, what):
    """Each rule names the line and what happens there."""
    assert any((name, at) == (rule, line) and words.startswith(what) for name, at, words in found(text)), found()


SILENT = [
    ("drop-table", "CREATE TABLE scratch (x);\nDROP TABLE scratch;"),
    ("drop-table", "DROP TABLE IF EXISTS nobody;"),
    ("rename-table", "CREATE TABLE scratch (x);\nALTER TABLE scratch RENAME TO kept;"),
    ("drop-column", REBUILD.format(more=", why TEXT")),
    ("drop-column", "ALTER TABLE users ADD COLUMN mail;\nALTER TABLE users DROP COLUMN mail;"),
    ("rename-column", "ALTER TABLE users ADD COLUMN mail;\nALTER TABLE users RENAME mail TO email;"),
    ("drop-view", "DROP VIEW grown;\nCREATE VIEW grown AS SELECT id, name, age FROM users;"),
    ("drop-index", "DROP INDEX users_by_name;\nCREATE INDEX users_by_name ON users (name) WHERE name IS NOT NULL;"),
    ("drop-index", REBUILD.format(more="")),
    ("drop-trigger", "DROP TRIGGER log;\nCREATE TRIGGER log AFTER INSERT ON orders BEGIN SELECT 1; END;"),
    ("tightened-column", REBUILD.format(more=", why TEXT NOT NULL DEFAULT ''")),
    ("not-null-without-default", "ALTER TABLE users ADD COLUMN mail TEXT NOT NULL DEFAULT '';"),
    ("not-null-without-default", "CREATE TABLE a (x NOT NULL);\nALTER TABLE a ADD COLUMN y NOT NULL;"),
    ("drop-cascades", "DROP TABLE orders;"),
    ("drop-referenced", "PRAGMA defer_foreign_keys = on;\nDROP TABLE orders;"),
    ("touches-record", "SELECT name FROM d1_migrations;"),
    ("foreign-key-without-index", "CREATE TABLE b (x REFERENCES users (id), y);\nCREATE INDEX b_by_x ON b (x, y);"),
    ("foreign-key-without-index", "CREATE TABLE b (x PRIMARY KEY REFERENCES users (id));"),
    ("foreign-key-without-index", REBUILD.format(more="")),
    ("unique-index", "CREATE TABLE a (x);\nCREATE UNIQUE INDEX one ON a (x);"),
    ("unique-index", "DROP INDEX users_by_age;\nCREATE UNIQUE INDEX again ON users (age, name);"),
    ("delete-every-row", "DELETE FROM notes WHERE id = 1;"),
    ("delete-every-row", "CREATE TABLE a (x);\nDELETE FROM a;"),
    ("long-rewrite", "UPDATE users SET age = 1 WHERE id = 7;"),
    ("long-rewrite", "UPDATE users SET age = 1 WHERE name = 'mia';"),
    ("long-rewrite", "INSERT INTO users (name) VALUES ('mia'), ('bo');"),
    ("long-rewrite", "CREATE TABLE a (x);\nINSERT INTO a VALUES (1);\nUPDATE a SET x = 2;"),
    ("long-rewrite", REBUILD.format(more="")),
    ("rebuild-table", "DROP TABLE notes;\nCREATE TABLE remarks (x);"),
    ("pragma-without-effect", "PRAGMA defer_foreign_keys = on;\nPRAGMA foreign_keys;"),
]


@pytest.mark.parametrize(("rule", "text"), SILENT)
def test_a_rule_is_silent(found, rule, text):
    """What looks alike and harms nobody is passed over."""
    assert rule not in [name for name, _, _ in found(text)]


def test_every_rule_has_a_firing_and_a_silent_test():
    """No rule is untested."""
    assert {rule for rule, *_ in FIRING} == {rule for rule, _ in SILENT} == set(RULES)


def test_a_file_that_only_adds_is_safe(found):
    """New tables, columns, indexes, views and triggers need nobody's approval."""
    assert (
        found(
            "CREATE TABLE a (id INTEGER PRIMARY KEY, user_id REFERENCES users (id)); CREATE INDEX i ON a (user_id);"
            "ALTER TABLE users ADD COLUMN mail TEXT; CREATE INDEX j ON users (mail);"
            "CREATE VIEW v AS SELECT * FROM a; CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE users SET age = 1; END;"
            "INSERT INTO users (name) VALUES ('x'); CREATE VIRTUAL TABLE words USING fts5 (x);"
        )
        == []
    )


def test_in_a_small_database_no_rewrite_is_long(found):
    """Reading and copying all rows is no hazard where there are few; dropping what is read still is one."""
    text = "UPDATE users SET age = 1;" + REBUILD.format(more="") + "DROP VIEW grown;"

    assert [name for name, _, _ in found(text, size=SMALL_DATABASE_BYTES)] == ["drop-view"]


def test_what_an_earlier_file_made_is_new_to_a_later_one(found):
    """Two pending files are judged together: nobody reads yet what the first one makes."""
    assert found("CREATE TABLE a (x); ALTER TABLE a RENAME TO b;", "ALTER TABLE b RENAME x TO y; DROP TABLE b;") == []


def test_a_file_that_fails_is_judged_as_far_as_it_came(found):
    """What is before the error counts, and the next file starts from the schema of before."""
    assert [name for name, _, _ in found("DROP VIEW grown; SELECT nonsense;", "DROP VIEW grown;")] == ["drop-view"] * 2


def test_waivers_make_a_file_safe(folder, write):
    """What a file waives is still told, with the reason, and doesn't count."""
    write("0001_x.sql", "-- clodo: allow drop-table: it was never read\nCREATE TABLE t (x);")
    write("0002_x.sql", "-- clodo: allow drop-table: it was never read\nDROP TABLE old;")
    write("0003_x.sql", "-- clodo: allow drop-view: wrong rule\nDROP TABLE older;")
    schema = [
        {"type": "table", "name": name, "tbl_name": name, "sql": f"CREATE TABLE {name} (x)"}
        for name in ("old", "older")
    ]

    hazards = lint(find_migrations(folder), schema)

    assert [item.waived_because for item in hazards] == ["it was never read", None]
    assert "waived: it was never read" in hazards[0].message
    verdicts = [verdict_of(name, hazards) for name in ("0001_x.sql", "0002_x.sql", "0003_x.sql")]
    assert verdicts == [Verdict.SAFE, Verdict.SAFE, Verdict.NEEDS_APPROVAL]
    assert [takes_something_away(name, hazards) for name in ("0002_x.sql", "0003_x.sql")] == [False, True]


def test_a_waiver_of_an_unknown_rule_is_refused(found):
    """A misspelt waiver would accept nothing; the nearest rule is named."""
    with pytest.raises(BadConfiguration, match=r'0001_x\.sql:2: no rule is called "drop-tabel"') as caught:
        found("SELECT 1;\n-- clodo: allow drop-tabel: x\nDROP TABLE notes;")
    assert caught.value.hint == "Did you mean drop-table?"


def test_a_file_cannot_write_to_this_machine(found, tmp_path):
    """The lint runs statements that nobody has read yet: they must not reach the disk."""
    path = Path(tmp_path / "attached.sqlite3")

    found(f"ATTACH '{path}' AS here; CREATE TABLE here.x (y);", f"VACUUM INTO '{path}';")

    assert not path.exists()


def test_an_endless_statement_is_given_up(folder, write):
    """A statement that runs for ever ends the lint of its file, not the release."""
    seconds = iter(range(10_000))
    write("0001_x.sql", "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n;")

    assert lint(find_migrations(folder), [], elapsed=lambda: float(next(seconds))) == ()


STATEMENTS = some.sampled_from(
    [
        "DROP TABLE notes",
        "DROP TABLE IF EXISTS ORDERS",
        "DROP TABLE users",
        "ALTER TABLE notes RENAME TO old_notes",
        "ALTER TABLE old_notes RENAME TO notes",
        "CREATE TABLE notes (id INTEGER PRIMARY KEY)",
        'CREATE TABLE "new notes" (id INTEGER PRIMARY KEY, order_id, why TEXT)',
        'INSERT INTO "new notes" (id, order_id) SELECT id, order_id FROM notes',
        'ALTER TABLE "new notes" RENAME TO notes',
        "DROP TABLE old_notes",
        "ALTER TABLE orders DROP COLUMN item",
        "ALTER TABLE orders RENAME COLUMN item TO what",
        "ALTER TABLE orders ADD COLUMN item TEXT",
        "DROP VIEW grown",
        "CREATE VIEW grown AS SELECT * FROM nobody",
        "DROP TRIGGER log",
        "DROP INDEX users_by_name",
        "CREATE VIRTUAL TABLE words USING fts5 (x)",
        "DROP TABLE words",
        "PRAGMA legacy_alter_table = on",
        "nonsense",
        "/* nothing */",
    ]
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.lists(STATEMENTS, max_size=6))
def test_nothing_is_taken_away_without_being_told(tmp_path_factory, statements):
    """Whatever a file does in whatever order, each table and column that is gone afterwards is named by a rule."""
    folder = tmp_path_factory.mktemp("migrations")
    (folder / "0001_x.sql").write_text(";\n".join(statements))
    connection = apsw.Connection(":memory:")
    connection.execute(SCHEMA)
    schema, before = rows_of(connection), Schema.read(connection)
    for statement in statements:
        try:
            connection.execute(statement)
        except apsw.Error:
            break
    after = Schema.read(connection)

    hazards = lint(find_migrations(folder), schema, records=["d1_migrations"])

    told = " | ".join(item.what for item in hazards if item.rule.is_contract)
    for key, table in before.tables.items():
        if key not in after.tables:
            assert f"the table {table.name}" in told
            continue
        for column in table.columns:
            if after.tables[key].column(column.name) is None:
                assert f"column {column.name} of {table.name}" in told
    for kind, old, new in (("view", before.views, after.views), ("trigger", before.triggers, after.triggers)):
        for key, item in old.items():
            if key not in new and getattr(item, "table", item.name).lower() in {*after.tables, *after.views, key}:
                assert f"the {kind} {item.name}" in told
