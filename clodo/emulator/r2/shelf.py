"""The one file that knows all buckets and objects, the thread that asks it, and the files it names."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from clodo.emulator.analytics.recorder import Recorder
from clodo.emulator.d1.jobs import JobThread
from clodo.emulator.r2.errors import full_disk_named
from clodo.emulator.r2.files import Files
from clodo.emulator.r2.records import Change, Segment

Answer = TypeVar("Answer")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets(
    number INTEGER PRIMARY KEY AUTOINCREMENT, account_id TEXT NOT NULL, name TEXT NOT NULL, jurisdiction TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE, created_on TEXT NOT NULL, location TEXT NOT NULL, storage_class TEXT NOT NULL,
    settings TEXT NOT NULL, UNIQUE(account_id, jurisdiction, name)
);
CREATE TABLE IF NOT EXISTS objects(
    bucket INTEGER NOT NULL, key BLOB NOT NULL, version TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    uploaded INTEGER NOT NULL, http TEXT NOT NULL, custom TEXT NOT NULL, checksums TEXT NOT NULL,
    storage_class TEXT NOT NULL, segments TEXT NOT NULL, key_md5 TEXT, PRIMARY KEY(bucket, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads(
    id TEXT PRIMARY KEY, bucket INTEGER NOT NULL, key BLOB NOT NULL, created INTEGER NOT NULL, http TEXT NOT NULL,
    custom TEXT NOT NULL, storage_class TEXT NOT NULL, key_md5 TEXT, algorithm TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uploads_of_bucket ON uploads(bucket, key, id);
CREATE TABLE IF NOT EXISTS parts(
    upload TEXT NOT NULL REFERENCES uploads(id) ON DELETE CASCADE, number INTEGER NOT NULL, etag TEXT NOT NULL,
    size INTEGER NOT NULL, uploaded INTEGER NOT NULL, segments TEXT NOT NULL, checksums TEXT,
    PRIMARY KEY(upload, number)
) WITHOUT ROWID;
"""


#: Folders of earlier versions have tables without them.
_LATER_COLUMNS = (("objects", "key_md5"), ("uploads", "key_md5"), ("uploads", "algorithm"), ("parts", "checksums"))


class Shelf:
    """
    ``r2.sqlite`` and the folder of object bytes beside it.

    Args:
        directory: Made when it is not there.

        now: Seconds since 1970.

    Attributes:
        connection: To be used inside of jobs only.
    """

    def __init__(self, directory: Path, *, now: Callable[[], float] = time.time) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = directory / "r2.sqlite"
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self.now = now
        #: Told about every operation, when somebody counts them.
        self.recorder: Recorder | None = None
        #: Told about every change of objects, when somebody listens.
        self.listener: Callable[[Sequence[Change]], Awaitable[None]] | None = None
        self.files = Files(directory / "files")
        self.connection = apsw.Connection(str(path), statementcachesize=100)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-16384"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.execute(_SCHEMA)
        for table, column in _LATER_COLUMNS:
            self._add_column(table, column)
        self.files.keep_only(self._named())
        self._readers: Counter[str] = Counter()
        self._doomed: set[str] = set()
        self._thread = JobThread("r2")

    async def close(self) -> None:
        """Finish what runs and close the file."""
        await self._thread.call(self.connection.close)
        self._thread.stop()

    async def call(self, job: Callable[[], Answer]) -> Answer:
        """
        Run *job* on the shelf's thread, in one transaction.

        Raises:
            R2Refused: The disk is full.
        """
        return await self.change(lambda: (job(), ()))

    async def change(self, job: Callable[[], tuple[Answer, Sequence[Segment]]]) -> Answer:
        """Run *job*, and once it is committed delete the files that it returns besides its answer."""

        def change() -> Answer:
            with full_disk_named(), self._transaction():
                answer, unused = job()
            self._drop(unused)
            return answer

        return await self._thread.call(change)

    async def announce(self, changes: Sequence[Change]) -> None:
        """Tell of changes that are committed."""
        if self.listener is not None and changes:
            await self.listener(changes)

    def hold(self, segments: Iterable[Segment]) -> None:
        """Keep files for a reader, inside of a job; `release` must follow."""
        self._readers.update(segment.file for segment in segments)

    def release(self, segments: Sequence[Segment]) -> None:
        """Let go of files; those deleted meanwhile are removed now."""
        self._thread.post(lambda: self._release(segments))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors, a full disk among them.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def _add_column(self, table: str, name: str) -> None:
        known = self.connection.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, name)).fetchone()
        if known is None:
            self.connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} TEXT")

    def _drop(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            if self._readers[segment.file]:
                self._doomed.add(segment.file)
            else:
                self.files.delete([segment])

    def _release(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            self._readers[segment.file] -= 1
            if self._readers[segment.file] <= 0:
                del self._readers[segment.file]
                if segment.file in self._doomed:
                    self._doomed.discard(segment.file)
                    self.files.delete([segment])

    def _named(self) -> set[str]:
        rows = self.connection.execute("SELECT segments FROM objects UNION ALL SELECT segments FROM parts")
        return {segment.file for (text,) in rows for segment in read_segments(text)}


def read_segments(text: str) -> tuple[Segment, ...]:
    """Return the segments that a row holds."""
    return tuple(Segment(file, size) for file, size in json.loads(text))


def as_json(value: Any) -> str:
    """Return *value* as rows hold it."""
    return json.dumps(value, separators=(",", ":"))


def end_of(prefix: bytes) -> bytes | None:
    """Return the first bytes after everything that begins with *prefix*; None if there are none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
