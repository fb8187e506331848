"""Event notifications: messages in queues about what becomes of a bucket's objects."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from cloudflare import Cloudflare, NotFoundError
from obstore.store import S3Store

from clodo.emulator.r2.notifications import Notifications
from clodo.emulator.r2.records import Bucket, Change
from clodo.emulator.runtime.ports import BindingRefused
from tests.emulator.r2.test_customer_keys import RAW, headers
from tests.emulator.r2.test_s3 import complete, texts
from tests.fixtures.embedded_cloud import CloudAccount

CREATED = ["PutObject", "CompleteMultipartUpload", "CopyObject"]
DELETED = ["DeleteObject", "LifecycleDeletion"]
CONFIGURATION = "/event_notifications/r2/things/configuration"


@pytest.fixture
def queue(account: CloudAccount, store: S3Store) -> str:
    """The id of a queue that can be pulled from."""
    made: str = account.result("POST", "/queues", json={"queue_name": "changes"})["queue_id"]
    account.result("POST", f"/queues/{made}/consumers", json={"type": "http_pull"})
    return made


def rule(account: CloudAccount, queue: str, **given: Any) -> None:
    """Have changes told to the queue."""
    account.result("PUT", f"{CONFIGURATION}/queues/{queue}", json={"rules": [given]})


def told(account: CloudAccount, queue: str) -> list[dict[str, Any]]:
    """Take what the queue holds."""
    found = account.result("POST", f"/queues/{queue}/messages/pull", json={"batch_size": 100})["messages"]
    return [json.loads(base64.b64decode(message["body"])) for message in found]


def test_changes_are_told_to_a_queue(account: CloudAccount, s3: httpx.Client, queue: str) -> None:
    """Puts, copies, uploads in parts and deletions each make one message; reads and refusals make none."""
    rule(account, queue, actions=[*CREATED, *DELETED])
    etag = s3.put("/things/a", content=b"one").headers["etag"].strip('"')
    s3.put("/things/a", content=b"two", headers={"if-none-match": "*"})
    s3.put("/things/b", headers={"x-amz-copy-source": "/things/a"})
    s3.put("/things/c", headers={"x-amz-copy-source": "/things/a", **headers(RAW)})
    url = f"/things/d?uploadId={texts(s3.post('/things/d?uploads'), 'UploadId')[0]}"
    complete(s3, url, (1, s3.put(f"{url}&partNumber=1", content=b"part").headers["etag"]))
    s3.get("/things/a")
    account.api.delete(f"{account.root}/r2/buckets/things/objects/a")
    s3.delete("/things/never")

    messages = told(account, queue)

    source = {"bucket": "things", "object": "a"}
    assert [(one["action"], one["object"]["key"], one.get("copySource")) for one in messages] == [
        ("PutObject", "a", None),
        ("CopyObject", "b", source),
        ("CopyObject", "c", source),
        ("CompleteMultipartUpload", "d", None),
        ("DeleteObject", "a", None),
    ]
    first = messages[0]
    assert first["object"] == {"key": "a", "size": 3, "eTag": etag}
    assert (first["account"], first["bucket"]) == (account.account_id, "things")
    assert datetime.fromisoformat(first["eventTime"]) <= datetime.now(UTC)
    assert messages[-1]["object"] == {"key": "a"}


def test_rules_choose_by_action_prefix_and_suffix(account: CloudAccount, s3: httpx.Client, queue: str) -> None:
    """Only what a rule names is told; the expired are told as such."""
    rule(account, queue, actions=CREATED, prefix="logs/", suffix=".gz")
    rule(account, queue, actions=["LifecycleDeletion"], prefix="logs/", suffix=".txt")
    for key in ("logs/1.gz", "logs/2.txt", "other.gz"):
        s3.put(f"/things/{key}", content=b"x")
    old = {"condition": {"type": "Age", "maxAge": 86_400}}
    rules = [{"id": "old", "enabled": True, "conditions": {"prefix": ""}, "deleteObjectsTransition": old}]
    account.result("PUT", "/r2/buckets/things/lifecycle", json={"rules": rules})
    httpx.post(
        f"{account.cloud.edge_url}/__clodo/lifecycles",
        json={"at": (datetime.now(UTC) + timedelta(days=2)).isoformat()},
        headers={"Authorization": f"Bearer {account.cloud.admin_token}"},
        trust_env=False,
    ).raise_for_status()

    assert [(one["action"], one["object"]["key"]) for one in told(account, queue)] == [
        ("PutObject", "logs/1.gz"),
        ("LifecycleDeletion", "logs/2.txt"),
    ]


def test_the_sdk_manages_rules(account: CloudAccount, queue: str) -> None:
    """Rules are added, listed, and removed one by one or all together, as the official SDK's schemas say."""
    with Cloudflare(
        api_token=account.token, base_url=account.cloud.url, max_retries=0, _strict_response_validation=True
    ) as client:
        rules = client.r2.buckets.event_notifications
        where: Any = {"account_id": account.account_id, "bucket_name": "things"}
        rules.update(queue, **where, rules=[{"actions": ["PutObject"], "prefix": "b/", "description": "b"}])
        rules.update(queue, **where, rules=[{"actions": ["DeleteObject"], "prefix": "a/"}])
        listed = (rules.list("things", account_id=account.account_id).queues or [])[0]
        first, second = (listed.rules or [])[:2]
        account.result("DELETE", f"{CONFIGURATION}/queues/{queue}", json={"ruleIds": [first.rule_id]})
        left = rules.get(queue, **where).rules or []
        rules.delete(queue, **where)

        assert (listed.queue_name, first.description, second.prefix) == ("changes", "b", "a/")
        assert (listed.queue_id or "").replace("-", "") == queue != listed.queue_id
        assert [one.rule_id for one in left] == [second.rule_id]
        with pytest.raises(NotFoundError, match="11015"):
            rules.get(queue, **where)


