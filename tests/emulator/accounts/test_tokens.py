"""Tokens made, listed, changed, rolled and deleted over the API."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from clodo.emulator.accounts.permission_groups import BY_NAME, PERMISSION_GROUPS
from clodo.emulator.accounts.store import Accounts
from clodo.emulator.accounts.tokens import Tokens
from clodo.emulator.database import Database
from clodo.emulator.zones.store import Zones
from tests.emulator.accounts.conftest import TokenMaker, code
from tests.fixtures.embedded_cloud import CloudAccount


def policy(account: CloudAccount, *names: str, effect: str = "allow") -> dict[str, Any]:
    """Return a policy that allows groups on the account, and those about zones on all of its zones."""
    zone_groups = BY_NAME[names[0]].scope.endswith(".zone")
    owner = f"com.cloudflare.api.account.{account.account_id}"
    resources: dict[str, Any] = {owner: {"com.cloudflare.api.account.zone.*": "*"} if zone_groups else "*"}
    groups = [{"id": BY_NAME[name].id} for name in names]
    return {"effect": effect, "permission_groups": groups, "resources": resources}


def calling(account: CloudAccount, value: str) -> httpx.Response:
    """List databases with a token."""
    url = f"{account.cloud.url}{account.root}/d1/database"
    return httpx.get(url, headers={"Authorization": f"Bearer {value}"}, trust_env=False)


@pytest.fixture(params=["user", "account"])
def tokens_path(request: pytest.FixtureRequest, account: CloudAccount) -> str:
    """Where tokens are made: as the user's, or as the account's own."""
    return "/user/tokens" if request.param == "user" else f"{account.root}/tokens"


def test_a_token_lives_and_dies_by_the_api(account: CloudAccount, tokens_path: str) -> None:
    """Made, used, read without its value, narrowed, rolled and deleted: each change counts from the next call on."""
    body = {"name": "ci", "policies": [policy(account, "D1 Read")]}
    made = account.api.post(tokens_path, json=body).json()["result"]
    path = f"{tokens_path}/{made['id']}"
    read = account.api.get(path).json()["result"]
    listed = account.api.get(tokens_path).json()
    allowed = calling(account, made["value"])
    account.api.put(path, json={"name": "ci", "policies": [policy(account, "Pages Read")]})
    narrowed = calling(account, made["value"])
    account.api.put(path, json=body | {"status": "disabled"})
    disabled = calling(account, made["value"])
    account.api.put(path, json=body | {"status": "active"})
    rolled = account.api.put(f"{path}/value", json={}).json()["result"]
    old, new = calling(account, made["value"]), calling(account, rolled)
    deleted = account.api.delete(path).json()["result"]
    gone = calling(account, rolled)

    assert "value" not in read
    assert (read["name"], read["status"]) == ("ci", "active")
    assert read["policies"][0]["permission_groups"][0]["name"] == "D1 Read"
    assert made["id"] in [token["id"] for token in listed["result"]]
    assert listed["result_info"]["total_count"] == len(listed["result"])
    assert (allowed.status_code, code(narrowed), code(disabled)) == (200, (403, 10000), (403, 10000))
    assert (code(old), new.status_code, code(gone)) == ((403, 10000), 200, (403, 10000))
    assert deleted == {"id": made["id"]}
    assert account.api.get(path).status_code == 404


def test_what_is_denied_is_not_allowed(account: CloudAccount) -> None:
    """A policy that denies wins over one that allows."""
    policies = [policy(account, "D1 Read", "Queues Read"), policy(account, "D1 Read", "D1 Write", effect="deny")]
    value = account.api.post("/user/tokens", json={"name": "mixed", "policies": policies}).json()["result"]["value"]
    queues = httpx.get(
        f"{account.cloud.url}{account.root}/queues", headers={"Authorization": f"Bearer {value}"}, trust_env=False
    )

    assert code(calling(account, value)) == (403, 10000)
    assert queues.status_code == 200


@pytest.mark.parametrize(
    ("times", "status"),
    [
        ({"expires_on": timedelta(days=1), "not_before": timedelta(days=-1)}, 200),
        ({"expires_on": timedelta(seconds=-5)}, 403),
        ({"not_before": timedelta(days=1)}, 403),
    ],
)
def test_a_token_counts_within_its_time(account: CloudAccount, times: dict[str, timedelta], status: int) -> None:
    """It is refused before it begins and after it expires, in whatever offset from UTC that was said."""
    said = {key: (datetime.now(UTC) + ago).astimezone().isoformat() for key, ago in times.items()}
    body = {"name": "timed", "policies": [policy(account, "D1 Read")], **said}
    value = account.api.post("/user/tokens", json=body).json()["result"]["value"]

    assert calling(account, value).status_code == status


@pytest.mark.parametrize(
    ("networks", "status"),
    [({"in": ["127.0.0.0/8"]}, 200), ({"in": ["192.0.2.0/24"]}, 403), ({"not_in": ["127.0.0.1"]}, 403)],
)
def test_a_token_counts_from_the_right_place(
    account: CloudAccount, networks: dict[str, list[str]], status: int
) -> None:
    """A condition on networks is heeded: 9109 from elsewhere."""
    body = {"name": "here", "policies": [policy(account, "D1 Read")], "condition": {"request_ip": networks}}
    value = account.api.post("/user/tokens", json=body).json()["result"]["value"]

    assert code(calling(account, value)) == (status, 9109 if status == 403 else None)


@pytest.mark.parametrize(
    "body",
    [
        {"policies": []},
        {"name": "", "policies": [{}]},
        {"name": "x"},
        {"name": "x", "policies": "all"},
        {"name": "x", "policies": [{"effect": "maybe"}]},
        {"name": "x", "policies": [{"effect": "allow", "permission_groups": [{"id": "0" * 32}], "resources": {}}]},
        {"name": "x", "policies": [{"effect": "allow", "permission_groups": [], "resources": {"a": "*"}}]},
        {"name": "x", "status": "asleep", "policies": [{}]},
        {"name": "x", "expires_on": "tomorrow", "policies": [{}]},
        {"name": "x", "condition": {"request_ip": {"in": ["here"]}}, "policies": [{}]},
    ],
)
def test_tokens_that_cannot_be_are_refused(account: CloudAccount, tokens_path: str, body: dict[str, Any]) -> None:
    """What is missing or wrong is 400, and no token is made."""
    before = account.api.get(tokens_path).json()["result_info"]["total_count"]
    if body.get("policies") == [{}]:
        body = body | {"policies": [policy(account, "D1 Read")]}

    assert code(account.api.post(tokens_path, json=body)) == (400, 1001)
    assert account.api.get(tokens_path).json()["result_info"]["total_count"] == before


def test_resources_must_be_of_a_known_kind(account: CloudAccount) -> None:
    """A resource that is none, or zones named outside an account, are refused."""
    groups = [{"id": BY_NAME["DNS Read"].id}]
    zones = {"com.cloudflare.api.account.zone.*": "*"}
    for resources in (
        {"com.cloudflare.api.planet": "*"},
        {"com.cloudflare.api.account.*": "read"},
        {"com.cloudflare.api.account.zone.*": zones},
        {"com.cloudflare.api.account.*": {"com.cloudflare.api.account.*": "*"}},
    ):
        body = {"name": "x", "policies": [{"effect": "allow", "permission_groups": groups, "resources": resources}]}
        assert code(account.api.post("/user/tokens", json=body)) == (400, 1001), resources


def test_permission_groups_are_listed_and_filtered(account: CloudAccount) -> None:
    """All are there with their real ids; name and scope choose; an account's tokens can't have a user's."""
    listed = account.api.get("/user/tokens/permission_groups").json()["result"]
    named = account.api.get("/user/tokens/permission_groups", params={"name": "D1 Write"}).json()["result"]
    scoped = account.api.get(
        "/user/tokens/permission_groups", params={"scope": "com.cloudflare.edge.r2.bucket"}
    ).json()["result"]
    of_account = account.api.get(f"{account.root}/tokens/permission_groups").json()["result"]

    assert len(listed) == len(PERMISSION_GROUPS)
    assert [group["id"] for group in named] == ["09b2857d1c31407795e75e3fed8617a1"]
    assert len(scoped) == 2
    assert not any("user" in scope for group in of_account for scope in group["scopes"])


