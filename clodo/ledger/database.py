"""The database under the ledger: opening, upgrading, transactions, and foreign errors renamed."""

from __future__ import annotations

import errno
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, func, inspect, select, text
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolIsEmpty

from clodo.errors import ClodoError, LedgerUnavailable, NoSpaceLeft
from clodo.ledger.clocks import Clock, utc_now
from clodo.ledger.schema import REVISION_TABLE

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql as postgresql_dialect
    from sqlalchemy.engine.interfaces import DBAPICursor

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Every revision this Clodo knows, oldest first."""

DEFAULT_PATIENCE = timedelta(seconds=30)
"""How long a writer waits for the writers before it."""

BETWEEN_ATTEMPTS = 0.02
"""Seconds between two attempts at what SQLite doesn't wait for by itself."""

UPGRADE_LOCK = 0x636C6F646F
"""The advisory lock (PostgreSQL) under which tables are made: "clodo"."""

SCRIPTS = Path(__file__).parent / "revisions"


class Database:
    """A SQLite file or a PostgreSQL database. Safe to share between threads."""

    def __init__(
        self, place: str | Path, *, clock: Clock | None = None, patience: timedelta = DEFAULT_PATIENCE
    ) -> None:
        self.url = _url(place)
        self.is_shared = self.url.get_backend_name() == "postgresql"
        self._clock = clock
        self._patience = patience
        self._name = _name(self.url)
        self._open = threading.local()
        self._engine = self._make_engine()

    def open(self) -> None:
        """
        Connect, and make or upgrade the tables.

        Raises:
            LedgerUnavailable: It can't be opened, or a newer Clodo wrote it.
            NoSpaceLeft: The disk is full.
        """
        if not self.is_shared:
            path = Path(self.url.database or "")
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise renamed_file_error(error, f"ledger {path}") from error
        self._upgrade()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection whose reads see one state."""
        with self._renamed(), self._engine.connect() as connection:
            reading = connection.execution_options(isolation_level="REPEATABLE READ") if self.is_shared else connection
            with reading.begin():
                yield reading

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """
        Give a connection in a transaction that is on the disk when the block ends, or undone if it raises.

        A block inside another one, in the same thread, belongs to the outer one's transaction.
        """
        outer: Connection | None = getattr(self._open, "writing", None)
        if outer is not None:
            yield outer
            return
        with self._renamed(), self._engine.connect() as connection:
            writing = connection.execution_options(clodo_writes=True)
            with writing.begin():
                self._open.writing = writing
                try:
                    yield writing
                finally:
                    self._open.writing = None

    def now(self, connection: Connection) -> datetime:
        """Say what time it is for everybody who shares this database."""
        if self._clock is not None:
            return self._clock()
        if not self.is_shared:
            return utc_now()
        moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return moment.astimezone(UTC)

    def _make_engine(self) -> Engine:
        try:
            if self.is_shared:
                return create_engine(
                    self.url,
                    pool_pre_ping=True,
                    connect_args={"connect_timeout": 10, "application_name": "clodo"},
                )
            engine = create_engine(
                self.url, connect_args={"timeout": self._patience.total_seconds(), "isolation_level": None}
            )
        except (ImportError, NoSuchModuleError) as error:
            raise LedgerUnavailable(
                f"ledger {self._name}: its driver is not installed ({error})",
                hint="Install it with `uv add 'clodo[postgres]'`.",
            ) from error

        @event.listens_for(engine, "connect")
        def prepare(connection: sqlite3.Connection, record: object) -> None:
            connection.execute("PRAGMA foreign_keys = ON")
            # In WAL mode only FULL forces each commit to the disk, which is what a journal is for.
            connection.execute("PRAGMA synchronous = FULL")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("clodo_writes", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def _upgrade(self) -> None:
        if self._revision() == REVISIONS[-1]:
            return
        if not self.is_shared:
            self._use_write_ahead_log()
        # One at a time: SQLite's writers queue anyway. Who comes second finds the work done.
        with self.write() as connection:
            if self.is_shared:
                connection.execute(select(func.pg_advisory_xact_lock(UPGRADE_LOCK)))
            if _revision(connection) != REVISIONS[-1]:
                _run_revisions(connection)

    def _revision(self) -> str | None:
        with self.read() as connection:
            revision = _revision(connection)
        if revision is not None and revision not in REVISIONS:
            raise LedgerUnavailable(
                f"ledger {self._name}: its tables are of revision {revision}, which this Clodo doesn't know",
                hint="A newer Clodo wrote it; install that version or a later one.",
            )
        return revision

    def _use_write_ahead_log(self) -> None:
        # SQLite doesn't wait its turn to change the journal's mode, as it does to write: it refuses at once.
        deadline = time.monotonic() + self._patience.total_seconds()
        with self._renamed():
            connection = self._engine.raw_connection()
            try:
                while not _is_changed_to_write_ahead_log(connection.cursor(), may_be_busy=time.monotonic() < deadline):
                    time.sleep(BETWEEN_ATTEMPTS)
            finally:
                connection.close()

    @contextmanager
    def _renamed(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise renamed(error, self._name) from error
        except sqlite3.Error as error:
            raise _renamed_sqlite(error, self._name) from error


def _is_changed_to_write_ahead_log(cursor: DBAPICursor, *, may_be_busy: bool) -> bool:
    try:
        cursor.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if may_be_busy and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True


def _url(place: str | Path) -> URL:
    if isinstance(place, Path):
        return URL.create("sqlite+pysqlite", database=str(place.absolute()))
    try:
        url = make_url(place)
    except ArgumentError as error:
        # The message of the original quotes the URL, and with it perhaps a password.
        raise LedgerUnavailable(
            "the ledger's URL can't be read", hint="Write sqlite:////path/of/file or postgresql://user@host/database."
        ) from error
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            return url.set(drivername="sqlite+pysqlite", database=str(Path(url.database).absolute()))
        case "postgresql" | "postgres":
            return url.set(drivername="postgresql+psycopg")
    raise LedgerUnavailable(
        f"ledger {_name(url)}: only a SQLite file or PostgreSQL can be one",
        hint="Write sqlite:////path/of/file or postgresql://user@host/database.",
    )


def _name(url: URL) -> str:
    # A query may hold a password too.
    if url.get_backend_name() == "sqlite":
        return url.database or "sqlite"
    return url.set(drivername=url.get_backend_name(), query={}).render_as_string(hide_password=True)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(REVISION_TABLE):
        return None
    revision: str | None = connection.execute(text(f"SELECT version_num FROM {REVISION_TABLE}")).scalar_one_or_none()  # noqa: S608
    return revision


def _run_revisions(connection: Connection) -> None:
    # Alembic takes a tenth of a second to import; a ledger that is up to date never needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def insert_unless_there(connection: Connection, table: Table) -> sqlite_dialect.Insert | postgresql_dialect.Insert:
    """Start an INSERT that leaves a row with the same key as it is."""
    if connection.dialect.name == "sqlite":
        return sqlite_dialect.insert(table).on_conflict_do_nothing()
    # Importing PostgreSQL's dialect takes as long as opening a ledger that doesn't need it.
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table).on_conflict_do_nothing()


def renamed_file_error(error: OSError, what: str) -> ClodoError:
    """Rename what a file system says of *what*."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceLeft(f"{what}: the disk is full", hint="Make room and run the same command again.")
    return LedgerUnavailable(
        f"{what}: {error.strerror or error}", hint="Check that the folder exists and that you may write to it."
    )


