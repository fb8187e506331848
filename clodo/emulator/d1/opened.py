"""One database in use: its engine and its past, on a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import structlog

from clodo.emulator.d1.engine import Engine, OutOfTime, Result, is_plain_read
from clodo.emulator.d1.history import Commit, History, HistoryDamaged, Origin, Position
from clodo.emulator.d1.jobs import JobThread
from clodo.emulator.d1.limits import Limits
from clodo.emulator.runtime.ports import Statement, StatementFailed

logger = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

#: How long a read may keep everybody else waiting; what takes longer is left to the database's thread.
MOMENT = timedelta(milliseconds=2)
#: How long a database is then not tried at once again.
SLOW_SECONDS = 1.0


class DatabaseBusy(StatementFailed):
    """An export or an import has the database to itself."""


class OpenDatabase:
    """
    A database in use: its engine and its history, touched by one thread at a time.

    Args:
        folder: Of its files.

        now_ms: The clock.

        on_tables: Told how many tables there are whenever the schema has changed.

        after: Waited for before the files are opened: somebody else is about to close them.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        now_ms: Callable[[], int],
        on_tables: Callable[[int], None],
        *,
        after: threading.Event | None = None,
    ) -> None:
        self.folder = folder
        self.limits = limits
        self.now_ms = now_ms
        #: What keeps everyone else out: "export" or "import".
        self.busy: str | None = None
        self._on_tables = on_tables
        self._after = after
        self._thread = JobThread(f"d1-{folder.name}")
        self._rotating = False
        self._slow_until = 0.0
        self._history: History | None = None
        self._engine: Engine | None = None
        self.generation_bytes = limits.generation_bytes

    @property
    def engine(self) -> Engine:
        """The open database; only for jobs given to `call`."""
        if self._engine is None:
            self._open_engine()
        assert self._engine is not None
        return self._engine

    @property
    def history(self) -> History:
        """The database's past; only for jobs given to `call`."""
        if self._history is None:
            self._open_engine()
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

    def read_at_once(self, statements: Sequence[Statement]) -> tuple[list[list[Result]], Commit] | None:
        """
        Run a plain read here and now, and return its results and the state they are of.

        Returns:
            None when it must be queued: it isn't a plain read, others come first, or it takes longer than a moment.

        Raises:
            StatementFailed: SQLite, or D1's rules, refuse it.
        """
        if time.monotonic() < self._slow_until or not all(map(is_plain_read, statements)):
            return None
        with self._thread.borrowed() as is_free:
            if not is_free or self._engine is None or self._history is None:
                return None
            try:
                return self._engine.run(statements, patience=MOMENT), self._history.newest
            except OutOfTime:
                # Nothing was changed: the thread begins anew, and this database is known to be slow for a while.
                self._slow_until = time.monotonic() + SLOW_SECONDS
                return None

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

    def rotate_if_long(self) -> None:
        """Begin a new generation when the jobs before are done, if the write-ahead log has grown long."""
        history = self._history
        if history is not None and history.log_bytes > self.generation_bytes and not self._rotating:
            self._rotating = True
            self._thread.post(self._rotate)

    def _rotate(self) -> None:
        try:
            if self.history.log_bytes > self.generation_bytes:
                self.begin_generation(Origin.ROTATED, self.history.newest.position)
        except (OSError, HistoryDamaged) as error:
            # No space for a copy, most likely: go on with a longer log, and try again later.
            logger.warning("can't begin a new generation", database=self.folder.name, error=str(error))
            self.generation_bytes *= 2
        finally:
            self._rotating = False

    def _open_engine(self) -> None:
        if self._after is not None:
            self._after.wait()
            self._after = None
        if self._history is None:
            self._history = History(self.folder, replayed_generations=self.limits.replayed_generations)
        history = self._history
        engine = Engine(history.database, self.limits, on_commit=self._committed, on_schema_change=self._count_tables)
        try:
            history.reconcile(engine.frames, self.now_ms())
        except BaseException:
            engine.close()
            raise
        self._engine = engine
        # Copying the database must stay small beside writing the log.
        self.generation_bytes = max(self.limits.generation_bytes, engine.size // 2)

    def _committed(self, frames: int) -> None:
        assert self._history is not None
        self._history.committed(frames, self.now_ms())

    def _count_tables(self) -> None:
        self._on_tables(self.engine.tables())

    async def close(self) -> None:
        """Wait for what is queued, then close the files."""
        await self._thread.call(self._close)
        self._thread.stop()

    def close_soon(self) -> threading.Event:
        """Close the files when what is queued is done; return what tells when."""
        closed = threading.Event()

        def close() -> None:
            try:
                self._close()
            finally:
                closed.set()

        self._thread.post(close)
        self._thread.stop()
        return closed

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        if self._history is not None:
            self._history.close()
            self._history = None
