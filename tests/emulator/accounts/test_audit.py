"""The audit log, and the budget of requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from clodo.emulator.config import CloudConfig
from clodo.emulator.server import EmbeddedCloud
from clodo.wrangler.toolchain import Toolchain
from tests.emulator.accounts.conftest import TokenMaker, code
from tests.fixtures.embedded_cloud import CloudAccount, account_of


def span() -> dict[str, str]:
    """Return a query for everything of about now."""
    moment = datetime.now(UTC)
    return {"since": (moment - timedelta(hours=1)).isoformat(), "before": (moment + timedelta(hours=1)).isoformat()}


def test_changes_are_in_the_audit_log(account: CloudAccount) -> None:
    """Writes to an account and to its zones are told with who, what and how it ended; reads are not changes."""
    account.result("GET", "/d1/database")
    account.result("POST", "/d1/database", json={"name": "notes"})
    record = {"type": "A", "name": "www", "content": "192.0.2.1"}
    account.api.post(f"/zones/{account.zone_id}/dns_records", json=record)
    account.api.post(f"/zones/{account.zone_id}/dns_records", json=record)
    changes = account.result("GET", "/audit_logs")
    of_zone = account.result("GET", "/audit_logs", params={"zone.name": account.zone})
    deletes = account.result("GET", "/audit_logs", params={"action.type": "delete"})

    assert [
        (change["action"]["type"], change["action"]["result"], change["resource"]["type"]) for change in changes
    ] == [
        ("create", False, "dns_records"),
        ("create", True, "dns_records"),
        ("create", True, "d1.database"),
    ]
    assert changes[0]["actor"]["ip"] == "127.0.0.1"
    assert "@" in changes[0]["actor"]["email"]
    assert (len(of_zone), deletes) == (2, [])


def test_every_call_is_in_the_log_of_events(account: CloudAccount, client_with: TokenMaker) -> None:
    """Reads and refusals too, filtered by what they were and paged by a cursor."""
    narrow = client_with("D1 Read")
    narrow.get(f"{account.root}/d1/database")
    narrow.post(f"{account.root}/d1/database", json={"name": "no"})
    account.result("GET", "/d1/database")
    by_token = account.result("GET", "/logs/audit", params=span() | {"actor_token_name": "narrow"})
    failures = account.result("GET", "/logs/audit", params=span() | {"action_result": "failure"})
    others = account.result("GET", "/logs/audit", params=span() | {"raw_method.not": "GET"})
    first = account.api.get(f"{account.root}/logs/audit", params=span() | {"limit": 2, "direction": "asc"}).json()
    second = account.api.get(
        f"{account.root}/logs/audit",
        params=span() | {"limit": 2, "direction": "asc", "cursor": first["result_info"]["cursor"]},
    ).json()

    assert [event["raw"]["method"] for event in by_token] == ["POST", "GET"]
    assert [(event["raw"]["status_code"], event["action"]["type"]) for event in failures] == [(403, "create")]
    assert {event["raw"]["method"] for event in others} == {"POST"}
    assert len(first["result"]) == len(second["result"]) == 2
    assert not {event["id"] for event in first["result"]} & {event["id"] for event in second["result"]}
    assert code(account.api.get(f"{account.root}/logs/audit"))[0] == 400


def test_one_budget_for_all_tokens_of_a_user(toolchain: Toolchain, tmp_path: Path) -> None:
    """Every token of a user takes from one budget, which each answer tells; the rest is 429 with when to come back."""
    with EmbeddedCloud(
        CloudConfig(data=tmp_path, workerd=toolchain.workerd, port=0, zones=("audit.example",))
    ) as cloud:
        cloud.limit_requests(True, maximum=4, window_seconds=300)
        with account_of(cloud, cloud.account) as account, account_of(cloud, cloud.new_account()) as stranger:
            admin = {"Authorization": f"Bearer {cloud.admin_token}"}
            made = httpx.post(
                f"{cloud.edge_url}/__clodo/tokens",
                json={"account_ids": [account.account_id], "permissions": ["D1 Read"]},
                headers=admin,
                trust_env=False,
            ).json()["result"]
            narrow = {"Authorization": f"Bearer {made['token']}"}
            first = account.api.get("/user")
            refused_for_rights = account.api.get("/user", headers=narrow)
            third = account.api.get(f"{account.root}/d1/database", headers=narrow)
            account.api.get("/user")
            over = [account.api.get("/user"), account.api.get(f"{account.root}/d1/database", headers=narrow)]
            other_user = stranger.api.get("/user")

    assert first.headers["Ratelimit-Policy"] == '"default";q=4;w=300'
    assert first.headers["Ratelimit"].startswith('"default";r=3;t=')
    assert code(refused_for_rights) == (403, 9109)
    assert refused_for_rights.headers["Ratelimit"].startswith('"default";r=2;t=')
    assert third.headers["Ratelimit"].startswith('"default";r=1;t=')
    assert [code(answer) for answer in over] == [(429, 971), (429, 971)]
    assert all(0 < int(answer.headers["Retry-After"]) <= 300 for answer in over)
    assert all(answer.headers["Ratelimit"].startswith('"default";r=0') for answer in over)
    assert other_user.status_code == 200


def test_the_audit_log_outlives_the_cloud(toolchain: Toolchain, tmp_path: Path) -> None:
    """What was done before a restart is still told after it."""
    config = CloudConfig(data=tmp_path, workerd=toolchain.workerd, port=0, zones=("audit.example",))
    with EmbeddedCloud(config) as cloud, account_of(cloud, cloud.account) as account:
        account.result("POST", "/d1/database", json={"name": "before"})
    with EmbeddedCloud(config) as cloud, account_of(cloud, cloud.account) as account:
        changes = account.result("GET", "/audit_logs")

    assert [change["resource"]["type"] for change in changes] == ["d1.database"]
