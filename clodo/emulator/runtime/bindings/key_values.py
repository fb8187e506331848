"""KV's binding: one value a path, lists at the root, and many values at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from clodo.emulator.runtime.bindings.calls import JSON, Answer, Call
from clodo.emulator.runtime.ports import BindingRefused, NamespaceBackend, StoredValue

_METADATA_HEADER = b"cf-kv-metadata"


async def serve_kv(namespaces: NamespaceBackend | None, account_id: str, namespace_id: str, call: Call) -> Answer:
    """Answer one call of a KV binding."""
    if namespaces is None:
        return Answer(501, b"KV is not served by this embedded cloud")
    query = call.query
    raw_key = call.raw_path.removeprefix(b"/")
    try:
        if call.method == "POST" and raw_key == b"bulk/get":
            return await _kv_bulk(namespaces, account_id, namespace_id, json.loads(call.body))
        if call.method == "GET" and not raw_key:
            return await _kv_list(namespaces, account_id, namespace_id, query)
        key = unquote_to_bytes(raw_key).decode("utf-8", "surrogateescape")
        match call.method:
            case "GET":
                found = await namespaces.get(account_id, namespace_id, key)
                return Answer(404) if found is None else _kv_value(found)
            case "PUT":
                metadata = call.header(_METADATA_HEADER)
                await namespaces.put(
                    account_id,
                    namespace_id,
                    key,
                    call.body,
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
        headers.append((_METADATA_HEADER, json.dumps(found.metadata).encode()))
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
    return Answer(200, json.dumps(shown).encode(), (JSON,))


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
    return Answer(200, json.dumps(answer).encode(), (JSON,))
