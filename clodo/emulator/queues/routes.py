"""``/queues``: queues, their consumers, and messages pushed, pulled and acknowledged over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.clock import now
from clodo.emulator.envelope import ApiError, envelope, object_body, page_of
from clodo.emulator.queues import limits
from clodo.emulator.queues.deliveries import Deliveries
from clodo.emulator.queues.messages import Messages, Taken
from clodo.emulator.queues.producing import Producing
from clodo.emulator.queues.settings import whole_number
from clodo.emulator.queues.store import (
    CONSUMER_NOT_FOUND,
    INVALID_QUEUE,
    Consumer,
    PullConsumer,
    Queue,
    Queues,
    WorkerConsumer,
)
from clodo.emulator.runtime.ports import Backlog, BindingRefused, QueueMessage


def routes(queues: Queues, messages: Messages, producing: Producing, deliveries: Deliveries) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def list_queues(request: Request) -> Response:
        names = set(request.query_params.getlist("name"))
        found = [queue for queue in queues.of_account(_account(request)) if not names or queue.name in names]
        page, info = page_of(found, request.query_params, default_per_page=100, max_per_page=100)
        # Recorded: errors and messages are null here.
        return envelope([queue_shown(queues, queue) for queue in page], result_info=info, errors=None, messages=None)

    async def create_queue(request: Request) -> Response:
        return envelope(queue_shown(queues, queues.create(_account(request), await object_body(request))))

    async def get_queue(request: Request) -> Response:
        return envelope(queue_shown(queues, _queue(request)))

    async def change_queue(request: Request) -> Response:
        queue, body = _queue(request), await object_body(request)
        changed = queues.change(queue, body, is_whole=request.method == "PUT")
        deliveries.wake()
        return envelope(queue_shown(queues, changed))

    async def delete_queue(request: Request) -> Response:
        queues.delete(_queue(request))
        return envelope(None)

    async def get_metrics(request: Request) -> Response:
        return envelope(backlog_shown(messages.backlog(_queue(request).id)))

    # --- consumers

    async def list_consumers(request: Request) -> Response:
        found = [consumer for consumer in (queues.consumer(_queue(request)),) if consumer is not None]
        page, info = page_of(found, request.query_params, default_per_page=100, max_per_page=100)
        shown = [consumer_shown(consumer) for consumer in page]
        return envelope(shown, result_info=info, errors=None, messages=None)

    async def create_consumer(request: Request) -> Response:
        consumer = queues.put_consumer(_queue(request), None, await object_body(request))
        deliveries.wake()
        return envelope(consumer_shown(consumer))

    async def get_consumer(request: Request) -> Response:
        consumer = queues.consumer(_queue(request))
        if consumer is None or consumer.id != request.path_params["consumer_id"]:
            raise _no_consumer()
        return envelope(consumer_shown(consumer))

    async def put_consumer(request: Request) -> Response:
        queue, body = _queue(request), await object_body(request)
        consumer = queues.put_consumer(queue, request.path_params["consumer_id"], body)
        deliveries.wake()
        return envelope(consumer_shown(consumer))

    async def delete_consumer(request: Request) -> Response:
        if not queues.delete_consumer(_queue(request), request.path_params["consumer_id"]):
            raise _no_consumer()
        return envelope(None)

    # --- messages

    async def push(request: Request) -> Response:
        queue = _queue(request)
        return await _send(queue, [_pushed(await object_body(request), None)])

    async def push_batch(request: Request) -> Response:
        queue, body = _queue(request), await object_body(request)
        items = body.get("messages")
        if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
            raise ApiError(400, INVALID_QUEUE, "messages must be a list of objects, and not empty.")
        delay = _delay(body)
        return await _send(queue, [_pushed(item, delay) for item in items])

    async def _send(queue: Queue, sent: list[QueueMessage]) -> Response:
        try:
            backlog = await producing.send(queue.account_id, queue.name, sent)
        except BindingRefused as error:
            raise ApiError(error.status, INVALID_QUEUE, error.message) from error
        return envelope({"metadata": {"metrics": backlog_shown(backlog)}})

    async def pull(request: Request) -> Response:
        queue = _queue(request)
        body, consumer = await object_body(request), _pull_consumer(queue)
        settings = consumer.settings
        size = whole_number(body, "batch_size", 1, limits.MAX_PULL_BATCH, settings.batch_size)
        visible = settings.visibility_timeout_ms
        timeout_ms = whole_number(body, "visibility_timeout_ms", 0, limits.MAX_VISIBILITY_MS, visible)
        deliveries.deliver_due()  # Leases that have run out are free again for this very call.
        moment = deliveries.now_ms()
        taken = []
        if not queue.settings.delivery_paused:
            taken = messages.take(queue.id, size, now_ms=moment, until_ms=moment + timeout_ms)
            deliveries.wake()
        backlog = messages.backlog(queue.id)
        return envelope(
            {
                "message_backlog_count": backlog.count,
                "messages": [{**message_shown(message), "lease_id": message.lease} for message in taken],
                "metadata": {"metrics": backlog_shown(backlog)},
            }
        )

    async def acknowledge(request: Request) -> Response:
        queue = _queue(request)
        body, consumer = await object_body(request), _pull_consumer(queue)
        moment = deliveries.now_ms()
        default = consumer.settings.retry_delay
        acks = [lease for lease, _ in _leases(body, "acks", 0)]
        retries = _leases(body, "retries", default)
        unknown = messages.acknowledge(queue.id, acks)
        unheld = messages.give_back(
            queue.id,
            [(lease, moment + delay * 1000) for lease, delay in retries],
            max_retries=consumer.settings.max_retries,
            dead_letters=queues.id_of(queue.account_id, consumer.dead_letter_queue),
        )
        deliveries.wake()
        return envelope(
            {
                "ackCount": len(acks) - len(unknown),
                "retryCount": len(retries) - len(unheld),
                "warnings": dict.fromkeys((*unknown, *unheld), "Lease not found or expired."),
            }
        )

    async def peek(request: Request) -> Response:
        queue, body = _queue(request), await object_body(request)
        size = whole_number(body, "batch_size", 1, limits.MAX_PULL_BATCH, limits.DEFAULT_PULL_BATCH)
        seen = messages.look(queue.id, size)
        return envelope({"messages": [{**message_shown(message), "ref": reference} for reference, message in seen]})

    async def discard(request: Request) -> Response:
        queue, body = _queue(request), await object_body(request)
        references = body.get("refs")
        if not isinstance(references, list) or not all(isinstance(item, dict) for item in references):
            raise ApiError(400, INVALID_QUEUE, "refs must be a list of objects.")
        unknown = messages.discard(queue.id, [str(item.get("ref")) for item in references])
        return envelope({"errors": [], "warnings": dict.fromkeys(unknown, "Message not found.")})

    async def purge(request: Request) -> Response:
        queue, body = _queue(request), await object_body(request)
        if body.get("delete_messages_permanently") is not True:
            raise ApiError(400, INVALID_QUEUE, "delete_messages_permanently must be true.")
        messages.purge(queue.id, started_at=now())
        return envelope(queue_shown(queues, queue))

    async def get_purge(request: Request) -> Response:
        started_at = messages.last_purge(_queue(request).id)
        return envelope({"completed": "true", "started_at": started_at} if started_at else {})

    def _queue(request: Request) -> Queue:
        return queues.find(_account(request), request.path_params["queue_id"])

    def _pull_consumer(queue: Queue) -> PullConsumer:
        consumer = queues.pull_consumer(queue)
        if consumer is None:
            raise ApiError(400, INVALID_QUEUE, f"Queue '{queue.name}' has no http_pull consumer.")
        return consumer

    one, consumer = "/queues/{queue_id}", "/queues/{queue_id}/consumers/{consumer_id}"
    return [
        Route("/queues", list_queues, methods=["GET"]),
        Route("/queues", create_queue, methods=["POST"]),
        Route(one, get_queue, methods=["GET"]),
        Route(one, change_queue, methods=["PUT", "PATCH"]),
        Route(one, delete_queue, methods=["DELETE"]),
        Route(f"{one}/metrics", get_metrics, methods=["GET"]),
        Route(f"{one}/consumers", list_consumers, methods=["GET"]),
        Route(f"{one}/consumers", create_consumer, methods=["POST"]),
        Route(consumer, get_consumer, methods=["GET"]),
        Route(consumer, put_consumer, methods=["PUT"]),
        Route(consumer, delete_consumer, methods=["DELETE"]),
        Route(f"{one}/messages", push, methods=["POST"]),
        Route(f"{one}/messages/batch", push_batch, methods=["POST"]),
        Route(f"{one}/messages/pull", pull, methods=["POST"]),
        Route(f"{one}/messages/ack", acknowledge, methods=["POST"]),
        Route(f"{one}/messages/peek", peek, methods=["POST"]),
        Route(f"{one}/messages/purge", discard, methods=["POST"]),
        Route(f"{one}/purge", purge, methods=["POST"]),
        Route(f"{one}/purge", get_purge, methods=["GET"]),
    ]


def queue_shown(queues: Queues, queue: Queue) -> dict[str, Any]:
    """Return a queue as the API shows it."""
    consumer = queues.consumer(queue)
    consumers = [] if consumer is None else [consumer_shown(consumer)]
    producers = [{"type": "worker", "script": name, "service": name} for name in queues.producers(queue)]
    shown = {
        "queue_id": queue.id,
        "queue_name": queue.name,
        "created_on": queue.created_on,
        "modified_on": queue.modified_on,
        "settings": queue.settings.as_json(),
        "producers": producers,
        "producers_total_count": len(producers),
        "consumers": consumers,
        "consumers_total_count": len(consumers),
    }
    return shown | ({"jurisdiction": queue.jurisdiction} if queue.jurisdiction else {})


def consumer_shown(consumer: Consumer) -> dict[str, Any]:
    """Return a consumer as the API shows it."""
    shown: dict[str, Any] = {
        "consumer_id": consumer.id,
        "queue_id": consumer.queue.id,
        "queue_name": consumer.queue.name,
        "type": "worker" if isinstance(consumer, WorkerConsumer) else "http_pull",
        "settings": consumer.settings.as_json(),
        "created_on": consumer.created_on,
    }
    if isinstance(consumer, WorkerConsumer):
        shown |= dict.fromkeys(("script", "script_name", "service"), consumer.script)
        shown["environment"] = "production"
    if consumer.dead_letter_queue:
        shown["dead_letter_queue"] = consumer.dead_letter_queue
    return shown


def backlog_shown(backlog: Backlog) -> dict[str, int]:
    """Return a queue's metrics as the API shows them."""
    return {
        "backlog_count": backlog.count,
        "backlog_bytes": backlog.bytes,
        "oldest_message_timestamp_ms": backlog.oldest_ms,
    }


