"""Zones brought back: records as they were, nobody else's lost, and the zone as before when it fails."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.backups.manifest import Kind
from clodo.backups.restoring.plan import Way, Wish
from clodo.backups.restoring.zones import ZoneChanges, body_of, compare_back, compare_records
from clodo.errors import ApiRefused, BadUsage, ClodoError, NotFound, PlanIsStale
from tests.backups.restores import restorer


@pytest.fixture
def zone(fleet):
    """The fleet, whose service has a route in a zone with records of several types."""
    config = fleet.root / "shop" / "wrangler.toml"
    config.write_text(f'routes = ["{fleet.account.zone}/*"]\n' + config.read_text())
    name = fleet.account.zone
    fleet.cloudflare.dns.batch(
        fleet.account.zone_id,
        {
            "posts": [
                {"type": "A", "name": f"www.{name}", "content": "192.0.2.1", "proxied": True, "comment": "the site"},
                {"type": "TXT", "name": name, "content": '"v=spf1 -all"', "ttl": 300},
                {"type": "MX", "name": name, "content": f"mail.{name}", "priority": 10},
                {
                    "type": "SRV",
                    "name": f"_sip._tcp.{name}",
                    "data": {"priority": 1, "weight": 5, "port": 5060, "target": f"sip.{name}"},
                },
                {"type": "CNAME", "name": f"shop.{name}", "content": f"www.{name}"},
            ]
        },
    )
    return fleet


def records(fleet):
    """Return what the zone's records say, without ids and times."""
    found = fleet.cloudflare.originals.dns_records(fleet.account.zone_id)
    return sorted((body_of(record) for record in found), key=str)


def change(fleet):
    """Change a record, replace another one, delete a third and add one."""
    name, by_type = fleet.account.zone, {}
    for record in fleet.cloudflare.originals.dns_records(fleet.account.zone_id):
        by_type[record["type"]] = record
    fleet.cloudflare.dns.batch(
        fleet.account.zone_id,
        {
            "deletes": [{"id": by_type["SRV"]["id"]}, {"id": by_type["CNAME"]["id"]}],
            "patches": [{"id": by_type["A"]["id"], "content": "192.0.2.66"}],
            "posts": [
                {"type": "CNAME", "name": f"shop.{name}", "content": "elsewhere.example"},
                {"type": "TXT", "name": f"late.{name}", "content": '"later"'},
            ],
        },
    )


def wish(fleet, **options):
    return Wish(only=(f"dns/{fleet.account.zone}",), **options)


def test_records_come_back_and_those_that_came_later_stay(zone):
    """The plan names each change; afterwards all is as in the snapshot, and a record that it lacks is still there."""
    before = records(zone)
    manifest = zone.back_up(kinds=[Kind.DNS])
    change(zone)
    wanted = wish(zone, snapshot=manifest.id)

    plan = restorer(zone).plan(wanted)
    restored = restorer(zone).restore(wanted, approved=plan.fingerprint)

    (step,) = plan.steps
    assert (step.way, step.items) == (Way.MERGE, 5)
    assert step.there == "1 to create, 2 to change, 2 as they are, 1 not in the snapshot"
    assert [line.split()[:2] for line in step.changes] == [["create", "SRV"], ["change", "A"], ["change", "CNAME"]]
    assert 'content "192.0.2.66" → "192.0.2.1"' in step.changes[1]
    assert [record for record in records(zone) if not record["name"].startswith("late.")] == before
    assert len(records(zone)) == 6
    assert restored.safety is not None


def test_in_place_the_zone_has_only_the_snapshots_records(zone):
    """What came later is gone, and the safety snapshot brings it back."""
    before = records(zone)
    manifest = zone.back_up(kinds=[Kind.DNS])
    change(zone)
    late = records(zone)

    restored = restorer(zone).restore(wish(zone, snapshot=manifest.id, in_place=True))

    assert records(zone) == before
    restorer(zone).restore(wish(zone, snapshot=restored.safety, in_place=True))
    assert records(zone) == late


def test_a_zone_is_left_alone_unless_it_is_named(zone):
    """A restore of everything doesn't touch what is in use; the zone's bare name is not enough."""
    zone.back_up(kinds=[Kind.DNS, Kind.KV])

    plan = restorer(zone).plan(Wish())

    assert [step.kind for step in plan.steps] == [Kind.KV]
    assert dict(plan.left)[f"dns/{zone.account.zone}"].endswith(f"--only dns/{zone.account.zone}")
    with pytest.raises(NotFound, match="--only dns/"):
        restorer(zone).plan(Wish(only=(zone.account.zone,)))
    with pytest.raises(BadUsage, match="where it was"):
        restorer(zone).plan(wish(zone, account="other"))


