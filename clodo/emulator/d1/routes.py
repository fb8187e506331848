"""The D1 endpoints of the API, and the links that exports and imports hand out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from clodo.emulator.d1.engine import DiskFull, OutOfTime, Result
from clodo.emulator.d1.registry import BAD_REQUEST, OVERLOADED, SQL_FAILED, Database
from clodo.emulator.d1.store import REGIONS, Databases
from clodo.emulator.d1.transfers import DumpOptions, Transfers
from clodo.emulator.envelope import NO_SPACE_LEFT, ApiError, envelope, object_body, page_of
from clodo.emulator.runtime.ports import Statement, StatementFailed

#: The OpenAPI schema's pattern for names; upper case is let through as well, since existing databases have it.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
JURISDICTIONS = ("eu", "fedramp", "us")
REPLICATION_MODES = ("auto", "disabled")
ETAG = re.compile(r"[0-9a-fA-F]{32}")

DEFAULT_PER_PAGE = 100  # recorded
MAX_PER_PAGE = 10_000


def routes(databases: Databases, transfers: Transfers) -> list[Route]:
    """Return the endpoints, to be mounted under ``/accounts/{account_id}``."""

    def database_of(request: Request) -> Database:
        return databases.find(request.path_params["account_id"], unquote(request.path_params["database"]))

    async def list_databases(request: Request) -> Response:
        found = databases.all(request.path_params["account_id"], name=request.query_params.get("name"))
        page, result_info = page_of(
            found,
            request.query_params,
            default_per_page=DEFAULT_PER_PAGE,
            max_per_page=MAX_PER_PAGE,
            total_pages=False,
            bad_page=(BAD_REQUEST, "Invalid property: page"),
            bad_per_page=(BAD_REQUEST, "Invalid property: per_page"),
        )
        return envelope([_listed(databases, database) for database in page], result_info=result_info)

    async def create_database(request: Request) -> Response:
        body = await _body(request)
        name = _text(body, "name")
        if not NAME.fullmatch(name):
            raise _invalid("name", "Invalid")
        hint = _choice(body, "primary_location_hint", tuple(REGIONS))
        jurisdiction = _choice(body, "jurisdiction", JURISDICTIONS)
        mode = _replication(body) or "disabled"
        # Files are written and synced: that must not hold up the other requests.
        database = await asyncio.to_thread(
            databases.create,
            request.path_params["account_id"],
            name,
            location_hint=hint,
            jurisdiction=jurisdiction,
            replication=mode,
        )
        return envelope(_detailed(databases, database))

    async def get_database(request: Request) -> Response:
        database = _detailed(databases, database_of(request))
        fields = ",".join(request.query_params.getlist("fields"))
        if fields:
            database = {name: value for name, value in database.items() if name in fields.split(",")}
        return envelope(database)

    async def put_database(request: Request) -> Response:
        database = database_of(request)
        mode = _replication(await _body(request))
        if mode is None:
            raise _invalid("read_replication", "Required")
        return envelope(_detailed(databases, databases.set_replication(database, mode)))

    async def patch_database(request: Request) -> Response:
        database = database_of(request)
        mode = _replication(await _body(request))
        if mode is not None:
            database = databases.set_replication(database, mode)
        return envelope(_detailed(databases, database))

    async def delete_database(request: Request) -> Response:
        database = database_of(request)
        await transfers.drop(database.uuid)
        await databases.delete(database)
        return envelope(None)

    async def query(request: Request) -> Response:
        return envelope([_with_objects(result) for result in await answers(request)])

    async def raw(request: Request) -> Response:
        return envelope([_with_rows(result) for result in await answers(request)])

    async def answers(request: Request) -> list[Result]:
        database = database_of(request)
        statements = _statements(await _body(request))
        try:
            results, _ = await databases.query(database, statements)
        except StatementFailed as error:
            raise _refusal(error) from error
        return results

    async def get_bookmark(request: Request) -> Response:
        database = database_of(request)
        text = request.query_params.get("timestamp")
        return envelope({"bookmark": await databases.bookmark(database, None if text is None else _time(text))})

    async def restore(request: Request) -> Response:
        database = database_of(request)
        bookmark = request.query_params.get("bookmark")
        text = request.query_params.get("timestamp")
        if (bookmark is None) == (text is None):
            raise _invalid("bookmark", "exactly one of bookmark and timestamp is required")
        try:
            after, before = await databases.restore(
                database, bookmark=bookmark, at=None if text is None else _time(text)
            )
        except StatementFailed as error:
            raise _refusal(error) from error
        message = f"Database restored from {before} to {bookmark or text}. To undo, restore to the previous bookmark."
        return envelope({"bookmark": after, "previous_bookmark": before, "message": message})

    async def export(request: Request) -> Response:
        database = database_of(request)
        body = await _body(request)
        if body.get("output_format", "polling") != "polling":
            raise _invalid("output_format", "Invalid enum value. Expected 'polling'")
        bookmark = body.get("current_bookmark")
        if bookmark is not None and not isinstance(bookmark, str):
            raise _invalid("current_bookmark", "Expected string")
        answer = await transfers.export(
            database, _dump_options(body.get("dump_options")), bookmark=bookmark, base_url=_base_url(request)
        )
        return _progress(answer)

    async def import_(request: Request) -> Response:
        database = database_of(request)
        body = await _body(request)
        action = _choice(body, "action", ("init", "ingest", "poll"))
        if action is None:
            raise _invalid("action", "Required")
        if action == "poll":
            return _progress(await transfers.poll_import(database, _text(body, "current_bookmark")))
        etag = _text(body, "etag").strip('"').lower()
        if not ETAG.fullmatch(etag):
            raise _invalid("etag", "Invalid")
        if action == "init":
            return _progress(await transfers.begin_import(database, etag, base_url=_base_url(request)))
        return _progress(await transfers.ingest(database, etag, _text(body, "filename")))

    root = "/d1/database"
    one = f"{root}/{{database}}"
    return [
        Route(root, list_databases, methods=["GET"]),
        Route(root, create_database, methods=["POST"]),
        Route(one, get_database, methods=["GET"]),
        Route(one, put_database, methods=["PUT"]),
        Route(one, patch_database, methods=["PATCH"]),
        Route(one, delete_database, methods=["DELETE"]),
        Route(f"{one}/query", query, methods=["POST"]),
        Route(f"{one}/raw", raw, methods=["POST"]),
        Route(f"{one}/time_travel/bookmark", get_bookmark, methods=["GET"]),
        Route(f"{one}/time_travel/restore", restore, methods=["POST"]),
        Route(f"{one}/export", export, methods=["POST"]),
        Route(f"{one}/import", import_, methods=["POST"]),
    ]


def link_routes(transfers: Transfers) -> list[Route]:
    """Return the endpoints behind the links of exports and imports: at the server's root, without authorisation."""

    async def download(request: Request) -> Response:
        link = transfers.download(request.path_params["token"])
        if link is None or link.etag:
            return Response("The link is wrong or has expired.", status_code=403, media_type="text/plain")
        return FileResponse(link.path, media_type="application/sql", filename=link.filename)

    async def upload(request: Request) -> Response:
        announced = request.headers.get("content-length", "")
        size = int(announced) if announced.isascii() and announced.isdigit() else None
        digest = await transfers.receive(request.path_params["token"], request.stream(), announced=size)
        if digest is None:
            return Response("The link is wrong or has expired.", status_code=403, media_type="text/plain")
        return Response(status_code=200, headers={"etag": f'"{digest}"'})

    path = "/__d1/{token}/{filename}"
    return [Route(path, download, methods=["GET"]), Route(path, upload, methods=["PUT"])]


