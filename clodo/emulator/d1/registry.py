"""Which D1 databases there are, and whose."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import apsw

from clodo.emulator.d1.limits import Limits
from clodo.emulator.envelope import ApiError

# Cloudflare's numbers: https://developers.cloudflare.com/d1/observability/debug-d1/ and what clients have met.
NOT_FOUND = 7404
ALREADY_EXISTS = 7502
TOO_MANY_DATABASES = 7406
BAD_REQUEST = 7400
SQL_FAILED = 7500
OVERLOADED = 7429


@dataclass(frozen=True, slots=True)
class Database:
    """
    What the account knows of a database.

    Attributes:
        created_at: ISO 8601 with milliseconds.

        region: Where it would run: ``WEUR`` and the like.

        num_tables: As last seen; the real one calls its own figure inaccurate.

        key: Secret that this database's bookmarks are checked with.
    """

    uuid: str
    account_id: str
    name: str
    created_at: str
    region: str
    jurisdiction: str | None
    replication: str
    num_tables: int
    key: bytes = field(repr=False)


class Registry:
    """Which databases there are; used from any thread."""

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._lock = threading.Lock()
        self._connection = apsw.Connection(str(path))
        self._connection.set_busy_timeout(5000)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(
            """
            CREATE TABLE IF NOT EXISTS databases(
                number INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL UNIQUE, account_id TEXT NOT NULL,
                name TEXT NOT NULL, created_at TEXT NOT NULL, region TEXT NOT NULL, jurisdiction TEXT,
                replication TEXT NOT NULL, num_tables INTEGER NOT NULL, key BLOB NOT NULL, UNIQUE(account_id, name)
            );
            CREATE TABLE IF NOT EXISTS restores(uuid TEXT NOT NULL, at_ms INTEGER NOT NULL);
            """
        )
        self._cache: dict[tuple[str, str], Database] = {}

    _COLUMNS = "uuid, account_id, name, created_at, region, jurisdiction, replication, num_tables, key"

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def ids(self) -> set[str]:
        """Return the ids of all databases of all accounts."""
        with self._lock:
            return {name for (name,) in self._connection.execute("SELECT uuid FROM databases")}

    def count(self, account_id: str) -> int:
        """Return how many the account has."""
        with self._lock:
            (count,) = next(
                self._connection.execute("SELECT count(*) FROM databases WHERE account_id = ?", (account_id,))
            )
        return int(count)

    def all(self, account_id: str) -> list[Database]:
        """Return the account's databases, newest first."""
        return list(self._select("account_id = ? ORDER BY number DESC", account_id))

    def every(self) -> list[Database]:
        """Return the databases of all accounts."""
        return list(self._select("true"))

    def get(self, account_id: str, database_id: str) -> Database | None:
        """Return the account's database with this id; asked at each query, so remembered."""
        found = self._cache.get((account_id, database_id))
        if found is None:
            found = next(self._select("account_id = ? AND uuid = ?", account_id, database_id), None)
            if found is not None:
                self._cache[account_id, database_id] = found
        return found

    def named(self, account_id: str, name: str) -> Database | None:
        """Return the account's database with this name."""
        return next(self._select("account_id = ? AND name = ?", account_id, name), None)

    def add(self, database: Database) -> None:
        """
        Add a database.

        Raises:
            ApiError: Another one got that name first.
        """
        values = (
            database.uuid,
            database.account_id,
            database.name,
            database.created_at,
            database.region,
            database.jurisdiction,
            database.replication,
            database.num_tables,
            database.key,
        )
        with self._lock:
            try:
                self._connection.execute(
                    f"INSERT INTO databases({self._COLUMNS}) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    values,
                )
            except apsw.ConstraintError as error:
                raise ApiError(400, ALREADY_EXISTS, "A database with that name already exists") from error

    def update(self, database_id: str, *, replication: str | None = None, num_tables: int | None = None) -> None:
        """Change what is given."""
        with self._lock:
            self._connection.execute(
                "UPDATE databases SET replication = ifnull(?, replication), num_tables = ifnull(?, num_tables)"
                " WHERE uuid = ?",
                (replication, num_tables, database_id),
            )
            self._cache.clear()

    def remove(self, database_id: str) -> None:
        """Forget a database."""
        with self._lock:
            self._connection.execute("DELETE FROM databases WHERE uuid = ?", (database_id,))
            self._connection.execute("DELETE FROM restores WHERE uuid = ?", (database_id,))
            self._cache.clear()

    def note_restore(self, database_id: str, at_ms: int, limits: Limits) -> None:
        """
        Count a restore.

        Raises:
            ApiError: 429: there were too many of them.
        """
        window = limits.restores_within // timedelta(milliseconds=1)
        with self._lock:
            self._connection.execute("DELETE FROM restores WHERE at_ms <= ?", (at_ms - window,))
            restores = [
                restored
                for (restored,) in self._connection.execute(
                    "SELECT at_ms FROM restores WHERE uuid = ? ORDER BY at_ms", (database_id,)
                )
            ]
            if len(restores) >= limits.restores:
                seconds = limits.restores_within.total_seconds()
                wait = (restores[0] + window - at_ms + 999) // 1000
                raise ApiError(
                    429,
                    OVERLOADED,
                    f"Too many restores: {limits.restores} in {seconds:.0f} s are allowed",
                    headers={"Retry-After": str(max(1, wait))},
                )
            self._connection.execute("INSERT INTO restores VALUES(?, ?)", (database_id, at_ms))

    def _select(self, where: str, *values: str) -> Iterator[Database]:
        with self._lock:
            sql = f"SELECT {self._COLUMNS} FROM databases WHERE {where}"  # noqa: S608
            rows = self._connection.execute(sql, values).fetchall()
        for row in cast("list[tuple[Any, ...]]", rows):
            yield Database(*row)
