"""Schemas compared, replayed and counted."""

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from clodo.migrations import MigrationStatus, apply, status
from clodo.migrations.differences import differences
from clodo.migrations.drift import drift_among, replayed, schema_of
from clodo.migrations.files import find_migrations
from clodo.migrations.losses import counted, lost_by_running
from clodo.migrations.schema import Schema, rows_of
from clodo.migrations.statements import split
from clodo.migrations.stored import read_stored

BASE = """
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT 'x');
CREATE INDEX users_by_name ON users (name);
CREATE VIEW named AS SELECT name FROM users;
CREATE TRIGGER t AFTER INSERT ON users BEGIN SELECT 1; END;
"""


def made(sql):
    connection = apsw.Connection(":memory:")
    connection.execute(sql)
    return Schema.read(connection)


@pytest.mark.parametrize(
    ("more", "sql"),
    [
        ("CREATE TABLE b (x);", ['DROP TABLE "b";']),
        ("ALTER TABLE users ADD COLUMN age INTEGER;", ['ALTER TABLE "users" DROP COLUMN "age";']),
        ("DROP INDEX users_by_name;", ["CREATE INDEX users_by_name ON users (name);"]),
        ("DROP VIEW named;", ["CREATE VIEW named AS SELECT name FROM users;"]),
        (
            "DROP VIEW named; CREATE VIEW named AS SELECT id FROM users;",
            ['DROP VIEW "named";', "CREATE VIEW named AS SELECT name FROM users;"],
        ),
        ("DROP TRIGGER t;", ["CREATE TRIGGER t AFTER INSERT ON users BEGIN SELECT 1; END;"]),
    ],
)
def test_what_differs_is_said_as_sql_that_would_change_it(more, sql):
    """The statements that are said make the schema as expected when somebody runs them."""
    connection = apsw.Connection(":memory:")
    connection.execute(BASE + more)

    found = differences(made(BASE), Schema.read(connection))
    for statement in found:
        connection.execute(statement)

    assert list(found) == sql
    assert differences(made(BASE), Schema.read(connection)) == ()


def test_a_missing_column_comes_with_its_declaration():
    """Type, NOT NULL and default are in the statement."""
    expected = made(BASE + "ALTER TABLE users ADD COLUMN age INTEGER NOT NULL DEFAULT 18;")

    assert differences(expected, made(BASE)) == ('ALTER TABLE "users" ADD COLUMN "age" INTEGER NOT NULL DEFAULT 18;',)


def test_what_no_statement_can_change_is_shown_both_ways():
    """Another type of a column is a comment with both declarations, since nobody should run anything for it."""
    found = differences(made("CREATE TABLE a (x TEXT)"), made("CREATE TABLE a (x INTEGER)"))

    assert all(line.startswith("--") for line in found)
    assert "CREATE TABLE a (x INTEGER)" in found[1]
    assert "CREATE TABLE a (x TEXT)" in found[2]


def test_spelling_is_no_difference():
    """Comments, blanks, quotes, letters' case and IF NOT EXISTS don't count."""
    one = made("CREATE TABLE a (x TEXT DEFAULT 'A b') ; CREATE INDEX i ON a (x)")
    other = made('create table if not exists "A" ( x text -- why\n default \'A b\' );CREATE INDEX "i" ON [a]("x")')
    unlike = made("CREATE TABLE a (x TEXT DEFAULT 'a b') ; CREATE INDEX i ON a (x)")

    assert differences(one, other) == ()
    assert differences(one, unlike) != ()


STEPS = some.lists(
    some.sampled_from(
        [
            "CREATE TABLE IF NOT EXISTS b (x)",
            "ALTER TABLE users ADD COLUMN c{n} TEXT",
            "ALTER TABLE users ADD COLUMN d{n} INTEGER NOT NULL DEFAULT {n}",
            "CREATE INDEX i{n} ON users (name, id)",
            "CREATE VIEW v{n} AS SELECT id FROM users",
            "DROP INDEX IF EXISTS users_by_name",
            "DROP VIEW IF EXISTS named",
        ]
    ),
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_running_the_difference_leaves_none(steps):
    """Whatever was added or taken away, the SQL that is said brings the schema back."""
    connection = apsw.Connection(":memory:")
    connection.execute(BASE)
    for number, step in enumerate(steps):
        connection.execute(step.format(n=number))

    for statement in differences(made(BASE), Schema.read(connection)):
        connection.execute(statement)

    assert differences(made(BASE), Schema.read(connection)) == ()
    assert differences(Schema.read(connection), made(BASE)) == ()


def test_a_database_that_its_files_made_has_no_drift(d1, folder, write):
    """What was applied is replayed; what records migrations and what is pending don't count."""
    write("0001_users.sql", BASE)
    write("0002_row.sql", "INSERT INTO users (id) VALUES (1);")
    apply(d1, "db", folder)
    write("0003_more.sql", "CREATE TABLE more (x);")
    records = ("d1_migrations", "clodo_migrations")

    def drift():
        return drift_among([(find_migrations(folder), status(d1, "db", folder))], records)[0]

    assert (drift().sql, drift().against) == ((), "the files")
    d1.connection.execute("CREATE TABLE stray (x)")
    assert drift().sql == ('DROP TABLE "stray";',)


def test_databases_that_files_do_not_make_are_compared_with_each_other(folder, write):
    """A table from before the first file: the schema that most have is expected; alone, nothing is said."""
    write("0001_column.sql", "ALTER TABLE old ADD COLUMN x;")
    files = find_migrations(folder)

    def where(sql):
        connection = apsw.Connection(":memory:")
        connection.execute(sql)
        return files, MigrationStatus(
            applied=(), pending=tuple(files), findings=(), schema=rows_of(connection), hazards=()
        )

    applied = [where("CREATE TABLE old (a)"), where("CREATE TABLE old (a)"), where("CREATE TABLE old (a, b)")]

    assert replayed(files) is None
    drifts = drift_among([(files, _with_applied(item)) for _, item in applied], ())
    assert [len(drift.sql) for drift in drifts] == [0, 0, 1]
    assert drifts[2].against == "2 others"
    assert drift_among([(files, _with_applied(applied[0][1]))], ())[0].against is None


def _with_applied(found):
    from clodo.migrations import AppliedRow

    return MigrationStatus((AppliedRow("0001_column.sql", "now"),), (), (), schema=found.schema)


def test_what_goes_with_it_is_counted(d1):
    """Tables that are dropped, columns, and rows that are changed in ways nobody can count; what is renamed stays."""
    d1.connection.execute(
        "CREATE TABLE a (x, y); INSERT INTO a VALUES (1, NULL), (2, 3); CREATE TABLE b (z); CREATE TABLE c (w);"
        "INSERT INTO b VALUES (1); INSERT INTO c VALUES (1)"
    )
    stored = read_stored(d1, "db", "d1_migrations")
    statements = split(
        "ALTER TABLE a DROP COLUMN y; DROP TABLE b; ALTER TABLE c RENAME TO d; UPDATE a SET x = 1; DELETE FROM d;"
    )

    losses = counted(d1, "db", lost_by_running(statements, stored.schema))

    assert losses.describe()[:2] == (
        "the table b with 1 row",
        "the column y of a, which has a value in 1 row",
    )
    assert "rows of a are changed" in losses.describe()[2]
    assert schema_of(stored.schema).tables.keys() == {"a", "b", "c"}
