"""How requests reach a Worker: workers.dev, previews, routes, custom domains, schedules."""

from __future__ import annotations

import time
from typing import Any

import pytest

from clodo.emulator.server import EmbeddedCloud
from tests.fixtures.embedded_cloud import CloudAccount, account_of


def say(word: str) -> str:
    """A Worker that answers *word*."""
    return f"export default {{ fetch() {{ return new Response('{word}'); }} }};"


def zone_path(account: CloudAccount, tail: str = "") -> str:
    """The zone's routes."""
    return f"/zones/{account.zone_id}/workers/routes{tail}"


def test_workers_dev_is_switched_per_worker(account: CloudAccount) -> None:
    """The hostname and the previews answer only while they are switched on."""
    account.put_worker("shop", say("one"), reachable=False)
    version = account.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    path, seen = "/workers/scripts/shop/subdomain", []
    for body in ({"enabled": True, "previews_enabled": False}, {"enabled": False, "previews_enabled": True}):
        assert account.result("POST", path, json=body) == body
        assert account.result("GET", path) == body
        hosts = (account.hostname("shop"), account.preview("shop", version))
        seen.append([account.visit(host).status_code for host in hosts])

    assert seen == [[200, 404], [404, 200]]
    worker = account.result("GET", "/workers/workers/shop")
    assert worker["subdomain"] == {
        "enabled": False,
        "previews_enabled": True,
        "url": f"https://{account.hostname('shop')}",
        "preview_url_suffix": f"-{account.hostname('shop')}",
    }


def test_the_account_s_subdomain_moves_its_workers(account: CloudAccount) -> None:
    """A new subdomain is where the Workers answer from then on; one in use or unfit is refused."""
    account.put_worker("shop", say("one"))
    fresh = f"moved-{account.account_id[:8]}"
    with account_of(account.cloud, account.cloud.new_account()) as stranger:
        taken = account.refusal("PUT", "/workers/subdomain", json={"subdomain": stranger.subdomain})
    unfit = account.refusal("PUT", "/workers/subdomain", json={"subdomain": "no dots.allowed"})
    account.result("PUT", "/workers/subdomain", json={"subdomain": fresh})

    assert taken == (409, 10031)
    assert unfit == (400, 10031)
    assert account.result("GET", "/workers/subdomain") == {"subdomain": fresh}
    assert account.visit(f"shop.{fresh}.workers.dev").text == "one"
    assert account.visit(account.hostname("shop")).status_code == 421


