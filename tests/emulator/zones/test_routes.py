"""Zones, their settings and certificates over the API."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.fixtures.embedded_cloud import CloudAccount, slow_body


def code(answer: httpx.Response) -> tuple[int, int | None]:
    """Return the status, and the first error's number if there is one."""
    errors = answer.json()["errors"]
    return answer.status_code, errors[0]["code"] if errors else None


def create(account: CloudAccount, name: str, **more: Any) -> dict[str, Any]:
    """Make a zone and return it."""
    answer = account.api.post("/zones", json={"name": name, "account": {"id": account.account_id}, **more})
    assert answer.status_code == 200, answer.text
    zone: dict[str, Any] = answer.json()["result"]
    return zone


def test_a_zone_lives_and_dies_by_the_api(account: CloudAccount) -> None:
    """Made pending, found active when asked to look, changed, and deleted with all that was in it."""
    zone = create(account, f"New-{account.zone}")
    path = f"/zones/{zone['id']}"
    checked = account.api.put(f"{path}/activation_check").json()["result"]
    active = account.api.get(path).json()["result"]
    paused = account.api.patch(path, json={"paused": True}).json()["result"]
    account.api.post(f"{path}/dns_records", json={"type": "A", "name": "www", "content": "192.0.2.1"})
    account.put_worker("shop", reachable=False)
    account.api.post(f"{path}/workers/routes", json={"pattern": f"{zone['name']}/*", "script": "shop"})
    deleted = account.api.delete(path).json()["result"]
    again = create(account, zone["name"])

    assert (zone["name"], zone["status"], zone["activated_on"]) == (f"new-{account.zone}", "pending", None)
    assert len(zone["name_servers"]) == 2
    assert checked == {"id": zone["id"]}
    assert (active["status"], active["activated_on"] is not None) == ("active", True)
    assert paused["paused"] is True
    assert deleted == {"id": zone["id"]}
    assert account.api.get(path).status_code == 403
    assert account.api.get(f"/zones/{again['id']}/dns_records").json()["result"] == []
    assert account.api.get(f"/zones/{again['id']}/workers/routes").json()["result"] == []


def test_zones_that_cannot_be_are_refused(account: CloudAccount) -> None:
    """A name that is taken, or none, and changes that say nothing."""
    me = {"account": {"id": account.account_id}}
    path = f"/zones/{account.zone_id}"

    assert code(account.api.post("/zones", json={"name": account.zone, **me})) == (400, 1061)
    for name in (None, "", "nodots", "a b.example", "-.example", "x" * 300 + ".example"):
        assert code(account.api.post("/zones", json={"name": name, **me})) == (400, 1049), name
    assert code(account.api.post("/zones", json={"name": "a.example", "account": {"id": "0" * 32}})) == (403, 0)
    assert code(account.api.post("/zones", json={"name": "odd.example", "type": "round", **me})) == (400, 1002)
    for change in ({}, {"paused": "yes"}, {"type": "round"}, {"vanity_name_servers": "ns1"}):
        assert code(account.api.patch(path, json=change)) == (400, 1002), change


def test_zones_are_listed_by_name_status_and_account(account: CloudAccount) -> None:
    """Filters, operators, match, order and pages."""
    names = [f"{word}-{account.zone}" for word in ("alpha", "beta", "gamma")]
    for name in names:
        create(account, name)
    alpha = account.api.get("/zones", params={"name": names[0]}).json()["result"][0]
    account.api.put(f"/zones/{alpha['id']}/activation_check")

    def listed(**query: Any) -> list[str]:
        answer = account.api.get("/zones", params={key.replace("__", "."): value for key, value in query.items()})
        return [zone["name"].removesuffix(account.zone).removesuffix("-") for zone in answer.json()["result"]]

    assert sorted(listed()) == ["", "alpha", "beta", "gamma"]
    assert listed(status="pending") == ["beta", "gamma"]
    assert listed(name=names[1]) == ["beta"]
    assert listed(name="contains:amm") == ["gamma"]
    assert listed(name="not_equal:" + account.zone, direction="desc") == ["gamma", "beta", "alpha"]
    assert listed(name=names[1], status="active", match="any", order="status", direction="desc")[0] == "beta"
    assert listed(account__id="0" * 32) == []
    assert len(listed(account__id=account.account_id)) == 4
    assert len(listed(per_page=3)) == 3
    assert len(listed(per_page=3, page=2)) == 1
    assert code(account.api.get("/zones", params={"order": "age"}))[0] == 400
    assert account.api.get("/zones", params={"per_page": 100}).json()["result_info"]["per_page"] == 100
    assert code(account.api.get("/zones", params={"per_page": 1001}))[0] == 400


