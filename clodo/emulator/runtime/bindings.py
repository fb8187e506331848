"""The Python end of the bindings: D1, KV, queues and Analytics Engine as workerd speaks to them over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.types import Receive, Scope, Send

from clodo.emulator.runtime.ports import (
    BindingRefused,
    DatabaseBackend,
    EventBackend,
    NamespaceBackend,
    QueueBackend,
    QueueMessage,
    SqlValue,
    Statement,
    StatementFailed,
    StoredValue,
)

#: The D1 session's bookmark, in both directions.
BOOKMARK_HEADER = b"x-cf-d1-session-commit-token"
_KV_METADATA_HEADER = b"cf-kv-metadata"
_JSON = [(b"content-type", b"application/json")]
#: Analytics Engine's datasets and blobs come as arrays of bytes.
_BYTE_FIELDS = ("dataset", "index", "blob")
#: R2's "internal error"; the binding shows it with the message.
_R2_NOT_SERVED = 10001


@dataclass(frozen=True, slots=True)
class Answer:
    """What a back end says."""

    status: int = 200
    body: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()

    async def send(self, send: Send) -> None:
        """Send it whole."""
        length = (b"content-length", str(len(self.body)).encode())
        await send({"type": "http.response.start", "status": self.status, "headers": [*self.headers, length]})
        await send({"type": "http.response.body", "body": self.body})


async def read_body(receive: Receive) -> bytes:
    """Return the whole body of a request."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BindingRefused(499, "the Worker went away")
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the value of the header *name* (lower case)."""
    return next((value for key, value in scope["headers"] if key == name), None)


def query_of(scope: Scope) -> dict[str, str]:
    """Return the query's parameters, the last of each name."""
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


# --- D1 ---------------------------------------------------------------------------------------------------------------


