"""``dns_records`` of a zone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.clock import now
from clodo.emulator.database import Database, Row
from clodo.emulator.dns.filters import select
from clodo.emulator.dns.limits import (
    BATCH_TOO_LARGE,
    IDENTICAL_EXISTS,
    INVALID_CONTENT,
    MAX_BATCH_CHANGES,
    MAX_RECORDS,
    NO_SUCH_RECORD,
    refusal,
)
from clodo.emulator.dns.records import Record
from clodo.emulator.dns.store import Records, StoredRecord
from clodo.emulator.dns.zone_file import read, write
from clodo.emulator.envelope import ApiError, envelope, object_body, page_of, read_body
from clodo.emulator.zones.routes import name_servers, zone_of
from clodo.emulator.zones.store import Zones

MAX_ZONE_FILE_BYTES = 10 * 1024 * 1024
MAX_PER_PAGE = 5_000_000


def routes(database: Database, zones: Zones, records: Records) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    async def list_records(request: Request) -> Response:
        zone, query = zone_of(request, zones), request.query_params
        chosen = select(records.all(zone), query)
        page, info = page_of(chosen, query, default_per_page=100, max_per_page=MAX_PER_PAGE)
        return envelope([known.as_json() for known in page], result_info=info)

    async def create(request: Request) -> Response:
        zone = zone_of(request, zones)
        body = await object_body(request)
        with database.transaction():
            return envelope(records.add(zone, Record.from_json(body, zone["name"])).as_json())

    async def usage(request: Request) -> Response:
        count = len(records.all(zone_of(request, zones)))
        return envelope({"record_quota": MAX_RECORDS, "record_usage": count})

    async def get(request: Request) -> Response:
        return envelope(records.get(zone_of(request, zones), request.path_params["record_id"]).as_json())

    async def put(request: Request) -> Response:
        zone, record_id = zone_of(request, zones), request.path_params["record_id"]
        records.get(zone, record_id)
        body = await object_body(request)
        with database.transaction():
            return envelope(records.replace(zone, record_id, Record.from_json(body, zone["name"])).as_json())

    async def patch(request: Request) -> Response:
        zone, record_id = zone_of(request, zones), request.path_params["record_id"]
        body = await object_body(request)
        with database.transaction():
            return envelope(_patched(zone, record_id, body).as_json())

    async def delete(request: Request) -> Response:
        known = records.delete(zone_of(request, zones), request.path_params["record_id"])
        return envelope({"id": known.id})

    async def batch(request: Request) -> Response:
        zone = zone_of(request, zones)
        body = await object_body(request)
        deletes, patches, puts, posts = (_changes(body, key) for key in ("deletes", "patches", "puts", "posts"))
        if len(deletes) + len(patches) + len(puts) + len(posts) > MAX_BATCH_CHANGES:
            raise refusal(*BATCH_TOO_LARGE)
        # In this order, and all or nothing: https://developers.cloudflare.com/dns/manage-dns-records/how-to/batch-record-changes/
        with database.transaction():
            done = {
                "deletes": [records.delete(zone, _id(change)).as_json() for change in deletes],
                "patches": [_patched(zone, _id(change), change).as_json() for change in patches],
                "puts": [
                    records.replace(zone, _id(change), Record.from_json(change, zone["name"])).as_json()
                    for change in puts
                ],
                "posts": [records.add(zone, Record.from_json(change, zone["name"])).as_json() for change in posts],
            }
        return envelope({key: made if made or body.get(key) is not None else None for key, made in done.items()})

    async def export(request: Request) -> Response:
        zone = zone_of(request, zones)
        text = write(zone["name"], name_servers(zone), records.all(zone), moment=now())
        return Response(text, media_type="text/plain")

    async def import_records(request: Request) -> Response:
        zone = zone_of(request, zones)
        text, proxied = await _zone_file(request)
        parsed = read(text, zone["name"])
        added = 0
        with database.transaction():
            for body in parsed:
                if proxied and body["type"] in ("A", "AAAA", "CNAME"):
                    body["proxied"] = True
                added += _added(zone, body)
        return envelope({"recs_added": added, "total_records_parsed": len(parsed)})

    def _patched(zone: Row, record_id: str, changes: Mapping[str, Any]) -> StoredRecord:
        known = records.get(zone, record_id)
        return records.replace(zone, record_id, Record.from_json(_merged(known, changes), zone["name"]))

    def _added(zone: Row, body: Mapping[str, Any]) -> int:
        """Add a record of a zone file, unless it is there; return how many were added."""
        try:
            records.add(zone, Record.from_json(body, zone["name"]))
        except ApiError as error:
            if error.code != IDENTICAL_EXISTS[0]:
                raise
            return 0
        return 1

    return [
        Route("/zones/{zone_id}/dns_records", list_records, methods=["GET"]),
        Route("/zones/{zone_id}/dns_records", create, methods=["POST"]),
        Route("/zones/{zone_id}/dns_records/batch", batch, methods=["POST"]),
        Route("/zones/{zone_id}/dns_records/export", export, methods=["GET"]),
        Route("/zones/{zone_id}/dns_records/import", import_records, methods=["POST"]),
        Route("/zones/{zone_id}/dns_records/usage", usage, methods=["GET"]),
        Route("/zones/{zone_id}/dns_records/{record_id}", get, methods=["GET"]),
        Route("/zones/{zone_id}/dns_records/{record_id}", put, methods=["PUT"]),
        Route("/zones/{zone_id}/dns_records/{record_id}", patch, methods=["PATCH"]),
        Route("/zones/{zone_id}/dns_records/{record_id}", delete, methods=["DELETE"]),
    ]


def _merged(known: StoredRecord, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that a known record would be made with, after some changes."""
    record = known.record
    body: dict[str, Any] = {
        "name": record.name,
        "type": record.type,
        "content": record.value.content,
        "priority": record.value.priority,
        "data": dict(record.value.data) if record.value.data is not None else None,
        "ttl": record.ttl,
        "proxied": record.proxied,
        "comment": record.comment,
        "tags": list(record.tags),
        "settings": {**(record.settings or {})},
    }
    body |= {key: value for key, value in changes.items() if key in body}
    is_other_type = isinstance(changes.get("type"), str) and changes["type"].upper() != record.type
    if is_other_type:
        body["data"], body["settings"] = changes.get("data"), changes.get("settings")
    if changes.get("content") is not None and changes.get("data") is None:
        body["data"] = None
    if (
        isinstance(body["data"], dict)
        and "data" not in changes
        and "priority" in changes
        and "priority" in body["data"]
    ):
        body["data"]["priority"] = changes["priority"]
    if isinstance(changes.get("data"), dict) and record.value.data and not is_other_type:
        body["data"] = {**record.value.data, **changes["data"]}
    if isinstance(changes.get("settings"), dict) and not is_other_type:
        body["settings"] = {**(record.settings or {}), **changes["settings"]}
    return body