def message_shown(message: Taken) -> dict[str, Any]:
    """
    Return a message as those who pull get it: text as it is, everything else in base64.

    Source:
        https://developers.cloudflare.com/queues/configuration/pull-consumers/#content-types
    """
    is_text = message.content_type == "text"
    return {
        "id": message.id,
        "body": message.body.decode("utf-8", "replace") if is_text else base64.b64encode(message.body).decode(),
        "attempts": message.attempts,
        "timestamp_ms": message.sent_ms,
        "metadata": {"CF-Content-Type": message.content_type, "CF-sourceMessageSource": "cf-queues"},
    }


def _account(request: Request) -> str:
    account_id: str = request.path_params["account_id"]
    return account_id


def _no_consumer() -> ApiError:
    return ApiError(404, CONSUMER_NOT_FOUND, "Consumer not found.")


def _delay(body: Mapping[str, Any]) -> int | None:
    if body.get("delay_seconds") is None:
        return None
    return whole_number(body, "delay_seconds", 0, limits.MAX_DELAY_SECONDS, 0)


def _pushed(item: Mapping[str, Any], delay: int | None) -> QueueMessage:
    """Read a message of the API: JSON unless it says text."""
    if "body" not in item:
        raise ApiError(400, INVALID_QUEUE, "a message needs a body.")
    kind = item.get("content_type") or "json"
    own = _delay(item)
    delay = delay if own is None else own
    if kind == "json":
        return QueueMessage(json.dumps(item["body"], separators=(",", ":")).encode(), "json", delay)
    if kind == "text" and isinstance(item["body"], str):
        return QueueMessage(item["body"].encode("utf-8", "surrogatepass"), "text", delay)
    raise ApiError(400, INVALID_QUEUE, "content_type must be json, or text with a body that is a string.")


def _leases(body: Mapping[str, Any], name: str, default: int) -> list[tuple[str, int]]:
    items = body.get(name) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ApiError(400, INVALID_QUEUE, f"{name} must be a list of objects.")
    return [
        (
            str(item.get("lease_id")),
            whole_number(item, "delay_seconds", 0, limits.MAX_DELAY_SECONDS, default),
        )
        for item in items
    ]
