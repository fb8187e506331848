"""
The real API's recorded answers against the embedded cloud's: the same keys, of the same types.

The recordings themselves stay where they are; recorded.json holds what was taken from them: which keys the answers to
each kind of call have, whether always, and of which types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from clodo.emulator.server import EmbeddedCloud
from tests.contract.condense import RECORDED, text_of
from tests.contract.shapes import differences
from tests.fixtures.embedded_cloud import CloudAccount, account_of

ROOT = Path(__file__).parents[2]
FACTS: dict[str, Any] = json.loads(RECORDED.read_text())

#: How each kind of call is made, in an account where the fixture has put something to answer with.
CALLS: dict[str, Callable[[CloudAccount], httpx.Response]] = {
    "GET /accounts 200": lambda account: account.api.get("/accounts"),
    "GET /accounts/{id}/d1/database 200": lambda account: account.api.get(f"{account.root}/d1/database"),
    "GET /accounts/{id}/members 200": lambda account: account.api.get(f"{account.root}/members"),
    "GET /accounts/{id}/pages/projects 200": lambda account: account.api.get(f"{account.root}/pages/projects"),
    "GET /accounts/{id}/pages/projects/{project}/domains 200": lambda account: account.api.get(
        f"{account.root}/pages/projects/site/domains"
    ),
    "GET /accounts/{id}/queues 200": lambda account: account.api.get(f"{account.root}/queues"),
    "GET /accounts/{id}/queues/{id}/consumers 200": lambda account: account.api.get(
        f"{account.root}/queues/{account.result('GET', '/queues')[0]['queue_id']}/consumers"
    ),
    "GET /accounts/{id}/r2/buckets 200": lambda account: account.api.get(f"{account.root}/r2/buckets"),
    "GET /accounts/{id}/r2/buckets/{bucket}/domains/custom 200": lambda account: account.api.get(
        f"{account.root}/r2/buckets/files/domains/custom"
    ),
    "GET /accounts/{id}/r2/buckets/{bucket}/domains/managed 200": lambda account: account.api.get(
        f"{account.root}/r2/buckets/files/domains/managed"
    ),
    "GET /accounts/{id}/storage/kv/namespaces 200": lambda account: account.api.get(
        f"{account.root}/storage/kv/namespaces"
    ),
    "GET /accounts/{id}/subscriptions 200": lambda account: account.api.get(f"{account.root}/subscriptions"),
    "GET /accounts/{id}/workers/dispatch/namespaces 200": lambda account: account.api.get(
        f"{account.root}/workers/dispatch/namespaces"
    ),
    "GET /accounts/{id}/workers/domains 200": lambda account: account.api.get(f"{account.root}/workers/domains"),
    "GET /accounts/{id}/workers/scripts/{script}/deployments 200": lambda account: account.api.get(
        f"{account.root}/workers/scripts/shop/deployments"
    ),
    "GET /accounts/{id}/workers/scripts/{script}/schedules 200": lambda account: account.api.get(
        f"{account.root}/workers/scripts/shop/schedules"
    ),
    "GET /accounts/{id}/workers/scripts/{script}/subdomain 200": lambda account: account.api.get(
        f"{account.root}/workers/scripts/shop/subdomain"
    ),
    "GET /zones 403": lambda account: zones_without_the_right(account),
    "GET /user 200": lambda account: account.api.get("/user"),
    "GET /zones 200": lambda account: account.api.get("/zones"),
    "GET /zones/{id} 200": lambda account: account.api.get(f"/zones/{account.zone_id}"),
    "GET /zones/{id}/custom_hostnames/fallback_origin 404": lambda account: account.api.get(
        f"/zones/{account.zone_id}/custom_hostnames/fallback_origin"
    ),
    "GET /zones/{id}/dnssec 200": lambda account: account.api.get(f"/zones/{account.zone_id}/dnssec"),
    "GET /zones/{id}/settings 200": lambda account: account.api.get(f"/zones/{account.zone_id}/settings"),
    "GET /zones/{id}/settings/{setting} 200": lambda account: account.api.get(
        f"/zones/{account.zone_id}/settings/always_online"
    ),
    "GET /zones/{id}/subscription 200": lambda account: account.api.get(f"/zones/{account.zone_id}/subscription"),
    "GET /zones/{id}/workers/routes 200": lambda account: account.api.get(f"/zones/{account.zone_id}/workers/routes"),
    "GET /zones/{id}/dns_records 200": lambda account: account.api.get(f"/zones/{account.zone_id}/dns_records"),
    "POST /zones/{id}/dns_records 200": lambda account: record(account, "posted"),
    "POST /zones/{id}/dns_records 400": lambda account: record(account, "www"),
    "PUT /zones/{id}/dns_records/{id} 200": lambda account: account.api.put(
        f"/zones/{account.zone_id}/dns_records/{record_id(account, 'put')}",
        json={"type": "TXT", "name": f"put.{account.zone}", "content": '"second"', "ttl": 3600},
    ),
    "DELETE /zones/{id}/dns_records/{id} 200": lambda account: account.api.delete(
        f"/zones/{account.zone_id}/dns_records/{record_id(account, 'deleted')}"
    ),
}

#: Recorded, but no arrangement gets the embedded cloud to answer so: what it says instead is tested where it stands.
ELSEWHERE: set[str] = set()

#: What may differ, and why, by kind and place: keys that the SDK's schema has besides, what may be null or empty.
ALSO: dict[str, dict[str, set[str]]] = {
    # SDK: the jurisdiction of a database that has one.
    "GET /accounts/{id}/d1/database 200": {"result[]": {"jurisdiction"}},
    # SDK: Workers of a dispatch namespace may trust each other.
    "GET /accounts/{id}/workers/dispatch/namespaces 200": {"result[]": {"trusted_workers"}},
    # SDK: custom domains can be switched off.
    "GET /accounts/{id}/workers/domains 200": {"result[]": {"enabled", "previews_enabled"}},
    # wrangler reads `script` or `service`, the SDK `script_name`.
    "GET /accounts/{id}/queues/{id}/consumers 200": {"result[]": {"environment", "script_name", "service"}},
    # SDK: a project says what it was made with, and whether it has Functions.
    "GET /accounts/{id}/pages/projects 200": {"result[]": {"framework", "framework_version", "uses_functions"}},
    "GET /accounts/{id}/r2/buckets 200": {"result.buckets[]": {"jurisdiction", "location", "storage_class"}},
    # SDK: all of a person's data may be null; the recorded person had some.
    "GET /accounts/{id}/members 200": {
        "result[]": {"email"},
        "nullable": {"result[].user.first_name", "result[].user.last_name"},
    },
    "GET /user 200": {
        "nullable": {f"result.{key}" for key in ("country", "first_name", "last_name", "telephone", "zipcode")},
        "empty": {"result.betas"},
    },
    # One zone was recorded in 2021 and cut down by hand; what it lacks is in the recorded lists of zones.
    "GET /zones/{id} 200": {
        "result": {"account", "owner", "tenant", "tenant_unit", "vanity_name_servers", "vanity_name_servers_ips"},
        "nullable": {"result.original_name_servers", "result.original_registrar"},
    },
}

#: Objects whose keys depend on the thing itself: DNS data by record type, what a setting's value is.
OPAQUE = re.compile(r"\.(data|meta|settings|value|legacy_flags|permissions|env_vars|deployment_configs)(\b|\[)")


def zones_without_the_right(account: CloudAccount) -> httpx.Response:
    """Ask for a zone by name with a token that may list none."""
    made = httpx.post(
        f"{account.cloud.edge_url}/__clodo/tokens",
        json={"account_ids": [account.account_id], "permissions": ["DNS Read"]},
        headers={"Authorization": f"Bearer {account.cloud.admin_token}"},
        trust_env=False,
    )
    headers = {"Authorization": f"Bearer {made.json()['result']['token']}"}
    return account.api.get("/zones", params={"name": "elsewhere.example"}, headers=headers)


def record(account: CloudAccount, name: str) -> httpx.Response:
    """Create a DNS record; a second one of the same name and content is refused."""
    body = {"type": "TXT", "name": f"{name}.{account.zone}", "content": '"first"', "ttl": 3600}
    return account.api.post(f"/zones/{account.zone_id}/dns_records", json=body)


def record_id(account: CloudAccount, name: str) -> str:
    """Create a DNS record and return its id; any id where records aren't served."""
    answer = record(account, name)
    return str(answer.json()["result"]["id"]) if answer.is_success else "0" * 32


