"""`clodo domain` on the embedded cloud: what tokens see, what is live, and whether it works."""

from __future__ import annotations

import pytest

from tests.customers.fleet import CONFIG, Fleet
from tests.fixtures.embedded_cloud import CloudAccount
from tests.workspace.folders import write


@pytest.fixture
def fleet(tmp_path, account: CloudAccount, prefect_server, capsys) -> Fleet:
    """A workspace with a customer whose route leads to a live Worker."""
    fleet = Fleet.open(tmp_path, account, capsys)
    host = f"acme.{account.zone}"
    section = f'\n[env.acme-production]\nroutes = [{{ pattern = "{host}/*", zone_id = "{account.zone_id}" }}]\n'
    env = f"CUSTOMER_ID=acme\nCUSTOMER_DOMAIN={host}\n"
    write(tmp_path, {"api/wrangler.toml": CONFIG + section, "config/customers/acme/production.env": env})
    account.put_worker("api-acme-production")
    route = {"pattern": f"{host}/*", "script": "api-acme-production"}
    account.api.post(f"/zones/{account.zone_id}/workers/routes", json=route).raise_for_status()
    return fleet


def test_zones_are_listed_with_whom_they_serve_and_asked_once_in_minutes(fleet):
    """Targets and customers by zone; the second time nothing is asked, with --refresh it is."""
    cloud = fleet.account.cloud

    first = fleet.told("domain", "list")
    cloud.forget_calls()
    second = fleet.told("domain", "list")
    asked = len(cloud.calls(path="^/zones"))
    refreshed = fleet.told("domain", "list", "--refresh")

    (mine,) = [item for item in first["zones"] if item["zone"] and item["zone"]["id"] == fleet.account.zone_id]
    assert (mine["targets"], mine["customers"]) == (["api@production/acme"], ["acme"])
    assert mine["zone"]["account_id"] == fleet.account.account_id
    assert second == first
    assert asked == 0
    assert refreshed["read_at"] != first["read_at"]


@pytest.mark.exhaustive
def test_many_zones_come_in_pages(fleet):
    """Sixty more zones: all of them are there."""
    for number in range(60):
        body = {"name": f"z{number}-{fleet.account.zone}", "account": {"id": fleet.account.account_id}}
        fleet.account.api.post("/zones", json=body).raise_for_status()

    zones = fleet.told("domain", "list", "--refresh")["zones"]

    assert len([item for item in zones if item["zone"]]) == 61


def test_what_is_live_and_what_is_configured_are_compared(fleet):
    """One route is both, one only on Cloudflare, one only in a config."""
    zone = fleet.account.zone
    route = {"pattern": f"old.{zone}/*", "script": "api-acme-production"}
    fleet.account.api.post(f"/zones/{fleet.account.zone_id}/workers/routes", json=route).raise_for_status()
    text = (fleet.folder / "api/wrangler.toml").read_text()
    write(fleet.folder, {"api/wrangler.toml": f'routes = ["new.{zone}/*"]\n' + text})

    found = fleet.told("domain", "discover")["found"]
    missing = fleet.said("domain", "discover", "nowhere.example", status=10)

    assert {item["pattern"].split(".")[0]: item["standing"] for item in found} == {
        "acme": "as configured",
        "old": "only on Cloudflare",
        "new": "only configured",
    }
    assert "nowhere.example" in missing


def test_a_host_works_when_everything_on_the_way_does(fleet):
    """Without a DNS record it doesn't, and that is said; with a proxied one it does, Worker included."""
    host = f"acme.{fleet.account.zone}"

    without = fleet.told("domain", "validate", "acme", status=1)["hosts"][0]
    record = {"type": "AAAA", "name": host, "content": "100::", "proxied": True}
    fleet.account.api.post(f"/zones/{fleet.account.zone_id}/dns_records", json=record).raise_for_status()
    good = fleet.told("domain", "validate", host)["hosts"][0]
    unknown = fleet.told("domain", "validate", "www.elsewhere.example", status=1)["hosts"][0]

    assert [check["what"] for check in without["checks"] if check["standing"] == "bad"] == [
        f"{host} has no DNS record, without which no request comes to a route"
    ]
    assert [check["about"] for check in good["checks"]] == [
        "zone", "nameservers", "address", "address", "certificate", "Worker"
    ]  # fmt: skip
    assert good["ok"]
    assert good["customers"] == ["acme"]
    assert "sees no zone" in unknown["checks"][0]["what"]


def test_missing_rights_become_notes_that_name_them(fleet):
    """A token for zones and routes alone: DNS, certificates and accounts are left out; the rest goes on."""
    fleet.save(fleet.token("Zone Read", "Workers Routes Read", "Workers Scripts Read"))

    listed = fleet.told("domain", "list")
    checked = fleet.told("domain", "validate", "acme")["hosts"][0]

    assert [item["zone"]["name"] for item in listed["zones"] if item["zone"]] == [fleet.account.zone]
    assert not [note for note in listed["notes"] if "zones were left out" in note]
    notes = " ".join(check["what"] for check in checked["checks"] if check["standing"] == "note")
    assert "DNS: Read" in notes
    assert "SSL and Certificates: Read" in notes
    assert [check["standing"] for check in checked["checks"] if check["about"] == "Worker"] == ["good"]


def test_without_a_block_it_is_said_how_to_save_one(tmp_path, account, prefect_server, capsys):
    """No traceback, no empty table: the block's name and the command."""
    fleet = Fleet.open(tmp_path, account, capsys, saves=False)

    said = fleet.said("domain", "list", status=2)

    assert fleet.block in said
    assert "clodo secrets token" in said