def test_a_token_that_may_everything_says_so(account: CloudAccount) -> None:
    """The account's first token is shown with every permission, as one that was made with them."""
    token = account.api.get("/user/tokens").json()["result"][0]
    groups = {group["name"] for policy in token["policies"] for group in policy["permission_groups"]}

    assert groups == {group.name for group in PERMISSION_GROUPS}


def test_admins_make_tokens_by_names_of_permissions(
    account: CloudAccount, admin: httpx.Client, client_with: TokenMaker
) -> None:
    """The cloud's own endpoint takes names and a value; unknown names are told with the known ones."""
    client = client_with("D1 Read", value=f"chosen-{account.account_id}")
    unknown = admin.post("/tokens", json={"account_ids": [account.account_id], "permissions": ["D1 Edit"]})

    assert client.headers["Authorization"] == f"Bearer chosen-{account.account_id}"
    assert client.get(f"{account.root}/d1/database").status_code == 200
    assert unknown.status_code == 400
    assert "D1 Write" in unknown.json()["errors"][0]["message"]


def test_r2_keys_are_made_of_tokens(tmp_path: Any) -> None:
    """A token's id and the SHA-256 of its value are R2's access key id and secret; nothing else of it is kept."""
    database = Database(tmp_path / "cloud.db")
    zones = Zones(database)
    accounts = Accounts(database, zones)
    keys = accounts.create()
    token_id, value = accounts.add_token([keys.account_id], name="r2", permissions=["Workers R2 Storage Write"])
    found = accounts.token_by_id(token_id)
    stored = "".join(str(row) for row in database.rows("SELECT * FROM tokens"))

    assert found is not None
    caller, digest = found
    assert digest == hashlib.sha256(value.encode()).hexdigest()
    assert caller.may_in_bucket({"Workers R2 Storage Write"}, keys.account_id, "files")
    assert not caller.may_in_bucket({"D1 Write"}, keys.account_id, "files")
    assert value not in stored
    assert accounts.token_by_id("0" * 32) is None
    database.close()