def test_a_record_in_the_way_leaves_the_zone_as_it_was(zone):
    """A record can't stand beside a newer one of its name: nothing of the batch is done."""
    manifest = zone.back_up(kinds=[Kind.DNS])
    change(zone)
    name = zone.account.zone
    shop = next(
        item["id"] for item in zone.cloudflare.originals.dns_records(zone.account.zone_id) if item["type"] == "CNAME"
    )
    blocking = {"type": "A", "name": f"shop.{name}", "content": "192.0.2.9"}
    zone.cloudflare.dns.batch(zone.account.zone_id, {"deletes": [{"id": shop}], "posts": [blocking]})
    late = records(zone)

    with pytest.raises(ApiRefused):
        restorer(zone).restore(wish(zone, snapshot=manifest.id))

    assert records(zone) == late


@pytest.mark.parametrize("reading", [3, 4])
def test_a_restore_that_cant_be_verified_is_taken_back(zone, reading):
    """The records can't be read after they were written, or before: the zone is as it was."""
    manifest = zone.back_up(kinds=[Kind.DNS])
    change(zone)
    late = records(zone)
    path = f"/zones/{zone.account.zone_id}/dns_records"
    armed = zone.account.cloud.add_fault(path, nth=reading, status=403, code=10000, message="no", method="GET")

    with pytest.raises(ClodoError):
        restorer(zone).restore(wish(zone, snapshot=manifest.id, in_place=True))

    struck = next(item["struck"] for item in zone.account.cloud.faults() if item["id"] == armed)
    zone.account.cloud.clear_faults(armed)
    assert struck
    assert records(zone) == late


def test_a_plan_that_somebody_overtook_is_refused(zone):
    """Another record was changed since the plan was shown."""
    manifest = zone.back_up(kinds=[Kind.DNS])
    change(zone)
    approved = restorer(zone).plan(wish(zone, snapshot=manifest.id)).fingerprint
    late = records(zone)
    (mail,) = [item for item in zone.cloudflare.originals.dns_records(zone.account.zone_id) if item["type"] == "MX"]
    zone.cloudflare.dns.batch(zone.account.zone_id, {"patches": [{"id": mail["id"], "priority": 20}]})

    with pytest.raises(PlanIsStale):
        restorer(zone).restore(wish(zone, snapshot=manifest.id), approved=approved)

    assert [item for item in records(zone) if item["type"] != "MX"] == [item for item in late if item["type"] != "MX"]


def test_what_cloudflare_keeps_itself_is_left_alone():
    """The record of a custom domain is neither made nor deleted."""
    managed = {"id": "1", "type": "AAAA", "name": "shop.example", "content": "100::", "meta": {"read_only": True}}

    made, deleted = compare_records([managed], [], exact=True), compare_records([], [managed], exact=True)

    assert (made.lines, made.managed) == ((), 1)
    assert deleted.lines == ()


def test_what_somebody_changed_meanwhile_stays_and_is_named():
    """Taking back touches only records that are still as the restore left them."""
    first, second, third = ({"id": i, "type": "A", "name": f"{i}.example", "content": "1"} for i in "abc")
    planned = ZoneChanges(changed=tuple((record, record | {"content": "2"}) for record in (first, second, third)))

    back, stays = compare_back(planned, [first | {"content": "2"}, second | {"content": "3"}])

    assert back.changed == ((first | {"content": "2"}, first),)
    assert stays == [
        'A b.example "1": somebody changed it meanwhile',
        'A c.example "1": somebody deleted it meanwhile',
    ]


RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from("abcdef"),
            "type": st.sampled_from(["A", "TXT"]),
            "name": st.sampled_from(["x.example", "y.example"]),
            "content": st.sampled_from(["1", "2", "3"]),
            "ttl": st.sampled_from([1, 60]),
        }
    ),
    unique_by=(lambda item: item["id"], lambda item: (item["type"], item["name"], item["content"])),
    max_size=5,
)


def carried_out(there, changes):
    """Return a zone's records after changes."""
    gone = {record["id"] for record in changes.deleted}
    changed = {before["id"]: body_of(wanted) for before, wanted in changes.changed}
    stay = [changed.get(item["id"], body_of(item)) | {"id": item["id"]} for item in there if item["id"] not in gone]
    return stay + [body_of(record) | {"id": f"new-{number}"} for number, record in enumerate(changes.created)]


def said(found):
    return sorted(str(sorted(body_of(record).items())) for record in found)


@settings(max_examples=200, deadline=None)
@given(RECORDS, RECORDS, st.booleans())
def test_changes_lead_to_the_snapshot_and_back(wanted, there, exact):
    """Any two states of a zone: carried out, all that is wanted is there; taken back, all is as it was."""
    planned = compare_records(wanted, there, exact=exact)

    after = carried_out(there, planned)
    back, stays = compare_back(planned, after)

    assert set(said(wanted)) <= set(said(after))
    assert not exact or said(after) == said(wanted)
    assert compare_records(wanted, after, exact=exact).lines == ()
    assert stays == []
    assert said(carried_out(after, back)) == said(there)
    assert compare_back(planned, there)[0].lines == ()