def test_routes_of_a_zone_are_made_changed_and_deleted(account: CloudAccount) -> None:
    """A route leads to a Worker; the most precise one wins; one without a Worker keeps a path free."""
    account.put_worker("shop", say("shop"), reachable=False)
    account.put_worker("blog", say("blog"), reachable=False)
    made = account.api.post(zone_path(account), json={"pattern": f"{account.zone}/*", "script": "shop"}).json()[
        "result"
    ]
    account.api.post(zone_path(account), json={"pattern": f"*.{account.zone}/blog/*", "script": "blog"})
    account.api.post(zone_path(account), json={"pattern": f"{account.zone}/static/*"})
    hosts = [
        (account.zone, "/"),
        (f"www.{account.zone}", "/blog/x"),
        (account.zone, "/static/a"),
        (f"www.{account.zone}", "/"),
    ]
    seen = [
        (answer.status_code, answer.text if answer.is_success else "")
        for answer in (account.visit(*host) for host in hosts)
    ]
    account.api.put(zone_path(account, f"/{made['id']}"), json={"pattern": f"{account.zone}/*", "script": "blog"})
    changed = account.visit(account.zone).text
    account.api.delete(zone_path(account, f"/{made['id']}"))

    assert seen == [(200, "shop"), (200, "blog"), (530, ""), (530, "")]
    assert changed == "blog"
    assert account.visit(account.zone).status_code == 530
    assert len(account.api.get(zone_path(account)).json()["result"]) == 2
    assert account.api.get(zone_path(account, f"/{made['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"pattern": "ZONE/*", "script": "gone"}, 404, 10007),
        ({"pattern": "elsewhere.example/*"}, 400, 10022),
        ({"pattern": "ZONE/a*b"}, 400, 10022),
        ({}, 400, 10022),
        ({"pattern": "ZONE/taken"}, 409, 10020),
    ],
)
def test_impossible_routes_are_refused(account: CloudAccount, body: dict[str, Any], status: int, code: int) -> None:
    """A route needs a pattern in its zone that isn't taken, and a Worker that is there."""
    account.api.post(zone_path(account), json={"pattern": f"{account.zone}/taken"})
    answer = account.api.post(
        zone_path(account), json={key: value.replace("ZONE", account.zone) for key, value in body.items()}
    )

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)


def test_a_worker_s_routes_are_replaced_as_a_whole(account: CloudAccount) -> None:
    """The list sent is the list there is; a route of another Worker isn't taken over."""
    account.put_worker("shop")
    account.put_worker("blog")
    path = "/workers/scripts/shop/routes"
    account.result("PUT", path, json=[{"pattern": f"{account.zone}/a/*"}, {"pattern": f"{account.zone}/b/*"}])
    account.result("PUT", path, json=[{"pattern": f"{account.zone}/b/*", "zone_name": account.zone}])
    taken = account.refusal("PUT", "/workers/scripts/blog/routes", json=[{"pattern": f"{account.zone}/b/*"}])
    foreign = account.refusal("PUT", path, json=[{"pattern": "elsewhere.example/*"}])

    assert [route["pattern"] for route in account.result("GET", path)] == [f"{account.zone}/b/*"]
    assert taken == (409, 10020)
    assert foreign == (400, 10022)
    listed = account.result("GET", "/workers/scripts")
    assert [route["pattern"] for route in listed[1]["routes"]] == [f"{account.zone}/b/*"]


def test_custom_domains_lead_to_one_worker(account: CloudAccount) -> None:
    """A hostname is added, seen as a conflict by another Worker, moved by force, filtered and deleted."""
    account.put_worker("shop", say("shop"))
    account.put_worker("blog", say("blog"))
    host = f"www.{account.zone}"
    added = account.result(
        "PUT", "/workers/domains", json={"hostname": host, "service": "shop", "zone_id": account.zone_id}
    )
    taken = account.refusal("PUT", "/workers/domains", json={"hostname": host, "service": "blog"})
    changeset = account.result(
        "POST",
        "/workers/scripts/blog/domains/changeset?replace_state=true",
        json=[{"hostname": host}, {"hostname": f"new.{account.zone}"}],
    )
    first = account.visit(host).text
    account.result(
        "PUT",
        "/workers/scripts/blog/domains/records",
        json={"override_scope": True, "override_existing_origin": True, "origins": [{"hostname": host}]},
    )
    second = account.visit(host).text
    listed = account.api.get(f"{account.root}/workers/domains?service=blog").json()
    deleted = account.api.delete(f"{account.root}/workers/domains/{added['id']}")

    assert (first, second) == ("shop", "blog")
    assert taken == (409, 100116)
    assert [entry["modified"] for entry in changeset["updated"]] == [True]
    assert [entry["hostname"] for entry in changeset["added"]] == [f"new.{account.zone}"]
    assert [entry["id"] for entry in listed["result"]] == [added["id"]]
    assert (listed["errors"], listed["messages"]) == (None, None)
    assert deleted.status_code == 200
    assert account.visit(host).status_code == 530


def test_a_domain_outside_the_account_is_refused(account: CloudAccount) -> None:
    """Hostnames must lie in a zone of the account, and be hostnames."""
    account.put_worker("shop")
    for hostname in ("www.elsewhere.example", f"*.{account.zone}", f"{account.zone}/path", 7):
        assert account.refusal("PUT", "/workers/domains", json={"hostname": hostname, "service": "shop"}) == (
            400,
            100112,
        )


def test_schedules_keep_their_date_and_are_checked(account: CloudAccount) -> None:
    """Schedules are replaced as a whole; those that stay keep the day they were made; nonsense is refused."""
    account.put_worker("shop")
    path = "/workers/scripts/shop/schedules"
    first = account.result("PUT", path, json=[{"cron": "*/5 * * * *"}])["schedules"][0]
    second = account.result("PUT", path, json=[{"cron": "*/5 * * * *"}, {"cron": "0 3 * * MON-FRI"}])["schedules"]
    refused = account.refusal("PUT", path, json=[{"cron": "every day"}])

    assert second[0]["created_on"] == first["created_on"]
    assert [entry["cron"] for entry in account.result("GET", path)["schedules"]] == ["*/5 * * * *", "0 3 * * MON-FRI"]
    assert refused == (400, 10100)


def test_the_same_worker_in_two_accounts(cloud: EmbeddedCloud, account: CloudAccount) -> None:
    """Names are each account's own: two Workers named alike answer at their own hostnames."""
    with account_of(cloud, cloud.new_account()) as other:
        account.put_worker("shop", say("mine"))
        other.put_worker("shop", say("theirs"))
        seen = (account.visit(account.hostname("shop")).text, other.visit(other.hostname("shop")).text)
        account.result("DELETE", "/workers/scripts/shop")
        still = other.visit(other.hostname("shop")).text

    assert seen == ("mine", "theirs")
    assert still == "theirs"


@pytest.mark.exhaustive
def test_the_real_clock_runs_a_worker(account: CloudAccount) -> None:
    """A Worker with a schedule for every minute is run at the next one, with nobody asking."""
    namespace = account.result("POST", "/storage/kv/namespaces", json={"title": "seen"})["id"]
    code = """export default { async scheduled({ cron, scheduledTime }, env) {
        await env.KV.put("ran", `${cron} ${scheduledTime % 60000}`);
    } };"""
    kv = {"type": "kv_namespace", "name": "KV", "namespace_id": namespace}
    account.put_worker("shop", code, reachable=False, bindings=[kv])
    account.result("PUT", "/workers/scripts/shop/schedules", json=[{"cron": "*/1 * * * *"}])
    value = f"{account.root}/storage/kv/namespaces/{namespace}/values/ran"
    limit = time.monotonic() + 65
    while not (answer := account.api.get(value)).is_success:
        assert time.monotonic() < limit, "the minute passed without a run"
        time.sleep(0.25)

    assert answer.text == "*/1 * * * * 0"