def test_tokens_outlive_the_cloud(tmp_path: Any) -> None:
    """What was acknowledged is there after the file is opened anew, policies and all."""
    database = Database(tmp_path / "cloud.db")
    accounts = Accounts(database, Zones(database))
    keys = accounts.create()
    _, value = accounts.add_token([keys.account_id], name="narrow", permissions=["D1 Read"])
    database.close()
    again = Database(tmp_path / "cloud.db")
    caller = Tokens(again, Zones(again)).authenticate(value)
    again.close()

    assert caller is not None
    assert caller.may_in_account({"D1 Read"}, keys.account_id)
    assert not caller.may_in_account({"D1 Write"}, keys.account_id)


def test_the_first_token_stays_given_up(tmp_path: Any) -> None:
    """Rolled, its new value is what the next start has; deleted, the next start makes another; the old is gone."""
    database = Database(tmp_path / "cloud.db")
    accounts = Accounts(database, Zones(database))

    def start() -> str:
        return accounts.first(None, None, None, ()).token

    def id_of(value: str) -> str:
        found = accounts.tokens.authenticate(value)
        assert found is not None
        return found.token_id

    first = start()
    rolled = accounts.tokens.roll(id_of(first))
    after_roll = start()
    accounts.tokens.delete(id_of(rolled))
    after_delete = start()
    gone = [accounts.tokens.authenticate(value) for value in (first, rolled)]
    database.close()

    assert after_roll == rolled != first
    assert after_delete not in (first, rolled)
    assert gone == [None, None]
