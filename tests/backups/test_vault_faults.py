"""Bad days of the vault: whichever call of its bucket fails, what is published is right, and the next run is good."""

from __future__ import annotations

import random
from contextlib import contextmanager
from datetime import timedelta

import pytest

from clodo.backups.pruning import LEFTOVERS_AFTER
from clodo.backups.vault import Vault
from clodo.backups.verification import Level
from clodo.cloudflare.clock import Clock
from clodo.errors import ClodoError
from tests.backups.test_vault import r2_options
from tests.emulator.r2.conftest import keys_of

#: About as many as a backup or a prune makes; a fault at a call that isn't made is no fault, and nothing is told.
CALLS = 14
FAULTS = [
    {"status": 500},
    {"status": 403},
    {"status": 500, "applied": True},
    {"action": "reset"},
    {"action": "malformed", "method": "GET"},
]
ALL = [(fault, nth) for fault in FAULTS for nth in range(1, CALLS + 1)]
SOME = random.Random(20261120).sample(ALL, 1)


@contextmanager
def struck(fleet, **fault):
    """Let calls of the bucket go wrong; gives what says how many there were."""
    cloud = fleet.account.cloud
    armed = cloud.add_fault(f"^/r2/{fleet.account.account_id}/", **fault)
    try:
        yield lambda: next(item["seen"] for item in cloud.faults() if item["id"] == armed)
    finally:
        cloud.clear_faults(armed)


@pytest.fixture
def vaults(fleet):
    """A folder, and a bucket through a client that tries nothing twice."""
    fleet.account.result("POST", "/r2/buckets", json={"name": "offsite"})
    return Vault.open("here", str(fleet.root / "here")), Vault("offsite", keys_of(fleet.account).store("offsite"))


def check_everything(fleet, vaults):
    backups = fleet.open(*vaults)
    for vault in vaults:
        for snapshot in vault.snapshots():
            assert backups.verify(snapshot, Level.RESTORE, vault=vault.name).is_good


def told(action):
    """Do it; return the error that it was told with, if it was."""
    try:
        action()
    except ClodoError as error:
        return error
    return None


def check_backup(fleet, vaults, fault, nth):
    first = fleet.back_up(*vaults)
    fleet.sql("INSERT INTO log VALUES('another')")
    with struck(fleet, nth=nth, **fault) as seen:
        error = told(lambda: fleet.back_up(*vaults))
        was_struck = seen() >= nth

    # A manifest that can't be read is no help, and no obstacle either.
    assert (error is not None) == was_struck or "method" in fault, error
    check_everything(fleet, vaults)
    assert fleet.back_up(*vaults).is_good
    check_everything(fleet, vaults)
    assert all(first.id in vault.snapshots() for vault in vaults)


def check_prune(fleet, vaults, fault, nth):
    portfolio = fleet.root / "portfolio.toml"
    portfolio.write_text(portfolio.read_text() + "[backups.keep]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\n")
    for number in range(2):
        fleet.sql(f"INSERT INTO log VALUES('{number}')")
        newest = fleet.back_up(*vaults)
    later = Clock(now=lambda: fleet.clock.now() + LEFTOVERS_AFTER + timedelta(minutes=1))
    with struck(fleet, nth=nth, **fault) as seen:
        error = told(lambda: fleet.open(*vaults, clock=later).prune())
        was_struck = seen() >= nth

    # A manifest that can't be read is no help, and no obstacle either.
    assert (error is not None) == was_struck or "method" in fault, error
    check_everything(fleet, vaults)
    fleet.open(*vaults, clock=later).prune()
    for vault in vaults:
        assert vault.snapshots() == [newest.id]
        assert len(list(vault.parts())) == len({part for archive in newest.archives for part in archive.parts})
    check_everything(fleet, vaults)


@pytest.mark.parametrize(("fault", "nth"), SOME)
def test_a_backup_survives_a_bad_day_of_the_vault(fleet, vaults, fault, nth):
    """The failure is told, nothing that was published is damaged, and the next run is good. A sample."""
    check_backup(fleet, vaults, fault, nth)


def test_a_prune_survives_a_bad_day_of_the_vault(fleet, vaults):
    """The failure is told, what should stay is whole, and the next prune completes. A sample."""
    check_prune(fleet, vaults, FAULTS[0], 5)


def test_a_failure_that_passes_is_not_told(fleet):
    """The client of a vault as an operator saves it asks once more."""
    fleet.account.result("POST", "/r2/buckets", json={"name": "offsite"})
    vault = Vault.open("offsite", "s3://offsite", r2_options(fleet.account))

    with struck(fleet, status=503, nth=3) as seen:
        manifest = fleet.back_up(vault)
        was_struck = seen() > 3

    assert was_struck
    assert manifest.is_good
    assert fleet.open(vault).verify(manifest.id, Level.RESTORE).is_good


@pytest.mark.exhaustive
@pytest.mark.parametrize(("fault", "nth"), random.Random(4).sample(ALL, 8))
def test_a_backup_survives_any_bad_day_of_the_vault(fleet, vaults, fault, nth):
    """The same, at more calls."""
    check_backup(fleet, vaults, fault, nth)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("fault", "nth"), random.Random(5).sample(ALL, 6))
def test_a_prune_survives_any_bad_day_of_the_vault(fleet, vaults, fault, nth):
    """The same, at more calls."""
    check_prune(fleet, vaults, fault, nth)
