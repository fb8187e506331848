"""Pruning vaults: what the rules let go goes, and nothing that anybody needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from clodo.backups.pruning import LEFTOVERS_AFTER
from clodo.backups.signing import Signer
from clodo.backups.vault import Vault
from clodo.backups.verification import Level
from clodo.cloudflare.clock import Clock
from clodo.errors import SnapshotNotTrusted
from clodo.ledger import Owner


@pytest.fixture
def three(fleet):
    """Three snapshots of a database that changed, and a rule that keeps one."""
    portfolio = fleet.root / "portfolio.toml"
    keep = "[backups.keep]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\n"
    portfolio.write_text(portfolio.read_text().replace('["d1", "kv"]', '["d1"]') + keep)
    manifests = []
    for number in range(3):
        fleet.sql(f"INSERT INTO log VALUES('number {number}')")
        manifests.append(fleet.back_up())
    return manifests


def ids(fleet):
    return [item.record.id for item in fleet.open().all()]


def test_what_the_rules_let_go_goes_with_its_parts(fleet, three):
    """A dry run says the same and deletes nothing; a second run finds nothing to do."""
    planned = fleet.open().prune(dry_run=True)
    assert ids(fleet) == [item.id for item in three]

    (done,) = fleet.open().prune()

    assert [done] == planned
    assert [item.snapshot.id for item in done.decisions if item.stays] == [three[2].id]
    assert (done.parts, ids(fleet)) == (2, [three[2].id])
    assert len(fleet.files()) == 2
    assert fleet.open().verify(three[2].id, Level.RESTORE).is_good
    assert fleet.open().prune()[0].parts == 0


def test_a_snapshot_that_is_being_restored_stays(fleet, three):
    """Whoever holds its lock keeps it and its parts; afterwards it goes."""
    with fleet.ledger.locks.acquire(f"snapshot/{three[0].id}", Owner.current("restore"), "restore"):
        fleet.open().prune()

        assert ids(fleet) == [three[0].id, three[2].id]
        assert fleet.open().verify(three[0].id, Level.RESTORE).is_good

    fleet.open().prune()
    assert ids(fleet) == [three[2].id]


def test_a_restore_that_begins_while_pruning_looks_keeps_its_snapshot(fleet, three):
    """The lock is taken between the decision and the deletion: the snapshot stays, whole."""
    held = []

    def begin_restore(line):
        if not held:
            held.append(fleet.ledger.locks.acquire(f"snapshot/{three[1].id}", Owner.current("restore"), "restore"))

    fleet.open(say=begin_restore).prune()

    assert ids(fleet) == [three[1].id, three[2].id]
    assert fleet.open().verify(three[1].id, Level.RESTORE).is_good
    held[0].release()


def test_the_last_good_snapshot_stays_whatever_was_found_since(fleet, three):
    """The newest two were found damaged: the one before them is the last good one."""
    for manifest in three[1:]:
        fleet.ledger.snapshots.failed(manifest.id, "local", "damaged")

    fleet.open().prune()

    assert ids(fleet) == [three[0].id, three[2].id]


def test_parts_that_a_later_snapshot_uses_stay(fleet, three):
    """An unchanged database's archive lies with the snapshot that read it, and outlives that one."""
    newest = fleet.back_up()
    assert newest.parents == (three[2].id,)

    fleet.open().prune()

    assert ids(fleet) == [newest.id]
    assert fleet.open().verify(newest.id, Level.RESTORE).is_good


def test_leftovers_are_collected_when_they_are_old_enough(fleet, three):
    """A part that nobody names may belong to a backup that runs now; after a day it doesn't."""
    leftover = fleet.root / "leftover.age"
    leftover.write_bytes(b"what a killed backup stored")
    vault = Vault.open("local", str(fleet.root / "vault"))
    (part,) = vault.store_archive(leftover)

    fleet.open().prune()
    assert vault.size_of(part) == part.size
    later = Clock(now=lambda: fleet.clock.now() + LEFTOVERS_AFTER + timedelta(minutes=1))
    fleet.open(clock=later).prune()

    assert vault.size_of(part) is None
    assert fleet.open().verify(three[2].id, Level.RESTORE).is_good


def test_a_forged_newest_snapshot_lets_nothing_go(fleet, three):
    """Pruning stops before it begins; other portfolios' snapshots in the vault are left alone."""
    vault = Vault.open("local", str(fleet.root / "vault"))
    thief = Signer.load(fleet.root / "thief")
    vault.publish(replace(three[2], id="s9-others", portfolio="others").signed(thief))
    fleet.open().prune(dry_run=True)
    vault.publish(replace(three[2], id="s9-forged").signed(thief))

    with pytest.raises(SnapshotNotTrusted, match="s9-forged"):
        fleet.open().prune()

    assert vault.snapshots() == [*(item.id for item in three), "s9-forged", "s9-others"]
