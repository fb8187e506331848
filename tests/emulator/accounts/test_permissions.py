"""What tokens may do is enforced on every route."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.routing import BaseRoute, Mount, Route

from clodo.emulator.accounts.permission_groups import BY_NAME
from clodo.emulator.accounts.permissions import TABLE, Level, row_for
from clodo.emulator.app import API_PREFIX, create_app
from clodo.emulator.config import CloudConfig
from clodo.wrangler.toolchain import Toolchain
from tests.emulator.accounts.conftest import TokenMaker, code
from tests.fixtures.embedded_cloud import CloudAccount, account_of

#: Something to read, something to change, and the permission that either needs; refusals are 403 with this code.
PRODUCTS = (
    ("D1", "GET", "A/d1/database", "POST", "A/d1/database", 10000),
    ("Workers KV Storage", "GET", "A/storage/kv/namespaces", "POST", "A/storage/kv/namespaces", 10000),
    ("Workers R2 Storage", "GET", "A/r2/buckets", "POST", "A/r2/buckets", 10000),
    ("Workers Scripts", "GET", "A/workers/scripts", "PUT", "A/workers/subdomain", 10000),
    ("Queues", "GET", "A/queues", "POST", "A/queues", 10000),
    ("DNS", "GET", "Z/dns_records", "POST", "Z/dns_records", 10000),
    ("Workers Routes", "GET", "Z/workers/routes", "POST", "Z/workers/routes", 10000),
    ("SSL and Certificates", "GET", "Z/ssl/certificate_packs", "PATCH", "Z/ssl/universal/settings", 10000),
    ("Zone Settings", "GET", "Z/settings", "PATCH", "Z/settings/ssl", 9109),
    ("Zone", "GET", "Z", "PATCH", "Z", 9109),
    ("Account Settings", "GET", "A/members", "PUT", "A", 9109),
    ("Account API Tokens", "GET", "A/tokens", "POST", "A/tokens", 9109),
    ("API Tokens", "GET", "/user/tokens", "POST", "/user/tokens", 9109),
    ("User Details", "GET", "/user", "PATCH", "/user", 9109),
)


@pytest.mark.parametrize(("family", "read", "readable", "write", "writable", "refused"), PRODUCTS)
def test_reading_and_writing_need_their_permission(
    account: CloudAccount,
    client_with: TokenMaker,
    family: str,
    read: str,
    readable: str,
    write: str,
    writable: str,
    refused: int,
) -> None:
    """Who may read can't write, who may write can read, and who has another permission can do neither."""
    zone = f"/zones/{account.zone_id}"
    readable, writable = (re.sub("^Z", zone, re.sub("^A", account.root, path)) for path in (readable, writable))
    reader, writer = client_with(f"{family} Read"), client_with(f"{family} Write")
    stranger = client_with("Page Rules Read", "Pages Read", "Memberships Read")

    assert reader.request(read, readable).status_code == 200
    assert code(reader.request(write, writable, json={})) == (403, refused)
    assert writer.request(read, readable).status_code == 200
    # An empty body may be refused, but not for want of rights.
    assert writer.request(write, writable, json={}).status_code != 403
    assert code(stranger.request(read, readable)) == (403, refused)
    assert code(stranger.request(write, writable, json={})) == (403, refused)


def test_posts_that_read_need_no_right_to_write(account: CloudAccount, client_with: TokenMaker) -> None:
    """Reading many keys and exporting a database are POSTs that a reader may send."""
    namespace = account.result("POST", "/storage/kv/namespaces", json={"title": "cache"})["id"]
    database = account.result("POST", "/d1/database", json={"name": "notes"})["uuid"]
    reader = client_with("Workers KV Storage Read", "D1 Read")
    keys = reader.post(f"{account.root}/storage/kv/namespaces/{namespace}/bulk/get", json={"keys": ["a"]})
    export = reader.post(f"{account.root}/d1/database/{database}/export", json={"output_format": "polling"})
    query = reader.post(f"{account.root}/d1/database/{database}/query", json={"sql": "SELECT 1"})

    assert (keys.status_code, export.status_code) == (200, 200)
    assert code(query) == (403, 10000)


