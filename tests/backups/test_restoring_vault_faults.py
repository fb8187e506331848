"""Bad days of the vault during a restore: what is there is as before, it is said why, and the next restore works."""

from __future__ import annotations

import random

import pytest

from clodo.backups.manifest import Kind
from clodo.backups.restoring.plan import Wish
from clodo.backups.vault import Vault
from clodo.errors import ClodoError, NotAuthorised, SnapshotDamaged, UndoIncomplete, VaultUnavailable
from tests.backups.r2.test_buckets import bucket
from tests.backups.r2.test_restoring_buckets import change, objects
from tests.backups.restores import everything, keys, restorer
from tests.backups.test_restoring import state, write_something
from tests.backups.test_vault_faults import struck, told
from tests.emulator.r2.conftest import keys_of

__all__ = ["bucket"]

FAULTS = {
    "unavailable": ({"status": 500}, (VaultUnavailable,)),
    "refused": ({"status": 403}, (NotAuthorised,)),
    "cut off": ({"action": "reset"}, (VaultUnavailable,)),
    "lost": ({"status": 404, "method": "GET"}, (SnapshotDamaged, VaultUnavailable)),
    "garbled": ({"action": "malformed", "method": "GET"}, (SnapshotDamaged, VaultUnavailable)),
}
#: So many calls a restore of all three makes into new ones, and in place; and so many of them read.
CALLS = {False: (12, 12), True: (25, 16)}
ALL = [
    (name, nth, in_place)
    for name, (fault, _) in FAULTS.items()
    for in_place, (calls, reads) in CALLS.items()
    for nth in range(1, (reads if "method" in fault else calls) + 1)
]


@pytest.fixture
def vault(bucket):
    """A bucket through a client that tries nothing twice."""
    bucket.account.result("POST", "/r2/buckets", json={"name": "offsite"})
    return Vault("offsite", keys_of(bucket.account).store("offsite"))


def look(fleet):
    """Return all that there is on the account, but for the vault."""
    buckets = [name for name in fleet.cloudflare.r2.buckets() if name != "offsite"]
    return state(fleet), {name: objects(fleet, name) for name in buckets}


def check(fleet, vault, name, nth, in_place):
    fault, kinds = FAULTS[name]
    rows, pairs, files = (
        everything(fleet, fleet.database_id),
        keys(fleet, fleet.namespace_id),
        objects(fleet, "pictures"),
    )
    manifest = fleet.back_up(vault, kinds=[Kind.D1, Kind.KV, Kind.R2])
    write_something(fleet)
    change(fleet)
    before = look(fleet)
    wish = Wish(snapshot=manifest.id, in_place=in_place)
    with struck(fleet, nth=nth, **fault) as seen:
        error = told(lambda: restorer(fleet, vault).restore(wish))
        was_struck = seen() >= nth

    assert was_struck
    if error is not None:
        assert isinstance(error, kinds), error
        assert error.exit_code == {VaultUnavailable: 75, NotAuthorised: 12}.get(type(error), 1)
        assert look(fleet) == before
    else:
        # A garbled or missing earlier manifest is no help for the safety snapshot, and no obstacle either.
        assert "method" in fault
    restored = restorer(fleet, vault).restore(wish)
    names = {item.kind: item for item in restored.resources}
    assert everything(fleet, names["d1"].id) == rows
    assert keys(fleet, names["kv"].id) == pairs
    assert objects(fleet, names["r2"].name) == files
    return error


def test_a_restore_that_meets_a_bad_vault_leaves_nothing_behind(bucket, vault):
    """A pack can't be read after the database and the namespace came back: all three are gone again."""
    assert check(bucket, vault, "unavailable", 11, False) is not None


def test_a_restore_in_place_that_meets_a_bad_vault_leaves_all_as_it_was(bucket, vault):
    """A pack can't be read after the database and the namespace were overwritten: they are as before."""
    assert check(bucket, vault, "cut off", 25, True) is not None


@pytest.fixture
def away(bucket, vault):
    """A restore of a bucket in place, at whose second write the vault goes away for good; gives what does it."""
    before = objects(bucket, "pictures")
    armed = []

    def go_away():
        armed.append(bucket.account.cloud.add_fault(f"^/r2/{bucket.account.account_id}/", status=500, times=None))

    def restore(*vaults):
        manifest = bucket.back_up(*vaults, kinds=[Kind.R2])
        change(bucket)
        changed = objects(bucket, "pictures")
        wish = Wish(snapshot=manifest.id, only=("r2/pictures",), in_place=True)
        calls = iter([lambda: None, go_away])
        with pytest.raises(ClodoError) as caught:
            restorer(bucket, *vaults, check=lambda: next(calls, lambda: None)()).restore(wish)
        for fault in armed:
            bucket.account.cloud.clear_faults(fault)
        return caught.value, wish, before, changed

    return restore


def test_a_vault_that_stays_away_is_said_and_the_restore_goes_on_later(bucket, vault, away):
    """Neither the objects nor those from before can be read: the safety snapshot is named."""
    error, wish, before, _ = away(vault)

    assert isinstance(error, UndoIncomplete)
    assert "r2/pictures: The vault offsite can't be reached" in error.message
    assert "Run the same command again" in error.hint
    assert restorer(bucket, vault).restore(wish).was_resumed
    assert objects(bucket, "pictures") == before


def test_with_a_second_vault_all_is_put_back_although_the_first_stays_away(bucket, vault, away):
    """The safety snapshot is in both: the bucket is as it was."""
    error, _, _, changed = away(vault, Vault.open("here", str(bucket.root / "here")))

    assert isinstance(error, VaultUnavailable)
    assert objects(bucket, "pictures") == changed


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "nth", "in_place"), random.Random(7).sample(ALL, 14))
def test_a_restore_survives_any_bad_day_of_the_vault(bucket, vault, name, nth, in_place):
    """The same, at other calls and with other faults."""
    check(bucket, vault, name, nth, in_place)
