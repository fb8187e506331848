"""The KV endpoints of the API."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import ApiError, envelope, json_body, object_body, page_of, parse_json, read_body
from clodo.emulator.kv.limits import (
    ILLEGAL_KEY_NAME,
    INVALID_EXPIRATION,
    INVALID_EXPIRATION_TTL,
    INVALID_LIMIT,
    INVALID_METADATA,
    INVALID_REQUEST,
    KEY_NOT_FOUND,
    MALFORMED_NAMESPACE_ID,
    MALFORMED_VALUE,
    MAX_BULK_BYTES,
    MAX_BULK_GET,
    MAX_BULK_PAIRS,
    MAX_LIST,
    MAX_METADATA_BYTES,
    MAX_TITLE_CHARACTERS,
    MAX_VALUE_BYTES,
    MIN_LIST,
    MISSING_TITLE,
    PAYLOAD_TOO_LARGE,
    TOO_MANY_KEYS,
    KvRefused,
)
from clodo.emulator.kv.store import Namespace, Namespaces, Pair
from clodo.emulator.runtime.ports import StoredValue

DEFAULT_PER_PAGE = 20  # recorded
MAX_PER_PAGE = 1000
JURISDICTIONS = ("eu", "fedramp", "us")

_NAMESPACE_ID = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(rb"/storage/kv/namespaces/[^/]+/(?:values|metadata)/(.*)", re.DOTALL)

Handler = Callable[[Request], Awaitable[Response]]

#: Told what happened: account, source, event, payload.
Publish = Callable[[str, Mapping[str, str], str, Mapping[str, Any]], Awaitable[None]]


async def _nobody_asked(account_id: str, source: Mapping[str, str], event: str, payload: Mapping[str, Any]) -> None:
    """Let an event pass."""


def routes(namespaces: Namespaces, publish: Publish = _nobody_asked) -> list[Route]:
    """
    Return the endpoints, to be mounted under ``/accounts/{account_id}``.

    Args:
        publish: Called when a namespace was made or removed, for those who subscribe to that.
    """

    def namespace_of(request: Request) -> Namespace:
        namespace_id = request.path_params["namespace"]
        if not _NAMESPACE_ID.fullmatch(namespace_id):
            raise KvRefused(400, MALFORMED_NAMESPACE_ID, f"malformed namespace ID: {namespace_id[:80]!r}")
        return namespaces.find(request.path_params["account_id"], namespace_id)

    async def list_namespaces(request: Request) -> Response:
        query = request.query_params
        order, direction = query.get("order") or "id", query.get("direction") or "asc"
        if order not in ("id", "title"):
            raise KvRefused(400, INVALID_REQUEST, f"invalid order: {order[:80]!r}")
        if direction not in ("asc", "desc"):
            raise KvRefused(400, INVALID_REQUEST, f"invalid direction: {direction[:80]!r}")
        found = sorted(
            namespaces.all(request.path_params["account_id"]),
            key=lambda namespace: namespace.id if order == "id" else namespace.title,
            reverse=direction == "desc",
        )
        page, result_info = page_of(found, query, default_per_page=DEFAULT_PER_PAGE, max_per_page=MAX_PER_PAGE)
        return envelope([_shown(namespace) for namespace in page], result_info=result_info)

    async def create_namespace(request: Request) -> Response:
        body = await object_body(request, code=INVALID_REQUEST, message="could not parse request body")
        jurisdiction = body.get("jurisdiction")
        if jurisdiction is not None and jurisdiction not in JURISDICTIONS:
            raise KvRefused(400, INVALID_REQUEST, f"invalid jurisdiction: {str(jurisdiction)[:80]!r}")
        namespace = await namespaces.create(request.path_params["account_id"], _title(body), jurisdiction=jurisdiction)
        await _happened("namespace.created", namespace)
        return envelope(_shown(namespace))

    async def get_namespace(request: Request) -> Response:
        return envelope(_shown(namespace_of(request)))

    async def rename_namespace(request: Request) -> Response:
        namespace = namespace_of(request)
        body = await object_body(request, code=INVALID_REQUEST, message="could not parse request body")
        return envelope(_shown(await namespaces.rename(namespace, _title(body))))

    async def remove_namespace(request: Request) -> Response:
        namespace = namespace_of(request)
        await namespaces.remove(namespace)
        await _happened("namespace.deleted", namespace)
        return envelope({})

    async def _happened(event: str, namespace: Namespace) -> None:
        payload = {"id": namespace.id, "name": namespace.title}
        await publish(namespace.account_id, {"type": "kv"}, event, payload)

    async def list_keys(request: Request) -> Response:
        namespace = namespace_of(request)
        query = request.query_params
        limit = _integer(query.get("limit"), INVALID_LIMIT, "limit")
        if limit is not None and not MIN_LIST <= limit <= MAX_LIST:
            raise KvRefused(
                400, INVALID_LIMIT, f"invalid limit argument: {limit} is not between {MIN_LIST} and {MAX_LIST}"
            )
        page = await namespaces.page(namespace, query.get("prefix") or "", limit or MAX_LIST, query.get("cursor"))
        keys = []
        for stored in page.keys:
            key: dict[str, Any] = {"name": stored.name}
            if stored.expiration is not None:
                key["expiration"] = stored.expiration
            if stored.metadata is not None:
                key["metadata"] = stored.metadata
            keys.append(key)
        return envelope(keys, result_info={"count": len(keys), "cursor": page.cursor or ""})

    async def get_value(request: Request) -> Response:
        stored = await stored_value(request)
        headers = {} if stored.expiration is None else {"expiration": str(stored.expiration)}
        return Response(stored.value, headers=headers, media_type="application/octet-stream")

    async def get_metadata(request: Request) -> Response:
        return envelope((await stored_value(request)).metadata)

    async def stored_value(request: Request) -> StoredValue:
        namespace, key = namespace_of(request), _key(request)
        stored = (await namespaces.read(namespace, [key]))[key]
        if stored is None:
            raise KvRefused(404, KEY_NOT_FOUND, f"get: 'key not found: {key}'")
        return stored

    async def put_value(request: Request) -> Response:
        namespace, key, query = namespace_of(request), _key(request), request.query_params
        value, metadata = await _value_and_metadata(request)
        pair = Pair(
            key,
            value,
            metadata,
            _integer(query.get("expiration"), INVALID_EXPIRATION, "expiration"),
            _integer(query.get("expiration_ttl"), INVALID_EXPIRATION_TTL, "expiration ttl"),
        )
        await namespaces.write(namespace, [pair])
        return envelope({})

    async def remove_value(request: Request) -> Response:
        await namespaces.erase(namespace_of(request), [_key(request)])
        return envelope({})

    async def bulk_put(request: Request) -> Response:
        namespace = namespace_of(request)
        items = await _bulk(request)
        pairs = [_pair(item) for item in items]
        await namespaces.write(namespace, pairs)
        return envelope({"successful_key_count": len(pairs), "unsuccessful_keys": []})

    async def bulk_delete(request: Request) -> Response:
        namespace = namespace_of(request)
        # Either an array of keys or, as wrangler once sent, of objects with a name.
        keys: list[str] = []
        for item in await _bulk(request):
            key = item.get("name") if isinstance(item, dict) else item
            if not isinstance(key, str):
                raise KvRefused(400, INVALID_REQUEST, "invalid request: expected an array of keys")
            keys.append(key)
        await namespaces.erase(namespace, keys)
        return envelope({"successful_key_count": len(keys), "unsuccessful_keys": []})

    async def bulk_get(request: Request) -> Response:
        namespace = namespace_of(request)
        body = await object_body(request, code=INVALID_REQUEST, message="could not parse request body")
        keys, kind, with_metadata = body.get("keys"), body.get("type") or "text", body.get("withMetadata") or False
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise KvRefused(400, INVALID_REQUEST, "invalid request: keys must be an array of strings")
        if len(keys) > MAX_BULK_GET:
            raise KvRefused(400, TOO_MANY_KEYS, f"You can request a maximum of {MAX_BULK_GET} keys")
        if kind not in ("text", "json"):
            raise KvRefused(400, INVALID_REQUEST, f'"{str(kind)[:80]}" is not a valid type. Use "json" or "text"')
        values: dict[str, Any] = {}
        total = 0
        for key, stored in (await namespaces.read(namespace, keys)).items():
            values[key] = None if stored is None else _shown_value(key, stored, kind, with_metadata)
            total += 0 if stored is None else len(stored.value)
        if total > MAX_VALUE_BYTES:
            raise KvRefused(
                413, PAYLOAD_TOO_LARGE, f"Total size of request exceeds the limit of {MAX_VALUE_BYTES} bytes"
            )
        return envelope({"values": values})

    root = "/storage/kv/namespaces"
    one = f"{root}/{{namespace}}"
    return [
        _route(root, list_namespaces, "GET"),
        _route(root, create_namespace, "POST"),
        _route(one, get_namespace, "GET"),
        _route(one, rename_namespace, "PUT"),
        _route(one, remove_namespace, "DELETE"),
        _route(f"{one}/keys", list_keys, "GET"),
        _route(f"{one}/bulk", bulk_put, "PUT"),
        _route(f"{one}/bulk", bulk_delete, "DELETE"),
        _route(f"{one}/bulk/delete", bulk_delete, "POST"),
        _route(f"{one}/bulk/get", bulk_get, "POST"),
        _route(f"{one}/values/{{key:path}}", get_value, "GET"),
        _route(f"{one}/values/{{key:path}}", put_value, "PUT"),
        _route(f"{one}/values/{{key:path}}", remove_value, "DELETE"),
        _route(f"{one}/metadata/{{key:path}}", get_metadata, "GET"),
    ]


def _route(path: str, handler: Handler, method: str) -> Route:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except KvRefused as error:
            raise ApiError(error.status, error.code, error.message) from error

    return Route(path, answer, methods=[method])


# --- what came in -----------------------------------------------------------------------------------------------------


def _key(request: Request) -> str:
    """Return the key from the path as it came: what it is after decoding once, slashes and all."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    match = _KEY.search(raw.partition(b"?")[0])
    assert match is not None, raw
    try:
        return unquote_to_bytes(match[1]).decode()
    except UnicodeDecodeError as error:
        raise KvRefused(400, ILLEGAL_KEY_NAME, "illegal key name: not UTF-8") from error