def test_settings_are_read_and_changed(account: CloudAccount) -> None:
    """Each has its default until somebody changes it, alone or with others, which happens wholly or not at all."""
    path = f"/zones/{account.zone_id}/settings"
    before = account.api.get(f"{path}/ssl").json()["result"]
    changed = account.api.patch(f"{path}/ssl", json={"value": "strict"}).json()["result"]
    both = [{"id": "always_use_https", "value": "on"}, {"id": "min_tls_version", "value": "1.2"}]
    many = account.api.patch(path, json={"items": both}).json()["result"]
    failed = account.api.patch(path, json={"items": [{"id": "brotli", "value": "off"}, {"id": "ssl", "value": "best"}]})
    values = {entry["id"]: entry["value"] for entry in account.api.get(path).json()["result"]}

    later = {"early_hints": "on", "speed_brain": "off", "h2_prioritization": "custom", "nel": {"enabled": False}}
    for setting, value in later.items():
        assert account.api.patch(f"{path}/{setting}", json={"value": value}).json()["result"]["value"] == value
    assert code(account.api.patch(f"{path}/proxy_read_timeout", json={"value": 200})) == (400, 1007)
    assert (before["value"], before["modified_on"], before["editable"]) == ("full", None, True)
    assert (changed["value"], changed["modified_on"] is not None) == ("strict", True)
    assert [entry["value"] for entry in many] == ["on", "1.2"]
    assert code(failed) == (400, 1007)
    assert (values["ssl"], values["always_use_https"], values["min_tls_version"], values["brotli"]) == (
        *("strict", "on", "1.2"),
        "on",
    )


@pytest.mark.parametrize(
    ("setting", "body", "number"),
    [
        ("nonsense", {"value": "on"}, 1006),
        ("ssl", {"value": "on"}, 1007),
        ("ssl", {}, 1007),
        ("always_use_https", {"value": True}, 1007),
        ("browser_cache_ttl", {"value": 7}, 1007),
        ("advanced_ddos", {"value": "off"}, 1007),
        ("security_header", {"value": "on"}, 1007),
    ],
)
def test_settings_that_cannot_be_are_refused(account: CloudAccount, setting: str, body: Any, number: int) -> None:
    """Unknown settings, values they can't have, and those that aren't editable."""
    assert code(account.api.patch(f"/zones/{account.zone_id}/settings/{setting}", json=body)) == (400, number)


def test_certificates_say_what_is_covered(account: CloudAccount) -> None:
    """The universal one covers the zone and what is right below it, while it is on and the zone active."""
    path = f"/zones/{account.zone_id}/ssl"
    packs = account.api.get(f"{path}/certificate_packs").json()
    one = account.api.get(f"{path}/certificate_packs/{packs['result'][0]['id']}").json()["result"]
    off = account.api.patch(f"{path}/universal/settings", json={"enabled": False}).json()["result"]
    without = account.api.get(f"{path}/certificate_packs").json()["result"]
    pending = create(account, f"pending-{account.zone}")
    waiting = account.api.get(f"/zones/{pending['id']}/ssl/certificate_packs").json()["result"]
    all_of_it = account.api.get(f"/zones/{pending['id']}/ssl/certificate_packs?status=all").json()["result"]

    assert one["hosts"] == [account.zone, f"*.{account.zone}"]
    assert (one["status"], one["certificates"][0]["status"]) == ("active", "active")
    assert packs["result_info"]["total_count"] == 1
    assert (off["enabled"], without) == (False, [])
    assert (waiting, [pack["status"] for pack in all_of_it]) == ([], ["pending_validation"])
    assert code(account.api.get(f"{path}/certificate_packs/none")) == (404, 1400)


def test_dnssec_is_switched(account: CloudAccount) -> None:
    """On, it tells what the registrar must know; off, it doesn't."""
    path = f"/zones/{account.zone_id}/dnssec"
    before = account.api.get(path).json()["result"]
    active = account.api.patch(path, json={"status": "active"}).json()["result"]
    account.api.delete(path)
    after = account.api.get(path).json()["result"]

    assert (before["status"], "ds" in before) == ("disabled", False)
    assert active["ds"].startswith(f"{account.zone}. 3600 IN DS {active['key_tag']} 13 2 ")
    assert after["status"] == "disabled"
    assert code(account.api.patch(path, json={"status": "maybe"}))[0] == 400


def test_a_slash_at_the_end_leads_to_the_same(account: CloudAccount) -> None:
    """Accounts, users, zones and their records are found with a slash at the end, as old clients write it."""
    zone = f"/zones/{account.zone_id}"
    record = account.api.post(f"{zone}/dns_records/", json={"type": "A", "name": "www", "content": "192.0.2.1"})
    paths = ("/accounts/", "/user/", "/user/tokens/verify/", f"/zones/?name={account.zone}", f"{zone}/dns_records/")

    assert [account.api.get(path).status_code for path in paths] == [200] * len(paths)
    assert account.api.get("/zones/", params={"name": account.zone}).json()["result"][0]["id"] == account.zone_id
    assert account.api.delete(f"{zone}/dns_records/{record.json()['result']['id']}/").status_code == 200


