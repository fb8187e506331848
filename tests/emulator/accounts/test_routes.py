"""Tokens, accounts, users and zones over the API."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from cloudflare import Cloudflare

from clodo.emulator.server import EmbeddedCloud
from tests.fixtures.embedded_cloud import CloudAccount, account_of


def call(cloud: EmbeddedCloud, path: str, token: str | None = None, method: str = "GET") -> httpx.Response:
    """Call the API with any token, or none."""
    headers = {} if token is None else {"Authorization": token}
    return httpx.request(method, cloud.url + path, headers=headers, trust_env=False)


@pytest.mark.parametrize(
    ("authorization", "code", "reason"),
    [
        (None, 9106, None),
        ("Bearer", 6003, 6111),
        ("Basic abc", 6003, 6111),
        ("Bearer wrong", 6003, 6111),
        ("Bearer \udcff", 6003, 6111),
    ],
)
def test_calls_without_what_could_be_a_token_are_refused(
    account: CloudAccount, authorization: str | None, code: int, reason: int | None
) -> None:
    """No credentials are 400 with 9106, others than tokens 6003 and why; nothing is said about what exists."""
    encoded = None if authorization is None else authorization.encode("utf-8", "surrogateescape")
    headers = [] if encoded is None else [(b"Authorization", encoded)]
    for path in (f"{account.root}/workers/scripts", "/accounts", "/user/tokens/verify", "/no/such/path"):
        answer = httpx.get(account.cloud.url + path, headers=headers, trust_env=False)
        [error] = answer.json()["errors"]
        chain = [link["code"] for link in error.get("error_chain", [])]
        assert (answer.status_code, error["code"], chain) == (400, code, [] if reason is None else [reason])


def test_a_token_of_nobody_is_told_so_by_each_in_its_way(account: CloudAccount) -> None:
    """Accounts, users and zones say 9109, products and records 10000, and verifying says 1000."""
    stranger = f"Bearer {'x' * 40}"
    zone = f"/zones/{account.zone_id}"
    for path in ("/accounts", "/user", "/zones", zone, f"{zone}/settings", account.root):
        refused = call(account.cloud, path, stranger)
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, 9109), path
    for path in (f"{zone}/dns_records", f"{account.root}/workers/scripts", "/no/such/path"):
        refused = call(account.cloud, path, stranger)
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, 10000), path


def test_an_e_mail_and_a_key_are_as_good_as_a_token(account: CloudAccount) -> None:
    """The older headers work with the user's own e-mail and token; another's e-mail is 9103."""
    email = account.api.get("/user").json()["result"]["email"]
    url = account.cloud.url + "/user/tokens/verify"
    known = httpx.get(url, headers={"X-Auth-Email": email, "X-Auth-Key": account.token}, trust_env=False)
    headers = {"X-Auth-Email": "somebody@else.example", "X-Auth-Key": account.token}
    stranger = httpx.get(url, headers=headers, trust_env=False)
    without = httpx.get(url, headers={"X-Auth-Email": email}, trust_env=False)

    assert known.status_code == 200
    assert (stranger.status_code, stranger.json()["errors"][0]["code"]) == (403, 9103)
    assert (without.status_code, without.json()["errors"][0]["error_chain"][0]["code"]) == (400, 6103)


def test_a_token_reaches_its_own_accounts_only(account: CloudAccount) -> None:
    """Another account's token is refused, and doesn't see the account or its zone in lists."""
    with account_of(account.cloud, account.cloud.new_account()) as stranger:
        refused = stranger.api.get(f"{account.root}/workers/scripts")
        accounts = stranger.api.get("/accounts").json()["result"]
        zones = stranger.api.get("/zones").json()["result"]
        zone = stranger.api.get(f"/zones/{account.zone_id}")

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, 10000)
    assert [entry["id"] for entry in accounts] == [stranger.account_id]
    assert [entry["id"] for entry in zones] == [stranger.zone_id]
    assert zone.status_code == 403


def test_tokens_are_verified(account: CloudAccount) -> None:
    """A user's token verifies at /user, an unknown one is 1000 there, and at the account's endpoint a user's is too."""
    verified = account.api.get("/user/tokens/verify")
    unknown = call(account.cloud, "/user/tokens/verify", f"Bearer {'x' * 40}")
    at_account = account.api.get(f"{account.root}/tokens/verify")

    assert verified.json()["result"]["status"] == "active"
    assert (unknown.status_code, unknown.json()["errors"][0]["code"]) == (401, 1000)
    assert (at_account.status_code, at_account.json()["errors"][0]["code"]) == (401, 1000)


