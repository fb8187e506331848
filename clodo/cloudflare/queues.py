"""Queues: which there are, and who receives from each."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.errors import NotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api


class ConsumerSettings(Model):
    """How messages are handed over; None where Cloudflare says nothing."""

    batch_size: int | None = None
    max_concurrency: int | None = None
    max_retries: int | None = None
    max_wait_time_ms: int | None = None
    retry_delay: int | None = None


class Consumer(Model):
    """Who receives from a queue: a Worker, or (*type* ``http_pull``) whoever asks."""

    consumer_id: str | None = None
    type: str | None = None
    script_name: str | None = None
    dead_letter_queue: str | None = None
    settings: ConsumerSettings | None = None


class Queue(Model):
    """A queue; *consumers* has at most one."""

    queue_id: str
    queue_name: str
    consumers: list[Consumer] = Field(default_factory=list)


class Queues:
    """Read queues, and change who receives from them."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(self) -> builtins.list[Queue]:
        """
        List the account's queues with their consumers, all pages of them.

        Source: https://developers.cloudflare.com/api/resources/queues/methods/list/
        """
        return list(self._api.pages(self._api.account_path("/queues"), Queue.model_validate, per_page=100))

    def put_consumer(
        self, queue: Queue, worker: str, settings: Mapping[str, int | None], *, dead_letter_queue: str | None = None
    ) -> None:
        """
        Let *worker* receive from *queue*, in place of the Worker's consumer that *queue* shows, if it shows one.

        Args:
            settings: By Cloudflare's names; those left out are as with a new consumer.

        Raises:
            ApiRefused: The queue has another consumer, or a setting is out of bounds.
            NotFound: The queue or the consumer is gone.
        """
        body = {
            "type": "worker",
            "script_name": worker,
            "settings": {name: value for name, value in settings.items() if value is not None},
            **({"dead_letter_queue": dead_letter_queue} if dead_letter_queue else {}),
        }
        known = next((item for item in queue.consumers if item.script_name == worker), None)
        if known is not None:
            path = self._api.account_path("/queues/{}/consumers/{}", queue.queue_id, known.consumer_id or "")
            self._api.put(path, lambda _: None, json=body, missing=_missing(queue), safe_to_repeat=True)
            return
        self._api.post(
            self._api.account_path("/queues/{}/consumers", queue.queue_id),
            lambda _: True,
            json=body,
            missing=_missing(queue),
            look=lambda: self._is_consumed_by(queue, worker) or None,
        )

    def delete_consumer(self, queue: Queue, consumer_id: str) -> None:
        """
        Let a consumer receive no longer.

        Raises:
            NotFound: The queue or the consumer is gone.
        """
        path = self._api.account_path("/queues/{}/consumers/{}", queue.queue_id, consumer_id)
        self._api.delete(path, missing=_missing(queue))

    def _is_consumed_by(self, queue: Queue, worker: str) -> bool:
        return any(
            consumer.script_name == worker
            for found in self.list()
            if found.queue_id == queue.queue_id
            for consumer in found.consumers
        )


def _missing(queue: Queue) -> Missing:
    return Missing(NotFound, f"The queue {queue.queue_name} or its consumer is gone")
