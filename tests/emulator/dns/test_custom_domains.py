"""A Worker's custom domain is a DNS record too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.dns.conftest import Zone


@pytest.fixture
def shop(zone: Zone) -> Zone:
    """The zone, in an account with a Worker named `shop`."""
    zone.account.put_worker("shop")
    return zone


def domain(zone: Zone, **more: Any) -> dict[str, Any]:
    """Return the body that leads www to the Worker."""
    return {"hostname": f"www.{zone.name}", "service": "shop", "zone_id": zone.account.zone_id, **more}


def test_a_custom_domain_makes_its_record(shop: Zone) -> None:
    """A proxied AAAA to 100:: that nobody else may change; with the domain or the Worker it goes."""
    made = shop.account.result("PUT", "/workers/domains", json=domain(shop))
    record = shop.send("GET").json()["result"][0]
    changed = shop.refusal("PATCH", f"/{record['id']}", json={"ttl": 300})
    deleted = shop.refusal("DELETE", f"/{record['id']}")
    packs = shop.account.api.get(f"/zones/{shop.account.zone_id}/ssl/certificate_packs").json()["result"]
    shop.account.result("DELETE", f"/workers/domains/{made['id']}")
    after_domain = shop.names()
    shop.account.result("PUT", "/workers/domains", json=domain(shop))
    shop.account.result("DELETE", "/workers/scripts/shop")

    assert (record["type"], record["content"], record["proxied"]) == ("AAAA", "100::", True)
    assert record["meta"] == {"origin_worker_id": "shop", "read_only": True}
    assert changed == deleted == (400, 1043)
    assert [f"www.{shop.name}"] in [pack["hosts"] for pack in packs]
    assert after_domain == shop.names() == []


def test_records_in_the_way_are_a_conflict(shop: Zone) -> None:
    """A hostname that DNS leads elsewhere is 100117 unless it may be overridden; a TXT record is in nobody's way."""
    shop.put("CNAME", "www", "old.example")
    shop.put("TXT", "www", "stays")
    refused = shop.account.refusal("PUT", "/workers/domains", json=domain(shop))
    origin = {"hostname": f"www.{shop.name}", "zone_id": shop.account.zone_id}
    changeset = shop.account.result("POST", "/workers/scripts/shop/domains/changeset", json=[origin])
    records_path = "/workers/scripts/shop/domains/records"
    refused_too = shop.account.refusal("PUT", records_path, json={"origins": [origin]})
    before = shop.names()
    shop.account.result("PUT", records_path, json={"origins": [origin], "override_existing_dns_record": True})
    after = shop.send("GET").json()["result"]

    assert refused == refused_too == (409, 100117)
    assert [conflict["hostname"] for conflict in changeset["conflicting"]] == [f"www.{shop.name}"]
    assert changeset["added"] == []
    assert before == ["www", "www"]
    assert sorted((record["type"], record["content"]) for record in after) == [("AAAA", "100::"), ("TXT", "stays")]


def test_a_custom_domain_is_in_the_way_of_records(shop: Zone) -> None:
    """Nothing can be put beside it that would lead the hostname elsewhere."""
    shop.account.result("PUT", "/workers/domains", json=domain(shop))

    assert shop.refusal(json={"type": "CNAME", "name": "www", "content": "a.example"}) == (400, 81053)


def test_a_custom_domain_moves_to_another_worker(shop: Zone) -> None:
    """Overriding keeps the one record, for the other Worker."""
    shop.account.put_worker("other")
    shop.account.result("PUT", "/workers/domains", json=domain(shop))
    refused = shop.account.refusal("PUT", "/workers/domains", json=domain(shop, service="other"))
    shop.account.result("PUT", "/workers/domains", json=domain(shop, service="other", override_existing_origin=True))
    records = shop.send("GET").json()["result"]

    assert refused == (409, 100116)
    assert [record["meta"]["origin_worker_id"] for record in records] == ["other"]
