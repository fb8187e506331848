"""Opening a ledger, and what is said when it can't be."""

import sqlite3
import stat
import threading
from datetime import timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from clodo.errors import LedgerUnavailable, NoSpaceLeft
from clodo.ledger import Ledger, default_path
from clodo.ledger.database import REVISIONS, SCRIPTS, Database
from clodo.ledger.schema import REVISION_TABLE, metadata

from .processes import open_and_write, run_together


def test_opening_makes_a_ledger_and_opening_again_keeps_it(empty_place):
    """The first opening makes the tables, the next finds what was written."""
    with Ledger.open(empty_place) as ledger:
        row = ledger.audit.append("mia", "open", "ledger")

    with Ledger.open(empty_place) as again:
        assert again.audit.list() == [row]


def test_a_path_is_a_sqlite_file(tmp_path):
    """A ledger opened by path is a file there, in a folder that is made for its owner only."""
    path = default_path(tmp_path / "workspace with % and ?")

    with Ledger.open(path) as ledger:
        assert not ledger.is_shared

    assert path.read_bytes().startswith(b"SQLite format 3")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_file_is_written_ahead_and_forced_to_the_disk(tmp_path):
    """SQLite runs with WAL, synchronous=FULL and foreign keys on every connection."""
    database = Database(tmp_path / "ledger.sqlite3")
    database.open()

    with database.write() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    database.close()

    assert pragmas == ["wal", 2, 1]


def test_processes_may_open_a_new_ledger_at_once(empty_place):
    """Four processes that open a ledger that isn't there yet all succeed, and write one trail."""
    run_together(4, open_and_write, empty_place)

    with Ledger.open(empty_place) as ledger:
        assert len(ledger.audit.list()) == 4
        assert ledger.audit.verify() is None


def test_a_new_ledger_waits_for_who_writes_to_its_file(tmp_path):
    """SQLite refuses at once to change the journal of a file in use; opening it tries again until it can."""
    path = tmp_path / "ledger.sqlite3"
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, writer.rollback)
    release.start()

    Ledger.open(path).close()
    release.join()

    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    writer.close()


def test_the_revisions_make_the_tables_that_the_code_expects(place):
    """Tables made by the revisions and tables declared in the schema don't differ."""
    engine = create_engine(make_url(place).set(drivername=f"{make_url(place).get_backend_name()}+{driver(place)}"))

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": REVISION_TABLE, "compare_type": True})
        differences = compare_metadata(context, metadata)
    engine.dispose()

    assert differences == []


def driver(place):
    return "pysqlite" if place.startswith("sqlite") else "psycopg"


def test_every_revision_is_known():
    """The list of revisions that decides whether a ledger is up to date is the list of files."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))

    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]

    assert tuple(reversed(found)) == REVISIONS


def test_a_ledger_of_a_newer_clodo_is_left_alone(place, query):
    """A revision that this Clodo doesn't know is named, and nothing is changed."""
    query(f"UPDATE {REVISION_TABLE} SET version_num = '9999'")

    with pytest.raises(LedgerUnavailable, match="revision 9999") as caught:
        Ledger.open(place)

    assert "newer Clodo" in caught.value.hint
    assert query(f"SELECT version_num FROM {REVISION_TABLE}") == [("9999",)]


def test_a_failed_upgrade_leaves_nothing(empty_place, tmp_path):
    """When a table is in the way the upgrade is undone whole, and works once it is gone."""
    url = make_url(empty_place)
    if url.get_backend_name() == "sqlite":
        (tmp_path / ".clodo").mkdir()
    engine = create_engine(url.set(drivername=f"{url.get_backend_name()}+{driver(empty_place)}"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE clodo_live (stranger INTEGER)")

    with pytest.raises(LedgerUnavailable, match="clodo_live"):
        Ledger.open(empty_place)

    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE clodo_live")
    engine.dispose()
    Ledger.open(empty_place).close()


def test_a_file_that_is_no_database_is_named(tmp_path):
    """A text file is not overwritten; the message says what it is and what to do."""
    path = tmp_path / "ledger.sqlite3"
    path.write_text("my notes, more than a hundred bytes of them, so that SQLite looks at what they say " * 3)

    with pytest.raises(LedgerUnavailable, match="not a SQLite database") as caught:
        Ledger.open(path)

    assert "Move the file away" in caught.value.hint
    assert path.read_text().startswith("my notes")


def test_a_folder_is_no_ledger(tmp_path):
    """A path that is a folder can't be opened, and says so."""
    with pytest.raises(LedgerUnavailable, match="can't be opened"):
        Ledger.open(tmp_path)


def test_a_path_below_a_file_is_no_ledger(tmp_path):
    """A folder that can't be made is named."""
    (tmp_path / "file").write_text("")

    with pytest.raises(LedgerUnavailable, match="file"):
        Ledger.open(tmp_path / "file" / "ledger.sqlite3")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@h/d",
        "mysql://h/d?password=hunter2",
        "sqlite://",
        "sqlite:///:memory:",
        "no url",
        "",
        "http://x",
    ],
)
def test_a_url_of_something_else_is_refused(url):
    """What is neither a SQLite file nor PostgreSQL is refused with an example, without the password."""
    with pytest.raises(LedgerUnavailable) as caught:
        Ledger.open(url)

    assert "postgresql://" in caught.value.hint
    assert "hunter2" not in caught.value.message


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path):
    """An unreachable PostgreSQL is said so in one line; the password stays out of it."""
    with pytest.raises(LedgerUnavailable) as caught:
        Ledger.open(f"postgresql://mia:hunter2@/ledger?host={tmp_path}")

    assert "hunter2" not in caught.value.message + caught.value.hint
    assert "\n" not in caught.value.message
    assert "server runs" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "problem", "remedy"),
    [
        (("/postgres?", "/missing?"), "the database does not exist", "createdb"),
        (("clodo@", "stranger@"), "the server refuses this user", "Check user"),
    ],
)
def test_what_a_server_refuses_has_its_own_remedy(postgresql, change, problem, remedy):
    """A database that wasn't created and a user that isn't there are told apart."""
    with pytest.raises(LedgerUnavailable, match=problem) as caught:
        Ledger.open(postgresql.replace(*change))

    assert remedy in caught.value.hint


def test_a_full_disk_is_said_and_nothing_is_half_written(tmp_path):
    """When SQLite finds no room the write is undone and the error says that the disk is full."""
    database = Database(tmp_path / "ledger.sqlite3")
    database.open()
    with database.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    def fill():
        with database.write() as connection:
            connection.exec_driver_sql("CREATE TABLE big (x)")
            connection.exec_driver_sql("INSERT INTO big VALUES (zeroblob(100000))")

    with pytest.raises(NoSpaceLeft, match="disk is full"):
        fill()

    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sqlite_master WHERE name = 'big'").scalar() == 0
    database.close()


def test_a_writer_that_hangs_is_named_after_a_while(tmp_path):
    """When another process keeps the file locked, the wait ends and says why."""
    path = tmp_path / "ledger.sqlite3"
    with Ledger.open(path, patience=timedelta(seconds=0.05)) as ledger:
        blocker = sqlite3.connect(path)
        blocker.execute("BEGIN IMMEDIATE")

        with pytest.raises(LedgerUnavailable, match="another process"):
            ledger.audit.append("mia", "wait", "ledger")

        blocker.rollback()
        blocker.close()
        ledger.audit.append("mia", "go on", "ledger")
