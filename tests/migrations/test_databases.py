"""Applying migrations to a database."""

import itertools
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from clodo.errors import (
    ApiRefused,
    BadConfiguration,
    CloudflareUnavailable,
    MigrationFailed,
    NoWayBack,
    OutcomeUnknown,
    PlanIsStale,
    Refused,
)
from clodo.migrations import Which, apply, revert, status
from clodo.migrations.databases import failing

from .database import InMemoryD1

NO_PAUSE = {"pause": lambda seconds: None}
USERS = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE);"


def names(applied):
    return [one.name for one in applied]


def test_a_database_two_migrations_behind_ends_with_both_applied(d1, folder, write):
    """Pending files are applied in order, recorded for wrangler and for us, and the last carries the bookmark."""
    write("0001_users.sql", USERS)
    write("0002_mia.sql", "INSERT INTO users (name) VALUES ('mia')")
    told = []

    applied = apply(d1, "db", folder, release_id="r1", on_applied=told.append)

    assert names(applied) == names(told) == ["0001_users.sql", "0002_mia.sql"]
    assert d1.rows("SELECT id, name FROM d1_migrations") == [(1, "0001_users.sql"), (2, "0002_mia.sql")]
    assert d1.rows("SELECT name, sha256, release_id FROM clodo_migrations") == [
        (one.name, one.sha256, "r1") for one in applied
    ]
    assert d1.rows("SELECT name FROM users") == [("mia",)]
    assert [one.bookmark for one in applied] == [None, f"bookmark {d1.connection.total_changes()}"]
    assert apply(d1, "db", folder) == []
    assert d1.bookmarks == 1


def test_a_record_tells_when_and_how_long(d1, folder, write):
    """Our own table has the moment in ISO 8601 and the milliseconds it took."""
    write("0001_users.sql", USERS)

    apply(d1, "db", folder)

    [(applied_at, duration)] = d1.rows("SELECT applied_at, duration_ms FROM clodo_migrations")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", applied_at)
    assert 0 <= duration < 60_000


def test_the_table_is_wranglers_to_the_letter(d1, folder, write):
    """d1_migrations is declared as wrangler 4.164.0 declares it, so either may come first."""
    write("0001_users.sql", USERS)

    apply(d1, "db", folder)

    [(sql,)] = d1.rows("SELECT sql FROM sqlite_master WHERE name = 'd1_migrations'")
    assert sql == (
        'CREATE TABLE "d1_migrations"(\n\t\tid         INTEGER PRIMARY KEY AUTOINCREMENT,\n'
        "\t\tname       TEXT UNIQUE,\n\t\tapplied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL\n)"
    )


def test_files_that_cannot_run_are_told_without_a_request(d1, folder, write):
    """A syntax error and a transaction of the file's own are found by looking; nothing is sent."""
    write("0001_users.sql", USERS)
    write("0002_typo.sql", "CREATE TABEL orders (x);")
    found = status(d1, "db", folder)
    sent = len(d1.calls)
    broken = failing(found)
    write("0002_typo.sql", "BEGIN; CREATE TABLE orders (x); COMMIT;")
    own_transaction = failing(status(d1, "db", folder))
    write("0002_typo.sql", "CREATE TABLE orders (x);")

    assert list(broken) == ["0002_typo.sql"]
    assert "0002_typo.sql:1" in broken["0002_typo.sql"]
    assert sent == 2
    assert list(own_transaction) == ["0002_typo.sql"]
    assert failing(status(d1, "db", folder)) == {}


def test_a_status_writes_nothing(d1, folder, write):
    """Looking makes no table, and takes two requests before anything was applied and one after."""
    write("0001_users.sql", USERS)

    assert [one.name for one in status(d1, "db", folder).pending] == ["0001_users.sql"]
    assert (d1.dump(), len(d1.calls)) == ([], 2)
    apply(d1, "db", folder)
    d1.calls.clear()
    assert status(d1, "db", folder).is_up_to_date
    assert len(d1.calls) == 1


def test_what_wrangler_applied_is_not_applied_again(d1, folder, write):
    """A database that wrangler migrated is taken over as it is."""
    write("0001_users.sql", USERS)
    write("0002_mia.sql", "INSERT INTO users (name) VALUES ('mia');")
    d1.connection.execute(
        'CREATE TABLE "d1_migrations"(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE,'
        " applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL);"
        f"{USERS} INSERT INTO d1_migrations (name) VALUES ('0001_users.sql')"
    )

    assert names(apply(d1, "db", folder)) == ["0002_mia.sql"]
    assert [row.sha256 is None for row in status(d1, "db", folder).applied] == [True, False]


