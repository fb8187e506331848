"""Drills on the embedded cloud: what can't be restored is found before it is needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clodo.backups.drilling import Driller, raise_unless_good
from clodo.backups.drilling_trend import page, sparkline
from clodo.backups.manifest import Manifest
from clodo.backups.signing import Signer
from clodo.cloudflare.clock import Clock
from clodo.errors import IdentityMissing, LockHeld, SnapshotDamaged, SnapshotNotFound
from clodo.ledger import DrillRecord, Owner
from clodo.workspace.workspace import Workspace
from tests.backups.restores import FleetAccounts
from tests.backups.test_damage import as_written, without_a_row


def driller(fleet, **options):
    """Return what drills the snapshots of *fleet*."""
    return Driller(
        Workspace.load(fleet.root),
        fleet.ledger,
        fleet.open(**options),
        FleetAccounts(fleet),
        say=fleet.told.append,
        clock=options.get("clock", fleet.clock),
    )


def names(fleet):
    """Return what the account has."""
    return [item.name for item in fleet.cloudflare.d1.list()] + [item.title for item in fleet.cloudflare.kv.list()]


def test_a_drill_restores_compares_measures_and_leaves_nothing(fleet):
    """Live data that moved on since is not looked at; RTO and RPO are in the ledger."""
    manifest = fleet.back_up()
    fleet.sql("DELETE FROM notes")
    later = Clock(now=lambda: fleet.clock.now() + timedelta(hours=5))

    record = driller(fleet, clock=later).drill()

    raise_unless_good(record)
    assert (record.snapshot, record.items, record.problem) == (manifest.id, 10, None)
    assert record.rto_seconds > 0
    assert timedelta(hours=5) <= record.rpo < timedelta(hours=5, minutes=1)
    assert list(fleet.ledger.drills.latest("fleet")) == [record]
    assert names(fleet) == ["shop-db", "shop-kv"]


def test_a_removed_row_makes_the_drill_fail(fleet):
    """All hashes computed anew: refused by its signature, kept or another's; and signed by us, by its counts."""
    manifest = fleet.back_up()
    vault = fleet.root / "vault"
    file = vault / "snapshots" / manifest.id / "manifest.json"
    document = without_a_row(fleet, manifest, vault)
    file.write_bytes(as_written(document))
    forged = Manifest.from_bytes(file.read_bytes(), expected_id=manifest.id)
    for entry in document["archives"]:
        if entry["kind"] == "d1":
            entry["facts"]["tables"]["members"]["rows"] = 3
    honest = Manifest.from_bytes(as_written(document), expected_id=manifest.id)
    cases = (
        (forged, "its signature is wrong"),
        (forged.signed(Signer.load(fleet.root / "thief")), "whom nobody here trusts"),
        (honest.signed(Signer.load(fleet.root / ".clodo")), "the table members has 2 rows instead of 3"),
    )
    for written, problem in cases:
        file.write_bytes(written.to_bytes())

        record = driller(fleet).drill(manifest.id)

        assert problem in str(record.problem)
        with pytest.raises(SnapshotDamaged, match="failed"):
            raise_unless_good(record)
        assert names(fleet) == ["shop-db", "shop-kv"]
    assert [item.is_good for item in fleet.ledger.drills.latest("fleet")] == [False, False, False]
    with pytest.raises(SnapshotNotFound, match="no good snapshot"):
        driller(fleet).drill()


def test_what_a_killed_drill_left_is_collected(fleet):
    """Only names that drills of this portfolio make: somebody else's stay."""
    fleet.back_up()
    prefix = driller(fleet)._prefix
    fleet.cloudflare.d1.create(f"{prefix}0a1b2c-1")
    fleet.cloudflare.kv.create(f"{prefix}0a1b2c-2")
    fleet.cloudflare.d1.create(f"{prefix}mine")
    fleet.cloudflare.kv.create("clodo-drill-00000000-0a1b2c-2")

    assert driller(fleet).drill().is_good

    assert set(names(fleet)) == {"shop-db", f"{prefix}mine", "clodo-drill-00000000-0a1b2c-2", "shop-kv"}


def test_what_says_nothing_about_the_snapshot_is_no_failed_drill(fleet):
    """No snapshot, no key, another drill: each is said as it is, and nothing is recorded or left."""
    with pytest.raises(SnapshotNotFound):
        driller(fleet).drill()
    fleet.back_up()
    with pytest.raises(IdentityMissing):
        driller(fleet, identities=()).drill()
    with fleet.ledger.locks.acquire("drill/fleet", Owner.current("another"), "another"), pytest.raises(LockHeld):
        driller(fleet).drill()

    assert list(fleet.ledger.drills.latest("fleet")) == []
    assert names(fleet) == ["shop-db", "shop-kv"]


def test_the_page_shows_the_trend():
    """Bars against the largest value, failures by name, the newest drill first."""
    began = datetime(2026, 11, 1, tzinfo=UTC)
    drills = [
        DrillRecord(f"d{day}", "fleet", f"s{day}", "local", began + timedelta(days=day), day != 2, 2.0**day, 7200, 5)
        for day in range(4)
    ]

    text = page(drills, timedelta(hours=26))

    assert sparkline([1, 2, 8]) == "▂▃█"
    assert (sparkline([]), sparkline([0, 0])) == ("", "▁▁")
    assert "| restore takes (RTO) | 8.0 s | ▂▃█ | 8.0 s |" in text
    assert "it comes back" in text
    assert text.index("`s3`") < text.index("| `s2` | NO")
    assert page([], timedelta(hours=1)) == "# No drill yet\n"