def _title(body: Mapping[str, Any]) -> str:
    title = body.get("title")
    if not isinstance(title, str) or not title.strip():
        raise KvRefused(400, MISSING_TITLE, "missing title")
    if len(title) > MAX_TITLE_CHARACTERS:
        raise KvRefused(400, MISSING_TITLE, f"title is longer than {MAX_TITLE_CHARACTERS} characters")
    return title


def _integer(text: object, code: int, name: str) -> int | None:
    """Read a whole number from a query or a body; the SDK writes them as 60.0."""
    if text is None or text == "":
        return None
    if isinstance(text, str) and re.fullmatch(r"[+-]?\d{1,15}(\.0+)?", text):
        return int(text.partition(".")[0])
    if isinstance(text, int | float) and not isinstance(text, bool) and math.isfinite(text) and text == int(text):
        return int(text)
    raise KvRefused(400, code, f"invalid {name}: {str(text)[:80]!r}")


async def _value_and_metadata(request: Request) -> tuple[bytes, Any]:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await read_body(request, MAX_VALUE_BYTES, code=PAYLOAD_TOO_LARGE, what="value"), None
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > MAX_VALUE_BYTES + 64 * 1024:
        raise KvRefused(413, PAYLOAD_TOO_LARGE, f"Value length exceeds limit of {MAX_VALUE_BYTES}.")
    try:
        form = await request.form(max_part_size=MAX_VALUE_BYTES + 1)
    except HTTPException as error:
        raise KvRefused(400, MALFORMED_VALUE, f"malformed multipart body: {error.detail}") from error
    try:
        value, metadata = form.get("value"), form.get("metadata")
        if value is None:
            raise KvRefused(400, MALFORMED_VALUE, "malformed value: the form has no field named value")
        content = await value.read() if isinstance(value, UploadFile) else value.encode("utf-8", "surrogateescape")
        if metadata is None:
            return content, None
        text = await metadata.read() if isinstance(metadata, UploadFile) else metadata.encode()
    finally:
        await form.close()
    if not text.strip():
        return content, None
    if len(text) > MAX_METADATA_BYTES * 8:
        raise KvRefused(413, INVALID_METADATA, f"Metadata exceeds limit of {MAX_METADATA_BYTES}.")
    return content, parse_json(text, code=INVALID_METADATA, message="metadata must be valid JSON")