def test_every_file_is_one_call(d1, folder, write):
    """A file, its record for wrangler and ours travel together: two calls to look, one per file."""
    write("0001_users.sql", USERS)
    write("0002_mia.sql", "INSERT INTO users (name) VALUES ('mia');")

    apply(d1, "db", folder)

    assert len(d1.calls) == 2 + 2


@pytest.mark.parametrize(
    ("text", "number", "line"),
    [
        (f"{USERS}\nINSERT INTO user (name) VALUES ('mia');\nSELECT 1;", 2, 2),
        (f"{USERS}\n\n\nINSRT INTO users VALUES (1);", 2, 4),
        ("INSERT INTO before_it (x) VALUES (1);\n\nSELECT y FROM before_it;", 2, 3),
        ("SELECT 1;\nDELETE FROM nowhere WHERE x = 1;", 2, 2),
        ("CREATE TABLE before_it (x);", 1, 1),
        ("SELECT 1;\nPRAGMA journal_mode = delete;", 2, 2),
        (f"CREATE TABLE wide ({', '.join(f'c{number}' for number in range(101))});", 1, 1),
    ],
)
def test_a_file_that_cannot_work_is_found_in_the_rehearsal(d1, folder, write, text, number, line):
    """Words, names and D1's limits are tried on a copy: place and SQLite's words are said, nothing is sent."""
    d1.connection.execute("CREATE TABLE before_it (x NOT NULL UNIQUE); INSERT INTO before_it VALUES ('taken')")
    write("0001_a.sql", "CREATE TABLE fine (x);")
    path = write("0002_b.sql", text)
    d1.calls.clear()

    with pytest.raises(MigrationFailed) as caught:
        apply(d1, "db", folder)

    assert all("INSERT INTO" not in call for call in d1.calls)
    assert caught.value.statement == number
    assert caught.value.message.startswith(f"{path}:{line}: statement {number}")
    assert "SQLITE_" in caught.value.message
    assert "not touched" in caught.value.message


@pytest.mark.parametrize(
    ("text", "number", "line"),
    [
        ("CREATE TABLE a (x);\nINSERT INTO before_it (x) VALUES ('taken');", 2, 2),
        ("INSERT INTO before_it (x) VALUES ('new');\nINSERT INTO before_it (x) VALUES ('taken');", None, None),
    ],
)
def test_a_file_that_fails_leaves_nothing_and_says_where(d1, folder, write, text, number, line):
    """When only the rows can tell, the database is as it was after a failure, and place and SQLite's words are said."""
    d1.connection.execute(
        "CREATE TABLE before_it (x NOT NULL UNIQUE); INSERT INTO before_it VALUES ('taken'), ('kept')"
    )
    before = d1.dump()
    path = write("0001_a.sql", text)

    with pytest.raises(MigrationFailed) as caught:
        apply(d1, "db", folder)

    assert d1.dump() == before
    assert caught.value.statement == number
    assert caught.value.message.startswith(f"{path}:{line}: statement {number}" if number else f"{path}: one of its")
    assert "SQLITE_ERROR" in caught.value.message
    assert "nothing of it stayed" in caught.value.message
    assert isinstance(caught.value.__cause__, ApiRefused)


def test_a_broken_constraint_is_laid_to_the_statement_that_writes_there(d1, folder, write):
    """What only the rows show is found by the table it names, when one statement writes to it."""
    d1.connection.execute("CREATE TABLE users (name UNIQUE); INSERT INTO users VALUES ('mia')")
    write("0001_a.sql", "CREATE TABLE x (y);\nINSERT INTO users VALUES ('mia');\nCREATE INDEX i ON users (name);")

    with pytest.raises(MigrationFailed, match=r"statement 2 of 3 failed .*UNIQUE constraint failed") as caught:
        apply(d1, "db", folder)

    assert caught.value.statement == 2