def test_a_cache_is_purged_of_what_is_named(account: CloudAccount) -> None:
    """Everything, or lists of what; neither is 1012, and 101 of one kind are too many."""
    path = f"/zones/{account.zone_id}/purge_cache"
    accepted = (
        {"purge_everything": True},
        {"files": [f"https://{account.zone}/a.css", {"url": f"https://{account.zone}/b", "headers": {"Origin": "x"}}]},
        {"tags": ["x"] * 100},
        {"hosts": [account.zone], "prefixes": [f"{account.zone}/blog"]},
    )

    for body in accepted:
        assert account.api.post(path, json=body).json()["result"] == {"id": account.zone_id}
    for empty in ({}, {"purge_everything": False}, {"files": []}):
        assert code(account.api.post(path, json=empty)) == (400, 1012)
    for odd in ({"tags": ["x"] * 101}, {"files": "x"}, {"hosts": [1]}):
        assert code(account.api.post(path, json=odd))[0] == 400


KEEPS = """
export default { async fetch(request) {
  const url = new URL(request.url);
  const at = (path) => new Request(`https://${url.searchParams.get("zone")}${path}`);
  if (url.pathname === "/keep") {
    for (const path of ["/a", "/b/1", "/b/2", "/tagged"]) {
      const headers = { "cache-control": "max-age=60", "cache-tag": path === "/tagged" ? "One, two" : "other" };
      await caches.default.put(at(path), new Response(path, { headers }));
    }
  }
  const found = [];
  for (const path of ["/a", "/b/1", "/b/2", "/tagged"]) if (await caches.default.match(at(path))) found.push(path);
  return Response.json(found);
} };"""


def test_what_workers_keep_is_purged_too(account: CloudAccount) -> None:
    """By URL, prefix, tag and host; of another zone nothing goes."""
    account.put_worker("keeps", KEEPS)
    host, path = account.hostname("keeps"), f"/zones/{account.zone_id}/purge_cache"

    def left(body: dict[str, Any]) -> list[str]:
        account.visit(host, f"/keep?zone={account.zone}")
        assert account.api.post(path, json=body).status_code == 200
        found: list[str] = account.visit(host, f"/?zone={account.zone}").json()
        return found

    assert left({"files": [f"https://{account.zone}/a"]}) == ["/b/1", "/b/2", "/tagged"]
    assert left({"prefixes": [f"{account.zone}/b"]}) == ["/a", "/tagged"]
    assert left({"tags": ["TWO"]}) == ["/a", "/b/1", "/b/2"]
    assert left({"hosts": ["other.example"]}) == ["/a", "/b/1", "/b/2", "/tagged"]
    assert left({"purge_everything": True}) == []


def test_dns_settings_that_change_at_once_all_change(account: CloudAccount) -> None:
    """Who changes one setting takes back no other that somebody changed while the request was under way."""
    path = f"/zones/{account.zone_id}/dns_settings"

    account.api.patch(
        path, content=slow_body({"ns_ttl": 600}, lambda: account.api.patch(path, json={"multi_provider": True}))
    ).raise_for_status()

    kept = account.api.get(path).json()["result"]
    assert (kept["ns_ttl"], kept["multi_provider"]) == (600, True)


def test_dns_settings_are_kept_by_zone(account: CloudAccount) -> None:
    """A change says only what changes, also inside; what can't be is refused and changes nothing."""
    path = f"/zones/{account.zone_id}/dns_settings"
    before = account.api.get(path).json()["result"]
    changed = account.api.patch(path, json={"flatten_all_cnames": True, "soa": {"ttl": 600}}).json()["result"]

    assert (before["flatten_all_cnames"], before["nameservers"], before["zone_mode"]) == (
        *(False, {"type": "cloudflare.standard"}),
        "standard",
    )
    assert (changed["flatten_all_cnames"], changed["soa"]) == (True, {**before["soa"], "ttl": 600})
    odd_ones = (
        {"zone_mode": "odd"},
        {"ns_ttl": 1},
        {"multi_provider": "yes"},
        {"soa": []},
        {"nameservers": {"type": 1}},
    )
    for odd in odd_ones:
        assert code(account.api.patch(path, json=odd))[0] == 400, odd
    assert account.api.get(path).json()["result"] == changed


def test_a_zone_keeps_the_plan_there_is(account: CloudAccount) -> None:
    """Tools that set a zone's plan find the one it has; another is refused."""
    path = f"/zones/{account.zone_id}"
    (plan,) = account.api.get(f"{path}/available_plans").json()["result"]

    assert (plan["legacy_id"], plan["can_subscribe"]) == ("free", True)
    assert account.api.patch(path, json={"plan": {"id": plan["id"]}}).json()["result"]["plan"]["legacy_id"] == "free"
    assert code(account.api.patch(path, json={"plan": {"id": "94f3b7b768b0458b56d2cac4fe5ec0f9"}})) == (400, 1002)
