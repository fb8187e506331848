"""Queues over the HTTP API: named, set, pushed to, pulled from, acknowledged, purged."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cloudflare import Cloudflare

from clodo.emulator.server import EmbeddedCloud
from tests.fixtures.embedded_cloud import HELLO, CloudAccount, account_of, script_parts


def new_queue(account: CloudAccount, name: str = "orders", *, pulled: bool = True, **consumer: Any) -> str:
    """Make a queue that may be pulled; return its path below the account."""
    queue_id = account.result("POST", "/queues", json={"queue_name": name})["queue_id"]
    if pulled:
        account.result("POST", f"/queues/{queue_id}/consumers", json={"type": "http_pull", **consumer})
    return f"/queues/{queue_id}"


def pull(account: CloudAccount, queue: str, **body: Any) -> list[dict[str, Any]]:
    """Pull messages."""
    messages: list[dict[str, Any]] = account.result("POST", f"{queue}/messages/pull", json=body)["messages"]
    return messages


def test_messages_are_pushed_pulled_and_acknowledged(account: CloudAccount) -> None:
    """JSON comes in base64 and text as it is; acknowledged messages are gone, retried ones come again."""
    queue = new_queue(account)
    account.result("POST", f"{queue}/messages", json={"body": {"n": 1}})
    batch = [{"body": "two", "content_type": "text"}, {"body": [3], "content_type": "json", "delay_seconds": 600}]
    pushed = account.result("POST", f"{queue}/messages/batch", json={"messages": batch})
    first, second = pull(account, queue, batch_size=10)
    nothing = pull(account, queue)
    acks = {
        "acks": [{"lease_id": first["lease_id"]}, {"lease_id": "no"}],
        "retries": [{"lease_id": second["lease_id"]}],
    }
    done = account.result("POST", f"{queue}/messages/ack", json=acks)
    (again,) = pull(account, queue)

    assert pushed["metadata"]["metrics"]["backlog_count"] == 3
    assert json.loads(base64.b64decode(first["body"])) == {"n": 1}
    assert (second["body"], second["metadata"]["CF-Content-Type"]) == ("two", "text")
    assert nothing == []
    assert (done["ackCount"], done["retryCount"], list(done["warnings"])) == (1, 1, ["no"])
    assert (again["body"], again["attempts"]) == ("two", 2)
    assert account.result("GET", f"{queue}/metrics")["backlog_count"] == 2


def test_a_lease_that_ran_out_is_somebody_elses(account: CloudAccount) -> None:
    """After its visibility timeout a message is pulled again, the old lease is worthless, and tries are counted."""
    dead = new_queue(account, "dead")
    queue = new_queue(account, settings={"max_retries": 1}, dead_letter_queue="dead")
    account.result("POST", f"{queue}/messages", json={"body": 1})
    leases = [pull(account, queue, visibility_timeout_ms=0)[0]["lease_id"] for _ in range(2)]
    late = account.result("POST", f"{queue}/messages/ack", json={"acks": [{"lease_id": leases[0]}]})

    assert leases[0] != leases[1]
    assert (late["ackCount"], len(late["warnings"])) == (0, 1)
    assert pull(account, queue) == []
    assert len(pull(account, dead)) == 1


def test_queues_are_renamed_set_and_paged(account: CloudAccount) -> None:
    """A patch keeps what it doesn't name, a put doesn't; names are filtered for and pages cut."""
    first = new_queue(account, "first", pulled=False)
    new_queue(account, "second", pulled=False)
    patched = account.result("PATCH", first, json={"queue_name": "third", "settings": {"delivery_delay": 5}})
    paused = account.result("PATCH", first, json={"settings": {"delivery_paused": True}})
    put = account.result("PUT", first, json={"queue_name": "third", "settings": {"message_retention_period": 600}})
    page = account.api.get(f"{account.root}/queues?per_page=1&page=2").json()
    named = account.result("GET", "/queues?name=third")

    assert (patched["queue_name"], patched["settings"]["delivery_delay"]) == ("third", 5)
    assert paused["settings"] == {**patched["settings"], "delivery_paused": True}
    assert put["settings"] == {"delivery_delay": 0, "message_retention_period": 600}
    assert [queue["queue_name"] for queue in page["result"]] == ["third"]
    assert page["result_info"] == {"count": 1, "page": 2, "per_page": 1, "total_count": 2, "total_pages": 2}
    assert (page["errors"], page["messages"]) == (None, None)
    assert [queue["queue_name"] for queue in named] == ["third"]


def test_purging_empties_a_queue_and_deleting_ends_it(account: CloudAccount) -> None:
    """A purge must be confirmed; messages of a deleted queue don't return with its name."""
    queue = new_queue(account)
    account.result("POST", f"{queue}/messages/batch", json={"messages": [{"body": n} for n in range(3)]})
    unconfirmed = account.refusal("POST", f"{queue}/purge", json={})
    (first, *_) = account.result("POST", f"{queue}/messages/peek", json={"batch_size": 10})["messages"]
    account.result("POST", f"{queue}/messages/purge", json={"refs": [{"ref": first["ref"]}]})
    left = account.result("GET", f"{queue}/metrics")["backlog_count"]
    account.result("POST", f"{queue}/purge", json={"delete_messages_permanently": True})
    empty = account.result("GET", f"{queue}/metrics")
    purged = account.result("GET", f"{queue}/purge")
    account.result("POST", f"{queue}/messages", json={"body": 1})
    account.api.delete(account.root + queue)

    assert unconfirmed[0] == 400
    assert (left, empty["backlog_count"], empty["oldest_message_timestamp_ms"]) == (2, 0, 0)
    assert purged["completed"] == "true"
    assert account.refusal("GET", queue) == (404, 11000)
    assert pull(account, new_queue(account)) == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/queues", {"queue_name": "no spaces"}, 400),
        ("POST", "/queues", {"queue_name": "x" * 64}, 400),
        ("POST", "/queues", {"queue_name": "taken"}, 409),
        ("POST", "/queues", {"queue_name": "new", "jurisdiction": "moon"}, 400),
        ("POST", "/queues", {"queue_name": "new", "settings": []}, 400),
        ("PATCH", "QUEUE", {"settings": {"delivery_delay": 86_401}}, 400),
        ("PATCH", "QUEUE", {"settings": {"delivery_paused": "yes"}}, 400),
        ("PATCH", "QUEUE", {"settings": {"message_retention_period": 59}}, 400),
        ("PATCH", "QUEUE", {"queue_name": "taken"}, 409),
        ("POST", "QUEUE/consumers", {"type": "http_pull"}, 400),
        ("POST", "EMPTY/consumers", {"type": "worker", "script_name": "nobody"}, 400),
        ("POST", "EMPTY/consumers", {"type": "carrier-pigeon"}, 400),
        ("POST", "EMPTY/consumers", {"type": "http_pull", "settings": {"batch_size": 101}}, 400),
        ("POST", "EMPTY/consumers", {"type": "http_pull", "settings": {"batch_size": 1.5}}, 400),
        ("PUT", "QUEUE/consumers/0", {"type": "http_pull"}, 404),
        ("POST", "EMPTY/messages/pull", {}, 400),
        ("POST", "QUEUE/messages/pull", {"batch_size": 0}, 400),
        ("POST", "QUEUE/messages/ack", {"acks": ["x"]}, 400),
        ("POST", "QUEUE/messages", {}, 400),
        ("POST", "QUEUE/messages", {"body": 1, "content_type": "text"}, 400),
        ("POST", "QUEUE/messages", {"body": 1, "delay_seconds": -1}, 400),
        ("POST", "QUEUE/messages", {"body": "x" * 128_001, "content_type": "text"}, 413),
        ("POST", "QUEUE/messages/batch", {"messages": []}, 400),
        ("GET", "/queues/0", None, 404),
    ],
)
def test_nonsense_is_refused(bad_account: CloudAccount, method: str, path: str, body: Any, status: int) -> None:
    """What a queue can't be, hold or be told is an error that says so, and never a 500."""
    ids = {queue["queue_name"]: f"/queues/{queue['queue_id']}" for queue in bad_account.result("GET", "/queues")}
    where = path.replace("QUEUE", ids["pulled"]).replace("EMPTY", ids["taken"])

    assert bad_account.refusal(method, where, json=body)[0] == status