def test_the_first_failure_stops_the_rest(d1, folder, write):
    """What was applied before stays, is named, and comes with its bookmark; what comes after is not tried."""
    d1.connection.execute("CREATE TABLE taken (x UNIQUE); INSERT INTO taken VALUES (1)")
    write("0001_users.sql", USERS)
    write("0002_bad.sql", "INSERT INTO taken VALUES (1);")
    write("0003_never.sql", "CREATE TABLE never (x);")

    with pytest.raises(MigrationFailed, match=r"kept: 0001_users\.sql") as caught:
        apply(d1, "db", folder)

    assert caught.value.applied == ("0001_users.sql",)
    assert caught.value.bookmark == f"bookmark {d1.connection.total_changes()}"
    assert d1.rows("SELECT name FROM d1_migrations") == [("0001_users.sql",)]
    assert d1.rows("SELECT name FROM sqlite_master WHERE name = 'never'") == []


def test_a_bad_file_anywhere_stops_before_the_first_is_sent(d1, folder, write):
    """A later file that could not run as one transaction keeps the earlier ones from being applied."""
    write("0001_users.sql", USERS)
    write("0002_bad.sql", "BEGIN; COMMIT;")

    with pytest.raises(BadConfiguration, match=r"0002_bad\.sql:1"):
        apply(d1, "db", folder)

    assert d1.dump() == []


def test_a_folder_that_disagrees_is_refused_until_accepted(d1, folder, write):
    """An edited file keeps everything from being applied, until a person accepts it."""
    write("0001_users.sql", USERS)
    apply(d1, "db", folder)
    write("0001_users.sql", f"{USERS} -- edited")
    write("0002_x.sql", "CREATE TABLE x (y);")

    with pytest.raises(Refused, match=r"0001_users\.sql was edited"):
        apply(d1, "db", folder)
    assert names(apply(d1, "db", folder, accepted=["0001_users.sql"])) == ["0002_x.sql"]


def test_what_the_lint_finds_waits_like_a_contract_migration(d1, folder, write):
    """A file that takes something away runs as a contract one, though nobody marked it; a waiver makes it expand."""
    d1.connection.execute("CREATE TABLE old (x); CREATE TABLE older (x)")
    write("0001_drop.sql", "DROP TABLE old;")
    write("0002_drop.sql", "-- clodo: allow drop-table: it was never read\nDROP TABLE older;")
    write("0003_x.sql", "CREATE TABLE x (y);")

    assert names(apply(d1, "db", folder)) == ["0002_drop.sql", "0003_x.sql"]
    found = status(d1, "db", folder)
    assert (found.findings, [item.rule.name for item in found.hazards]) == ((), ["drop-table"])
    assert names(apply(d1, "db", folder, which=Which.CONTRACT)) == ["0001_drop.sql"]


def test_what_needs_approval_is_refused_until_accepted(d1, folder, write):
    """A hazard names its rule and its remedy; a person may accept the file, but not what is refused."""
    d1.connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")
    write("0001_x.sql", "CREATE TABLE x (y REFERENCES users (id));")

    with pytest.raises(Refused, match=r"0001_x\.sql:1: foreign-key-without-index: ") as caught:
        apply(d1, "db", folder)
    assert "-- clodo: allow foreign-key-without-index: why" in caught.value.hint
    assert names(apply(d1, "db", folder, accepted=["0001_x.sql"])) == ["0001_x.sql"]
    write("0002_x.sql", "ALTER TABLE users ADD COLUMN mail TEXT NOT NULL;")
    with pytest.raises(Refused, match="not-null-without-default"):
        apply(d1, "db", folder, accepted=["0002_x.sql"])


