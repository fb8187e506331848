"""Queues between real Workers: sent by a binding, delivered in batches, retried, given up on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures.embedded_cloud import CloudAccount

PRODUCER = """
export default {
  async fetch(request, env) {
    const { messages, options } = await request.json();
    try {
      return Response.json((await env.QUEUE.sendBatch(messages, options)) ?? null);
    } catch (error) {
      return new Response(String(error), { status: 400 });
    }
  },
};
"""

#: Writes down each batch, then does what the messages' bodies say.
CONSUMER = """
export default {
  async queue(batch, env) {
    const seen = batch.messages.map(({ id, body, attempts, timestamp }) => ({
      id, attempts, at: timestamp.getTime(),
      body: body instanceof ArrayBuffer ? [...new Uint8Array(body)] : body instanceof Map ? [...body] : body,
    }));
    await env.KV.put(`${batch.queue}/${crypto.randomUUID()}`, JSON.stringify(seen));
    for (const message of batch.messages) {
      const { ack, retry, delaySeconds } = message.body ?? {};
      if (ack) message.ack();
      if (retry >= message.attempts) message.retry({ delaySeconds });
    }
    if (batch.messages.some(({ body }) => body?.ackAll)) batch.ackAll();
    if (batch.messages.some(({ body }) => body?.retryAll && batch.messages[0].attempts === 1)) batch.retryAll();
    if (batch.messages.some(({ body }) => body?.throw)) throw new Error("no");
  },
};
"""


class Shop:
    """An account with a queue, its producer and its consumer."""

    def __init__(self, account: CloudAccount, **consumer: Any) -> None:
        self.account = account
        self.queue_id = self.new_queue("orders")
        self.namespace = account.result("POST", "/storage/kv/namespaces", json={"title": "seen"})["id"]
        kv = {"type": "kv_namespace", "name": "KV", "namespace_id": self.namespace}
        account.put_worker("producer", PRODUCER, bindings=[{"type": "queue", "name": "QUEUE", "queue_name": "orders"}])
        account.put_worker("consumer", CONSUMER, reachable=False, bindings=[kv])
        settings = {"max_wait_time_ms": 0, **consumer.pop("settings", {})}
        body = {"type": "worker", "script_name": "consumer", "settings": settings, **consumer}
        account.result("POST", f"/queues/{self.queue_id}/consumers", json=body)

    def new_queue(self, name: str) -> str:
        """Make a queue and return its id."""
        queue_id: str = self.account.result("POST", "/queues", json={"queue_name": name})["queue_id"]
        return queue_id

    def send(self, *bodies: Any, options: dict[str, Any] | None = None, **message: Any) -> Any:
        """Send a batch through the producer; return what the binding said."""
        sent = {"messages": [{"body": body, **message} for body in bodies], "options": options or {}}
        answer = self.account.visit(self.account.hostname("producer"), method="POST", content=json.dumps(sent))
        return answer.json() if answer.is_success else answer.text

    def batches(self, queue: str = "orders") -> list[list[dict[str, Any]]]:
        """Return what the consumer was given so far."""
        path = f"/storage/kv/namespaces/{self.namespace}"
        keys = self.account.result("GET", f"{path}/keys?prefix={queue}/")
        root = self.account.root
        found = [
            json.loads(self.account.api.get(f"{root}{path}/values/{key['name'].replace('/', '%2F')}").text)
            for key in keys
        ]
        return sorted(found, key=lambda batch: (batch[0]["attempts"], batch[0]["at"]))

    def backlog(self, queue_id: str | None = None) -> int:
        """Return how many messages nobody has acknowledged."""
        count: int = self.account.result("GET", f"/queues/{queue_id or self.queue_id}/metrics")["backlog_count"]
        return count


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Return as soon as *condition* holds; fail when it never does."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)


def test_what_is_sent_is_delivered_once_with_its_kind(account: CloudAccount) -> None:
    """Messages of every kind arrive as they were, in one batch, and are gone when the handler ends well."""
    shop = Shop(account)
    said = shop.send({"n": 1}, "two", None, [3])
    wait_for(lambda: shop.backlog() == 0)

    (batch,) = shop.batches()
    assert [message["body"] for message in batch] == [{"n": 1}, "two", None, [3]]
    assert {message["attempts"] for message in batch} == {1}
    assert len({message["id"] for message in batch}) == 4
    assert said["metadata"]["metrics"]["backlogCount"] == 4


def test_each_message_is_acknowledged_or_retried_by_itself(account: CloudAccount) -> None:
    """In a batch that throws, those acknowledged by themselves are done; the others come again, up to max_retries."""
    shop = Shop(account, settings={"max_retries": 1})
    shop.send({"ack": True, "throw": True}, {"n": 2}, {"n": 3})
    wait_for(lambda: shop.backlog() == 0)

    first, second = shop.batches()
    assert len(first) == 3
    assert [(message["body"], message["attempts"]) for message in second] == [({"n": 2}, 2), ({"n": 3}, 2)]


def test_a_message_that_fails_too_often_is_a_dead_letter(account: CloudAccount) -> None:
    """After max_retries the message is in the dead letter queue, unread, and no longer in its own."""
    shop = Shop(account, settings={"max_retries": 2}, dead_letter_queue="dead")
    dead = shop.new_queue("dead")
    shop.send({"retry": 9})
    wait_for(lambda: shop.backlog(dead) == 1)

    assert shop.backlog() == 0
    assert [batch[0]["attempts"] for batch in shop.batches()] == [1, 2, 3]
    assert account.result("POST", f"/queues/{dead}/messages/peek", json={})["messages"][0]["attempts"] == 0


@pytest.mark.parametrize(("word", "batches"), [("ackAll", 1), ("retryAll", 2)])
def test_a_whole_batch_is_acknowledged_or_retried(account: CloudAccount, word: str, batches: int) -> None:
    """ackAll ends it even when the handler then throws; retryAll brings all of it again."""
    shop = Shop(account)
    shop.send({word: True, "throw": word == "ackAll"}, {"n": 2})
    wait_for(lambda: shop.backlog() == 0)

    seen = shop.batches()
    assert [len(batch) for batch in seen] == [2] * batches


def test_a_message_that_is_too_long_says_why(account: CloudAccount) -> None:
    """The error that the producer catches names the limit."""
    account.result("POST", "/queues", json={"queue_name": "orders"})
    queue = {"type": "queue", "name": "QUEUE", "queue_name": "orders"}
    account.put_worker("producer", PRODUCER, bindings=[queue], compatibility_date="2026-07-01")
    too_long = {"messages": [{"body": "x" * 128_001, "contentType": "text"}]}

    refused = account.visit(account.hostname("producer"), method="POST", content=json.dumps(too_long))

    assert "message length of 128001 bytes exceeds limit of 128000" in refused.text
