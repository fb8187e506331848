"""All D1 databases of the embedded cloud: who owns which, one thread for each, and what Workers and the API ask of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import apsw

from clodo.emulator.d1.engine import SCHEMA, Engine, Result
from clodo.emulator.d1.history import (
    Commit,
    History,
    Origin,
    Position,
    read_bookmark,
    size_of,
    write_bookmark,
)
from clodo.emulator.d1.limits import DEFAULT_LIMITS, Limits
from clodo.emulator.envelope import ApiError
from clodo.emulator.runtime.ports import Answers, BindingRefused, Statement, StatementFailed

Answer = TypeVar("Answer")

REGIONS = {"wnam": "WNAM", "enam": "ENAM", "weur": "WEUR", "eeur": "EEUR", "apac": "APAC", "oc": "OC"}
DEFAULT_REGION = "WEUR"
COLO = "CLO"

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


class DatabaseBusy(StatementFailed):
    """An export or an import has the database to itself."""


class Databases:
    """
    The D1 databases under one folder; the back end of the API and of Workers' bindings.

    Args:
        directory: Made when it is not there: ``registry.sqlite`` and one folder a database.

        now: Seconds since 1970.

        limits: What the databases are held to.

        export_pause: How long each export takes at least, as exports of large databases do; the database answers
            nobody meanwhile. May be set at any time.
    """

    def __init__(
        self,
        directory: Path,
        *,
        now: Callable[[], float] = time.time,
        limits: Limits = DEFAULT_LIMITS,
        export_pause: timedelta = timedelta(0),
    ) -> None:
        self.directory = directory
        self.limits = limits
        self.export_pause = export_pause
        self.now = now
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._registry = Registry(directory / "registry.sqlite")
        self._open: OrderedDict[str, OpenDatabase] = OrderedDict()
        self._sweep()

    def now_ms(self) -> int:
        """Return the time in whole milliseconds since 1970."""
        return int(self.now() * 1000)

    # --- which there are ----------------------------------------------------------------------------------------------

    def create(
        self,
        account_id: str,
        name: str,
        *,
        location_hint: str | None = None,
        jurisdiction: str | None = None,
        replication: str = "disabled",
    ) -> Database:
        """
        Make an empty database.

        Raises:
            ApiError: The account has one of this name (7502), or too many (7406).
        """
        if self._registry.count(account_id) >= self.limits.databases_per_account:
            raise ApiError(
                400,
                TOO_MANY_DATABASES,
                f"You have reached the limit of {self.limits.databases_per_account} D1 databases.",
            )
        if self._registry.named(account_id, name) is not None:
            raise ApiError(400, ALREADY_EXISTS, "A database with that name already exists")
        now_ms = self.now_ms()
        database = Database(
            uuid=str(uuid.uuid4()),
            account_id=account_id,
            name=name,
            created_at=timestamp(now_ms),
            region=REGIONS.get(location_hint or "", DEFAULT_REGION),
            jurisdiction=jurisdiction,
            replication=replication,
            num_tables=0,
            key=secrets.token_bytes(32),
        )
        folder = self.folder(database)
        folder.mkdir(mode=0o700)
        try:
            History.create(folder, now_ms, SCHEMA)
            # The row makes it count; a folder without one is swept away at the next start.
            self._registry.add(database)
        except BaseException:
            shutil.rmtree(folder)
            raise
        return database

    def all(self, account_id: str, *, name: str | None = None) -> list[Database]:
        """Return the account's databases, newest first; with *name* those whose names contain it."""
        found = self._registry.all(account_id)
        return [database for database in found if name is None or name.lower() in database.name.lower()]

    def get(self, account_id: str, id_or_name: str) -> Database | None:
        """Return the account's database with this id, or else with this name."""
        return self._registry.get(account_id, id_or_name) or self._registry.named(account_id, id_or_name)

    def find(self, account_id: str, id_or_name: str) -> Database:
        """
        Return the account's database with this id or name.

        Raises:
            ApiError: 404 with 7404: there is none.
        """
        database = self.get(account_id, id_or_name)
        if database is None:
            raise ApiError(404, NOT_FOUND, f"The database {id_or_name} could not be found")
        return database

    def exists(self, account_id: str, database_id: str) -> bool:
        """Tell whether the account has a database with this id."""
        return self._registry.get(account_id, database_id) is not None

    def set_replication(self, database: Database, mode: str) -> Database:
        """Note the read replication mode; there are no replicas here."""
        self._registry.update(database.uuid, replication=mode)
        return self.find(database.account_id, database.uuid)

    async def delete(self, database: Database) -> None:
        """Remove a database and its whole past."""
        self._registry.remove(database.uuid)
        open_database = self._open.pop(database.uuid, None)
        if open_database is not None:
            await open_database.close()
        await asyncio.to_thread(shutil.rmtree, self.folder(database))

    def folder(self, database: Database) -> Path:
        """Return the folder of a database's files."""
        return self.directory / database.uuid

    def size(self, database: Database) -> int:
        """Return a database's size in bytes."""
        open_database = self._open.get(database.uuid)
        if open_database is not None and open_database.size is not None:
            return open_database.size
        return size_of(self.folder(database))

    # --- what is asked of them ----------------------------------------------------------------------------------------

    async def run(
        self, account_id: str, database_id: str, statements: Sequence[Statement], *, bookmark: str | None = None
    ) -> Answers:
        """
        Run *statements* in one transaction, for a Worker's binding.

        Args:
            bookmark: A session's; there is one copy only, so no answer is ever older than it.

        Raises:
            StatementFailed: One of them failed; nothing was changed.

            BindingRefused: There is no such database.
        """
        database = self._registry.get(account_id, database_id)
        if database is None:
            raise BindingRefused(404, f"The database {database_id} could not be found")
        results, now_at = await self.query(database, statements)
        return Answers(
            [
                {"success": True, "results": {"columns": result.columns, "rows": result.rows}, "meta": result.meta}
                for result in results
            ],
            now_at,
        )

    async def query(self, database: Database, statements: Sequence[Statement]) -> tuple[list[Result], str]:
        """
        Run *statements* in one transaction.

        Returns:
            A result for each single statement, and the bookmark of the state they left.

        Raises:
            StatementFailed: One of them failed; nothing was changed.
        """
        opened = self.opened(database)
        opened.raise_if_busy()
        results, commit = await opened.call(lambda: (opened.engine.run(statements), opened.history.newest))
        if opened.history.log_bytes > opened.generation_bytes:
            opened.rotate_soon()
        for result in results:
            result.meta.update(
                served_by=f"clodo-{database.region.lower()}", **_served(database, result.meta["duration"])
            )
        return results, write_bookmark(commit, database.key)

    async def bookmark(self, database: Database, at: datetime | None = None) -> str:
        """
        Return the bookmark of the state at a time, or of now.

        Raises:
            ApiError: The database did not exist then, or that is longer ago than the horizon.
        """
        opened = self.opened(database)
        if at is None:
            commit = await opened.call(lambda: opened.history.newest)
        else:
            commit = await opened.call(lambda: self._at(opened, at))
        return write_bookmark(commit, database.key)

    async def restore(
        self, database: Database, *, bookmark: str | None = None, at: datetime | None = None
    ) -> tuple[str, str]:
        """
        Take a database back to an earlier (or, undoing that, a later) state.

        Returns:
            The bookmark of the restored state, and of the state before, which stays reachable.

        Raises:
            ApiError: No such state, longer ago than the horizon, or too many restores (10 in 10 minutes).
        """
        opened = self.opened(database)
        opened.raise_if_busy()

        def go_back() -> tuple[Commit, Commit]:
            if at is not None:
                target = self._at(opened, at)
            else:
                position = read_bookmark(bookmark or "", database.key)
                found = None if position is None else opened.history.find(position)
                if found is None:
                    raise ApiError(400, BAD_REQUEST, f"Invalid bookmark: {bookmark}")
                target = found
                self._raise_if_forgotten(target.at_ms, opened)
            self._registry.note_restore(database.uuid, self.now_ms(), self.limits)
            before = opened.history.newest
            opened.begin_generation(Origin.RESTORED, target.position)
            return opened.history.newest, before

        after, before = await opened.call(go_back)
        return write_bookmark(after, database.key), write_bookmark(before, database.key)

    def _at(self, opened: OpenDatabase, at: datetime) -> Commit:
        at_ms = int(at.timestamp() * 1000)
        commit = opened.history.at(at_ms)
        if commit is None:
            raise ApiError(400, BAD_REQUEST, f"There is no state of the database at or before {timestamp(at_ms)}")
        if commit != opened.history.newest:
            self._raise_if_forgotten(at_ms, opened)
        return commit

    def _raise_if_forgotten(self, at_ms: int, opened: OpenDatabase) -> None:
        if at_ms < self.now_ms() - self.limits.horizon // timedelta(milliseconds=1):
            days = self.limits.horizon.days
            raise ApiError(400, BAD_REQUEST, f"Time Travel goes back {days} days; {timestamp(at_ms)} is longer ago")

    def opened(self, database: Database) -> OpenDatabase:
        """Return the open database, opened if need be; the ones used longest ago are closed in its favour."""
        opened = self._open.get(database.uuid)
        if opened is None:
            self._close_idle()
            opened = self._open[database.uuid] = OpenDatabase(
                self.folder(database),
                self.limits,
                self.now_ms,
                lambda tables: self._registry.update(database.uuid, num_tables=tables),
            )
        else:
            self._open.move_to_end(database.uuid)
        return opened

    def _close_idle(self) -> None:
        for name in list(self._open):
            if len(self._open) < self.limits.open_databases:
                return
            if self._open[name].is_idle:
                self._open.pop(name).close_soon()

    async def close(self) -> None:
        """Finish what runs and close every database."""
        opened, self._open = list(self._open.values()), OrderedDict()
        await asyncio.gather(*(database.close() for database in opened))
        self._registry.close()

    def _sweep(self) -> None:
        known = self._registry.ids()
        for path in self.directory.iterdir():
            if path.is_dir() and path.name not in known:
                shutil.rmtree(path)


