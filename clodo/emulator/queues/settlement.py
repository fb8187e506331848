"""Pure: when a batch is due, and what a consumer's answer means for each message of its batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clodo.emulator.queues.messages import Taken, Waiting
from clodo.emulator.queues.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class Settlement:
    """
    What becomes of a batch.

    Attributes:
        acknowledged: Leases of the messages that are done.

        retried: Lease and seconds of delay of those to deliver again.
    """

    acknowledged: tuple[str, ...]
    retried: tuple[tuple[str, int], ...]


def due_ms(waiting: Waiting, settings: WorkerSettings) -> int:
    """Return when a batch is to go out: at once when it is full or holds a message that was out before."""
    if waiting.count >= settings.batch_size or waiting.is_retried:
        return waiting.first_ms
    return waiting.first_ms + settings.max_wait_time_ms


def settle(batch: Sequence[Taken], answer: Mapping[str, Any], settings: WorkerSettings) -> Settlement:
    """
    Read what a ``queue`` handler's run says of each message.

    What a message was told itself holds whatever happened to the batch; ``ackAll`` holds even when the handler threw;
    without a word, messages are done when the handler ended well and retried when it didn't.

    Args:
        answer: ``{outcome, ackAll, retryBatch: {retry, delaySeconds?}, explicitAcks, retryMessages: [{msgId, …}]}``.

    Source:
        https://developers.cloudflare.com/queues/configuration/batching-retries/
    """
    acknowledged = set(answer.get("explicitAcks") or ())
    retried = {item["msgId"]: item.get("delaySeconds") for item in answer.get("retryMessages") or ()}
    batch_retry: Mapping[str, Any] = answer.get("retryBatch") or {}
    retries_rest = (batch_retry.get("retry") is True or answer.get("outcome") != "ok") and not answer.get("ackAll")
    done: list[str] = []
    again: list[tuple[str, int]] = []
    for message in batch:
        if message.id in acknowledged or not (message.id in retried or retries_rest):
            done.append(message.lease)
            continue
        delay = retried.get(message.id)
        if delay is None:
            delay = batch_retry.get("delaySeconds")
        again.append((message.lease, settings.retry_delay if delay is None else int(delay)))
    return Settlement(tuple(done), tuple(again))
