"""What a consumer's answer means for each message, for any answer."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.emulator.queues.messages import Taken, Waiting
from clodo.emulator.queues.settings import WorkerSettings
from clodo.emulator.queues.settlement import due_ms, settle

IDS = [f"m{number}" for number in range(5)]
BATCH = [Taken(f"lease of {name}", name, "json", b"1", 0, 1) for name in IDS]
ANSWERS = st.fixed_dictionaries(
    {
        "outcome": st.sampled_from(["ok", "exception", "exceededCpu"]),
        "ackAll": st.booleans(),
        "retryBatch": st.fixed_dictionaries({"retry": st.booleans()}, optional={"delaySeconds": st.integers(0, 100)}),
        "explicitAcks": st.lists(st.sampled_from(IDS), unique=True),
        "retryMessages": st.lists(
            st.fixed_dictionaries({"msgId": st.sampled_from(IDS)}, optional={"delaySeconds": st.integers(0, 100)}),
            unique_by=lambda item: str(item["msgId"]),
        ),
    }
)


@settings(max_examples=60, deadline=None)
@given(answer=ANSWERS, retry_delay=st.integers(0, 100))
def test_every_message_ends_one_way(answer: dict[str, Any], retry_delay: int) -> None:
    """Each message is done or comes again; its own word wins over the batch's, and the batch's over the outcome."""
    settlement = settle(BATCH, answer, WorkerSettings(retry_delay=retry_delay))
    done = set(settlement.acknowledged)
    again = dict(settlement.retried)
    asked = {item["msgId"]: item.get("delaySeconds") for item in answer["retryMessages"]}

    assert done | again.keys() == {message.lease for message in BATCH}
    assert not done & again.keys()
    for message in BATCH:
        if message.id in answer["explicitAcks"]:
            assert message.lease in done
        elif message.id in asked:
            expected = asked[message.id]
            if expected is None:
                expected = answer["retryBatch"].get("delaySeconds", retry_delay)
            assert again[message.lease] == expected
        else:
            is_bad = answer["outcome"] != "ok" or answer["retryBatch"]["retry"]
            assert (message.lease in again) == (is_bad and not answer["ackAll"])


def test_a_retried_message_waits_for_nobody() -> None:
    """A batch is due after its timeout; at once when full, and at once with a message that was out before."""
    consumer = WorkerSettings(batch_size=10, max_wait_time_ms=5000)

    assert due_ms(Waiting(1, 100, False), consumer) == 5100
    assert due_ms(Waiting(10, 100, False), consumer) == 100
    assert due_ms(Waiting(1, 100, True), consumer) == 100