def timestamp(at_ms: int) -> str:
    """Write a time as D1 does: UTC, ISO 8601, milliseconds."""
    seconds, milliseconds = divmod(at_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03d}Z"


def _served(database: Database, duration: float) -> dict[str, Any]:
    return {
        "served_by_region": database.region,
        "served_by_colo": COLO,
        "served_by_primary": True,
        "timings": {"sql_duration_ms": duration},
    }


# --- one database and its thread --------------------------------------------------------------------------------------


class OpenDatabase:
    """
    A database in use: its engine and its history, touched by one thread only.

    Args:
        folder: Of its files.

        now_ms: The clock.

        on_tables: Told how many tables there are whenever the schema has changed.
    """

    def __init__(
        self, folder: Path, limits: Limits, now_ms: Callable[[], int], on_tables: Callable[[int], None]
    ) -> None:
        self.folder = folder
        self.limits = limits
        self.now_ms = now_ms
        #: What keeps everyone else out: "export" or "import".
        self.busy: str | None = None
        self.tasks: dict[str, Any] = {}
        self._on_tables = on_tables
        self._thread = JobThread(f"d1-{folder.name}")
        self._rotating = False
        self._history: History | None = None
        self._engine: Engine | None = None
        self.generation_bytes = limits.generation_bytes

    @property
    def engine(self) -> Engine:
        """The open database; only for jobs given to `call`."""
        if self._engine is None:
            self._start()
        assert self._engine is not None
        return self._engine

    @property
    def history(self) -> History:
        """The database's past; only for jobs given to `call`."""
        if self._history is None:
            self._start()
        assert self._history is not None
        return self._history

    @property
    def size(self) -> int | None:
        """Size in bytes; None before it was first used."""
        engine = self._engine
        return None if engine is None else engine.size

    @property
    def is_idle(self) -> bool:
        """Whether it may be closed: nobody waits for it, and nothing runs."""
        return self._thread.is_idle and self.busy is None

    def raise_if_busy(self) -> None:
        """
        Refuse while an export or an import has the database.

        Raises:
            DatabaseBusy: With D1's words.
        """
        if self.busy is not None:
            raise DatabaseBusy(f"Currently processing a long-running {self.busy}.")

    async def call(self, job: Callable[[], Answer]) -> Answer:
        """Run *job* on the database's thread, after those before it."""
        return await self._thread.call(job)

    def begin_generation(self, origin: Origin, parent: Position) -> None:
        """Continue from a state as a new generation; whatever happens, the database is open again afterwards."""
        history, engine = self.history, self.engine
        engine.close()
        self._engine = None
        try:
            history.begin(origin, parent, self.now_ms())
        finally:
            self._open_engine()
        with contextlib.suppress(OSError):
            # Only frees space; the next one tries again.
            history.forget(self.now_ms() - self.limits.horizon // timedelta(milliseconds=1))
        self._count_tables()

    def rotate_soon(self) -> None:
        """Begin a new generation when the jobs before are done, as the write-ahead log has grown long."""
        if not self._rotating:
            self._rotating = True
            self._thread.post(self._rotate)

    def _rotate(self) -> None:
        try:
            if self.history.log_bytes > self.generation_bytes:
                self.begin_generation(Origin.ROTATED, self.history.newest.position)
        except OSError:
            # No space for a copy: go on with a longer log, and try again later.
            self.generation_bytes *= 2
        finally:
            self._rotating = False

    def _start(self) -> None:
        self._history = History(self.folder, replayed_generations=self.limits.replayed_generations)
        self._open_engine()

    def _open_engine(self) -> None:
        history = self._history
        assert history is not None
        self._engine = engine = Engine(
            history.database, self.limits, on_commit=self._committed, on_schema_change=self._count_tables
        )
        history.reconcile(engine.frames, self.now_ms())
        # Copying the database must stay small beside writing the log.
        self.generation_bytes = max(self.limits.generation_bytes, engine.size // 2)

    def _committed(self, frames: int) -> None:
        assert self._history is not None
        self._history.committed(frames, self.now_ms())

    def _count_tables(self) -> None:
        self._on_tables(self.engine.tables())

    async def close(self) -> None:
        """Wait for what is queued, then close the files."""
        for task in self.tasks.values():
            task.cancel()
        await self._thread.call(self._close)
        self._thread.stop()

    def close_soon(self) -> None:
        """Close the files when what is queued is done."""
        self._thread.post(self._close)
        self._thread.stop()

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        if self._history is not None:
            self._history.close()
            self._history = None


class JobThread:
    """A thread that does one job after the other, and wakes the event loop once for all that are done."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._waiting = 0
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether no job is queued or running."""
        return self._waiting == 0

    async def call(self, job: Callable[[], Answer]) -> Answer:
        """Run *job* on the thread; a cancelled wait doesn't stop the job."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting += 1

        def work() -> None:
            answer: Any = None
            failure: BaseException | None = None
            try:
                answer = job()
            except BaseException as error:  # noqa: BLE001 - carried over to whoever waits
                failure = error
            self._done.append((future, answer, failure))
            if len(self._done) == 1:
                with contextlib.suppress(RuntimeError):
                    # The loop is closed: nobody waits any more.
                    loop.call_soon_threadsafe(self._deliver)

        self._jobs.put(work)
        return await future

    def post(self, job: Callable[[], None]) -> None:
        """Queue a job whose end nobody waits for."""
        self._jobs.put(job)

    def stop(self) -> None:
        """End the thread after the jobs that are queued."""
        self._jobs.put(None)

    def _deliver(self) -> None:
        while self._done:
            future, answer, failure = self._done.popleft()
            self._waiting -= 1
            if future.cancelled():
                continue
            if failure is None:
                future.set_result(answer)
            else:
                future.set_exception(failure)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


# --- the registry -----------------------------------------------------------------------------------------------------


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
                wait = (restores[0] + window - at_ms + 999) // 1000
                raise ApiError(
                    429,
                    OVERLOADED,
                    f"Too many restores: {limits.restores} are allowed within {limits.restores_within // timedelta(minutes=1)}"
                    " minutes",
                    headers={"Retry-After": str(max(1, wait))},
                )
            self._connection.execute("INSERT INTO restores VALUES(?, ?)", (database_id, at_ms))

    def _select(self, where: str, *values: str) -> Iterator[Database]:
        with self._lock:
            rows = self._connection.execute(f"SELECT {self._COLUMNS} FROM databases WHERE {where}", values).fetchall()  # noqa: S608
        for row in rows:
            yield Database(*row)
