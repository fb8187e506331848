"""Queues that a Worker receives from: as the config wishes it, as Cloudflare has it, and from one to the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from clodo.errors import BadConfiguration, NotFound, Refused
from clodo.releases.triggers import Consumer

if TYPE_CHECKING:
    from clodo.cloudflare.client import Cloudflare
    from clodo.cloudflare.queues import Queue
    from clodo.workspace.effective_config import QueueConsumer

MILLISECONDS = 1000

WORDS = {
    "max_batch_size": "batch_size",
    "max_retries": "max_retries",
    "retry_delay": "retry_delay",
    "max_concurrency": "max_concurrency",
}
"""Wrangler's words for what means the same at Cloudflare."""


def consumers_of(wished: Iterable[QueueConsumer]) -> tuple[Consumer, ...]:
    """
    Return what a wrangler config's ``queues.consumers`` ask for.

    Raises:
        BadConfiguration: One is not for a Worker, or a setting is no whole number.
    """
    return tuple(sorted(_consumer(item.queue, item.settings, item.place) for item in wished))


def observe_consumers(cloudflare: Cloudflare, worker: str) -> tuple[Consumer, ...]:
    """Read which queues *worker* receives from; one request for each 100 queues of the account."""
    found: list[Consumer] = []
    for queue in cloudflare.queues.list():
        for consumer in queue.consumers:
            if consumer.script_name == worker:
                settings = consumer.settings.model_dump(exclude_none=True) if consumer.settings else {}
                found.append(Consumer(queue.queue_name, consumer.dead_letter_queue or "", **settings))
    return tuple(sorted(found))


def set_consumers(cloudflare: Cloudflare, worker: str, wanted: Iterable[Consumer]) -> None:
    """
    Let *worker* receive from exactly these queues; each write is safe to repeat.

    Raises:
        NotFound: A queue isn't there.

        Refused: Somebody else receives from it.
    """
    queues = {queue.queue_name: queue for queue in cloudflare.queues.list()}
    wished = {consumer.queue: consumer for consumer in wanted}
    for name, consumer in wished.items():
        queue = queues.get(name)
        if queue is None:
            raise NotFound(
                f"the queue {name} is not on this account", hint=f"Create it: `wrangler queues create {name}`."
            )
        _raise_if_taken(queue, worker)
        cloudflare.queues.put_consumer(
            queue, worker, consumer.settings, dead_letter_queue=consumer.dead_letter_queue or None
        )
    for queue in queues.values():
        for known in queue.consumers:
            if known.script_name == worker and queue.queue_name not in wished:
                cloudflare.queues.delete_consumer(queue, known.consumer_id or "")


def _raise_if_taken(queue: Queue, worker: str) -> None:
    for known in queue.consumers:
        if known.script_name != worker:
            whose = f"the Worker {known.script_name}" if known.script_name else "whoever pulls it over HTTP"
            raise Refused(
                f"the queue {queue.queue_name} is received by {whose} already; a queue has one consumer",
                hint="Remove that consumer first, or take the queue out of this config.",
            )


def _consumer(queue: str, settings: Mapping[str, Any], place: str) -> Consumer:
    if settings.get("type", "worker") != "worker":
        raise BadConfiguration(
            f"{place}: a release sets only consumers that are Workers, not {settings['type']!r}",
            hint=f"Take it out, and run `wrangler queues consumer http add {queue}` once.",
        )
    wished = {theirs: _whole(settings[ours], ours, place) for ours, theirs in WORDS.items() if ours in settings}
    if "max_batch_timeout" in settings:
        wished["max_wait_time_ms"] = _whole(settings["max_batch_timeout"], "max_batch_timeout", place) * MILLISECONDS
    return Consumer(queue, str(settings.get("dead_letter_queue") or ""), **wished)


def _whole(value: Any, name: str, place: str) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadConfiguration(f"{place}: {name} must be a whole number")
    return value