def test_account_tokens_have_no_user(account: CloudAccount) -> None:
    """A token owned by the account verifies there only, and /user is 9109."""
    admin = {"Authorization": f"Bearer {account.cloud.admin_token}"}
    made = httpx.post(
        account.cloud.edge_url + "/__clodo/tokens",
        json={"account_ids": [account.account_id], "owner": "account", "name": "ci"},
        headers=admin,
        trust_env=False,
    ).json()["result"]
    bearer = f"Bearer {made['token']}"
    at_user = call(account.cloud, "/user/tokens/verify", bearer)
    at_account = call(account.cloud, f"{account.root}/tokens/verify", bearer)
    user = call(account.cloud, "/user", bearer)
    works = call(account.cloud, f"{account.root}/workers/scripts", bearer)
    httpx.patch(
        account.cloud.edge_url + f"/__clodo/tokens/{made['id']}",
        json={"status": "disabled"},
        headers=admin,
        trust_env=False,
    )
    disabled = call(account.cloud, f"{account.root}/workers/scripts", bearer)

    assert at_user.json()["errors"][0]["code"] == 1000
    assert at_account.json()["result"]["status"] == "active"
    assert (user.status_code, user.json()["errors"][0]["code"]) == (403, 9109)
    assert works.status_code == 200
    assert disabled.status_code == 403


def test_whoami_s_questions_are_answered(account: CloudAccount) -> None:
    """The user has an e-mail, the account a name, the membership a role; lists carry result_info and end."""
    user = account.api.get("/user").json()["result"]
    accounts = account.api.get("/accounts?page=1").json()
    memberships = account.api.get("/memberships?page=1").json()["result"]
    beyond = account.api.get("/accounts?page=2").json()

    assert "@" in user["email"]
    assert accounts["result"][0]["name"] == "test_whoami_s_questions_are_answered"
    assert accounts["result_info"] == {"count": 1, "page": 1, "per_page": 20, "total_count": 1, "total_pages": 1}
    assert memberships[0]["account"]["id"] == account.account_id
    assert beyond["result"] == []


def test_zones_are_found_by_name(account: CloudAccount) -> None:
    """Zones are filtered by name, account and account name, and paged."""
    for query, expected in (
        (f"name={account.zone}", 1),
        (f"name={account.zone}&account.id={account.account_id}", 1),
        ("name=elsewhere.example", 0),
        (f"name=starts_with:{account.zone[:4]}", 1),
        ("account.id=" + "0" * 32, 0),
        ("account.name=test_zones_are_found_by_name", 1),
        ("page=2", 0),
    ):
        assert len(account.api.get(f"/zones?{query}").json()["result"]) == expected, query
    zone = account.api.get(f"/zones/{account.zone_id}").json()["result"]
    assert (zone["name"], zone["account"]["id"]) == (account.zone, account.account_id)


def test_what_has_no_route_is_7003(account: CloudAccount) -> None:
    """Paths, ids that are none, and methods that lead nowhere are refused in the envelope."""
    for path in ("/accounts/undefined/workers/scripts", "/zones/null/dns_records", "/zones/example.com"):
        answer = account.api.get(path)
        assert (answer.status_code, [error["code"] for error in answer.json()["errors"]]) == (404, [7003, 7000]), path
    missing = account.api.get(f"{account.root}/no/such/thing")
    slash = account.api.get(f"{account.root}/workers/scripts/")
    method = account.api.patch(f"{account.root}/workers/scripts")

    assert (missing.status_code, [error["code"] for error in missing.json()["errors"]]) == (404, [7003, 7000])
    assert slash.status_code in (404, 405)
    assert method.status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "evil.workers.dev", ""])
def test_hosts_of_nobody_are_refused(cloud: EmbeddedCloud, host: str) -> None:
    """A name that somebody else points at us reaches neither API nor Worker: DNS rebinding."""
    answer = httpx.get(cloud.url + "/user/tokens/verify", headers={"Host": host}, trust_env=False)

    assert answer.status_code == 421
    assert "Misdirected" in answer.text


def test_the_api_answers_to_its_own_names(account: CloudAccount) -> None:
    """The loopback names, and Cloudflare's own for clients that can't be told otherwise, lead to the API."""
    port = account.cloud.edge_url.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "api.cloudflare.com", f"[::1]:{port}"):
        assert account.api.get("/user/tokens/verify", headers={"Host": host}).status_code == 200, host


def test_the_cloud_s_own_endpoints_need_the_admin_token(account: CloudAccount) -> None:
    """Nobody without the admin token, or the first account's, reads or changes the cloud itself."""
    url = account.cloud.edge_url + "/__clodo/status"
    for token, status in (
        (None, 403),
        (account.token, 403),
        (account.cloud.admin_token, 200),
        (account.cloud.account.token, 200),
    ):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        assert httpx.get(url, headers=headers, trust_env=False).status_code == status


def test_anybody_may_ask_for_the_edges_addresses(cloud: EmbeddedCloud) -> None:
    """Without a token, and with a wrong one, ranges of both kinds come, as the SDK's strictest validation has it."""
    with Cloudflare(api_token="wrong", base_url=cloud.url, max_retries=0, _strict_response_validation=True) as client:
        read: Any = client.ips.list()

    asked = httpx.get(f"{cloud.url}/ips", trust_env=False).json()["result"]
    assert asked["etag"] == read.etag
    assert {ip_network(found).version for found in asked["ipv4_cidrs"]} == {4}
    assert {ip_network(found).version for found in asked["ipv6_cidrs"]} == {6}