# --- what came in -----------------------------------------------------------------------------------------------------


def _invalid(name: str, problem: str) -> ApiError:
    """Refuse a body in D1's words: ``Invalid property: name => Required``."""
    return ApiError(400, BAD_REQUEST, f"Invalid property: {name} => {problem}")


async def _body(request: Request) -> dict[str, Any]:
    return await object_body(request, code=BAD_REQUEST, message="The request is malformed")


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        raise _invalid(name, "Required")
    if not isinstance(value, str):
        raise _invalid(name, f"Expected string, received {_kind(value)}")
    return value


def _choice(body: Mapping[str, Any], name: str, choices: Sequence[str]) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if value not in choices:
        expected = " | ".join(f"'{choice}'" for choice in choices)
        raise _invalid(name, f"Invalid enum value. Expected {expected}, received '{value}'")
    return str(value)


def _replication(body: Mapping[str, Any]) -> str | None:
    value = body.get("read_replication")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _invalid("read_replication", f"Expected object, received {_kind(value)}")
    mode = _choice(value, "mode", REPLICATION_MODES)
    if mode is None:
        raise _invalid("read_replication.mode", "Required")
    return mode


def _statements(body: Mapping[str, Any]) -> list[Statement]:
    batch = body.get("batch")
    if batch is None:
        return [_statement(body)]
    if not isinstance(batch, list):
        raise _invalid("batch", f"Expected array, received {_kind(batch)}")
    if not batch:
        raise _invalid("batch", "Array must contain at least 1 element(s)")
    for item in batch:
        if not isinstance(item, dict):
            raise _invalid("batch", f"Expected object, received {_kind(item)}")
    return [_statement(item) for item in batch]


