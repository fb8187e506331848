"""R2's API, read by the official SDK with its strictest validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cloudflare import Cloudflare, NotFoundError

from tests.fixtures.embedded_cloud import CloudAccount


@pytest.fixture
def client(account: CloudAccount) -> Iterator[Cloudflare]:
    """A client that refuses every answer that isn't as its schema says."""
    with Cloudflare(
        api_token=account.token, base_url=account.cloud.url, max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


def test_buckets_validate(account: CloudAccount, client: Cloudflare) -> None:
    """Buckets of several jurisdictions are made, listed in pages, changed and removed."""
    me: Any = {"account_id": account.account_id}
    buckets = client.r2.buckets

    made = buckets.create(**me, name="one", location_hint="apac", storage_class="InfrequentAccess")
    buckets.create(**me, name="two")
    european = buckets.create(**me, name="one", cf_r2_jurisdiction="eu")
    edited = buckets.edit("one", **me, storage_class="Standard")
    first = buckets.list(**me, per_page=1)
    backwards = buckets.list(**me, direction="desc", order="name")

    assert (made.name, made.location, made.storage_class, made.jurisdiction) == (
        "one",
        "apac",
        "InfrequentAccess",
        "default",
    )
    assert (european.jurisdiction, edited.storage_class) == ("eu", "Standard")
    assert [one.name for one in first.buckets or ()] == ["one"]
    assert [one.name for one in backwards.buckets or ()] == ["two", "one"]
    assert [one.name for one in buckets.list(**me, cf_r2_jurisdiction="eu").buckets or ()] == ["one"]
    assert [one.name for one in buckets.list(**me, name_contains="w").buckets or ()] == ["two"]
    assert buckets.get("two", **me).creation_date is not None
    buckets.delete("two", **me)
    with pytest.raises(NotFoundError, match="10006"):
        buckets.get("two", **me)


def test_objects_validate(account: CloudAccount, client: Cloudflare) -> None:
    """Objects are put, listed in pages, got and deleted; what they take up is counted."""
    account.result("POST", "/r2/buckets", json={"name": "things"})
    me: Any = {"account_id": account.account_id}
    where: Any = {"bucket_name": "things", **me}
    objects = client.r2.buckets.objects

    made = objects.upload("folder/a b", b"content", **where)
    objects.upload("top", b"other", **where, cf_r2_storage_class="InfrequentAccess")
    listed = objects.list("things", **me, per_page=1)

    assert (made.key, made.size) == ("folder/a b", "7")
    assert [one.key for one in listed] == ["folder/a b", "top"]
    assert [one.key for one in objects.list("things", **me, delimiter="/")] == ["top"]
    assert objects.get("folder/a b", **where).read() == b"content"
    metrics = client.r2.buckets.metrics.list(**me)
    assert metrics.standard is not None
    assert metrics.standard.published is not None
    assert (metrics.standard.published.objects, metrics.standard.published.payload_size) == (1, 7)
    assert objects.delete("folder/a b", **where).key == "folder/a b"
    with pytest.raises(NotFoundError, match="10007"):
        objects.get("folder/a b", **where)


def test_settings_validate(account: CloudAccount, client: Cloudflare) -> None:
    """Rules and domains of a bucket are kept as they were put."""
    account.result("POST", "/r2/buckets", json={"name": "things"})
    me: Any = {"account_id": account.account_id}
    buckets = client.r2.buckets
    age: Any = {"type": "Age", "maxAge": 60}
    expiry: Any = {
        "id": "old",
        "enabled": True,
        "conditions": {"prefix": "a"},
        "deleteObjectsTransition": {"condition": age},
    }
    allowed: Any = {"methods": ["GET"], "origins": ["https://shop.example"]}
    domain = f"files.{account.zone}"

    default = buckets.lifecycle.get("things", **me)
    buckets.lifecycle.update("things", **me, rules=[expiry])
    buckets.cors.update("things", **me, rules=[{"allowed": allowed}])
    buckets.locks.update("things", **me, rules=[{"id": "l", "enabled": True, "condition": {"type": "Indefinite"}}])
    custom = buckets.domains.custom
    custom.create("things", **me, domain=domain, enabled=True, zone_id=account.zone_id)
    custom.update(domain, **me, bucket_name="things", min_tls="1.2")
    managed = buckets.domains.managed.update("things", **me, enabled=True)

    assert [rule.id for rule in default.rules or ()] == ["Default Multipart Abort Rule"]
    assert [rule.id for rule in buckets.lifecycle.get("things", **me).rules or ()] == ["old"]
    assert [rule.allowed.methods for rule in buckets.cors.get("things", **me).rules or ()] == [["GET"]]
    assert [rule.id for rule in buckets.locks.get("things", **me).rules or ()] == ["l"]
    assert [one.min_tls for one in custom.list("things", **me).domains] == ["1.2"]
    assert custom.get(domain, **me, bucket_name="things").status.ssl == "active"
    assert buckets.domains.managed.list("things", **me).domain == managed.domain
    account.api.put(f"{account.root}/r2/buckets/things/objects/k", content=b"public")
    assert [account.visit(host, "/k").text for host in (managed.domain, domain)] == ["public"] * 2
    assert account.refusal("DELETE", "/r2/buckets/things/objects/k") == (403, 10069)
    assert account.refusal("PUT", "/r2/buckets/things/objects/k", content=b"x") == (403, 10069)
    custom.delete(domain, **me, bucket_name="things")
    buckets.domains.managed.update("things", **me, enabled=False)
    assert account.visit(managed.domain, "/k").status_code == 404
    buckets.cors.delete("things", **me)
    assert account.refusal("GET", "/r2/buckets/things/cors") == (404, 10059)


REFUSALS: tuple[tuple[str, str, object, tuple[int, int]], ...] = (
    ("POST", "", {"name": "No"}, (400, 10005)),
    ("POST", "", {"name": "../x"}, (400, 10005)),
    ("POST", "", {"name": "things"}, (409, 10004)),
    ("POST", "", {"name": "new", "locationHint": "moon"}, (400, 10029)),
    ("POST", "", {"name": "new", "storageClass": "Paper"}, (400, 10029)),
    ("GET", "?per_page=0", None, (400, 10029)),
    ("GET", "?cursor=made-up", None, (400, 10029)),
    ("GET", "/things/objects?cursor=%FF", None, (400, 10029)),
    ("GET", "/things/objects/" + "k" * 1025, None, (400, 10020)),
    ("GET", "/things/objects/%FF", None, (400, 10020)),
    ("PUT", "/none/objects/k", {}, (404, 10006)),
    ("PUT", "/things/lifecycle", {"rules": [{"id": 1}]}, (400, 10029)),
    ("PUT", "/things/cors", {"rules": {}}, (400, 10029)),
    ("PUT", "/things/domains/managed", {"enabled": "yes"}, (400, 10029)),
    ("POST", "/things/domains/custom", {"domain": "a.example", "zoneId": "none"}, (400, 10029)),
)


def test_what_cannot_be_is_refused(account: CloudAccount) -> None:
    """Names, arguments, cursors and rules that can't be have R2's status and number."""
    account.result("POST", "/r2/buckets", json={"name": "things"})

    for method, path, body, refusal in REFUSALS:
        assert account.refusal(method, f"/r2/buckets{path}", json=body) == refusal, (method, path, body)
