"""Finding and reading migration files."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from clodo.errors import BadConfiguration
from clodo.migrations import digest, find_migrations


def names(folder, pattern="*.sql"):
    return [migration.name for migration in find_migrations(folder, pattern)]


def test_files_come_in_wranglers_order(folder, write):
    """By leading number, then by name; what has no number comes last; as wrangler 4.164.0 sorts these."""
    for name in ("0010_b.sql", "2_c.sql", "0002_a.sql", "notes.sql", "Zebra.sql", "20240101120000_d.sql", "0002b.sql"):
        write(name)

    assert names(folder) == [
        "0002_a.sql", "0002b.sql", "2_c.sql", "0010_b.sql", "20240101120000_d.sql", "Zebra.sql", "notes.sql",
    ]  # fmt: skip


def test_only_migrations_are_found(folder, write):
    """Hidden files, links, folders, other endings and down files are no migrations."""
    write("0001_a.sql")
    write("0001_a.down.sql")
    write(".0002_hidden.sql")
    write("0003_c.SQL")
    write("README.md")
    write("0004_folder.sql/x.txt")
    (folder / "0005_link.sql").symlink_to(folder / "0001_a.sql")

    assert names(folder) == ["0001_a.sql"]


def test_an_empty_and_a_missing_folder_have_no_migrations(folder):
    """A service without migrations is no error, and both have the same digest."""
    assert names(folder) == names(folder / "missing") == []
    assert digest(folder) == digest(folder / "missing")


def test_a_pattern_finds_nested_files(folder, write):
    """drizzle's folders are found by wrangler's migrations_pattern, and named as wrangler names them."""
    for name in ("0001_b/migration.sql", "0000_a/migration.sql", "0000_a/snapshot.json", "0002_c.sql"):
        write(name)

    assert names(folder, "*/migration.sql") == ["0000_a/migration.sql", "0001_b/migration.sql"]
    assert names(folder, "**/*.sql") == ["0000_a/migration.sql", "0001_b/migration.sql", "0002_c.sql"]


@pytest.mark.parametrize("pattern", ["{a,b}/*.sql", "../*.sql", "/etc/*.sql", "", "!(x).sql"])
def test_a_pattern_that_clodo_does_not_know_is_refused(folder, pattern):
    """A pattern whose meaning might differ from wrangler's is refused."""
    with pytest.raises(BadConfiguration, match="migrations_pattern"):
        find_migrations(folder, pattern)


def test_ways_back_are_found(folder, write):
    """A down file lies beside its migration or in down/."""
    write("0001_a.sql")
    write("0002_b.sql")
    write("0003_c.sql")
    beside, below = write("0001_a.down.sql"), write("down/0002_b.sql")

    assert [migration.down for migration in find_migrations(folder)] == [beside, below, None]


def test_two_ways_back_are_refused(folder, write):
    """Nobody guesses which of two down files is meant."""
    write("0001_a.sql")
    write("0001_a.down.sql")
    write("down/0001_a.sql")

    with pytest.raises(BadConfiguration, match=r"0001_a\.down\.sql undoes"):
        find_migrations(folder)


def test_a_down_file_without_its_migration_is_named(folder, write):
    """A down file that undoes nothing is a slip of the pen."""
    write("0001_a.sql")
    write("0001_b.down.sql")

    with pytest.raises(BadConfiguration, match=r"no migration 0001_b\.sql"):
        find_migrations(folder)


@pytest.mark.parametrize(
    ("text", "is_contract"),
    [
        ("DROP TABLE a;", False),
        ("-- clodo: contract\nDROP TABLE a;", True),
        ("\n-- why\n\n--CLODO:  Contract  \nDROP TABLE a;", True),
        ("\ufeff-- clodo: contract\r\nDROP TABLE a;", True),
        ("SELECT '\n-- clodo: contract\n';", False),
    ],
)
def test_contract_migrations_are_marked_at_the_top(folder, write, text, is_contract):
    """The mark counts among the first comments and nowhere else."""
    write("0001_a.sql", text)

    assert find_migrations(folder)[0].is_contract is is_contract


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("DROP TABLE a;\n-- clodo: contract\n", r"0001_a\.sql:2: .* stands below a statement"),
        ("-- clodo: allow drop-table\nDROP TABLE a;", r"0001_a\.sql:1: .* needs a reason"),
        ("DROP TABLE a; -- clodo: allow drop-table:  \n", r"0001_a\.sql:1: .* needs a reason"),
        ("SELECT 1;\n-- clodo: alow drop-table: x\n", r"0001_a\.sql:2: .* knows no such mark"),
    ],
)
def test_marks_that_would_do_nothing_are_refused(folder, write, text, problem):
    """A mark in the wrong place and a waiver without a reason are named with their line, not passed over."""
    write("0001_a.sql", text)

    with pytest.raises(BadConfiguration, match=problem):
        find_migrations(folder)


