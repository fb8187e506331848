"""What is counted, in one SQLite file with a bound: ``analytics.db``."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import apsw

#: Rows kept of each kind; the oldest go first. 200,000 requests of a rehearsal are about 25 MB.
MAX_ROWS = 200_000
#: Rows waiting in memory before they are written: a kill loses no more than these, and they are only figures.
MAX_PENDING = 2_000
#: Of the tables; facts of another one are dropped, they are only figures.
SCHEMA_VERSION = 2

Value: TypeAlias = "str | int | float | None"


@dataclass(frozen=True, slots=True)
class Invocation:
    """
    One run of a Worker.

    Attributes:
        at: Unix milliseconds, as in every other row.

        status: ``success``, ``clientDisconnected``, ``scriptThrewException``, ``exceededResources``, ….

        subrequests: Requests that the Worker sent out meanwhile.

        wall_us, cpu_us: Microseconds.

        bytes: Of the response's body.
    """

    table: ClassVar = "invocations"
    account_id: str
    at: int
    script: str
    script_tag: str
    version_id: str
    event: str
    status: str
    subrequests: int
    wall_us: int
    cpu_us: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class DatabaseQuery:
    """One SQL statement; the call's own figures stand with its first statement."""

    table: ClassVar = "database_queries"
    account_id: str
    at: int
    database_id: str
    region: str
    query: str
    error: str
    is_write: int
    duration_ms: float
    rows_read: int
    rows_written: int
    rows_returned: int
    batch_ms: float | None
    batch_bytes: int | None


@dataclass(frozen=True, slots=True)
class KeyOperation:
    """One KV operation: *action* is ``read``, ``write``, ``delete`` or ``list``."""

    table: ClassVar = "key_operations"
    account_id: str
    at: int
    namespace_id: str
    action: str
    result: str
    status: int
    requests: int
    bytes: int
    latency_ms: float


@dataclass(frozen=True, slots=True)
class ObjectOperation:
    """One R2 operation: *action* is R2's name for it, such as ``PutObject``."""

    table: ClassVar = "object_operations"
    account_id: str
    at: int
    bucket: str
    object: str
    action: str
    result: str
    status: int
    storage_class: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Size:
    """How large something was at a moment; *kind* is ``d1``, ``kv`` or ``r2``."""

    table: ClassVar = "sizes"
    account_id: str
    at: int
    kind: str
    resource: str
    bytes: int
    count: int = 0
    metadata_bytes: int = 0
    uploads: int = 0


Fact: TypeAlias = "Invocation | DatabaseQuery | KeyOperation | ObjectOperation | Size"
KINDS: tuple[type[Fact], ...] = (Invocation, DatabaseQuery, KeyOperation, ObjectOperation, Size)


class Facts:
    """
    The facts of all accounts; used from one thread, the server's.

    Args:
        path: Made with mode 0600 when it isn't there.

        max_rows: Of each kind.
    """

    def __init__(self, path: Path, *, max_rows: int = MAX_ROWS) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._max_rows = max_rows
        self._pending: list[Fact] = []
        self._connection = apsw.Connection(str(path))
        self._connection.set_busy_timeout(5000)
        # Figures, no promises; but a power cut must not leave a file that can't be opened.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.create_aggregate_function("quantile", _Quantile)
        (version,) = self._connection.execute("PRAGMA user_version").fetchone() or (0,)
        if version != SCHEMA_VERSION:
            for kind in KINDS:
                self._connection.execute(f"DROP TABLE IF EXISTS {kind.table}")
            self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        for kind in KINDS:
            columns = ", ".join(column.name for column in fields(kind))
            self._connection.execute(
                f"CREATE TABLE IF NOT EXISTS {kind.table}(number INTEGER PRIMARY KEY, {columns});"
                f"CREATE INDEX IF NOT EXISTS {kind.table}_of_account ON {kind.table}(account_id, at);"
            )

    def close(self) -> None:
        """Write what waits, and close the file."""
        self.flush()
        self._connection.close()

    def add(self, fact: Fact) -> None:
        """Count one fact; it is on disk with the next `flush`, which every question does first."""
        self._pending.append(fact)
        if len(self._pending) >= MAX_PENDING:
            self.flush()

    def flush(self) -> None:
        """Write what waits and forget the oldest beyond the bound; figures that find no room on disk are dropped."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        try:
            with self._connection:
                for kind in KINDS:
                    names = [field.name for field in fields(kind)]
                    # dataclasses.astuple copies each value deeply, which costs more than the query that is counted.
                    rows = [tuple(getattr(fact, name) for name in names) for fact in pending if type(fact) is kind]
                    if not rows:
                        continue
                    places = ", ".join("?" for _ in names)
                    self._connection.executemany(f"INSERT INTO {kind.table} VALUES(NULL, {places})", rows)
                    self._connection.execute(
                        f"DELETE FROM {kind.table} WHERE number <= (SELECT max(number) FROM {kind.table}) - ?",  # noqa: S608
                        (self._max_rows,),
                    )
        except apsw.FullError:
            return

    def rows(self, sql: str, parameters: Sequence[Value]) -> Iterator[tuple[Any, ...]]:
        """Ask a question about everything counted so far."""
        self.flush()
        yield from self._connection.execute(sql, tuple(parameters))


class _Quantile:
    """The aggregate function ``quantile(value, share)``: the smallest value that so large a share doesn't exceed."""

    def __init__(self) -> None:
        self._values: list[float] = []
        self._share = 0.5

    def step(self, *arguments: apsw.SQLiteValue) -> None:
        value, share = arguments
        if isinstance(value, (int, float)) and isinstance(share, (int, float)):
            self._values.append(value)
            self._share = share

    def final(self) -> float:
        if not self._values:
            return 0
        self._values.sort()
        return self._values[max(0, math.ceil(self._share * len(self._values)) - 1)]
