"""``/r2/buckets/{bucket}/objects``: what ``wrangler r2 object`` and the dashboard use."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import envelope, json_body
from clodo.emulator.r2.conditions import from_headers
from clodo.emulator.r2.cursors import read_cursor, write_cursor
from clodo.emulator.r2.errors import (
    ENTITY_TOO_LARGE,
    INCOMPLETE_BODY,
    INVALID_ARGUMENT,
    INVALID_OBJECT_NAME,
    R2Refused,
)
from clodo.emulator.r2.limits import MAX_API_OBJECT_BYTES, MAX_DELETE, MAX_LIST, check_storage_class
from clodo.emulator.r2.records import Description, StoredObject
from clodo.emulator.r2.routes import bucket_of, route, whole_number
from clodo.emulator.r2.s3.headers import description_of, headers_of, iso_date
from clodo.emulator.r2.serving import answer_with
from clodo.emulator.r2.store import Storage

_KEY = re.compile(rb"/r2/buckets/[^/]+/objects/(.*)", re.DOTALL)
DEFAULT_PER_PAGE = 20


def routes(storage: Storage) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def list_objects(request: Request) -> Response:
        query = request.query_params
        after = (query.get("start_after") or "").encode("utf-8", "replace")
        if query.get("cursor"):
            after = read_cursor(query["cursor"])
        limit = whole_number(query.get("per_page"), "per_page", DEFAULT_PER_PAGE, MAX_LIST)
        page = await storage.objects.page(
            bucket_of(storage, request),
            prefix=(query.get("prefix") or "").encode("utf-8", "replace"),
            delimiter=(query.get("delimiter") or "").encode("utf-8", "replace"),
            after=after,
            limit=limit,
        )
        is_truncated = page.next_after is not None
        info = {
            "cursor": "" if page.next_after is None else write_cursor(page.next_after),
            "is_truncated": is_truncated,
            "per_page": limit,
            "delimited": list(page.prefixes),
        }
        return envelope([_shown(found) for found in page.objects], result_info=info)

    async def put_object(request: Request) -> Response:
        bucket, key = bucket_of(storage, request), _key(request)
        given = description_of(request.headers)
        wanted = request.headers.get("cf-r2-storage-class")
        made = await storage.receive(
            bucket,
            key,
            _body(request),
            Description(given.http, given.custom, check_storage_class(wanted) if wanted else None),
            conditions=from_headers(request.headers),
            limit=MAX_API_OBJECT_BYTES,
        )
        return envelope(
            {
                "key": made.key,
                "etag": made.etag,
                "size": str(made.size),
                "uploaded": iso_date(made.uploaded),
                "version": made.version,
                "storage_class": made.storage_class,
            }
        )

    async def get_object(request: Request) -> Response:
        opened = await storage.objects.open(bucket_of(storage, request), _key(request))
        return answer_with(opened, headers_of(opened.object), request.headers)

    async def delete_object(request: Request) -> Response:
        key = _key(request)
        await storage.objects.delete(bucket_of(storage, request), [key])
        return envelope({"key": key})

    async def delete_objects(request: Request) -> Response:
        bucket = bucket_of(storage, request)
        keys = await _keys(request)
        await storage.objects.delete(bucket, keys)
        return envelope([{"key": key} for key in keys])

    objects = "/r2/buckets/{bucket}/objects"
    one = objects + "/{key:path}"
    return [
        route(objects, list_objects, "GET"),
        route(objects, delete_objects, "DELETE"),
        route(one, put_object, "PUT"),
        route(one, get_object, "GET"),
        route(one, delete_object, "DELETE"),
    ]


def _key(request: Request) -> str:
    """Return the key from the path as it came: what it is after decoding once, slashes and all."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    match = _KEY.search(raw.partition(b"?")[0])
    assert match is not None, raw
    try:
        return unquote_to_bytes(match[1]).decode()
    except UnicodeDecodeError as error:
        raise R2Refused(INVALID_OBJECT_NAME) from error


async def _keys(request: Request) -> list[str]:
    body = await json_body(request, limit=MAX_DELETE * 8 * 1024)
    if not isinstance(body, list) or not all(isinstance(key, str) for key in body) or not 0 < len(body) <= MAX_DELETE:
        raise R2Refused(INVALID_ARGUMENT.saying(f"The body must be an array of 1 to {MAX_DELETE} keys."))
    return body


async def _body(request: Request) -> AsyncIterator[bytes]:
    announced = request.headers.get("content-length")
    if announced is not None and int(announced) > MAX_API_OBJECT_BYTES:
        raise R2Refused(ENTITY_TOO_LARGE)
    received = 0
    async for piece in request.stream():
        received += len(piece)
        yield piece
    if announced is not None and received != int(announced):
        raise R2Refused(INCOMPLETE_BODY)


def _shown(found: StoredObject) -> dict[str, Any]:
    http = dict(found.http)
    if "cacheExpiry" in http:
        http["cacheExpiry"] = iso_date(int(http["cacheExpiry"]))
    return {
        "key": found.key,
        "etag": found.etag,
        "size": found.size,
        "last_modified": iso_date(found.uploaded),
        "http_metadata": http,
        "custom_metadata": dict(found.custom),
        "storage_class": found.storage_class,
        "ssec": found.key_md5 is not None,
    }
