"""Exports to SQL text and imports from it: jobs that block the database, are polled, and hand files over by link."""

from __future__ import annotations

import asyncio
import codecs
import hashlib
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import apsw
import structlog

from clodo.emulator.d1.engine import Engine
from clodo.emulator.d1.history import write_bookmark
from clodo.emulator.d1.opened import OpenDatabase
from clodo.emulator.d1.registry import BAD_REQUEST, SQL_FAILED, Database
from clodo.emulator.d1.sql import split_stream
from clodo.emulator.d1.store import Databases
from clodo.emulator.envelope import ApiError
from clodo.emulator.runtime.ports import Statement, StatementFailed

logger = structlog.get_logger(__name__)

#: D1's words; users meet them in https://github.com/cloudflare/workers-sdk/issues/9519 and others.
NO_VIRTUAL_TABLES = "D1 Export error: cannot export databases with Virtual Tables (fts5)"
NOT_POLLED = "Cancelled due to no poll() received"
NOT_IMPORTING = "Not currently importing anything."

_PIECE_BYTES = 256 * 1024


class NotPolled(StatementFailed):
    """Nobody asked how far it was: the database is given back to everyone else."""


@dataclass(frozen=True, slots=True)
class DumpOptions:
    """
    What an export holds.

    Attributes:
        tables: Names of the only tables to export; empty for all.
    """

    schema: bool = True
    data: bool = True
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A file that whoever has the link may fetch, or put there."""

    path: Path
    filename: str
    database_id: str
    etag: str
    expires_at: float


@dataclass(slots=True)
class Task:
    """A running export or import and what it has to say."""

    kind: str
    at_bookmark: str
    poll_within: float
    polled_at: float
    done: asyncio.Event
    status: str = "active"
    error: str | None = None
    result: dict[str, Any] | None = None
    messages: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def raise_if_unwatched(self) -> None:
        """
        End the task when it was cancelled, or nobody polls it any more.

        Raises:
            NotPolled: With D1's words.
        """
        if self.cancelled.is_set() or time.monotonic() - self.polled_at > self.poll_within:
            raise NotPolled(NOT_POLLED)

    def as_json(self) -> dict[str, Any]:
        """Return the answer to a poll; messages are told once."""
        messages, self.messages = self.messages, []
        answer: dict[str, Any] = {
            "success": True,
            "type": self.kind,
            "at_bookmark": self.at_bookmark,
            "status": self.status,
            "messages": messages,
        }
        if self.error is not None:
            # wrangler reads `error` of an export and `errors` of an import.
            answer.update(error=self.error, errors=[self.error])
        if self.result is not None:
            answer["result"] = self.result
        return answer


class Transfers:
    """The exports and imports of all databases."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._limits = databases.limits
        self._directory = databases.directory / "transfers"
        self._directory.mkdir(exist_ok=True, mode=0o700)
        self._tasks: dict[tuple[str, str, str], Task] = {}
        self._links: dict[str, Link] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Cancel what runs and wait for its end."""
        for task in self._tasks.values():
            task.cancelled.set()
        await asyncio.gather(*self._running)

    async def drop(self, database_id: str) -> None:
        """Cancel what runs for a database that is about to be deleted."""
        for key in [key for key in self._tasks if key[0] == database_id]:
            task = self._tasks.pop(key)
            task.cancelled.set()
            await task.done.wait()
        for token in [token for token, link in self._links.items() if link.database_id == database_id]:
            self._links.pop(token).path.unlink(missing_ok=True)

    # --- exports ------------------------------------------------------------------------------------------------------

    async def export(
        self, database: Database, options: DumpOptions, *, bookmark: str | None, base_url: str
    ) -> dict[str, Any]:
        """
        Begin an export, or say how far it is.

        Args:
            bookmark: The ``at_bookmark`` of the export to poll; None to begin one.

            base_url: What links begin with, as the client reaches us.

        Raises:
            ApiError: Another one runs, or there is none at that bookmark.
        """
        if bookmark is not None:
            task = self._tasks.get((database.uuid, "export", bookmark))
            if task is None:
                raise ApiError(400, SQL_FAILED, "Not currently exporting anything.")
        else:
            opened = self._databases.opened(database)
            if opened.busy == "export":
                raise ApiError(
                    400,
                    SQL_FAILED,
                    "Currently processing a long-running export."
                    " Cannot start a new export until that completes or times out.",
                )
            task = await self._begin("export", database, opened)
            self._start(task, opened, self._run_export(task, database, opened, options, base_url))
        return await self._poll(task)

    async def _run_export(
        self, task: Task, database: Database, opened: OpenDatabase, options: DumpOptions, base_url: str
    ) -> None:
        filename = f"{database.uuid}-{task.at_bookmark}.sql"
        token = secrets.token_hex(32)
        path = self._directory / token
        not_before = time.monotonic() + self._databases.export_pause.total_seconds()

        def write() -> None:
            with path.open("wb") as file:
                dump(opened.engine, file, options, task.raise_if_unwatched)
            while (left := not_before - time.monotonic()) > 0:
                task.cancelled.wait(min(left, 0.05))
                task.raise_if_unwatched()

        try:
            await opened.call(write)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._links[token] = Link(path, filename, database.uuid, "", self._expiry())
        task.messages += [f"Generating {filename}", "Uploaded part 1", "Finished uploading"]
        task.result = {"filename": filename, "signed_url": f"{base_url}/__d1/{token}/{filename}"}

    # --- imports ------------------------------------------------------------------------------------------------------

    async def begin_import(self, database: Database, etag: str, *, base_url: str) -> dict[str, Any]:
        """
        Say where to put the file; when it is already there, import it right away.

        Args:
            etag: MD5 of the file, in hexadecimal.
        """
        self._forget_expired()
        filename = f"{database.uuid}.{etag}.sql"
        if self._upload(database, etag) is not None:
            return await self.ingest(database, etag, filename)
        token = secrets.token_hex(32)
        self._links[token] = Link(self._directory / token, filename, database.uuid, etag, self._expiry())
        return {
            "success": True,
            "type": "import",
            "filename": filename,
            "upload_url": f"{base_url}/__d1/{token}/{filename}",
            "messages": [],
        }

    async def ingest(self, database: Database, etag: str, filename: str) -> dict[str, Any]:
        """
        Run an uploaded file, all of it or nothing.

        Raises:
            ApiError: No such file was uploaded, or the database is busy.
        """
        link = self._upload(database, etag)
        if link is None or link.filename != filename:
            raise ApiError(400, BAD_REQUEST, f"File {filename} with etag {etag} was not uploaded")
        opened = self._databases.opened(database)
        task = await self._begin("import", database, opened)
        self._start(task, opened, self._run_import(task, database, opened, link.path))
        return await self._poll(task)

    async def poll_import(self, database: Database, bookmark: str) -> dict[str, Any]:
        """Say how far the import is that began at a bookmark."""
        task = self._tasks.get((database.uuid, "import", bookmark))
        if task is None:
            return {"success": False, "type": "import", "error": NOT_IMPORTING, "messages": []}
        return await self._poll(task)

    async def _run_import(self, task: Task, database: Database, opened: OpenDatabase, path: Path) -> None:
        def read() -> tuple[int, dict[str, Any], str]:
            with path.open("rb") as file:
                count, meta = load(opened.engine, file, task.raise_if_unwatched)
            return count, meta, write_bookmark(opened.history.newest, database.key)

        began = time.perf_counter()
        count, meta, bookmark = await opened.call(read)
        self._databases.count_import(database, meta, time.perf_counter() - began)
        opened.rotate_if_long()
        meta.update(self._databases.served(database, meta["duration"]))
        task.messages.append(f"Processed {count} queries.")
        task.result = {"num_queries": count, "final_bookmark": bookmark, "meta": meta}

    # --- both ---------------------------------------------------------------------------------------------------------

    async def _begin(self, kind: str, database: Database, opened: OpenDatabase) -> Task:
        try:
            opened.raise_if_busy()
        except StatementFailed as error:
            raise ApiError(400, SQL_FAILED, error.message) from error
        opened.busy = kind
        try:
            commit = await opened.call(lambda: opened.history.newest)
        except BaseException:
            opened.busy = None
            raise
        task = Task(
            kind,
            write_bookmark(commit, database.key),
            self._limits.poll_within.total_seconds(),
            time.monotonic(),
            asyncio.Event(),
        )
        self._tasks[database.uuid, kind, task.at_bookmark] = task
        return task

    def _start(self, task: Task, opened: OpenDatabase, work: Any) -> None:
        async def run() -> None:
            try:
                await work
            except (StatementFailed, OSError, apsw.Error) as error:
                task.status, task.error = "error", str(error)
                logger.info("transfer failed", kind=task.kind, database=opened.folder.name, error=str(error))
            else:
                task.status = "complete"
            finally:
                opened.busy = None
                task.done.set()

        running = asyncio.create_task(run())
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _poll(self, task: Task) -> dict[str, Any]:
        """Wait a little for the end: clients ask again at once."""
        task.polled_at = time.monotonic()
        try:
            await asyncio.wait_for(task.done.wait(), self._limits.poll_wait.total_seconds())
        except TimeoutError:
            task.polled_at = time.monotonic()
        return task.as_json()

    # --- links --------------------------------------------------------------------------------------------------------

    def download(self, token: str) -> Link | None:
        """Return what a link leads to, None when it is wrong, has expired, or nothing is there."""
        self._forget_expired()
        link = self._links.get(token)
        return link if link is not None and link.path.exists() else None

    async def receive(self, token: str, pieces: AsyncIterator[bytes], *, announced: int | None = None) -> str | None:
        """
        Store an uploaded file.

        Args:
            announced: How many bytes are said to come.

        Returns:
            The MD5 of what came; None when the link is wrong or has expired.

        Raises:
            ApiError: It is not the file that was announced, or too large.
        """
        self._forget_expired()
        link = self._links.get(token)
        if link is None or not link.etag:
            return None
        self._raise_if_too_large(announced or 0)
        beside = link.path.with_suffix(f".{secrets.token_hex(8)}")
        digest = hashlib.md5(usedforsecurity=False)
        size = 0
        try:
            with beside.open("wb") as file:
                async for piece in pieces:
                    size += len(piece)
                    self._raise_if_too_large(size)
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != link.etag.lower():
                raise ApiError(400, BAD_REQUEST, "The MD5 of what was uploaded is not the etag that was announced")
            beside.replace(link.path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        return digest.hexdigest()

    def _raise_if_too_large(self, size: int) -> None:
        if size > self._limits.import_bytes:
            raise ApiError(413, BAD_REQUEST, f"File is larger than {self._limits.import_bytes} bytes")

    def _upload(self, database: Database, etag: str) -> Link | None:
        for link in self._links.values():
            if link.database_id == database.uuid and link.etag == etag and link.path.exists():
                return link
        return None

    def _expiry(self) -> float:
        return self._databases.now() + self._limits.link_duration.total_seconds()

    def _forget_expired(self) -> None:
        now = self._databases.now()
        for token in [token for token, link in self._links.items() if link.expires_at <= now]:
            self._links.pop(token).path.unlink(missing_ok=True)


# --- SQL text ---------------------------------------------------------------------------------------------------------


def dump(engine: Engine, file: BinaryIO, options: DumpOptions, look: Any) -> None:
    """
    Write a database as SQL text that an import takes.

    Tables come before all rows, and triggers last, so that it can be read back whatever refers to what.

    Args:
        look: Called now and then; raises to end it.

    Raises:
        StatementFailed: There is a virtual table among what is to be exported.
    """

    def line(text: str) -> None:
        file.write(text.encode("utf-8", "surrogatepass") + b"\n")

    with engine.transaction():
        tables: list[tuple[str, str]] = []
        has_sequences = False
        for name, sql in engine.rows(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql NOT NULL ORDER BY rowid"
        ):
            if name == "sqlite_sequence":
                has_sequences = True
            if name.startswith(("sqlite_", "_cf_")) or (options.tables and name not in options.tables):
                continue
            if sql.upper().startswith("CREATE VIRTUAL TABLE"):
                raise StatementFailed(NO_VIRTUAL_TABLES)
            tables.append((name, sql))
        line("PRAGMA defer_foreign_keys=TRUE;")
        if options.schema:
            for _, sql in tables:
                line(f"{sql};")
        if options.data:
            for name, _ in tables:
                _dump_rows(engine, file, name, look)
            if has_sequences:
                _dump_sequences(engine, line, options.tables)
        if options.schema:
            for kind in ("index", "view", "trigger"):
                sql = "SELECT tbl_name, sql FROM sqlite_schema WHERE type = ? AND sql NOT NULL ORDER BY rowid"
                for table, text in engine.rows(sql, (kind,)):
                    if not options.tables or table in options.tables:
                        line(f"{text};")


def _dump_rows(engine: Engine, file: BinaryIO, table: str, look: Any) -> None:
    columns = [
        name
        for name, hidden in engine.rows("SELECT name, hidden FROM pragma_table_xinfo(?)", (table,))
        if not hidden  # generated columns can't be inserted
    ]
    names = ", ".join(map(_quoted, columns))
    head = f"INSERT INTO {_quoted(table)} ({names}) VALUES("
    start = file.tell()
    try:
        rows = engine.rows(f"SELECT {names} FROM {_quoted(table)}")  # noqa: S608
        _write_rows(rows, file, head, apsw.format_sql_value, look)
    except UnicodeDecodeError:
        # A text that is no UTF-8: SQLite takes anything. Once more, with texts as bytes.
        file.seek(start)
        file.truncate()
        values = ", ".join(
            f"CASE typeof({name}) WHEN 'text' THEN 'CAST(x''' || hex({name}) || ''' AS TEXT)' ELSE quote({name}) END"
            for name in map(_quoted, columns)
        )
        rows = engine.rows(f"SELECT {values} FROM {_quoted(table)}")  # noqa: S608
        _write_rows(rows, file, head, str, look)


def _write_rows(rows: Iterator[tuple[Any, ...]], file: BinaryIO, head: str, form: Any, look: Any) -> None:
    for number, row in enumerate(rows):
        if number % 1000 == 0:
            look()
        file.write(f"{head}{','.join(map(form, row))});\n".encode("utf-8", "surrogatepass"))


def _dump_sequences(engine: Engine, line: Any, tables: Sequence[str]) -> None:
    if not tables:
        line("DELETE FROM sqlite_sequence;")
    for name, number in engine.rows("SELECT name, seq FROM sqlite_sequence"):
        if tables and name not in tables:
            continue
        value = apsw.format_sql_value(name)
        if tables:
            line(f"DELETE FROM sqlite_sequence WHERE name = {value};")  # noqa: S608
        sequence = apsw.format_sql_value(number)
        line(f'INSERT INTO "sqlite_sequence" ("name", "seq") VALUES({value},{sequence});')


def load(engine: Engine, file: BinaryIO, look: Any) -> tuple[int, dict[str, Any]]:
    """
    Run SQL text in one transaction, holding no more of it than one statement.

    Returns:
        How many statements ran, and their meta added up.

    Raises:
        StatementFailed: One of them failed; nothing was changed.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def pieces() -> Iterator[str]:
        while block := file.read(_PIECE_BYTES):
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)

    count = 0
    meta: dict[str, Any] = {
        "duration": 0.0,
        "changes": 0,
        "rows_read": 0,
        "rows_written": 0,
        "last_row_id": 0,
        "changed_db": False,
        "size_after": engine.size,
    }
    with engine.transaction():
        for sql in split_stream(pieces(), max_characters=engine.limits.statement_bytes):
            if count % 256 == 0:
                look()
            result = engine.execute(Statement(sql))
            count += 1
            for name in ("duration", "changes", "rows_read", "rows_written"):
                meta[name] += result.meta[name]
            meta["last_row_id"] = result.meta["last_row_id"]
            meta["changed_db"] = meta["changed_db"] or result.meta["changed_db"]
        meta["size_after"] = engine.size
    if not count:
        raise StatementFailed("No SQL statements detected.")
    return count, meta


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
