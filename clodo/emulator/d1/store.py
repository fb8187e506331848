"""All D1 databases of the embedded cloud: what Workers and the API ask of them."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clodo.emulator.analytics.store import Size
from clodo.emulator.d1.engine import SCHEMA, Result
from clodo.emulator.d1.history import Commit, History, Origin, read_bookmark, size_of, write_bookmark
from clodo.emulator.d1.limits import DEFAULT_LIMITS, Limits
from clodo.emulator.d1.opened import OpenDatabase
from clodo.emulator.d1.registry import ALREADY_EXISTS, BAD_REQUEST, NOT_FOUND, TOO_MANY_DATABASES, Database, Registry
from clodo.emulator.envelope import ApiError
from clodo.emulator.runtime.ports import Answers, BindingRefused, Statement, StatementFailed

if TYPE_CHECKING:
    from clodo.emulator.analytics.recorder import Recorder

REGIONS = {"wnam": "WNAM", "enam": "ENAM", "weur": "WEUR", "eeur": "EEUR", "apac": "APAC", "oc": "OC"}
DEFAULT_REGION = "WEUR"
COLO = "CLO"

#: Rows that a result's size is reckoned from.
_SAMPLED_ROWS = 32

_Ran = tuple[list[list[Result]], str]
"""Results of the single statements in each of those that were asked, and the bookmark of the state they left."""


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
        #: Told about every call, when somebody counts them.
        self.recorder: Recorder | None = None
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._registry = Registry(directory / "registry.sqlite")
        self._open: OrderedDict[str, OpenDatabase] = OrderedDict()
        self._closing: dict[str, threading.Event] = {}
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
        elif (closing := self._closing.pop(database.uuid, None)) is not None:
            await asyncio.to_thread(closing.wait)
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
        return _answers(*await self._run(self._bound(account_id, database_id), statements))

    def run_at_once(self, account_id: str, database_id: str, statements: Sequence[Statement]) -> Answers | None:
        """
        Run a plain read here and now, for a Worker's binding; None when it must be `run`.

        Raises:
            StatementFailed: It failed.

            BindingRefused: There is no such database.
        """
        done = self._run_at_once(self._bound(account_id, database_id), statements)
        return None if done is None else _answers(*done)

    def _bound(self, account_id: str, database_id: str) -> Database:
        database = self._registry.get(account_id, database_id)
        if database is None:
            raise BindingRefused(404, f"The database {database_id} could not be found")
        return database

    async def query(self, database: Database, statements: Sequence[Statement]) -> tuple[list[Result], str]:
        """
        Run *statements* in one transaction.

        Returns:
            A result for each single statement, and the bookmark of the state they left.

        Raises:
            StatementFailed: One of them failed; nothing was changed.
        """
        done = self._run_at_once(database, statements)
        if done is None:
            done = await self._run(database, statements)
        else:
            # Whoever asks without end must let others have their turn.
            await asyncio.sleep(0)
        groups, now_at = done
        return [result for group in groups for result in group], now_at

    def _run_at_once(self, database: Database, statements: Sequence[Statement]) -> _Ran | None:
        opened = self.opened(database)
        opened.raise_if_busy()
        began = time.perf_counter()
        try:
            read = opened.read_at_once(statements)
        except StatementFailed as error:
            self._count_refused(database, statements, error, time.perf_counter() - began)
            raise
        if read is None:
            return None
        groups, commit = read
        return self._finished(database, groups, commit, time.perf_counter() - began)

    async def _run(self, database: Database, statements: Sequence[Statement]) -> _Ran:
        opened = self.opened(database)
        opened.raise_if_busy()
        began = time.perf_counter()
        try:
            groups, commit = await opened.call(lambda: (opened.engine.run(statements), opened.history.newest))
        except StatementFailed as error:
            self._count_refused(database, statements, error, time.perf_counter() - began)
            raise
        opened.rotate_if_long()
        return self._finished(database, groups, commit, time.perf_counter() - began)

    def _finished(self, database: Database, groups: list[list[Result]], commit: Commit, seconds: float) -> _Ran:
        if self.recorder is not None:
            self._count(self.recorder, database, groups, seconds)
        for group in groups:
            for result in group:
                result.meta.update(self.served(database, result.meta["duration"]))
        return groups, write_bookmark(commit, database.key)

    def _count(
        self, recorder: Recorder, database: Database, groups: Sequence[Sequence[Result]], seconds: float
    ) -> None:
        results = [result for group in groups for result in group]
        recorder.database_call(
            database.account_id,
            database.uuid,
            database.region,
            [
                (
                    result.sql,
                    result.meta["duration"],
                    result.meta["rows_read"],
                    result.meta["rows_written"],
                    len(result.rows),
                    result.meta["changed_db"],
                )
                for result in results
            ],
            seconds=seconds,
            response_bytes=sum(_bytes_of(result) for result in results),
        )

    def _count_refused(
        self, database: Database, statements: Sequence[Statement], error: StatementFailed, seconds: float
    ) -> None:
        if self.recorder is not None and statements:
            figures = (statements[0].sql, seconds * 1000, 0, 0, 0, False)
            self.recorder.database_call(
                database.account_id,
                database.uuid,
                database.region,
                [figures],
                seconds=seconds,
                response_bytes=0,
                error=error.message,
            )

    def count_import(self, database: Database, meta: Mapping[str, Any], seconds: float) -> None:
        """Count an imported file as one query without a text: what it read and wrote is in *meta*."""
        if self.recorder is not None:
            figures = ("", meta["duration"], meta["rows_read"], meta["rows_written"], 0, True)
            self.recorder.database_call(
                database.account_id, database.uuid, database.region, [figures], seconds=seconds, response_bytes=0
            )

    async def sizes(self) -> list[Size]:
        """Return how large each database is now."""
        now_ms = self.now_ms()
        return [
            Size(database.account_id, now_ms, "d1", database.uuid, self.size(database))
            for database in self._registry.every()
        ]

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

    def served(self, database: Database, duration: float) -> dict[str, Any]:
        """Return what the meta of a result says about where it ran."""
        return {
            "served_by": "clodo",
            "served_by_region": database.region,
            "served_by_colo": COLO,
            "served_by_primary": True,
            "timings": {"sql_duration_ms": duration},
        }

    def opened(self, database: Database) -> OpenDatabase:
        """
        Return the open database, opened if need be; the ones used longest ago are closed in its favour.

        Raises:
            ApiError: 404: it was deleted meanwhile.
        """
        if not self.exists(database.account_id, database.uuid):
            raise ApiError(404, NOT_FOUND, f"The database {database.uuid} could not be found")
        opened = self._open.get(database.uuid)
        if opened is None:
            self._close_idle()
            opened = self._open[database.uuid] = OpenDatabase(
                self.folder(database),
                self.limits,
                self.now_ms,
                lambda tables: self._registry.update(database.uuid, num_tables=tables),
                after=self._closing.pop(database.uuid, None),
            )
        else:
            self._open.move_to_end(database.uuid)
        return opened

    def _close_idle(self) -> None:
        self._closing = {name: closed for name, closed in self._closing.items() if not closed.is_set()}
        for name in list(self._open):
            if len(self._open) < self.limits.open_databases:
                return
            if self._open[name].is_idle:
                self._closing[name] = self._open.pop(name).close_soon()

    async def close(self) -> None:
        """Finish what runs and close every database."""
        opened, self._open = list(self._open.values()), OrderedDict()
        await asyncio.gather(*(database.close() for database in opened))
        for closing in self._closing.values():
            await asyncio.to_thread(closing.wait)
        self._registry.close()

    def _sweep(self) -> None:
        known = self._registry.ids()
        for path in self.directory.iterdir():
            if path.is_dir() and path.name not in known:
                shutil.rmtree(path)


def _answers(groups: list[list[Result]], now_at: str) -> Answers:
    # Of a text with several statements a binding gets the last one's result.
    results = [group[-1] for group in groups]
    return Answers(
        [
            {"success": True, "results": {"columns": result.columns, "rows": result.rows}, "meta": result.meta}
            for result in results
        ],
        now_at,
    )


def _bytes_of(result: Result) -> int:
    """Return about how many bytes a result is as JSON, from its first rows: it is not written twice to know exactly."""
    sample = result.rows[:_SAMPLED_ROWS]
    if not sample:
        return 2
    cells = sum(len(value) if isinstance(value, (str, bytes)) else 8 for row in sample for value in row)
    return round((cells / len(sample) + 2 + sum(len(column) + 4 for column in result.columns)) * len(result.rows))


def timestamp(at_ms: int) -> str:
    """Write a time as D1 does: UTC, ISO 8601, milliseconds."""
    seconds, milliseconds = divmod(at_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03d}Z"
