"""Event subscriptions: what happens to an account's namespaces, as messages in a queue."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cloudflare import Cloudflare

from tests.emulator.queues.test_routes import new_queue, pull
from tests.fixtures.embedded_cloud import CloudAccount, slow_body

ALL = "/event_subscriptions/subscriptions"


def about(queue: str, **changes: Any) -> dict[str, Any]:
    """Return the body of a subscription to what happens to KV namespaces."""
    return {
        "name": "namespaces",
        "source": {"type": "kv"},
        "events": ["namespace.created", "namespace.deleted"],
        "destination": {"type": "queues.queue", "queue_id": queue.rpartition("/")[2]},
        **changes,
    }


def test_events_become_messages(account: CloudAccount) -> None:
    """A namespace that is made and one that is removed are told to the queue, until the subscription is paused."""
    queue = new_queue(account)
    made = account.result("POST", ALL, json=about(queue))

    one = account.result("POST", "/storage/kv/namespaces", json={"title": "one"})["id"]
    account.result("DELETE", f"/storage/kv/namespaces/{one}")
    account.result("PATCH", f"{ALL}/{made['id']}", json={"enabled": False})
    account.result("POST", "/storage/kv/namespaces", json={"title": "two"})

    created, deleted = (json.loads(base64.b64decode(message["body"])) for message in pull(account, queue))
    assert created | {"metadata": None} == {
        "type": "cf.kv.namespace.created",
        "source": {"type": "kv"},
        "payload": {"id": one, "name": "one"},
        "metadata": None,
    }
    assert created["metadata"]["eventSubscriptionId"] == made["id"]
    assert deleted["type"] == "cf.kv.namespace.deleted"


def test_changes_of_a_subscription_at_once_all_count(account: CloudAccount) -> None:
    """Who renames a subscription takes back no pause that somebody asked for while the request was under way."""
    one = f"{ALL}/{account.result('POST', ALL, json=about(new_queue(account)))['id']}"

    account.result(
        "PATCH",
        one,
        content=slow_body({"name": "renamed"}, lambda: account.result("PATCH", one, json={"enabled": False})),
    )

    kept = account.result("GET", one)
    assert (kept["name"], kept["enabled"]) == ("renamed", False)


def test_a_queues_subscriptions_are_listed_and_go_with_it(account: CloudAccount) -> None:
    """Lists are by queue, ordered and paged; a source has one subscription; a queue takes its own with it."""
    queue, other = new_queue(account), new_queue(account, "other")
    account.result("POST", ALL, json=about(queue))
    account.result("POST", ALL, json=about(other, name="builds", source={"type": "images"}))

    def names(**params: Any) -> list[str]:
        return [found["name"] for found in account.result("GET", ALL, params=params)]

    assert account.refusal("POST", ALL, json=about(other))[0] == 409
    assert names() == ["namespaces", "builds"]
    assert names(order="name") == ["builds", "namespaces"]
    assert names(page=2, per_page=1) == ["builds"]
    assert names(queue_id=queue.rpartition("/")[2]) == ["namespaces"]
    account.result("DELETE", queue)
    assert names() == ["builds"]


@pytest.mark.parametrize(
    "change",
    [
        {"source": {"type": "weather"}},
        {"source": {"type": "workersAi.model"}},
        {"events": []},
        {"events": "namespace.created"},
        {"enabled": "yes"},
        {"name": None},
        {"destination": None},
        {"destination": {"type": "queues.queue", "queue_id": "0" * 32}},
    ],
)
def test_a_malformed_subscription_is_refused(account: CloudAccount, change: dict[str, Any]) -> None:
    """What is missing, of another type or not there is refused, and nothing is kept."""
    status, _ = account.refusal("POST", ALL, json=about(new_queue(account), **change))

    assert status in (400, 404)
    assert account.result("GET", ALL) == []


def test_the_sdk_reads_subscriptions_strictly(account: CloudAccount) -> None:
    """The official SDK makes, changes, reads, lists and removes one, with its strictest validation."""
    queue = new_queue(account)
    me: Any = {"account_id": account.account_id}
    with Cloudflare(
        api_token=account.token, base_url=account.cloud.url, max_retries=0, _strict_response_validation=True
    ) as client:
        subscriptions = client.queues.subscriptions

        made = subscriptions.create(**me, **about(queue))
        changed = subscriptions.update(made.id, **me, name="renamed", events=["namespace.deleted"])

        assert (changed.name, changed.events) == ("renamed", ["namespace.deleted"])
        assert subscriptions.get(made.id, **me).name == "renamed"
        assert [found.id for found in subscriptions.list(**me)] == [made.id]
        assert subscriptions.delete(made.id, **me).id == made.id
        assert account.refusal("GET", f"{ALL}/{made.id}")[0] == 404
