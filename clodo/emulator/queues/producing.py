"""The other end of Workers' queue bindings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clodo.emulator.queues import limits
from clodo.emulator.queues.messages import Messages
from clodo.emulator.queues.store import Queues
from clodo.emulator.runtime.ports import Backlog, BindingRefused, QueueMessage


class Producing:
    """
    Takes messages for queues, within their limits.

    Args:
        clock: Tells Unix milliseconds.

        sent: Called with a queue's id when something has arrived there.
    """

    def __init__(
        self, queues: Queues, messages: Messages, clock: Callable[[], int], sent: Callable[[str], None]
    ) -> None:
        self._queues = queues
        self._messages = messages
        self._clock = clock
        self._sent = sent

    async def send(self, account_id: str, queue_name: str, messages: Sequence[QueueMessage]) -> Backlog:
        """
        Accept *messages*, all or none, and return what the queue holds now.

        Raises:
            BindingRefused: There is no such queue, or it is too much.
        """
        queue = self._queues.named(account_id, queue_name)
        if queue is None:
            raise BindingRefused(404, f"Queue '{queue_name}' not found.")
        raise_if_too_much(messages)
        backlog = self._messages.backlog(queue.id)
        if messages:
            if backlog.bytes >= limits.MAX_BACKLOG_BYTES:
                raise BindingRefused(429, "Queue is overloaded. Please back off.")
            delay = queue.settings.delivery_delay
            self._messages.add(queue.id, messages, now_ms=self._clock(), delay_seconds=delay)
            self._sent(queue.id)
            backlog = self._messages.backlog(queue.id)
        return backlog


def raise_if_too_much(messages: Sequence[QueueMessage]) -> None:
    """
    Hold the limits of one call.

    Raises:
        BindingRefused: One message, all together, or a delay is over the limit.
    """
    if len(messages) > limits.MAX_BATCH_MESSAGES:
        raise BindingRefused(
            413, f"batch message count of {len(messages)} exceeds limit of {limits.MAX_BATCH_MESSAGES}"
        )
    largest = max((len(message.body) for message in messages), default=0)
    if largest > limits.MAX_MESSAGE_BYTES:
        raise BindingRefused(413, f"message length of {largest} bytes exceeds limit of {limits.MAX_MESSAGE_BYTES}")
    total = sum(len(message.body) for message in messages)
    if total > limits.MAX_BATCH_BYTES:
        raise BindingRefused(413, f"batch size of {total} bytes exceeds limit of {limits.MAX_BATCH_BYTES}")
    for message in messages:
        if not 0 <= (message.delay_seconds or 0) <= limits.MAX_DELAY_SECONDS:
            raise BindingRefused(400, f"delaySeconds must be between 0 and {limits.MAX_DELAY_SECONDS}")