def test_a_number_beyond_all_bounds_is_refused(bad_account: CloudAccount) -> None:
    """A number that becomes infinite when it is read is out of bounds like any other."""
    queue = next(queue for queue in bad_account.result("GET", "/queues") if queue["queue_name"] == "pulled")
    path = f"/queues/{queue['queue_id']}/messages/pull"

    assert bad_account.refusal("POST", path, content=b'{"batch_size": 1e400}')[0] == 400


@pytest.fixture(scope="module")
def bad_account(cloud: EmbeddedCloud) -> Iterator[CloudAccount]:
    """An account with a queue that may be pulled and one without a consumer; nothing that is refused changes it."""
    with account_of(cloud, cloud.new_account()) as account:
        new_queue(account, "taken", pulled=False)
        new_queue(account, "pulled")
        yield account


def test_a_consumer_whose_worker_is_gone_makes_room(account: CloudAccount) -> None:
    """When the Worker that consumes a queue is deleted, the queue has no consumer, and can have another."""
    queue = new_queue(account, pulled=False)
    account.put_worker("consumer", "export default { async queue() {} };", reachable=False)
    account.result("POST", f"{queue}/consumers", json={"type": "worker", "script_name": "consumer"})
    account.result("DELETE", "/workers/scripts/consumer?force=true")
    left = account.result("GET", f"{queue}/consumers")
    account.result("POST", f"{queue}/consumers", json={"type": "http_pull"})

    assert left == []
    assert [consumer["type"] for consumer in account.result("GET", f"{queue}/consumers")] == ["http_pull"]


