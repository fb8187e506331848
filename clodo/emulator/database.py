"""The control plane's memory: one SQLite file, ``cloud.db``, readable by its owner only (versions hold secrets)."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

Row = dict[str, Any]
Parameter = str | int | float | bytes | None

SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE users(id TEXT PRIMARY KEY, email TEXT NOT NULL, created_on TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE accounts(
    id TEXT PRIMARY KEY, name TEXT NOT NULL, subdomain TEXT UNIQUE, created_on TEXT NOT NULL, user_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE tokens(
    id TEXT PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, user_id TEXT NOT NULL,
    account_ids TEXT NOT NULL, scopes TEXT, status TEXT NOT NULL, expires_on TEXT, created_on TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE zones(
    id TEXT PRIMARY KEY, account_id TEXT NOT NULL, name TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
    created_on TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE scripts(
    id TEXT PRIMARY KEY, account_id TEXT NOT NULL, name TEXT NOT NULL, created_on TEXT NOT NULL,
    modified_on TEXT NOT NULL, last_deployed_from TEXT NOT NULL, settings TEXT NOT NULL, migration_tag TEXT,
    subdomain_enabled INTEGER NOT NULL, previews_enabled INTEGER NOT NULL, UNIQUE(account_id, name)
) WITHOUT ROWID;
CREATE TABLE versions(
    id TEXT PRIMARY KEY, script_id TEXT NOT NULL REFERENCES scripts(id) ON DELETE CASCADE, number INTEGER NOT NULL,
    created_on TEXT NOT NULL, author TEXT NOT NULL, source TEXT NOT NULL, annotations TEXT NOT NULL,
    has_preview INTEGER NOT NULL, startup_time_ms INTEGER NOT NULL, etag TEXT NOT NULL, content TEXT NOT NULL,
    UNIQUE(script_id, number)
) WITHOUT ROWID;
CREATE TABLE deployments(
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    script_id TEXT NOT NULL REFERENCES scripts(id) ON DELETE CASCADE,
    created_on TEXT NOT NULL, author TEXT NOT NULL, source TEXT NOT NULL, annotations TEXT NOT NULL,
    versions TEXT NOT NULL
);
CREATE INDEX deployments_of_script ON deployments(script_id, number);
CREATE TABLE routes(
    id TEXT PRIMARY KEY, zone_id TEXT NOT NULL, pattern TEXT NOT NULL, script TEXT, account_id TEXT NOT NULL,
    UNIQUE(zone_id, pattern)
) WITHOUT ROWID;
CREATE TABLE domains(
    id TEXT PRIMARY KEY, account_id TEXT NOT NULL, hostname TEXT NOT NULL UNIQUE, zone_id TEXT NOT NULL,
    zone_name TEXT NOT NULL, service TEXT NOT NULL, environment TEXT NOT NULL, cert_id TEXT NOT NULL,
    enabled INTEGER NOT NULL, previews_enabled INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE schedules(
    script_id TEXT NOT NULL REFERENCES scripts(id) ON DELETE CASCADE, cron TEXT NOT NULL, created_on TEXT NOT NULL,
    modified_on TEXT NOT NULL, PRIMARY KEY(script_id, cron)
) WITHOUT ROWID;
CREATE TABLE object_namespaces(
    id TEXT PRIMARY KEY, script_id TEXT NOT NULL REFERENCES scripts(id) ON DELETE CASCADE, class TEXT NOT NULL,
    uses_sqlite INTEGER NOT NULL, UNIQUE(script_id, class)
) WITHOUT ROWID;
CREATE TABLE assets(
    account_id TEXT NOT NULL, hash TEXT NOT NULL, blob TEXT NOT NULL, size INTEGER NOT NULL, content_type TEXT,
    PRIMARY KEY(account_id, hash)
) WITHOUT ROWID;
CREATE TABLE asset_sessions(
    id TEXT PRIMARY KEY, account_id TEXT NOT NULL, script TEXT NOT NULL, manifest TEXT NOT NULL,
    created_on TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE queues(
    id TEXT PRIMARY KEY, account_id TEXT NOT NULL, name TEXT NOT NULL, created_on TEXT NOT NULL,
    modified_on TEXT NOT NULL, settings TEXT NOT NULL, UNIQUE(account_id, name)
) WITHOUT ROWID;
CREATE TABLE queue_consumers(
    id TEXT PRIMARY KEY, queue_id TEXT NOT NULL REFERENCES queues(id) ON DELETE CASCADE, script TEXT,
    type TEXT NOT NULL, settings TEXT NOT NULL, dead_letter_queue TEXT, created_on TEXT NOT NULL
) WITHOUT ROWID;
"""


