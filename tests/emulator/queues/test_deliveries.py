"""When batches go out, and what becomes of messages, by a clock that only the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from clodo.emulator.queues.limits import CONCURRENCY
from clodo.emulator.runtime.ports import BindingRefused, EventBrokeOff, QueueMessage, WorkerdUnavailable
from tests.emulator.queues.conftest import ACCOUNT, Post

THREW = {"outcome": "exception", "ackAll": False, "retryBatch": {"retry": False}}


def throw(batch: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """A Worker that never manages."""
    return THREW


async def test_a_batch_goes_out_when_it_is_full_or_its_time_is_up(post: Post) -> None:
    """A full batch goes at once; what is left waits for company until the batch timeout."""
    post.consumed(post.queue(), batch_size=2, max_wait_time_ms=5000)
    await post.send(1, 2, 3)
    await post.pass_time()
    full = list(post.batches)
    await post.pass_time(4.9)
    early = list(post.batches)
    await post.pass_time(0.1)

    assert full == early == [[1, 2]]
    assert post.batches == [[1, 2], [3]]


@pytest.mark.parametrize(("setting", "message", "seconds"), [(0, 60, 60), (30, None, 30), (30, 0, 0), (30, 10, 10)])
async def test_delays_come_from_the_message_before_the_queue(
    post: Post, setting: int, message: int | None, seconds: int
) -> None:
    """A message's own delay holds, zero too; without one the queue's delivery_delay does."""
    post.consumed(post.queue(delivery_delay=setting), max_wait_time_ms=0)
    await post.send("x", delay_seconds=message)
    await post.pass_time(max(0, seconds - 0.001))
    before = list(post.batches)
    await post.pass_time(0.001)

    assert before == ([] if seconds else [["x"]])
    assert post.batches == [["x"]]


async def test_retries_wait_for_their_delay_and_end(post: Post) -> None:
    """A failed message comes back after retry_delay, no batch timeout on top, and is dropped after max_retries."""
    queue = post.queue()
    post.consumed(queue, max_wait_time_ms=1000, retry_delay=20, max_retries=2)
    post.handler = throw
    await post.send("x")
    await post.pass_time(1)
    await post.pass_time(19.9)
    early = list(post.attempts)
    await post.pass_time(0.1)
    await post.pass_time(20)
    await post.pass_time(100)

    assert early == [[1]]
    assert post.attempts == [[1], [2], [3]]
    assert post.messages.backlog(queue.id).count == 0


async def test_no_more_batches_are_out_than_allowed(post: Post) -> None:
    """max_concurrency batches are out at a time; the next goes when one comes back. Without one there is a ceiling."""
    post.consumed(post.queue("few"), batch_size=1, max_concurrency=2)
    post.consumed(post.queue("many"), batch_size=1)
    post.held = asyncio.Event()
    await post.send(*range(3), queue="few")
    await post.pass_time()
    few = len(post.batches)
    await post.send(*range(CONCURRENCY + 2), queue="many")
    await post.pass_time()
    many = len(post.batches) - few
    post.held.set()
    await post.deliveries.settled()
    post.held = None
    await post.pass_time()

    assert (few, many) == (2, CONCURRENCY)
    assert len(post.batches) == 3 + CONCURRENCY + 2


async def test_a_paused_queue_takes_messages_and_gives_none(post: Post) -> None:
    """While delivery is paused messages pile up; they go out when it is resumed."""
    queue = post.queue(delivery_paused=True)
    post.consumed(queue, max_wait_time_ms=0)
    backlog = await post.send(1)
    await post.pass_time(100)
    paused = list(post.batches)
    post.queues.change(queue, {"settings": {"delivery_paused": False}}, is_whole=False)
    await post.pass_time()

    assert (backlog.count, paused) == (1, [])
    assert post.batches == [[1]]


async def test_messages_do_not_outlive_their_retention(post: Post) -> None:
    """A message that nobody took for message_retention_period is gone."""
    queue = post.queue(message_retention_period=60)
    await post.send(1)
    await post.pass_time(60)
    kept = post.messages.backlog(queue.id).count
    await post.pass_time(0.001)

    assert (kept, post.messages.backlog(queue.id).count) == (1, 0)


async def test_a_worker_that_is_not_there_uses_up_no_attempt(post: Post) -> None:
    """When the consumer can't be started its messages wait for it, however long; one that dies is an attempt."""
    queue = post.queue()
    post.consumed(queue, max_wait_time_ms=0, max_retries=0)

    def gone(batch: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        raise WorkerdUnavailable("not deployed")

    def dies(batch: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        raise EventBrokeOff("killed")

    post.handler = gone
    await post.send(1)
    for _ in range(3):
        await post.pass_time(1)
    waiting = post.messages.backlog(queue.id).count
    post.handler = dies
    await post.pass_time(1)

    assert (waiting, post.attempts) == (1, [[1]] * 4)
    assert post.messages.backlog(queue.id).count == 0


async def test_a_queue_is_looked_at_when_it_is_woken_or_its_time_has_come(post: Post) -> None:
    """Between full looks only queues with something new, or something due, are looked at; the others lose nothing."""
    first, second = post.queue("first"), post.queue("second")
    for queue in (first, second):
        post.consumed(queue, max_wait_time_ms=1000)
    await post.pass_time()
    await post.send(1, queue="first")
    await post.send(2, queue="second")
    next_ms = post.deliveries.deliver_due({first.id, second.id})
    post.now_ms += 1000
    post.deliveries.deliver_due(())
    await post.deliveries.settled()

    assert next_ms == post.now_ms
    assert sorted(post.batches) == [[1], [2]]


async def test_dead_letters_need_their_queue(post: Post) -> None:
    """A dead letter moves to the queue of that name; where there is none it is dropped."""
    there = post.queue("there")
    for name in ("there", "nowhere"):
        queue = post.queue(f"of-{name}")
        post.consumed(queue, max_wait_time_ms=0, max_retries=0, dead_letter_queue=name)
    post.handler = throw
    await post.send("kept", queue="of-there")
    await post.send("lost", queue="of-nowhere")
    await post.pass_time()

    assert [message.body for _, message in post.messages.look(there.id, 9)] == [b'"kept"']
    assert sum(post.messages.backlog(queue.id).count for queue in post.queues.all()) == 1


async def test_what_was_out_is_delivered_again_after_a_restart(post: Post) -> None:
    """A batch that was out when the cloud ended is in the queue at the next start."""
    queue = post.queue()
    post.consumed(queue, max_wait_time_ms=0)
    post.held = asyncio.Event()
    await post.send(1)
    await post.pass_time()
    await post.close()
    post.open()
    post.held = None
    await post.pass_time()

    assert post.batches == [[1], [1]]
    assert post.messages.backlog(queue.id).count == 0


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([QueueMessage(b"x" * 128_001, "bytes")], 413),
        ([QueueMessage(b"x" * 128_000, "bytes")] * 3, 413),
        ([QueueMessage(b"x", "bytes")] * 101, 413),
        ([QueueMessage(b"x", "bytes", 86_401)], 400),
        ([QueueMessage(b"x", "bytes", -1)], 400),
    ],
)
async def test_limits_refuse_the_whole_call(post: Post, messages: list[QueueMessage], status: int) -> None:
    """Too large, too many or too late: nothing of the call is kept."""
    queue = post.queue()

    with pytest.raises(BindingRefused) as refusal:
        await post.producing.send(ACCOUNT, "orders", messages)

    assert refusal.value.status == status
    assert post.messages.backlog(queue.id).count == 0