def test_the_official_sdk_reads_every_answer(account: CloudAccount) -> None:
    """Every operation that the SDK has for queues passes its strictest validation."""
    account.put_worker("consumer", "export default { async queue() {} };", reachable=False)
    me: dict[str, Any] = {"account_id": account.account_id}
    with Cloudflare(
        api_token=account.token, base_url=account.cloud.url, max_retries=0, _strict_response_validation=True
    ) as client:
        queues = client.queues
        made = queues.create(**me, queue_name="orders", jurisdiction="eu")
        assert made is not None
        assert made.queue_id is not None
        one: dict[str, Any] = {"queue_id": made.queue_id, **me}
        edited = queues.edit(**one, settings={"delivery_delay": 1, "delivery_paused": False})
        updated = queues.update(**one, queue_name="orders")
        listed = list(queues.list(**me))
        worker = queues.consumers.create(**one, type="worker", script_name="consumer", settings={"batch_size": 2})
        assert worker is not None
        assert worker.consumer_id is not None
        consumer: dict[str, Any] = {"consumer_id": worker.consumer_id, **one}
        got = queues.consumers.get(**consumer)
        changed = queues.consumers.update(**consumer, type="http_pull", settings={"visibility_timeout_ms": 5000})
        consumers = list(queues.consumers.list(**one))
        queues.messages.push(**one, body="hello", content_type="text")
        queues.messages.bulk_push(**one, messages=[{"body": {"n": 1}, "content_type": "json"}])
        metrics = queues.get_metrics(**one)
        peeked = queues.messages.peek(**one)
        pulled = queues.messages.pull(**one, batch_size=5)
        assert pulled is not None
        acked = queues.messages.ack(**one, acks=[{"lease_id": str((pulled.messages or [])[0].lease_id)}])
        queues.messages.purge(**one, refs=[{"ref": "0"}])
        purged = queues.purge.start(**one, delete_messages_permanently=True)
        status = queues.purge.status(**one)
        whole = queues.get(**one)
        queues.consumers.delete(**consumer)
        queues.delete(**one)

    assert edited is not None
    assert updated is not None
    assert [queue.queue_name for queue in listed] == ["orders"]
    assert (got and got.type, changed and changed.type, len(consumers)) == ("worker", "http_pull", 1)
    assert metrics is not None
    assert (metrics.backlog_count, len((peeked and peeked.messages) or [])) == (2, 2)
    assert acked is not None
    assert acked.ack_count == 1
    assert purged is not None
    assert status is not None
    assert whole is not None
    assert whole.consumers_total_count == 1


def test_a_consumer_must_handle_messages(account: CloudAccount) -> None:
    """A Worker without a queue handler becomes no consumer, and one that is a consumer can't lose its handler."""
    queue = new_queue(account, pulled=False)
    consumer = {"type": "worker", "script_name": "shop"}
    account.put_worker("shop")

    refused = account.refusal("POST", f"{queue}/consumers", json=consumer)
    account.put_worker("shop", "export default { queue() {} };")
    made = account.result("POST", f"{queue}/consumers", json=consumer)
    lost = account.refusal("PUT", "/workers/scripts/shop", files=script_parts(HELLO))
    account.result("DELETE", f"{queue}/consumers/{made['consumer_id']}")

    assert (refused, lost) == ((400, 11001), (400, 11001))
    account.put_worker("shop")
