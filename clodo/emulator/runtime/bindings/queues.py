"""What Workers send and hear nothing back of: a queue's producers, and the data points of Analytics Engine."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from clodo.emulator.runtime.bindings.calls import JSON, Answer, Call
from clodo.emulator.runtime.ports import BindingRefused, EventBackend, QueueBackend, QueueMessage

#: Analytics Engine's datasets and blobs come as arrays of bytes.
_BYTE_FIELDS = ("dataset", "index", "blob")


async def serve_queue(queues: QueueBackend | None, account_id: str, queue_name: str, call: Call) -> Answer:
    """Answer one call of a queue's producer."""
    if queues is None:
        return Answer(501, b"Queues are not served by this embedded cloud")
    match call.method, call.raw_path:
        case "POST", b"/message":
            messages = [QueueMessage(call.body, _format(call.header(b"x-msg-fmt")), _delay(call))]
        case "POST", b"/batch":
            messages = list(_batch(json.loads(call.body)["messages"], _delay(call)))
        case _:
            messages = []
    try:
        backlog = await queues.send(account_id, queue_name, messages)
    except BindingRefused as error:
        # workerd shows this header, and "Unknown Internal Error" without it.
        return Answer(error.status, error.message.encode(), ((b"cf-queues-error-cause", error.message.encode()),))
    metrics = {
        "backlogCount": backlog.count,
        "backlogBytes": backlog.bytes,
        "oldestMessageTimestamp": backlog.oldest_ms,
    }
    shown = {"metadata": {"metrics": metrics}} if messages else metrics
    return Answer(200, json.dumps(shown).encode(), (JSON,))


def _format(value: bytes | None) -> str:
    return (value or b"v8").decode("latin-1")


def _delay(call: Call) -> int | None:
    value = call.header(b"x-msg-delay-secs")
    return int(value) if value else None


def _batch(messages: Iterable[Mapping[str, Any]], delay: int | None) -> Iterable[QueueMessage]:
    for message in messages:
        seconds = message.get("delaySecs")
        body = base64.b64decode(str(message["body"]))
        yield QueueMessage(body, str(message.get("contentType") or "v8"), delay if seconds is None else int(seconds))


async def serve_events(events: EventBackend | None, account_id: str, dataset: str, call: Call) -> Answer:
    """Take one data point of Analytics Engine; without a back end it is taken and forgotten, as samples may be."""
    if events is not None:
        point = {
            name: bytes(value).decode("utf-8", "replace")
            if isinstance(value, list) and name.startswith(_BYTE_FIELDS)
            else value
            for name, value in json.loads(call.body).items()
        }
        await events.write(account_id, dataset, point)
    return Answer()