@pytest.fixture(scope="module")
def furnished(cloud: EmbeddedCloud) -> Iterator[CloudAccount]:
    """An account that has one of everything."""
    with account_of(cloud, cloud.new_account(name="recorded")) as account:
        account.put_worker("shop", "export default { fetch() {}, scheduled() {}, queue() {} }")
        account.result("POST", "/d1/database", json={"name": "notes"})
        account.result("POST", "/storage/kv/namespaces", json={"title": "cache"})
        account.result("POST", "/r2/buckets", json={"name": "files"})
        account.result("POST", "/workers/dispatch/namespaces", json={"name": "free"})
        queue = account.result("POST", "/queues", json={"queue_name": "orders"})["queue_id"]
        consumer = {"type": "worker", "script_name": "shop", "settings": {"batch_size": 5, "max_concurrency": 2}}
        account.result("POST", f"/queues/{queue}/consumers", json=consumer)
        account.result("PUT", "/workers/scripts/shop/schedules", json=[{"cron": "*/30 * * * *"}])
        domain = {"hostname": f"www.{account.zone}", "service": "shop", "zone_id": account.zone_id}
        account.result("PUT", "/workers/domains", json=domain)
        route = {"pattern": f"{account.zone}/*", "script": "shop"}
        account.api.post(f"/zones/{account.zone_id}/workers/routes", json=route)
        account.api.patch(f"/zones/{account.zone_id}/dnssec", json={"status": "active"})
        # Served or not: the tests tell.
        record(account, "www")
        account.api.post(f"{account.root}/pages/projects", json={"name": "site", "production_branch": "main"})
        account.api.post(f"{account.root}/pages/projects/site/domains", json={"name": f"site.{account.zone}"})
        account.api.post(
            f"{account.root}/r2/buckets/files/domains/custom",
            json={"domain": f"files.{account.zone}", "zoneId": account.zone_id, "enabled": True},
        )
        account.api.patch(f"/zones/{account.zone_id}/dnssec", json={"status": "active"})
        yield account


