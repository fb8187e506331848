"""Killed at any request: the same restore, run again, completes, and nothing is left twice."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from clodo.backups.manifest import Kind
from clodo.backups.restoring.plan import Wish
from tests.backups.r2.test_buckets import bucket
from tests.backups.r2.test_restoring_buckets import changed, objects
from tests.backups.restores import everything, keys, restorer
from tests.backups.test_drilling import driller, names
from tests.backups.test_restoring import state, write_something
from tests.backups.test_restoring_worker_code import crons, leads, remove, visit, worker

__all__ = ["bucket", "changed", "worker"]


def run(fleet, what, snapshot, last, *, after, only=()):
    """Restore or drill in a process that is killed at its request number *last*; say whether it was."""
    said = {
        "what": what,
        "only": only,
        "snapshot": snapshot,
        "root": str(fleet.root),
        "account_id": fleet.account.account_id,
        "token": fleet.account.token,
        "url": fleet.account.cloud.url,
        "identity": str(fleet.identity),
        "last": last,
        "after": after,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.backups.dying_restore"],
        input=json.dumps(said),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (-9, 0), done.stderr
    return done.returncode == -9


def a_killed_restore_completes_when_it_is_run_again(fleet, last, after):
    manifest = fleet.back_up()
    rows, pairs = everything(fleet, fleet.database_id), keys(fleet, fleet.namespace_id)
    write_something(fleet)
    before = state(fleet)

    assert run(fleet, "new", manifest.id, last, after=after)
    restored = restorer(fleet).restore(Wish(snapshot=manifest.id))

    database, namespace = (item.id for item in restored.resources)
    databases, namespaces = state(fleet)
    assert {ident: found for ident, found in databases.items() if ident != database} == before[0]
    assert {ident: found for ident, found in namespaces.items() if ident != namespace} == before[1]
    assert (everything(fleet, database), keys(fleet, namespace)) == (rows, pairs)


def a_killed_restore_in_place_completes_when_it_is_run_again(fleet, last, after):
    before = state(fleet)
    manifest = fleet.back_up()
    write_something(fleet)

    assert run(fleet, "in place", manifest.id, last, after=after)
    restored = restorer(fleet).restore(Wish(snapshot=manifest.id, in_place=True))

    assert restored.safety is not None
    assert state(fleet) == before


def a_killed_restore_of_a_worker_completes_when_it_is_run_again(fleet, last, after):
    before, addresses = visit(fleet), leads(fleet)
    manifest = fleet.back_up(kinds=[Kind.D1, Kind.WORKER])
    remove(fleet)
    fleet.cloudflare.d1.delete(fleet.database_id)
    only = ("d1/shop-db", "worker/shop")

    assert run(fleet, "new", manifest.id, last, after=after, only=only)
    restorer(fleet).restore(Wish(snapshot=manifest.id, only=only))

    assert visit(fleet) == before | {"secret": None}
    assert (leads(fleet), crons(fleet)) == (addresses, ["0 3 * * *"])
    assert len(list(fleet.cloudflare.d1.list())) == 1


def a_killed_restore_of_a_bucket_in_place_completes_when_it_is_run_again(changed, last, after):
    fleet, before, _, wish = changed

    assert run(fleet, "in place", wish.snapshot, last, after=after, only=wish.only)
    restored = restorer(fleet).restore(wish)

    assert restored.safety is not None
    assert objects(fleet, "pictures") == before


def test_a_killed_restore_completes_when_it_is_run_again(fleet):
    """Right after the database was made, before its id could be noted."""
    a_killed_restore_completes_when_it_is_run_again(fleet, 5, True)


def test_a_killed_restore_in_place_completes_when_it_is_run_again(fleet):
    """Right after the database was written."""
    a_killed_restore_in_place_completes_when_it_is_run_again(fleet, 22, True)


def test_a_killed_restore_of_a_worker_completes_when_it_is_run_again(worker):
    """Right after the Worker was made, before anything leads to it."""
    a_killed_restore_of_a_worker_completes_when_it_is_run_again(worker, 17, True)


def test_a_killed_restore_of_a_bucket_in_place_completes_when_it_is_run_again(changed):
    """Right after the second of three objects was written."""
    a_killed_restore_of_a_bucket_in_place_completes_when_it_is_run_again(changed, 8, True)


def test_the_next_drill_removes_what_a_killed_one_left(fleet):
    """Killed when both scratch resources were there."""
    fleet.back_up()

    assert run(fleet, "drill", "", 16, after=True)
    assert len(names(fleet)) == 4
    assert driller(fleet).drill().is_good

    assert sorted(names(fleet)) == ["shop-db", "shop-kv"]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("last", "after"), [(last, last % 2 == 0) for last in range(1, 17)])
def test_a_restore_killed_anywhere_completes_when_it_is_run_again(fleet, last, after):
    """Before or after each of its requests."""
    a_killed_restore_completes_when_it_is_run_again(fleet, last, after)


@pytest.mark.exhaustive
@pytest.mark.parametrize("last", range(2, 34, 4))
def test_a_restore_in_place_killed_anywhere_completes_when_it_is_run_again(fleet, last):
    """After every fourth of its requests."""
    a_killed_restore_in_place_completes_when_it_is_run_again(fleet, last, True)


@pytest.mark.exhaustive
@pytest.mark.parametrize("last", [5, 12, *range(16, 34, 3)])
def test_a_restore_of_a_worker_killed_anywhere_completes_when_it_is_run_again(worker, last):
    """Before or after its requests, every third while the Worker is written."""
    a_killed_restore_of_a_worker_completes_when_it_is_run_again(worker, last, last % 2 == 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("last", range(3, 17, 3))
def test_a_restore_of_a_bucket_in_place_killed_anywhere_completes_when_it_is_run_again(changed, last):
    """Before or after every third of its requests."""
    a_killed_restore_of_a_bucket_in_place_completes_when_it_is_run_again(changed, last, last % 2 == 0)