def _bytes_as_numbers(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return list(bytes(value))
    raise TypeError(f"{type(value).__name__} has no place in D1's answer")


def parameter(value: object) -> SqlValue:
    """Return a bound value as the store takes it: arrays of numbers are blobs, booleans are 0 and 1."""
    match value:
        case bool():
            return int(value)
        case None | int() | float() | str():
            return value
        case list():
            try:
                return bytes(value)
            except (TypeError, ValueError) as error:
                raise StatementFailed("Type 'object' not supported for a bound value: SQLITE_ERROR") from error
        case _:
            raise StatementFailed(f"Type '{type(value).__name__}' not supported for a bound value: SQLITE_ERROR")


def statements_of(body: bytes) -> list[Statement]:
    """Return the statements of a binding's request: one, or an array of them."""
    parsed = json.loads(body)
    items = parsed if isinstance(parsed, list) else [parsed]
    return [Statement(str(item["sql"]), [parameter(value) for value in item.get("params") or ()]) for item in items]


async def serve_d1(
    databases: DatabaseBackend | None, account_id: str, database_id: str, scope: Scope, body: bytes
) -> Answer:
    """Answer one call of a D1 binding in HTTP mode. Failures have status 200: the binding only reads the body."""
    if databases is None:
        return _d1_failure("D1 is not served by this embedded cloud")
    bookmark = header(scope, BOOKMARK_HEADER)
    is_batch = body.lstrip()[:1] == b"["
    try:
        answers = await databases.run(
            account_id,
            database_id,
            statements_of(body),
            bookmark=bookmark.decode("latin-1") if bookmark else None,
        )
    except (StatementFailed, BindingRefused) as error:
        return _d1_failure(error.message)
    results: Any = list(answers.results)
    if query_of(scope).get("resultsFormat") == "NONE":
        results = [{**result, "results": []} for result in results]
    shown = results if is_batch else results[0]
    encoded = json.dumps(shown, default=_bytes_as_numbers, separators=(",", ":")).encode()
    return Answer(200, encoded, [*_JSON, (BOOKMARK_HEADER, answers.bookmark.encode())])


def _d1_failure(message: str) -> Answer:
    return Answer(200, json.dumps({"success": False, "error": message}).encode(), _JSON)


# --- KV ---------------------------------------------------------------------------------------------------------------


async def serve_kv(
    namespaces: NamespaceBackend | None, account_id: str, namespace_id: str, scope: Scope, receive: Receive
) -> Answer:
    """Answer one call of a KV binding."""
    if namespaces is None:
        return Answer(501, b"KV is not served by this embedded cloud")
    query = query_of(scope)
    raw_key = scope["raw_path"].removeprefix(b"/")
    method = scope["method"]
    try:
        if method == "POST" and raw_key == b"bulk/get":
            return await _kv_bulk(namespaces, account_id, namespace_id, json.loads(await read_body(receive)))
        if method == "GET" and not raw_key:
            return await _kv_list(namespaces, account_id, namespace_id, query)
        key = unquote_to_bytes(raw_key).decode("utf-8", "surrogateescape")
        match method:
            case "GET":
                found = await namespaces.get(account_id, namespace_id, key)
                return Answer(404) if found is None else _kv_value(found)
            case "PUT":
                metadata = header(scope, _KV_METADATA_HEADER)
                await namespaces.put(
                    account_id,
                    namespace_id,
                    key,
                    await read_body(receive),
                    metadata=json.loads(metadata) if metadata else None,
                    expiration=_whole_number(query, "expiration"),
                    expiration_ttl=_whole_number(query, "expiration_ttl"),
                )
                return Answer()
            case "DELETE":
                await namespaces.delete(account_id, namespace_id, key)
                return Answer()
    except BindingRefused as error:
        return Answer(error.status, error.message.encode())
    return Answer(405)


def _whole_number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise BindingRefused(400, f"Invalid {name} of {text}. Please specify integer greater than 0.") from error


def _kv_value(found: StoredValue) -> Answer:
    headers = []
    if found.metadata is not None:
        headers.append((_KV_METADATA_HEADER, json.dumps(found.metadata).encode()))
    if found.expiration is not None:
        headers.append((b"expiration", str(found.expiration).encode()))
    return Answer(200, found.value, headers)


async def _kv_bulk(
    namespaces: NamespaceBackend, account_id: str, namespace_id: str, asked: Mapping[str, Any]
) -> Answer:
    keys = [str(key) for key in asked["keys"]]
    found = await namespaces.get_many(account_id, namespace_id, keys)
    shown: dict[str, Any] = {}
    for key in keys:
        stored = found.get(key)
        if stored is None:
            shown[key] = None
            continue
        value: Any = stored.value.decode("utf-8", "replace")
        if asked.get("type") == "json":
            try:
                value = json.loads(value)
            except ValueError as error:
                raise BindingRefused(
                    400, "At least one of the requested keys corresponds to a non-JSON value"
                ) from error
        shown[key] = {"value": value, "metadata": stored.metadata} if asked.get("withMetadata") else value
    return Answer(200, json.dumps(shown).encode(), _JSON)


async def _kv_list(
    namespaces: NamespaceBackend, account_id: str, namespace_id: str, query: Mapping[str, str]
) -> Answer:
    limit = _whole_number(query, "key_count_limit")
    page = await namespaces.list(
        account_id,
        namespace_id,
        prefix=query.get("prefix", ""),
        limit=1000 if limit is None else limit,
        cursor=query.get("cursor") or None,
    )
    keys = []
    for stored in page.keys:
        shown: dict[str, Any] = {"name": stored.name}
        if stored.expiration is not None:
            shown["expiration"] = stored.expiration
        if stored.metadata is not None:
            shown["metadata"] = stored.metadata
        keys.append(shown)
    answer: dict[str, Any] = {"keys": keys, "list_complete": page.cursor is None}
    if page.cursor is not None:
        answer["cursor"] = page.cursor
    return Answer(200, json.dumps(answer).encode(), _JSON)


# --- queues, events, and what isn't served ----------------------------------------------------------------------------


async def serve_queue(
    queues: QueueBackend | None, account_id: str, queue_name: str, scope: Scope, body: bytes
) -> Answer:
    """Answer one call of a queue's producer."""
    if queues is None:
        return Answer(501, b"Queues are not served by this embedded cloud")
    match scope["method"], scope["path"]:
        case "POST", "/message":
            messages = [QueueMessage(body, _format(header(scope, b"x-msg-fmt")), _delay(scope))]
        case "POST", "/batch":
            messages = list(_batch(json.loads(body)["messages"], _delay(scope)))
        case _:
            messages = []
    backlog = await queues.send(account_id, queue_name, messages)
    metrics = {
        "backlogCount": backlog.count,
        "backlogBytes": backlog.bytes,
        "oldestMessageTimestamp": backlog.oldest_ms,
    }
    shown = {"metadata": {"metrics": metrics}} if messages else metrics
    return Answer(200, json.dumps(shown).encode(), _JSON)


def _format(value: bytes | None) -> str:
    return (value or b"v8").decode("latin-1")


def _delay(scope: Scope) -> int | None:
    value = header(scope, b"x-msg-delay-secs")
    return int(value) if value else None


def _batch(messages: Iterable[Mapping[str, Any]], delay: int | None) -> Iterable[QueueMessage]:
    for message in messages:
        seconds = message.get("delaySecs")
        body = base64.b64decode(str(message["body"]))
        yield QueueMessage(body, str(message.get("contentType") or "v8"), delay if seconds is None else int(seconds))


async def serve_events(events: EventBackend | None, account_id: str, dataset: str, body: bytes) -> Answer:
    """Take one data point of Analytics Engine; without a back end it is taken and forgotten, as samples may be."""
    if events is not None:
        point = {
            name: bytes(value).decode("utf-8", "replace")
            if isinstance(value, list) and name.startswith(_BYTE_FIELDS)
            else value
            for name, value in json.loads(body).items()
        }
        await events.write(account_id, dataset, point)
    return Answer()


def refuse_r2(bucket: str) -> Answer:
    """Say in R2's protocol that buckets aren't served."""
    error = {
        "version": 1,
        "v4code": _R2_NOT_SERVED,
        "message": f"R2 is not served by this embedded cloud (bucket {bucket})",
    }
    return Answer(501, b"", [(b"cf-r2-error", json.dumps(error).encode())])