def _changes(body: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    changes = body.get(key)
    if changes is None:
        return []
    if not isinstance(changes, list) or not all(isinstance(change, dict) for change in changes):
        raise refusal(INVALID_CONTENT, f"{key} must be a list of records.")
    return changes


def _id(change: Mapping[str, Any]) -> str:
    record_id = change.get("id")
    if not isinstance(record_id, str):
        raise refusal(*NO_SUCH_RECORD, 404)
    return record_id


async def _zone_file(request: Request) -> tuple[str, bool]:
    """Read an uploaded zone file: a form with ``file`` and perhaps ``proxied``, or the file by itself."""
    content = await read_body(request, MAX_ZONE_FILE_BYTES)
    file: str | UploadFile | None = None
    proxied: object = None
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        # Every part is text. Newlines alone end its lines too: the real server is written in Go, which takes them.
        form = await _form(request, content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        file, proxied = form.get("file"), form.get("proxied")
        content = await file.read() if isinstance(file, UploadFile) else (file or "").encode()
    if file is None and not content.strip():
        raise refusal(INVALID_CONTENT, "There is no zone file in the request.")
    try:
        return content.decode(), str(proxied).lower() == "true"
    except UnicodeDecodeError as error:
        raise refusal(INVALID_CONTENT, "The zone file must be UTF-8 text.") from error


async def _form(request: Request, content: bytes) -> FormData:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    try:
        return await Request(request.scope, receive).form()
    except HTTPException as error:
        raise refusal(INVALID_CONTENT, "The form can't be read.") from error
