"""A customer from its first command to visitors at its domain, by commands alone."""

from __future__ import annotations

import shlex

import pytest

from tests.customers.fleet import Fleet
from tests.fixtures.embedded_cloud import CloudAccount
from tests.workspace.folders import write

CONFIG = (
    'name = "api"\nmain = "index.js"\ncompatibility_date = "2026-01-01"\nversion_metadata = { binding = "VERSION" }\n'
)
CODE = "export default { fetch(_, env) { return Response.json({ by: env.CUSTOMER_ID, version: env.VERSION.id }); } };"
TESTS = '[[services.api.smoke_tests]]\npath = "/"\nversion_json = "version"\n'


@pytest.mark.exhaustive
def test_a_customer_is_made_released_checked_moved_and_removed(tmp_path, account: CloudAccount, prefect_server, capsys):
    """Made by options, released by the printed command, answers at its domain, and again at another one."""
    fleet = Fleet.open(tmp_path, account, capsys)
    portfolio = (tmp_path / "portfolio.toml").read_text() + TESTS
    write(tmp_path, {"portfolio.toml": portfolio, "api/wrangler.toml": CONFIG, "api/index.js": CODE})
    before = fleet.files()
    old, new = f"acme.{account.zone}", f"shop.{account.zone}"
    for host in (old, new):
        record = {"type": "AAAA", "name": host, "content": "100::", "proxied": True}
        account.api.post(f"/zones/{account.zone_id}/dns_records", json=record).raise_for_status()

    fleet.said("customer", "create", "acme", "--domain", old, "--service", "api", "--yes")
    words = shlex.split(fleet.said("customer", "deploy-command", "acme"))
    released = fleet.told(*words[1:])
    answer = account.visit(old).json()
    checked = fleet.told("domain", "validate", "acme")
    fleet.said("customer", "update", "acme", "--domain", new, "--yes")
    moved = fleet.told("deploy", "api@production/acme")
    row = fleet.told("customer", "list")[0]
    fleet.said("customer", "remove", "acme", "--yes")

    assert [target["ending"] for target in released["targets"]] == ["live"]
    assert answer["by"] == "acme"
    assert [host["ok"] for host in checked["hosts"]] == [True]
    assert [target["ending"] for target in moved["targets"]] == ["live"]
    assert account.visit(new).json()["by"] == "acme"
    assert (row["token"], row["domain"]["value"]) == ("set", new)
    assert row["account_id"] == {"value": account.account_id, "place": f"block {fleet.block}"}
    assert fleet.files() == before