@pytest.mark.parametrize("rules", [[], "all", [{}], [{"actions": ["GetObject"]}], [{"actions": CREATED, "prefix": 1}]])
def test_rules_that_cannot_be_are_refused(account: CloudAccount, queue: str, rules: object) -> None:
    """Nothing is told by a rule without actions, or with one that isn't."""
    answer = account.api.put(f"{account.root}{CONFIGURATION}/queues/{queue}", json={"rules": rules})

    assert answer.status_code == 400
    assert account.refusal("GET", CONFIGURATION)[:2] == (404, 11015)


def test_rules_do_not_overlap(account: CloudAccount, queue: str) -> None:
    """Two rules for a queue that one key could fit are refused, though they name other actions."""
    rule(account, queue, actions=["PutObject"], prefix="logs/", suffix=".gz")
    other = account.result("POST", "/queues", json={"queue_name": "other"})["queue_id"]

    for given in ({}, {"prefix": "logs/2026/"}, {"prefix": "logs/", "suffix": ".tar.gz"}):
        body = {"rules": [{"actions": ["DeleteObject"], **given}]}
        assert account.refusal("PUT", f"{CONFIGURATION}/queues/{queue}", json=body)[0] == 409
    rule(account, queue, actions=["PutObject"], prefix="logs/", suffix=".txt")
    rule(account, other, actions=["PutObject"])
    assert [len(one["rules"]) for one in account.result("GET", CONFIGURATION)["queues"]] == [2, 1]


def test_too_many_rules_are_refused_before_each_is_compared_with_each(account: CloudAccount, queue: str) -> None:
    """Above a hundred rules their number is what is wrong, and no work goes into the rest."""
    rules = [{"actions": ["PutObject"]}] * 101

    answer = account.api.put(f"{account.root}{CONFIGURATION}/queues/{queue}", json={"rules": rules})

    assert (answer.status_code, "At most 100 rules" in answer.text) == (400, True)


def test_rules_that_come_at_once_are_all_kept(account: CloudAccount, queue: str) -> None:
    """Nobody's rules are written over by another's that were asked for at the same moment."""
    prefixes = [f"{number:02}/" for number in range(20)]

    with ThreadPoolExecutor(len(prefixes)) as threads:
        list(threads.map(lambda prefix: rule(account, queue, actions=CREATED, prefix=prefix), prefixes))

    (kept,) = account.result("GET", CONFIGURATION)["queues"]
    assert sorted(one["prefix"] for one in kept["rules"]) == prefixes


async def test_a_queue_that_takes_nothing_keeps_nothing_from_the_others() -> None:
    """What a full queue refuses is lost for that queue only."""

    class Full:
        """Two queues, of which the first is full."""

        def __init__(self) -> None:
            self.taken: list[str] = []

        def with_ids(self, ids: Sequence[str]) -> list[SimpleNamespace]:
            return [SimpleNamespace(account_id="account", name=name) for name in ids]

        async def send(self, account_id: str, name: str, messages: Sequence[object]) -> None:
            if name == "full":
                raise BindingRefused(429, "Queue is overloaded. Please back off.")
            self.taken.append(name)

    queues: Any = Full()
    rules = {name: [{"actions": ["PutObject"]}] for name in ("full", "other")}
    bucket = Bucket("account", "things", "default", "id", 1, "", "weur", "Standard", {"notifications": rules})

    await Notifications(queues, queues).tell([Change(bucket, "PutObject", "a", 1, "etag")])

    assert queues.taken == ["other"]
