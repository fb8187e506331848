"""D1 databases: find, make, query, export, import, and travel in time."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.errors import (
    AmbiguousName,
    ApiRefused,
    BadUsage,
    CloudflareUnavailable,
    DatabaseNotFound,
    OutcomeUnknown,
    TryLater,
)

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api

Value = str | int | float | bool | None

DATABASES_PER_PAGE = 100
NO_SUCH_DATABASE = frozenset({7404})
POLL_SECONDS = 0.25
LONGEST_POLL_SECONDS = 5.0
DEFAULT_TRANSFER_PATIENCE = timedelta(minutes=30)


class ReadReplication(Model):
    """Whether a database has read replicas: auto or disabled."""

    mode: str | None = None


class Database(Model):
    """
    A D1 database.

    Attributes:
        uuid: Its id.

        file_size: Bytes; lists lack it.

        version: ``production`` for those with Time Travel, ``alpha`` for those without.
    """

    uuid: str
    name: str
    created_at: datetime | None = None
    file_size: int | None = None
    jurisdiction: str | None = None
    num_tables: int | None = None
    read_replication: ReadReplication | None = None
    version: str | None = None


class QueryMeta(Model):
    """What a statement cost: *duration* in milliseconds, sizes in bytes."""

    changed_db: bool | None = None
    changes: int | None = None
    duration: float | None = None
    last_row_id: int | None = None
    rows_read: int | None = None
    rows_written: int | None = None
    served_by_region: str | None = None
    size_after: int | None = None


class QueryResult(Model):
    """The outcome of one statement; *results* has a dict of column to value per row."""

    results: list[dict[str, Any]] = Field(default_factory=list)
    success: bool = True
    meta: QueryMeta = QueryMeta()


class RawRows(Model):
    """Rows as lists, so that columns of the same name are kept apart."""

    columns: list[str] = Field(default_factory=list)
    rows: list[list[Any]] = Field(default_factory=list)


class RawResult(Model):
    """The outcome of one statement, rows as lists."""

    results: RawRows = RawRows()
    success: bool = True
    meta: QueryMeta = QueryMeta()


class ExportedFile(Model):
    """Where an export lies: *signed_url* needs no token and expires within the hour."""

    filename: str | None = None
    signed_url: str | None = None


class Export(Model):
    """A step of an export; *status* is None while it runs, then complete or error."""

    at_bookmark: str | None = None
    error: str | None = None
    messages: list[str] | None = None
    result: ExportedFile | None = None
    status: str | None = None
    success: bool | None = None


class ImportedFile(Model):
    """What an import did."""

    final_bookmark: str | None = None
    meta: QueryMeta | None = None
    num_queries: int | None = None


class Import(Model):
    """A step of an import; *status* is None while it runs, then complete or error."""

    at_bookmark: str | None = None
    error: str | None = None
    filename: str | None = None
    messages: list[str] | None = None
    result: ImportedFile | None = None
    status: str | None = None
    success: bool | None = None
    upload_url: str | None = None


class Bookmark(Model):
    """A moment in the life of a database."""

    bookmark: str


class Restored(Model):
    """
    What a Time Travel restore did.

    Attributes:
        bookmark: Where the database is now.

        previous_bookmark: Where it was right before; restoring it undoes the restore.
    """

    bookmark: str
    previous_bookmark: str
    message: str | None = None


AnyResult = TypeVar("AnyResult", QueryResult, RawResult)
AnyTransfer = TypeVar("AnyTransfer", Export, Import)


def database_missing(database_id: str) -> Missing:
    """Say how Cloudflare says that the account has no such database."""
    return Missing(DatabaseNotFound, f"The account has no D1 database {database_id}", codes=NO_SUCH_DATABASE)


class D1:
    """Work with the D1 databases of the account."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(self, *, name: str | None = None) -> Iterator[Database]:
        """
        Yield databases, all pages of them, a page at a time.

        Args:
            name: Only those that Cloudflare's search finds for it, which may be more than the one of that name.

        Source: https://developers.cloudflare.com/api/resources/d1/subresources/database/methods/list/
        """
        path = self._api.account_path("/d1/database")
        return self._api.pages(path, Database.model_validate, {"name": name}, per_page=DATABASES_PER_PAGE)

    def find(self, name: str) -> Database | None:
        """
        Return the database of exactly this name, or None.

        Raises:
            AmbiguousName: More than one has it.
        """
        found = [database for database in self.list(name=name) if database.name == name]
        if len(found) > 1:
            ids = ", ".join(database.uuid for database in found)
            raise AmbiguousName(f"More than one D1 database is called {name}: {ids}", hint="Use the id in the config.")
        return found[0] if found else None

    def get_by_name(self, name: str) -> Database:
        """
        Return the database of exactly this name; one whose name only contains it is another one.

        Raises:
            DatabaseNotFound: None has it.
            AmbiguousName: More than one has it.
        """
        found = self.find(name)
        if found is None:
            raise DatabaseNotFound(f"The account {self._api.account_id} has no D1 database called {name}")
        return found

    def get(self, database_id: str) -> Database:
        """
        Return one database with its size.

        Raises:
            DatabaseNotFound: The account has no such database.
        """
        return self._api.get(self._path(database_id), Database.model_validate, missing=database_missing(database_id))

    def create(self, name: str, *, location: str | None = None, jurisdiction: str | None = None) -> Database:
        """
        Make a database.

        After an unknown outcome the list is looked at first.

        Args:
            location: Where its primary should be: wnam, enam, weur, eeur, apac, oc.

            jurisdiction: eu or fedramp; goes before *location*.

        Raises:
            ApiRefused: The name is taken (code 7502), or the account has too many (7406).

        Source: https://developers.cloudflare.com/api/resources/d1/subresources/database/methods/create/
        """
        given = {"name": name, "primary_location_hint": location, "jurisdiction": jurisdiction}
        return self._api.post(
            self._api.account_path("/d1/database"),
            Database.model_validate,
            json={key: value for key, value in given.items() if value},
            look=lambda: self.find(name),
        )

    def delete(self, database_id: str) -> None:
        """
        Delete a database with all that is in it.

        Raises:
            DatabaseNotFound: The account has no such database.
        """
        self._api.delete(self._path(database_id), missing=database_missing(database_id))

    def query(
        self,
        database_id: str,
        sql: str,
        params: Sequence[Value] = (),
        *,
        only_reads: bool = False,
        look: Callable[[], builtins.list[QueryResult] | None] | None = None,
    ) -> builtins.list[QueryResult]:
        """
        Run SQL in one transaction: all of its statements, or none.

        Args:
            database_id: UUID, not the name.

            sql: One or several statements; placeholders are ``?``.

            params: One value per placeholder; only for a single statement.

            only_reads: It changes nothing, so it needs no lock and may be repeated.

            look: Says, after an unknown outcome, whether it was run: its results, or None if it wasn't.

        Returns:
            One result per statement, in order.

        Raises:
            ApiRefused: The SQL is wrong (code 7500); the message is SQLite's.
            DatabaseNotFound: The account has no such database.
            OutcomeUnknown: It was sent, no answer came, and there is no *look*.

        Source: https://developers.cloudflare.com/api/resources/d1/subresources/database/methods/query/
        """
        return self._run("query", QueryResult, database_id, sql, params, only_reads=only_reads, look=look)

    def raw(
        self,
        database_id: str,
        sql: str,
        params: Sequence[Value] = (),
        *,
        only_reads: bool = False,
        look: Callable[[], builtins.list[RawResult] | None] | None = None,
    ) -> builtins.list[RawResult]:
        """
        Run SQL like `query`, but return rows as lists and columns apart.

        Raises:
            ApiRefused: The SQL is wrong (code 7500); the message is SQLite's.
            DatabaseNotFound: The account has no such database.
            OutcomeUnknown: It was sent, no answer came, and there is no *look*.
        """
        return self._run("raw", RawResult, database_id, sql, params, only_reads=only_reads, look=look)

    def export(
        self,
        database_id: str,
        *,
        schema: bool = True,
        data: bool = True,
        tables: Sequence[str] = (),
        patience: timedelta = DEFAULT_TRANSFER_PATIENCE,
    ) -> Export:
        """
        Make an SQL dump and wait until it is ready; the database answers no queries meanwhile.

        Args:
            schema: With CREATE statements.

            data: With INSERT statements.

            tables: Only these; empty for all.

        Returns:
            A finished export, to be read with `download`.

        Raises:
            ApiRefused: Cloudflare can't export this database (virtual tables, for one).
            CloudflareUnavailable: It was not ready in time.
            DatabaseNotFound: The account has no such database.

        Source: https://developers.cloudflare.com/api/resources/d1/subresources/database/methods/export/
        """
        path = self._path(database_id, "/export")
        body: dict[str, object] = {
            "output_format": "polling",
            "dump_options": {"no_schema": not schema, "no_data": not data, "tables": list(tables)},
        }

        def step(bookmark: str | None) -> Export:
            return self._api.post(
                path,
                Export.model_validate,
                json=body | ({"current_bookmark": bookmark} if bookmark else {}),
                missing=database_missing(database_id),
                only_reads=True,
            )

        finished = self._poll(step, step(None), f"The export of {database_id}", patience)
        if finished.result is None or not finished.result.signed_url:
            raise CloudflareUnavailable(f"The export of {database_id} is complete, but Cloudflare names no file")
        return finished

    def download(self, export: Export, target: Path) -> int:
        """
        Write a finished export into the file *target*, which is either whole or not there.

        Returns:
            Its size in bytes.

        Raises:
            CloudflareUnavailable: It could not be read.
        """
        if export.result is None or not export.result.signed_url:
            raise BadUsage("This export is not finished: it has no file to download")
        return self._api.download(export.result.signed_url, target)

    def import_sql(self, database_id: str, source: Path, *, patience: timedelta = DEFAULT_TRANSFER_PATIENCE) -> Import:
        """
        Run an SQL file, whole or not at all; the database answers no queries meanwhile.

        Raises:
            ApiRefused: A statement failed; the message is SQLite's.
            DatabaseNotFound: The account has no such database.
            OutcomeUnknown: Cloudflare gave no answer when it was to begin, or none within *patience*.

        Source: https://developers.cloudflare.com/api/resources/d1/subresources/database/methods/import/
        """
        with source.open("rb") as file:
            etag = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        missing = database_missing(database_id)
        path = self._path(database_id, "/import")
        # Only "ingest" changes the database; "init" gives a place for the file, or says that it is there already.
        begun = self._api.post(
            path, Import.model_validate, json={"action": "init", "etag": etag}, missing=missing, safe_to_repeat=True
        )
        if begun.upload_url:
            stored = self._api.upload(begun.upload_url, source).strip('"')
            if stored != etag:
                raise CloudflareUnavailable(
                    f"{source.name} arrived damaged: its MD5 is {etag}, Cloudflare's is {stored or 'missing'}"
                )
            begun = self._api.post(
                path,
                Import.model_validate,
                json={"action": "ingest", "etag": etag, "filename": begun.filename},
                missing=missing,
            )

        def step(bookmark: str | None) -> Import:
            body = {"action": "poll", "current_bookmark": bookmark}
            return self._api.post(path, Import.model_validate, json=body, missing=missing, only_reads=True)

        try:
            return self._poll(step, begun, f"The import of {source.name} into {database_id}", patience)
        except TryLater as error:
            raise OutcomeUnknown(f"{error.message}; it may still end well", hint=error.hint) from error

    def bookmark(self, database_id: str, at: datetime | None = None) -> str:
        """
        Return the bookmark of now, or of the moment *at* within the last 30 days.

        Raises:
            ApiRefused: The moment is out of reach.
            DatabaseNotFound: The account has no such database.

        Source: https://developers.cloudflare.com/d1/reference/time-travel/
        """
        return self._api.get(
            self._path(database_id, "/time_travel/bookmark"),
            Bookmark.model_validate,
            params={"timestamp": at.astimezone(UTC).isoformat().replace("+00:00", "Z")} if at else None,
            missing=database_missing(database_id),
        ).bookmark

    def restore(self, database_id: str, bookmark: str) -> Restored:
        """
        Take the database back to a bookmark, in place: writes made since are gone.

        Never repeated by itself: a second restore would forget where the first one came from.

        Raises:
            ApiRefused: The bookmark is out of reach.
            DatabaseNotFound: The account has no such database.
            OutcomeUnknown: It was sent and no answer came.
        """
        return self._api.post(
            self._path(database_id, "/time_travel/restore"),
            Restored.model_validate,
            params={"bookmark": bookmark},
            missing=database_missing(database_id),
        )

    def _run(
        self,
        verb: str,
        kind: type[AnyResult],
        database_id: str,
        sql: str,
        params: Sequence[Value],
        *,
        only_reads: bool,
        look: Callable[[], builtins.list[AnyResult] | None] | None,
    ) -> builtins.list[AnyResult]:
        path = self._path(database_id, f"/{verb}")
        results = self._api.post(
            path,
            lambda found: [kind.model_validate(item) for item in found],
            json={"sql": sql} | ({"params": list(params)} if params else {}),
            missing=database_missing(database_id),
            only_reads=only_reads,
            look=look,
        )
        for number, result in enumerate(results, start=1):
            if not result.success:
                raise ApiRefused(
                    f"Statement {number} of {len(results)} failed in the database {database_id}", status=200
                )
        return results

    def _poll(
        self, step: Callable[[str | None], AnyTransfer], begun: AnyTransfer, what: str, patience: timedelta
    ) -> AnyTransfer:
        clock = self._api.clock
        gives_up_at = clock.monotonic() + patience.total_seconds()
        pause = POLL_SECONDS
        state = begun
        while state.status not in ("complete", "error"):
            if state.success is False and state.error:
                break
            if clock.monotonic() + pause > gives_up_at:
                raise CloudflareUnavailable(f"{what} was not finished after {patience.total_seconds():.0f} s")
            clock.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL_SECONDS)
            state = step(state.at_bookmark)
        if state.status != "complete":
            raise ApiRefused(f"{what} failed: {state.error or '; '.join(state.messages or ()) or 'no reason given'}")
        return state

    def _path(self, database_id: str, rest: str = "") -> str:
        return self._api.account_path("/d1/database/{}", database_id) + rest
