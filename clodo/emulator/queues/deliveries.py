"""Gives messages to the Workers that consume them, batch by batch, and does with each what they said."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import structlog

from clodo.emulator.queues import limits
from clodo.emulator.queues.messages import Messages, Taken
from clodo.emulator.queues.settlement import due_ms, settle
from clodo.emulator.queues.store import PullConsumer, Queue, Queues, WorkerConsumer
from clodo.emulator.runtime.ports import Backlog, EventBrokeOff, ScriptInvalid, WorkerdUnavailable

logger = structlog.get_logger(__name__)

#: How long a Worker that can't run is left alone before its messages are tried again.
UNAVAILABLE_MS = 1_000
#: How often the queues are looked at when nothing else is due: for retention.
IDLE_MS = 60_000

Consume = Callable[[str, str, str, Sequence[Mapping[str, Any]], Backlog], Awaitable[Mapping[str, Any]]]
"""Runs a Worker's ``queue`` handler: account, script, queue, messages, what the queue holds."""


class Deliveries:
    """
    Delivers what is due, whenever it is due.

    Args:
        consume: Calls a Worker.

        clock: Tells Unix milliseconds.
    """

    def __init__(self, queues: Queues, messages: Messages, consume: Consume, clock: Callable[[], int]) -> None:
        self._queues = queues
        self._messages = messages
        self._consume = consume
        self._clock = clock
        self._changed = asyncio.Event()
        #: Queues to look at; None for all, as at the start.
        self._woken: set[str] | None = None
        self._next_ms: dict[str, int] = {}
        self._out: Counter[str] = Counter()
        self._batches: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End at once: what is out stays in the queue for the next start. Safe to repeat."""
        tasks = [*self._batches, *([self._loop] if self._loop is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loop = None

    def wake(self, queue_id: str | None = None) -> None:
        """Look at a queue again, or at all: something was sent, or a queue or consumer was changed."""
        if queue_id is None:
            self._woken = None
        elif self._woken is not None:
            self._woken.add(queue_id)
        self._changed.set()

    def now_ms(self) -> int:
        """Return the time by which messages are delivered."""
        return self._clock()

    async def settled(self) -> None:
        """Wait until every batch that is out has come back."""
        while self._batches:
            await asyncio.wait(self._batches)

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            woken, self._woken = self._woken, set()
            next_ms = self.deliver_due(woken)
            try:
                await asyncio.wait_for(self._changed.wait(), max(0, next_ms - self._clock()) / 1000)
            except TimeoutError:
                continue

    def deliver_due(self, woken: Collection[str] | None = None) -> int:
        """
        Start every batch that is due now; return when to look again at the latest.

        Args:
            woken: Ids of queues to look at besides those whose time has come; None for all.
        """
        now_ms = self._clock()
        if woken is None:
            queues = self._queues.all()
            self._next_ms.clear()
        else:
            due = {queue_id for queue_id, moment in self._next_ms.items() if moment <= now_ms}
            queues = self._queues.with_ids({*woken, *due})
            for queue_id in due:
                del self._next_ms[queue_id]
        for queue in queues:
            self._next_ms[queue.id] = self._look_after(queue, now_ms)
        return min(self._next_ms.values(), default=now_ms + IDLE_MS)

    def _look_after(self, queue: Queue, now_ms: int) -> int:
        """Do what is due in one queue; return when to look at it again."""
        self._messages.forget_older(queue.id, now_ms - queue.settings.message_retention_period * 1000)
        match self._queues.consumer(queue):
            case PullConsumer() as pull:
                self._messages.expire_leases(
                    queue.id,
                    now_ms=now_ms,
                    max_retries=pull.settings.max_retries,
                    dead_letters=self._queues.id_of(queue.account_id, pull.dead_letter_queue),
                )
            case WorkerConsumer() as worker if not queue.settings.delivery_paused:
                return self._deliver(worker, now_ms)
            case _:
                pass
        return now_ms + IDLE_MS

    def _deliver(self, consumer: WorkerConsumer, now_ms: int) -> int:
        """Start what is due of one queue; return when something else will be."""
        queue, settings = consumer.queue, consumer.settings
        next_ms = now_ms + IDLE_MS
        while self._out[queue.id] < (settings.max_concurrency or limits.CONCURRENCY):
            waiting = self._messages.waiting(queue.id, settings.batch_size, now_ms=now_ms)
            if waiting is None:
                break
            due = due_ms(waiting, settings)
            if due > now_ms:
                next_ms = due
                break
            batch = self._messages.take(queue.id, settings.batch_size, now_ms=now_ms)
            self._out[queue.id] += 1
            task = asyncio.create_task(self._hand_over(consumer, batch))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)
        else:
            # The next batch goes out when one of these comes back.
            return next_ms
        hidden = self._messages.next_visible_ms(queue.id, after_ms=now_ms)
        return next_ms if hidden is None else min(next_ms, hidden)

    async def _hand_over(self, consumer: WorkerConsumer, batch: Sequence[Taken]) -> None:
        queue = consumer.queue
        try:
            answer = await self._consume(
                queue.account_id,
                consumer.script,
                queue.name,
                [_as_sent(message) for message in batch],
                self._messages.backlog(queue.id),
            )
        except EventBrokeOff as error:
            # It was begun, and may be why the process ended: it counts as an attempt.
            logger.warning("a queue's batch broke off", queue=queue.name, script=consumer.script, reason=error.message)
            answer = {"outcome": "exception"}
        except (ScriptInvalid, WorkerdUnavailable) as error:
            logger.warning("a queue's consumer doesn't run", queue=queue.name, reason=error.message)
            self._messages.release((message.lease for message in batch), visible_ms=self._clock() + UNAVAILABLE_MS)
            return
        finally:
            self._out[queue.id] -= 1
            self.wake(queue.id)
        self._settle(consumer, batch, answer)

    def _settle(self, consumer: WorkerConsumer, batch: Sequence[Taken], answer: Mapping[str, Any]) -> None:
        queue = consumer.queue
        settlement = settle(batch, answer, consumer.settings)
        now_ms = self._clock()
        dead_letters = self._queues.id_of(queue.account_id, consumer.dead_letter_queue)
        self._messages.acknowledge(queue.id, settlement.acknowledged)
        self._messages.give_back(
            queue.id,
            [(lease, now_ms + delay * 1000) for lease, delay in settlement.retried],
            max_retries=consumer.settings.max_retries,
            dead_letters=dead_letters,
        )
        if dead_letters is not None:
            self.wake(dead_letters)


def _as_sent(message: Taken) -> dict[str, Any]:
    return {
        "id": message.id,
        "timestamp": message.sent_ms,
        "attempts": message.attempts,
        "body": base64.b64encode(message.body).decode(),
        "contentType": message.content_type,
    }
