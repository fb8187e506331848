"""Workers brought back: what no version holds is as it was, and as before when that fails."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.backups.manifest import Kind
from clodo.backups.restoring.plan import Way, Wish
from clodo.backups.restoring.worker_code import WorkerCode
from clodo.backups.restoring.workers import WorkerChanges, compare_states, compare_states_back, read_state
from clodo.cloudflare.scripts import Code
from clodo.cloudflare.settings import UnversionedSettings
from clodo.errors import ApiRefused, ClodoError, LockLost
from tests.backups.restores import die_at, restorer


@pytest.fixture
def worker(fleet):
    """The fleet, whose service is deployed, with a route, a schedule and settings."""
    account, cloudflare = fleet.account, fleet.cloudflare
    config = fleet.root / "shop" / "wrangler.toml"
    config.write_text(f'routes = ["{account.zone}/*"]\n' + config.read_text())
    account.put_worker("shop")
    account.put_worker("other")
    cloudflare.schedules.put("shop", ["0 3 * * *"])
    cloudflare.routes.create(account.zone_id, f"{account.zone}/*", "shop")
    cloudflare.routes.create(account.zone_id, f"www.{account.zone}/*", "shop")
    cloudflare.subdomains.set("shop", enabled=True, previews_enabled=False)
    cloudflare.settings.patch("shop", UnversionedSettings(logpush=True, tags=["money"]))
    return fleet


def state(fleet):
    """Return what is there of the Worker."""
    return read_state(fleet.cloudflare, "shop", {"zones": [fleet.account.zone_id], "values": {}})


def change(fleet):
    """Change all of it: another Worker has one route, another is gone, and there is a new one."""
    account, cloudflare = fleet.account, fleet.cloudflare
    for route in cloudflare.routes.list(account.zone_id):
        if route.pattern.startswith("www."):
            cloudflare.routes.delete(account.zone_id, route.id)
        else:
            cloudflare.routes.update(account.zone_id, route.id, route.pattern, "other")
    cloudflare.routes.create(account.zone_id, f"late.{account.zone}/*", "shop")
    cloudflare.schedules.put("shop", ["5 5 * * *"])
    cloudflare.subdomains.set("shop", enabled=False, previews_enabled=True)
    cloudflare.settings.patch(
        "shop", UnversionedSettings(logpush=False, tags=[], observability={"enabled": True, "head_sampling_rate": 1})
    )


def wish(**options):
    return Wish(only=("worker/shop",), **options)


def test_routes_schedules_and_settings_come_back_and_what_came_later_stays(worker):
    """The plan names each value, and the code that it can't bring back; the safety snapshot leads back again."""
    before = state(worker)["values"]
    manifest = worker.back_up(kinds=[Kind.WORKER])
    change(worker)
    worker.account.put_worker("shop", "export default {fetch() { return new Response('newer') }}")
    late = state(worker)["values"]
    wanted = wish(snapshot=manifest.id)

    plan = restorer(worker).plan(wanted)
    restored = restorer(worker).restore(wanted, approved=plan.fingerprint)

    (step,) = plan.steps
    zone = worker.account.zone
    assert (step.way, step.there) == (Way.MERGE, "7 to change, 1 as they are")
    assert 'setting tags: [] → ["money"]' in step.changes
    assert f'route {worker.account.zone_id} {zone}/*: "other" → "shop"' in step.changes
    assert any("release it" in risk for risk in step.risks)
    assert f"it takes {zone}/* from the Worker other" in step.risks
    added = {f"route {worker.account.zone_id} late.{zone}/*": "shop", "schedules": ["0 3 * * *", "5 5 * * *"]}
    live = {"code": late["code"]}
    assert state(worker)["values"] == before | added | live
    restorer(worker).restore(wish(snapshot=restored.safety, in_place=True))
    # Routes of another Worker are in that one's archive.
    taken = f"route {worker.account.zone_id} {zone}/*"
    assert state(worker)["values"] == {name: value for name, value in late.items() if name != taken}


def test_in_place_the_worker_has_only_the_snapshots_routes_and_schedules(worker):
    """What came later is gone."""
    before = state(worker)["values"]
    manifest = worker.back_up(kinds=[Kind.WORKER])
    change(worker)

    restorer(worker).restore(wish(snapshot=manifest.id, in_place=True))

    assert state(worker)["values"] == before