def is_served(answer: httpx.Response) -> bool:
    """Tell an endpoint that isn't there from one that says no."""
    return answer.status_code != 404 or answer.json()["errors"][0]["code"] != 7003


@pytest.mark.parametrize("kind", sorted(set(FACTS) - ELSEWHERE))
def test_an_answer_has_the_keys_and_types_of_the_recorded_one(
    furnished: CloudAccount, kind: str, record_property: Callable[[str, object], None]
) -> None:
    """Each key that the real API always sent is there, no other is, and each is of a recorded type."""
    answer = CALLS[kind](furnished)

    if not is_served(answer):
        record_property("not served", kind)
        assert kind in not_served(), f"{kind}: not served, and docs/emulator.md doesn't say so"
        return
    assert answer.status_code == int(kind.rpartition(" ")[2]), answer.text
    found = differences(answer.json(), FACTS[kind]["shape"], also=ALSO.get(kind, {}))
    assert [each for each in found if not OPAQUE.search(f".{each}".partition(":")[0])] == []


def test_every_kind_of_call_that_was_recorded_is_made() -> None:
    """No recording is left aside."""
    assert set(CALLS) | ELSEWHERE == set(FACTS)


def test_what_the_table_calls_recorded_was_recorded() -> None:
    """Each row of docs/emulator.md that says *recorded* has a recording that is served."""
    served = {kind.split()[1].partition("{id}/")[2] or kind.split()[1].strip("/") for kind in set(FACTS) - not_served()}
    claims = [row for row in rows_of("What is served") if "recorded" in row[1]]

    assert claims
    for endpoints, _ in claims:
        paths = [path for path in served if path and any(part in endpoints for part in _parts(path))]
        assert paths, f"{endpoints}: called recorded, but no recording is compared with it"


def test_facts_are_those_of_the_recordings() -> None:
    """Where the recordings are at hand, recorded.json is what they condense to."""
    folder = ROOT.parent / "shared" / "fixtures" / "recorded"
    if not folder.is_dir():
        pytest.skip("the recordings are not on this machine; recorded.json stands for them")

    assert RECORDED.read_text() == text_of(folder)


def _parts(path: str) -> Iterator[str]:
    """Yield how the table may name a path: with its own words for ids, whole or its last word."""
    yield path
    yield path.rpartition("/")[2]


def rows_of(heading: str) -> list[tuple[str, str]]:
    """Return the rows of the tables below a heading of docs/emulator.md."""
    text = (ROOT / "docs" / "emulator.md").read_text().partition(f"## {heading}")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [(row[0], row[1]) for row in rows if len(row) >= 2 and row[1] != "source"]


def not_served() -> set[str]:
    """Return the kinds that docs/emulator.md says were recorded but are not served."""
    text = (ROOT / "docs" / "emulator.md").read_text().partition("Recorded, but not served")[2].partition("\n\n")[0]
    return {kind for kind in FACTS if f"`{kind.rpartition(' ')[0]}`" in text}