def renamed(error: SQLAlchemyError, name: str) -> ClodoError:
    """Rename what SQLAlchemy and the drivers under it say of the ledger *name*."""
    if isinstance(error, PoolIsEmpty):
        return LedgerUnavailable(f"ledger {name}: every connection is in use", hint="Try again in a moment.")
    if not isinstance(error, DBAPIError) or error.orig is None:
        return LedgerUnavailable(f"ledger {name}: {error}")
    if isinstance(error.orig, sqlite3.Error):
        return _renamed_sqlite(error.orig, name)
    return _renamed_postgresql(error.orig, name)


SQLITE_ERRORS: dict[int, tuple[Callable[..., ClodoError], str, str]] = {
    sqlite3.SQLITE_FULL: (NoSpaceLeft, "the disk is full", "Make room and run the same command again."),
    sqlite3.SQLITE_BUSY: (
        LedgerUnavailable,
        "another process has been writing to it for too long",
        "Run the same command again; if it stays so, look for a process that hangs.",
    ),
    sqlite3.SQLITE_READONLY: (LedgerUnavailable, "it is read-only", "Make the file and its folder writable."),
    sqlite3.SQLITE_CANTOPEN: (
        LedgerUnavailable,
        "it can't be opened",
        "Check that the path is a file and that you may write to its folder.",
    ),
    sqlite3.SQLITE_NOTADB: (
        LedgerUnavailable,
        "the file is not a SQLite database",
        "Move the file away; Clodo makes a new one and reads from Cloudflare what is deployed.",
    ),
    sqlite3.SQLITE_CORRUPT: (
        LedgerUnavailable,
        "the file is damaged",
        "Restore it, or move it away: Clodo makes a new one and reads from Cloudflare what is deployed.",
    ),
}

POSTGRESQL_ERRORS: dict[str, tuple[Callable[..., ClodoError], str, str]] = {
    "53100": (NoSpaceLeft, "the server's disk is full", "Make room there and run the same command again."),
    "53300": (LedgerUnavailable, "the server takes no more connections", "Try again in a moment."),
    "28000": (LedgerUnavailable, "the server refuses this user", "Check user and password in the ledger's URL."),
    "28P01": (LedgerUnavailable, "the server refuses this password", "Check user and password in the ledger's URL."),
    "3D000": (LedgerUnavailable, "the database does not exist", "Create it with `createdb`."),
    "42501": (LedgerUnavailable, "this user lacks a right", "Grant it CREATE, SELECT, INSERT, UPDATE and DELETE."),
}

REFUSED_CONNECTIONS = {
    r'database ".*" does not exist': "3D000",
    r'role ".*" does not exist|no pg_hba.conf entry': "28000",
    "password authentication failed|no password supplied": "28P01",
    "too many clients|remaining connection slots": "53300",
}
"""libpq gives no code when connecting fails, only the server's words."""


def _renamed_sqlite(error: sqlite3.Error, name: str) -> ClodoError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    known = SQLITE_ERRORS.get(code)
    if known is None:
        return LedgerUnavailable(f"ledger {name}: {error}")
    fact, problem, hint = known
    return fact(f"ledger {name}: {problem}", hint=hint)


def _renamed_postgresql(error: Any, name: str) -> ClodoError:
    said = str(error).strip()
    code = getattr(error, "sqlstate", None) or next(
        (code for pattern, code in REFUSED_CONNECTIONS.items() if re.search(pattern, said)), ""
    )
    known = POSTGRESQL_ERRORS.get(code)
    if known is None:
        lines = said.splitlines() or [type(error).__name__]
        return LedgerUnavailable(
            f"ledger {name}: {lines[0]}", hint="Check that the server runs and can be reached from here."
        )
    fact, problem, hint = known
    return fact(f"ledger {name}: {problem}", hint=hint)