class Database:
    """
    An open ``cloud.db``; used from one thread, the server's.

    Args:
        path: Where it is or will be; made with mode 0600.

        schema: What a new file is made with.
    """

    def __init__(self, path: Path, schema: str = SCHEMA) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        self._connection = apsw.Connection(str(path))
        self._connection.set_busy_timeout(5000)
        # In WAL mode NORMAL survives kill -9: what was committed is with the kernel. Only a power cut may take the
        # last commits away, and never a part of one.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.row_trace = _row_as_dict
        if self.value("PRAGMA user_version") == 0:
            with self.transaction():
                self._connection.execute(schema)
                self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the file; the log is folded into it."""
        self._connection.close()

    def rows(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Row]:
        """Run one statement and return all its rows, each a dict by column."""
        with _renamed():
            return list(self._connection.execute(sql, tuple(parameters)))

    def row(self, sql: str, parameters: Sequence[Parameter] = ()) -> Row | None:
        """Run one statement and return its first row."""
        rows = self.rows(sql, parameters)
        return rows[0] if rows else None

    def value(self, sql: str, parameters: Sequence[Parameter] = ()) -> Any:
        """Run one statement and return the first column of its first row, None if there is none."""
        row = self.row(sql, parameters)
        return next(iter(row.values())) if row else None

    def run(self, sql: str, parameters: Sequence[Parameter] = ()) -> int:
        """Run one statement and return how many rows it changed."""
        before = self._connection.total_changes()
        with _renamed():
            self._connection.execute(sql, tuple(parameters))
        return self._connection.total_changes() - before

    def insert(self, table: str, row: Row, *, replace: bool = False) -> None:
        """Add *row*; lists and dicts are stored as JSON."""
        columns = ", ".join(row)
        places = ", ".join("?" for _ in row)
        verb = "INSERT OR REPLACE" if replace else "INSERT"
        self.run(f"{verb} INTO {table}({columns}) VALUES({places})", [_stored(value) for value in row.values()])

    def upgrade(self, room: str, steps: Sequence[str]) -> None:
        """
        Bring the tables of one room up to date.

        Args:
            room: Whose tables they are; how many of its steps were taken is kept under this name.

            steps: Statements, oldest first; only ever appended to. Those not taken yet are, all or none.
        """
        name = f"schema of {room}"
        with self.transaction():
            taken = int(self.value("SELECT value FROM settings WHERE name = ?", (name,)) or 0)
            for step in steps[taken:]:
                self.run(step)
            if len(steps) > taken:
                self.insert("settings", {"name": name, "value": str(len(steps))}, replace=True)

    def _is_in_transaction(self) -> bool:
        return self._connection.in_transaction

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside happen, or nothing of it; one inside another is a part of it."""
        if self._is_in_transaction():
            yield
            return
        with _renamed():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself after some errors, a full disk among them.
                if self._is_in_transaction():
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _renamed() -> Iterator[None]:
    """Name SQLite's full disk as the system would have: the edge answers 507 to that."""
    try:
        yield
    except apsw.FullError as error:
        raise OSError(errno.ENOSPC, "no space left for the embedded cloud's database") from error


def _stored(value: Any) -> Parameter:
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, bool):
        return int(value)
    return value  # type: ignore[no-any-return]


def _row_as_dict(cursor: apsw.Cursor, row: tuple[Any, ...]) -> Row:
    return dict(zip((column[0] for column in cursor.get_description()), row, strict=True))