async def _bulk(request: Request) -> list[Any]:
    items = await json_body(request, limit=MAX_BULK_BYTES, code=INVALID_REQUEST, message="could not parse request body")
    if not isinstance(items, list):
        raise KvRefused(400, INVALID_REQUEST, "invalid request: expected an array")
    if len(items) > MAX_BULK_PAIRS:
        raise KvRefused(413, TOO_MANY_KEYS, f"{len(items)} pairs; at most {MAX_BULK_PAIRS} are allowed at once")
    return items


def _pair(item: Any) -> Pair:
    if not isinstance(item, dict) or not isinstance(item.get("key"), str) or not isinstance(item.get("value"), str):
        raise KvRefused(400, INVALID_REQUEST, "invalid request: each pair needs a key and a value, both strings")
    value = item["value"].encode("utf-8", "replace")
    if item.get("base64"):
        try:
            value = base64.b64decode(value, validate=True)
        except (ValueError, binascii.Error) as error:
            raise KvRefused(400, MALFORMED_VALUE, f"malformed value: {item['key'][:80]!r} is not base64") from error
    return Pair(
        item["key"],
        value,
        item.get("metadata"),
        _integer(item.get("expiration"), INVALID_EXPIRATION, "expiration"),
        _integer(item.get("expiration_ttl"), INVALID_EXPIRATION_TTL, "expiration ttl"),
    )


# --- what goes out ----------------------------------------------------------------------------------------------------


def _shown(namespace: Namespace) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": namespace.id, "title": namespace.title, "supports_url_encoding": True}
    if namespace.jurisdiction is not None:
        shown["jurisdiction"] = namespace.jurisdiction
    return shown


def _shown_value(key: str, stored: StoredValue, kind: str, with_metadata: bool) -> Any:
    value: Any = stored.value.decode("utf-8", "replace")
    if kind == "json":
        try:
            value = json.loads(value)
        except ValueError as error:
            message = f"At least one of the requested keys corresponds to a non-JSON value: {key[:80]!r}"
            raise KvRefused(400, MALFORMED_VALUE, message) from error
    if not with_metadata:
        return value
    shown = {"value": value, "metadata": stored.metadata}
    if stored.expiration is not None:
        shown["expiration"] = stored.expiration
    return shown