def test_a_right_to_one_zone_is_none_to_another(
    account: CloudAccount, admin: httpx.Client, client_with: TokenMaker
) -> None:
    """A token for one zone sees and changes that zone alone, and nothing of the account."""
    other = admin.post("/zones", json={"account_id": account.account_id, "name": f"other-{account.zone}"}).json()
    other_id = other["result"]["id"]
    client = client_with("Zone Read", "DNS Write", zone_ids=[account.zone_id])
    listed = client.get("/zones").json()["result"]

    assert [zone["id"] for zone in listed] == [account.zone_id]
    assert listed[0]["permissions"] == ["#dns_records:edit", "#dns_records:read", "#zone:read"]
    assert client.get(f"/zones/{account.zone_id}/dns_records").status_code == 200
    assert code(client.get(f"/zones/{other_id}/dns_records")) == (403, 10000)
    assert code(client.get(f"/zones/{other_id}")) == (403, 9109)
    assert code(client.get(f"{account.root}/workers/scripts")) == (403, 10000)


def test_routes_of_a_worker_need_the_zones_right(account: CloudAccount, client_with: TokenMaker) -> None:
    """Setting all routes of a Worker is the account's path, and needs Workers Routes Write in each zone as well."""
    account.put_worker("shop", reachable=False)
    path, routes = f"{account.root}/workers/scripts/shop/routes", [{"pattern": f"{account.zone}/*"}]
    without = client_with("Workers Scripts Write").put(path, json=routes)
    allowed = client_with("Workers Scripts Write", "Workers Routes Write").put(path, json=routes)

    assert code(without) == (403, 10000)
    assert allowed.status_code == 200


def test_zones_of_a_token_without_a_right_to_list_them(account: CloudAccount, client_with: TokenMaker) -> None:
    """Without Zone Read the list is empty, asking for a name is code 0 (recorded), and so is making one."""
    client = client_with("Workers Routes Write")

    assert client.get("/zones").json()["result"] == []
    assert code(client.get("/zones", params={"name": account.zone})) == (403, 0)
    body = {"name": f"new-{account.zone}", "account": {"id": account.account_id}}
    assert code(client.post("/zones", json=body)) == (403, 0)


def test_who_may_edit_records_finds_the_zone_by_name(account: CloudAccount, client_with: TokenMaker) -> None:
    """ACME clients have DNS Write for one zone and no other right: they find its id, and nothing else."""
    client = client_with("DNS Write", zone_ids=[account.zone_id])
    found = client.get("/zones", params={"name": account.zone}).json()["result"]

    assert [zone["id"] for zone in found] == [account.zone_id]
    assert client.get("/zones").json()["result"] == []
    assert code(client.get("/zones", params={"name": f"sub.{account.zone}"})) == (403, 0)
    assert code(client.get(f"/zones/{account.zone_id}")) == (403, 9109)


def test_a_token_of_another_account_has_no_right_here(account: CloudAccount) -> None:
    """Every right over one account is none over another, whatever is asked."""
    with account_of(account.cloud, account.cloud.new_account()) as stranger:
        for path in ("/d1/database", "/workers/scripts", "/tokens", "/members", "/audit_logs", ""):
            assert code(stranger.api.get(account.root + path))[0] == 403, path


def test_every_route_is_in_the_table(toolchain: Toolchain, tmp_path: Path) -> None:
    """No route of the API escapes the table, and what is below an account or a zone asks for a permission."""
    cloud = create_app(CloudConfig(data=tmp_path, workerd=toolchain.workerd, port=0))
    paths = [path.removeprefix(API_PREFIX) for path in paths_of(list(cloud.api_routes))]

    assert len(paths) > 100
    for path in paths:
        row = row_for(path)
        # Uploads of Pages carry the token of their own session.
        assert row is not None or path.startswith("/pages/assets"), f"{path} is in no row of the table"
        if row is not None and path.count("/") > 1 and not path.endswith("/verify") and path[:5] in ("/acco", "/zone"):
            assert row.level is not Level.NONE, path


def test_every_permission_in_the_table_is_there() -> None:
    """The table names permission groups that tokens can have."""
    for row in TABLE:
        for group in row.groups("GET") | (frozenset() if row.only_reads else row.groups("POST")):
            assert group in BY_NAME or group in ("Account Analytics Write", "Analytics Write"), (row.path, group)


def paths_of(routes: list[BaseRoute], prefix: str = "") -> Iterator[str]:
    """Yield the path of every route, with ``x`` for each parameter."""
    for route in routes:
        if isinstance(route, Mount):
            yield from paths_of(list(route.routes), prefix + re.sub(r"\{[^}]+\}", "x", route.path))
        elif isinstance(route, Route):
            yield prefix + re.sub(r"\{[^}]+\}", "x", route.path)