@pytest.mark.parametrize(
    ("method", "path", "nth"),
    [
        ("PUT", "/workers/scripts/shop/schedules", 1),
        ("POST", "/workers/routes", 1),
        ("PUT", "/workers/routes/", 1),
        ("GET", "/workers/scripts/shop/subdomain", 4),
    ],
)
def test_a_restore_that_fails_midway_is_taken_back(worker, method, path, nth):
    """A write is refused, or the result can't be read: everything that was written before is as it was."""
    manifest = worker.back_up(kinds=[Kind.WORKER])
    change(worker)
    late = state(worker)
    armed = worker.account.cloud.add_fault(path, method=method, nth=nth, status=400, code=10021, message="no")

    with pytest.raises(ClodoError):
        restorer(worker).restore(wish(snapshot=manifest.id, in_place=True))

    struck = next(item["struck"] for item in worker.account.cloud.faults() if item["id"] == armed)
    worker.account.cloud.clear_faults(armed)
    assert struck
    assert state(worker) == late


@pytest.mark.parametrize("write", [1, 3, 5])
def test_a_restore_that_died_goes_on(worker, write):
    """Some of it was written: the same command does the rest."""
    before = state(worker)["values"]
    manifest = worker.back_up(kinds=[Kind.WORKER])
    change(worker)
    wanted = wish(snapshot=manifest.id, in_place=True)
    with pytest.raises(LockLost):
        restorer(worker, check=die_at(write)).restore(wanted)
    assert state(worker)["values"] != before

    restored = restorer(worker).restore(wanted)

    assert restored.was_resumed
    assert state(worker)["values"] == before


def test_a_restore_that_died_and_then_fails_is_taken_back_to_the_very_beginning(worker):
    """What the first run wrote is taken back too."""
    manifest = worker.back_up(kinds=[Kind.WORKER])
    change(worker)
    late = state(worker)["values"]
    wanted = wish(snapshot=manifest.id, in_place=True)
    with pytest.raises(LockLost):
        restorer(worker, check=die_at(4)).restore(wanted)
    armed = worker.account.cloud.add_fault("/workers/routes", method="POST", status=400, code=10021, message="no")

    with pytest.raises(ApiRefused):
        restorer(worker).restore(wanted)

    worker.account.cloud.clear_faults(armed)
    assert state(worker)["values"] == late


def test_what_somebody_changed_meanwhile_stays_and_is_named():
    """Taking back touches only values that are still as the restore left them."""
    planned = WorkerChanges(
        (("schedules", ["a"], ["b"]), ("setting logpush", False, True), ("route z x/*", None, "shop"))
    )
    now = {"values": {"schedules": ["c"], "setting logpush": True, "route z x/*": "other"}}

    back, stays = compare_states_back(planned, now)

    assert back.values == (("setting logpush", True, False),)
    assert stays == ["schedules: somebody changed it meanwhile", "route z x/*: somebody changed it meanwhile"]


VALUES = st.fixed_dictionaries(
    {
        "code": st.sampled_from([{"main module": "a"}, {"main module": "b"}]),
        "schedules": st.lists(st.sampled_from("abc"), unique=True).map(sorted),
        "setting logpush": st.booleans(),
    },
    optional={
        f"{what} z {name}/*": st.sampled_from(["shop", "other", ""]) for what in ("route", "domain") for name in "xy"
    },
)
CODE = WorkerCode("shop", Code(None, ()), (), {}, None, {})


@settings(max_examples=100, deadline=None)
@given(VALUES, VALUES, st.sampled_from([Way.MERGE, Way.OVERWRITE, Way.CREATE]))
def test_changes_lead_to_the_snapshot_and_back(wanted, there, way):
    """Any two states: carried out, all that is wanted is there; taken back, all is as it was."""
    own = ("code", "schedules", "setting logpush")
    wanted = {name: value for name, value in wanted.items() if name in own or value == "shop"}
    if way is Way.CREATE:
        there = {name: value for name, value in there.items() if name not in own} | {"code": None}
    rest = {"secrets": [], "shares": {"v": 100}, "upload": CODE}
    planned = compare_states("shop", {"values": wanted} | rest, {"values": there} | rest, way)

    after = there | {name: value for name, _, value in planned.values}
    after = {name: value for name, value in after.items() if value is not None}
    back, stays = compare_states_back(planned, {"values": after})
    again = after | {name: value for name, _, value in back.values}
    if way is Way.CREATE:
        # With the Worker all that is its own goes.
        again = {name: value for name, value in again.items() if name == "code" or name not in own}

    assert stays == []
    assert {name: value for name, value in again.items() if value is not None or name == "code"} == there
    assert compare_states("shop", {"values": wanted} | rest, {"values": after} | rest, way).lines == ()
    assert {name for name, value in after.items() if value == "shop"} >= wanted.keys() - set(own)
    assert (after["code"] == wanted["code"]) or way is Way.MERGE