def test_waivers_are_read_wherever_they_stand(folder, write):
    """A waiver may stand above or beside what it accepts; what looks like one in a text is none."""
    write(
        "0001_a.sql",
        "-- clodo: allow drop-table: nobody reads it\n"
        "DROP TABLE a; -- CLODO: Allow Drop-Index:  too  slow\n"
        "SELECT '\n-- clodo: allow drop-view: no';",
    )

    waivers = find_migrations(folder)[0].waivers

    assert [(item.rule, item.reason, item.line) for item in waivers] == [
        ("drop-table", "nobody reads it", 1),
        ("drop-index", "too slow", 2),
    ]


def test_a_misspelt_mark_is_refused(folder, write):
    """A mark that Clodo doesn't know would let a contract migration run too early."""
    write("0001_a.sql", "-- drops\n-- clodo: contracts\nDROP TABLE a;")

    with pytest.raises(BadConfiguration, match=r"0001_a\.sql:2:") as caught:
        find_migrations(folder)
    assert "-- clodo: contract" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "problem"), [(b"SELECT '\xff'", "byte 8 is not UTF-8"), (b"SELECT 1;\n\0", "2: a NUL")]
)
def test_a_file_that_is_no_text_is_named(folder, write, content, problem):
    """What isn't UTF-8, or would end early for SQLite, is refused with its place."""
    write("0001_a.sql", content)

    with pytest.raises(BadConfiguration, match=problem):
        find_migrations(folder)


@pytest.mark.parametrize(
    "word", ["BEGIN", "begin transaction", "COMMIT", "END", "ROLLBACK", "SAVEPOINT x", "RELEASE x"]
)
def test_transaction_statements_are_refused_with_their_line(folder, write, word):
    """A file that opens or ends transactions could not be all or nothing."""
    write("0001_a.sql", f"CREATE TABLE a (x);\n\n/* here */ {word};\nSELECT 1;")

    with pytest.raises(BadConfiguration, match=rf"0001_a\.sql:3: {word.split()[0].upper()}"):
        find_migrations(folder)[0].statements()


def test_begin_and_end_of_a_trigger_are_no_transaction(folder, write):
    """A trigger's own BEGIN and END are part of its statement (workers-sdk#15178)."""
    write("0001_a.sql", "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  SELECT CASE WHEN 1 THEN 2 END;\nEND;\nSELECT 1")

    assert [statement.first_word for statement in find_migrations(folder)[0].statements()] == ["CREATE", "SELECT"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SELECT 1;\nSELECT 'a;", ":2: a quote"),
        ("SELECT 1; /* x", ":1: a comment"),
        ("SELECT '" + "x" * 100_000 + "'", "D1 takes"),
    ],
)
def test_what_d1_could_not_run_is_refused_with_its_line(folder, write, text, problem):
    """Cut-off and oversized statements never leave this machine."""
    write("0001_a.sql", text)

    with pytest.raises(BadConfiguration, match=problem):
        find_migrations(folder)[0].statements()


def test_the_checksum_does_not_depend_on_the_checkout(folder, write):
    """Line ends that git changed are no edit; anything else is."""
    write("0001_a.sql", "SELECT 1;\nSELECT 2;\n")
    one = find_migrations(folder)[0].sha256
    write("0001_a.sql", "SELECT 1;\r\nSELECT 2;\r\n")
    same = find_migrations(folder)[0].sha256
    write("0001_a.sql", "SELECT 1;\nSELECT 3;\n")

    assert one == same != find_migrations(folder)[0].sha256


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some.dictionaries(some.sampled_from(["0001_a.sql", "0002_b.sql", "0003_c.sql"]), some.sampled_from(["A", "B", ""])),
    some.dictionaries(some.sampled_from(["0001_a.sql", "0002_b.sql", "0003_c.sql"]), some.sampled_from(["A", "B", ""])),
)
def test_digests_differ_when_folders_do(tmp_path_factory, one, other):
    """Two folders have one digest exactly if they hold the same names with the same contents."""
    digests = []
    for files in (one, other):
        folder = tmp_path_factory.mktemp("folder")
        for name, text in files.items():
            (folder / name).write_text(text)
        (folder / "notes.md").write_text("not released")
        digests.append(digest(folder))

    assert (digests[0] == digests[1]) == (one == other)