@pytest.mark.parametrize(("size", "limit"), [(2_000_000, 10_000_000), (60_000, 50_000)])
def test_a_file_too_large_for_one_request_goes_by_import(d1, folder, write, size, limit):
    """Whether we know that it is too large or D1 says so: one import, with the records in it and a bookmark told."""
    d1.max_request_bytes = limit
    write("0001_big.sql", "CREATE TABLE big (x);\n" + f"INSERT INTO big VALUES ('{'x' * 9_000}');\n" * (size // 9_000))
    told = []

    applied = apply(d1, "db", folder, tells=told.append, **NO_PAUSE)

    assert (names(applied), d1.imports) == (["0001_big.sql"], 1)
    assert d1.rows("SELECT count(*) FROM big") == [(size // 9_000,)]
    assert d1.rows("SELECT name FROM clodo_migrations") == [("0001_big.sql",)]
    assert "go by import" in told[0]
    assert "bookmark bookmark" in told[0]


@pytest.mark.parametrize("loses", ["lose_before", "lose_after"])
def test_an_import_without_an_answer_is_looked_up(d1, folder, write, loses):
    """An import whose end nobody told is found done, or sent again; never both."""
    write("0001_big.sql", "CREATE TABLE big (x);\n" + f"INSERT INTO big VALUES ('{'x' * 9_000}');\n" * 150)
    setattr(d1, loses, 1)

    [applied] = apply(d1, "db", folder, **NO_PAUSE)

    assert (applied.was_found, d1.imports) == ((True, 1) if loses == "lose_after" else (False, 2))
    assert d1.rows("SELECT count(*) FROM big") == [(150,)]


def test_contract_migrations_wait(d1, folder, write):
    """A release applies expand migrations only; contract ones are applied when asked for, after later ones."""
    write("0001_users.sql", USERS)
    write("0002_drop.sql", "-- clodo: contract\nALTER TABLE users DROP COLUMN name2;")
    write("0003_x.sql", "ALTER TABLE users ADD COLUMN name2;")

    assert names(apply(d1, "db", folder)) == ["0001_users.sql", "0003_x.sql"]
    assert names(apply(d1, "db", folder, which=Which.CONTRACT)) == ["0002_drop.sql"]
    assert status(d1, "db", folder).is_up_to_date


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 -- no line end",
        "CREATE TABLE a (x)",
        "-- only a comment",
        "",
        ";;;",
        "CREATE TABLE a (x);\r\n",
        "CREATE TRIGGER t AFTER INSERT ON before_it BEGIN SELECT 1; END",
        "\ufeffCREATE TABLE a (x); /* the end */",
    ],
)
def test_however_a_file_ends_it_is_recorded(d1, folder, write, text):
    """A missing semicolon, a comment without a line end or no statement at all don't swallow the record."""
    d1.connection.execute("CREATE TABLE before_it (x)")
    write("0001_a.sql", text)

    apply(d1, "db", folder)

    assert status(d1, "db", folder).is_up_to_date
    assert d1.rows("SELECT duration_ms IS NULL FROM clodo_migrations") == [(0,)]


def test_names_are_escaped(d1, folder, write):
    """Quotes in a file's or table's name stay what they are."""
    write("0001_it's '); DROP TABLE users; --.sql", USERS)

    apply(d1, "db", folder, table='my "migrations"')

    assert d1.rows('SELECT name FROM "my ""migrations"""') == [("0001_it's '); DROP TABLE users; --.sql",)]
    assert status(d1, "db", folder, table='my "migrations"').is_up_to_date


@pytest.mark.parametrize(("lose_before", "lose_after"), [(1, 0), (2, 0), (0, 1), (1, 1), (2, 1)])
def test_a_lost_answer_never_applies_twice(d1, folder, write, lose_before, lose_after):
    """Whether the call was lost on its way there or its answer on the way back, the file takes effect once."""
    write("0001_users.sql", USERS)
    write("0002_mia.sql", "INSERT INTO users (name) VALUES ('mia'), ('ben');")
    d1.lose_before, d1.lose_after = lose_before, lose_after
    pauses = []

    applied = apply(d1, "db", folder, pause=pauses.append)

    assert [one.was_found for one in applied] == [lose_after == 1, False]
    assert d1.rows("SELECT count(*) FROM users") == [(2,)]
    assert pauses == [0.5, 1.0, 2.0][: lose_before + lose_after]


def test_a_call_that_arrives_late_is_noticed(d1, folder, write):
    """A lost call that took effect after we had looked makes the repeated one fail, and counts as applied."""
    write("0001_users.sql", USERS)
    late = []

    class LateD1(InMemoryD1):
        def query(self, database_id, sql, *, only_reads=False):
            if not only_reads and not late:
                late.append(sql)
                raise OutcomeUnknown("timed out")
            if not only_reads:
                super().query(database_id, late[0])
            return super().query(database_id, sql, only_reads=only_reads)

    slow = LateD1()

    [applied] = apply(slow, "db", folder, **NO_PAUSE)

    assert applied.was_found
    assert slow.rows("SELECT name FROM d1_migrations") == [("0001_users.sql",)]


def test_an_outcome_that_stays_unknown_says_so(d1, folder, write):
    """Without an answer after three attempts nothing is claimed."""
    write("0001_users.sql", USERS)
    d1.lose_before = 3

    with pytest.raises(OutcomeUnknown, match="3 times"):
        apply(d1, "db", folder, **NO_PAUSE)

    assert names(apply(d1, "db", folder)) == ["0001_users.sql"]


def test_a_database_that_falls_silent_leaves_the_outcome_unknown(d1, folder, write):
    """When not even looking works, the error is that nobody knows, not that it failed."""
    write("0001_users.sql", USERS)
    d1.lose_after = 1

    def go_down(seconds):
        d1.is_down = True

    with pytest.raises(OutcomeUnknown, match="can't be asked"):
        apply(d1, "db", folder, pause=go_down)


def test_somebody_else_at_the_same_file_is_noticed(d1, folder, write):
    """A migration that another applied between looking and sending is not applied again, and the plan is stale."""
    write("0001_users.sql", USERS)

    class RacedD1(InMemoryD1):
        def query(self, database_id, sql, *, only_reads=False):
            if not only_reads:
                super().query(
                    database_id,
                    "CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY, name TEXT UNIQUE, applied_at TEXT);"
                    "INSERT INTO d1_migrations (name) VALUES ('0001_users.sql')",
                )
            return super().query(database_id, sql, only_reads=only_reads)

    raced = RacedD1()

    with pytest.raises(PlanIsStale, match="somebody else"):
        apply(raced, "db", folder)

    assert raced.rows("SELECT name FROM sqlite_master WHERE name IN ('users', 'clodo_migrations')") == []


@pytest.mark.parametrize("is_lost", [True, False])
def test_another_releases_work_is_not_taken_for_ours(folder, write, is_lost):
    """A row that another wrote, while our answer was lost or not, makes the plan stale; it is not ours that arrived."""
    write("0001_users.sql", USERS)
    others = []

    class SharedD1(InMemoryD1):
        def query(self, database_id, sql, *, only_reads=False):
            if not only_reads and not others:
                others.append(super().query(database_id, sql.replace("'r1'", "'r2'") if is_lost else sql))
                if is_lost:
                    raise OutcomeUnknown("timed out")
            return super().query(database_id, sql, only_reads=only_reads)

    with pytest.raises(PlanIsStale, match="somebody else"):
        apply(SharedD1(), "db", folder, release_id="r1", **NO_PAUSE)


def test_an_unreachable_database_is_passed_on(d1, folder, write):
    """Trouble before anything was sent is the client's to name."""
    write("0001_users.sql", USERS)
    d1.is_down = True

    with pytest.raises(CloudflareUnavailable):
        apply(d1, "db", folder)


def test_a_missing_bookmark_does_not_undo_the_truth(folder, write):
    """What was applied is returned although Time Travel gives no bookmark."""

    class WithoutTimeTravel(InMemoryD1):
        def bookmark(self, database_id):
            raise ApiRefused("no Time Travel here", status=400, code=7500)

    write("0001_users.sql", USERS)

    [applied] = apply(WithoutTimeTravel(), "db", folder)

    assert applied.bookmark is None


def test_reverting_runs_the_ways_back_from_the_last(d1, folder, write):
    """Down files run in reverse order with the removal of their rows; doing it again changes nothing."""
    write("0001_users.sql", USERS)
    write("0002_x.sql", "CREATE TABLE x (y);")
    write("0003_z.sql", "INSERT INTO x VALUES (1);")
    write("0002_x.down.sql", "DROP TABLE x")
    write("down/0003_z.sql", "DELETE FROM x; -- all")
    apply(d1, "db", folder)

    assert revert(d1, "db", folder, ["0002_x.sql", "0003_z.sql"]) == ["0003_z.sql", "0002_x.sql"]
    assert revert(d1, "db", folder, ["0002_x.sql", "0003_z.sql"]) == []

    assert [one.name for one in status(d1, "db", folder).pending] == ["0002_x.sql", "0003_z.sql"]
    assert d1.rows("SELECT name FROM clodo_migrations") == [("0001_users.sql",)]
    assert d1.rows("SELECT name FROM sqlite_master WHERE name = 'x'") == []


def test_without_a_way_back_nothing_is_reverted(d1, folder, write):
    """One migration without a down file keeps all from being reverted."""
    write("0001_users.sql", USERS)
    write("0002_x.sql", "CREATE TABLE x (y);")
    write("0002_x.down.sql", "DROP TABLE x")
    apply(d1, "db", folder)
    before = d1.dump()

    with pytest.raises(NoWayBack, match=r"0001_users\.sql"):
        revert(d1, "db", folder, ["0001_users.sql", "0002_x.sql"])

    assert d1.dump() == before


def test_a_way_back_that_fails_leaves_everything(d1, folder, write):
    """A down file that fails changes nothing and says where."""
    write("0001_users.sql", USERS)
    write("0001_users.down.sql", "DELETE FROM users;\nDROP TABLE nobody;")
    apply(d1, "db", folder)
    before = d1.dump()

    with pytest.raises(MigrationFailed, match=r"0001_users\.down\.sql:2: statement 2 of 2.*was not touched"):
        revert(d1, "db", folder, ["0001_users.sql"])

    assert d1.dump() == before


@pytest.mark.parametrize(("lose_before", "lose_after"), [(1, 0), (0, 1), (1, 1)])
def test_a_lost_answer_never_reverts_twice(d1, folder, write, lose_before, lose_after):
    """A down file takes effect once, though its answer is lost."""
    write("0001_count.sql", "CREATE TABLE IF NOT EXISTS counter (n); INSERT INTO counter VALUES (7);")
    write("0001_count.down.sql", "UPDATE counter SET n = n - 1;")
    apply(d1, "db", folder)
    d1.lose_before, d1.lose_after = lose_before, lose_after

    assert revert(d1, "db", folder, ["0001_count.sql"], **NO_PAUSE) == ["0001_count.sql"]

    assert d1.rows("SELECT n FROM counter") == [(6,)]


def test_a_late_way_back_is_run_once(folder, write):
    """A lost down call that took effect after we had looked makes the repeated one fail before it does anything."""
    write("0001_count.sql", "CREATE TABLE counter (n); INSERT INTO counter VALUES (7);")
    write("0001_count.down.sql", "UPDATE counter SET n = n - 1;")
    late = []

    class LateD1(InMemoryD1):
        def query(self, database_id, sql, *, only_reads=False):
            if "n - 1" in sql and not late:
                late.append(sql)
                raise OutcomeUnknown("timed out")
            if "n - 1" in sql:
                super().query(database_id, late[0])
            return super().query(database_id, sql, only_reads=only_reads)

    slow = LateD1()
    apply(slow, "db", folder)

    assert revert(slow, "db", folder, ["0001_count.sql"], **NO_PAUSE) == ["0001_count.sql"]
    assert slow.rows("SELECT n FROM counter") == [(6,)]


STATEMENTS = some.sampled_from(
    [
        "CREATE TABLE a{n} (x UNIQUE)",
        "INSERT INTO a{n} VALUES (1)",
        "INSERT INTO seed VALUES ({n})",
        "UPDATE seed SET x = x + 100",
        "DELETE FROM seed WHERE x > 100",
        "DROP TABLE a{n}",
        "CREATE TRIGGER t{n} AFTER INSERT ON seed BEGIN SELECT 1; END",
    ]
)
COUNTER = itertools.count()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=some.lists(some.lists(some.tuples(STATEMENTS, some.integers(1, 2)), max_size=4), min_size=1, max_size=4),
    lost=some.tuples(some.integers(0, 2), some.integers(0, 1)),
)
def test_the_database_holds_a_prefix_of_the_files(tmp_path_factory, files, lost):
    """Whatever fails or gets lost, the database is what the first so many files make of it, and says so."""
    folder = tmp_path_factory.mktemp("migrations")
    for number, statements in enumerate(files, start=1):
        text = ";\n".join(statement.format(n=n) for statement, n in statements)
        (folder / f"{number:04}_x.sql").write_text(text)
    d1 = InMemoryD1()
    d1.connection.execute("CREATE TABLE seed (x)")
    d1.lose_before, d1.lose_after = lost

    try:
        apply(d1, "db", folder, **NO_PAUSE)
    except MigrationFailed as error:
        failed_at = len(error.applied)
    else:
        failed_at = len(files)

    applied = [row.name for row in status(d1, "db", folder).applied]
    assert applied == [f"{number:04}_x.sql" for number in range(1, failed_at + 1)]
    expected = InMemoryD1()
    expected.connection.execute("CREATE TABLE seed (x)")
    for name in applied:
        list(expected.connection.execute((folder / name).read_text()))
    ours = "name NOT LIKE '%migrations%' AND name NOT LIKE 'sqlite%'"
    schema = f"SELECT type, name, sql FROM sqlite_master WHERE {ours} ORDER BY name"
    assert d1.rows(schema) == expected.rows(schema)
    assert d1.rows("SELECT x FROM seed ORDER BY x") == expected.rows("SELECT x FROM seed ORDER BY x")
