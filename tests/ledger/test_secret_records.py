"""What the ledger knows of secrets: fingerprints, ages, and how rotations stand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from clodo.ledger.secret_records import RotationRecord, RotationState

TARGET = "api@production"


def test_a_value_that_stays_keeps_its_age_and_its_kind(ledger, clock):
    """Only another fingerprint makes a secret young again."""
    made = clock()
    ledger.secrets.note_kept(TARGET, {"KEY": "a", "OTHER": "b"}, kind="jwt")
    clock.advance(timedelta(days=9))

    ledger.secrets.note_kept(TARGET, {"KEY": "a", "OTHER": "c"})

    key, other = ledger.secrets.all(TARGET)
    assert (key.name, key.kind, key.made_at, key.fingerprint) == ("KEY", "jwt", made, "a")
    assert (other.name, other.kind, other.made_at, other.fingerprint) == ("OTHER", "", clock(), "c")
    assert ledger.secrets.all("web@production") == []


def test_what_a_release_brought_is_noted_beside_what_is_kept(ledger, clock):
    """A newer value is kept, the older one is live, until the next release."""
    ledger.secrets.note_live(TARGET, {"KEY": "a"})
    brought = clock()
    clock.advance(timedelta(hours=1))

    ledger.secrets.note_kept(TARGET, {"KEY": "b"})

    (record,) = ledger.secrets.all()
    assert (record.fingerprint, record.live_fingerprint, record.live_at) == ("b", "a", brought)
    ledger.secrets.forget(TARGET, "KEY")
    assert ledger.secrets.all() == []


def test_a_rotation_is_written_down_as_it_goes_on(ledger, clock):
    """Each step takes the place of the one before; open ones are found, the newest first."""
    first = RotationRecord("k1", TARGET, "KEY", RotationState.BEGUN, "old", "new", clock())
    ledger.secrets.put_rotation(first)
    clock.advance(timedelta(hours=1))
    second = replace(first, id="k2", name="OTHER", begun_at=clock())
    ledger.secrets.put_rotation(second)

    overlapping = replace(first, state=RotationState.OVERLAPPING, retire_at=clock() + timedelta(days=1))
    ledger.secrets.put_rotation(overlapping)

    assert list(ledger.secrets.rotations()) == [second, overlapping]
    retired = replace(second, state=RotationState.RETIRED, ended_at=clock())
    ledger.secrets.put_rotation(retired)
    assert list(ledger.secrets.rotations(target=TARGET, only_open=True)) == [overlapping]
    assert list(ledger.secrets.rotations(target="web@production")) == []
    assert ledger.secrets.now() == clock()
