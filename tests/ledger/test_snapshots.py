"""The index of snapshots."""

from dataclasses import replace

from clodo.ledger import SnapshotRecord
from clodo.ledger.clocks import utc_now


def record(snapshot="s1", vault="default", **differences):
    whole = SnapshotRecord(snapshot, vault, "shop", utc_now(), 1.5, True, "exact", 2**40, 10, 3, 0)
    return replace(whole, **differences)


def test_snapshots_are_read_back_oldest_first(ledger):
    """What was remembered is what is read, by portfolio and vault."""
    one, two, other = record(), record("s2", is_good=False), record("s3", vault="offsite", portfolio="blog")
    for item in (two, one, other, replace(one, size=7)):
        ledger.snapshots.add(item)

    assert ledger.snapshots.all() == [one, two, other]
    assert ledger.snapshots.all(portfolio="shop", vault="default") == [one, two]
    assert ledger.snapshots.all(vault="offsite") == [other]


def test_the_last_verification_counts(ledger):
    """What was found wrong stays until a verification passes; a pruned snapshot is forgotten."""
    ledger.snapshots.add(record())
    ledger.snapshots.add(record("s2"))
    ledger.snapshots.failed("s1", "default", "a part is missing")
    (failed, _) = ledger.snapshots.all()
    now = utc_now()
    ledger.snapshots.verified("s1", "default", now, "restore")
    ledger.snapshots.forget("s2", "default")

    (passed,) = ledger.snapshots.all()
    assert failed.found_wrong == "a part is missing"
    assert (passed.verified_at, passed.verified_level, passed.found_wrong) == (now, "restore", None)