def _statement(body: Mapping[str, Any]) -> Statement:
    params = body.get("params")
    if params is None:
        params = []
    if not isinstance(params, list):
        raise _invalid("params", f"Expected array, received {_kind(params)}")
    return Statement(_text(body, "sql"), params)


def _dump_options(value: Any) -> DumpOptions:
    if value is None:
        return DumpOptions()
    if not isinstance(value, dict):
        raise _invalid("dump_options", f"Expected object, received {_kind(value)}")
    tables = value.get("tables") or []
    if not isinstance(tables, list) or not all(isinstance(table, str) for table in tables):
        raise _invalid("dump_options.tables", "Expected array of strings")
    options = DumpOptions(
        schema=not value.get("no_schema", False), data=not value.get("no_data", False), tables=tuple(tables)
    )
    if not (options.schema or options.data):
        raise _invalid("dump_options", "no_schema and no_data leave nothing to export")
    return options


def _time(text: str) -> datetime:
    """Read ISO 8601 or Unix seconds; a time without a zone is UTC."""
    try:
        if re.fullmatch(r"\d{1,11}(\.\d+)?", text):
            return datetime.fromtimestamp(float(text), UTC)
        # An unescaped "+" of an offset arrives as a blank.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except (ValueError, OverflowError) as error:
        raise _invalid("timestamp", f"Invalid ISO 8601 timestamp: {text[:60]}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _kind(value: object) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return kinds.get(type(value), "null")


def _base_url(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


# --- what goes out ----------------------------------------------------------------------------------------------------


def _refusal(error: StatementFailed) -> ApiError:
    if isinstance(error, DiskFull):
        return ApiError(507, NO_SPACE_LEFT, error.message)
    if isinstance(error, OutOfTime):
        # Met by users of the real API: "D1 DB exceeded its CPU time limit and was reset. [code: 7429]".
        return ApiError(429, OVERLOADED, error.message, result=[])
    return ApiError(400, SQL_FAILED, error.message, result=[])


def _progress(answer: Mapping[str, Any]) -> Response:
    return envelope(answer, status=202 if answer.get("status") == "active" else 200)


def _listed(databases: Databases, database: Database) -> dict[str, Any]:
    listed: dict[str, Any] = {
        "uuid": database.uuid,
        "name": database.name,
        "version": "production",
        "created_at": database.created_at,
        "num_tables": database.num_tables,
        "file_size": databases.size(database),
    }
    if database.jurisdiction is not None:
        listed["jurisdiction"] = database.jurisdiction
    return listed


def _detailed(databases: Databases, database: Database) -> dict[str, Any]:
    return {
        **_listed(databases, database),
        "jurisdiction": database.jurisdiction,
        "running_in_region": database.region,
        "read_replication": {"mode": database.replication},
    }


def _with_objects(result: Result) -> dict[str, Any]:
    rows = [dict(zip(result.columns, map(_json_value, row), strict=True)) for row in result.rows]
    return {"results": rows, "success": True, "meta": result.meta}


def _with_rows(result: Result) -> dict[str, Any]:
    rows = [list(map(_json_value, row)) for row in result.rows]
    return {"results": {"columns": list(result.columns), "rows": rows}, "success": True, "meta": result.meta}


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)  # JavaScript writes 1.0 as 1
    return value
