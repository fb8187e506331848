"""Killed at any call of the vault or between pages: nothing published is damaged, and the next run completes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta

import pytest

from clodo.backups.pruning import LEFTOVERS_AFTER
from clodo.backups.verification import Level
from clodo.cloudflare.clock import Clock

#: More than either makes, which the last test of these shows.
CALLS = 14


def run(fleet, what, last=0, *, after=False, last_request=0):
    """
    Back up or prune in a process that is killed at call number *last*, or before request number *last_request*.

    Returns:
        How many calls it made, if it lived.
    """
    said = {
        "what": what,
        "root": str(fleet.root),
        "account_id": fleet.account.account_id,
        "token": fleet.account.token,
        "url": fleet.account.cloud.url,
        "last": last,
        "after": after,
        "last_request": last_request,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.backups.dying"],
        input=json.dumps(said),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (-9, 0), done.stderr
    return None if done.returncode else int(done.stdout.split()[-1])


def check_everything(fleet):
    """Every published snapshot can be restored."""
    backups = fleet.open()
    for item in backups.all():
        assert not item.is_lost
        assert backups.verify(item.record.id, Level.RESTORE).findings == []
    return [item.record.id for item in backups.all()]


def change(fleet):
    fleet.sql("INSERT INTO log VALUES('another')")
    fleet.cloudflare.kv.put_value(fleet.namespace_id, "changed", str(len(fleet.told)).encode())


def a_killed_backup_leaves_everything_good(fleet, last, after):
    first = fleet.back_up()
    change(fleet)

    run(fleet, "create", last, after=after)

    survived = check_everything(fleet)
    assert first.id in survived
    again = fleet.back_up()
    assert again.is_good
    assert again.id in check_everything(fleet)
    assert not any((fleet.root / ".clodo" / "backups" / "work").iterdir())


def a_killed_prune_leaves_everything_good(fleet, last, after):
    portfolio = fleet.root / "portfolio.toml"
    portfolio.write_text(portfolio.read_text() + "[backups.keep]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\n")
    for _ in range(3):
        change(fleet)
        newest = fleet.back_up()

    run(fleet, "prune", last, after=after)

    assert newest.id in check_everything(fleet)
    fleet.open().prune()
    assert check_everything(fleet) == [newest.id]
    later = Clock(now=lambda: fleet.clock.now() + LEFTOVERS_AFTER + timedelta(minutes=1))
    fleet.open(clock=later).prune()
    assert len(fleet.files()) == 1 + len({part for archive in newest.archives for part in archive.parts})


def a_backup_killed_while_reading_leaves_everything_good(fleet, last):
    first = fleet.back_up()
    change(fleet)
    rows = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<8000) SELECT hex(randomblob(99)) FROM n"
    )
    fleet.sql(f"INSERT INTO log {rows}")

    assert run(fleet, "create", last_request=last) is None

    assert check_everything(fleet) == [first.id]
    again = fleet.back_up()
    assert again.is_good
    assert check_everything(fleet) == [first.id, again.id]
    assert not any((fleet.root / ".clodo" / "backups" / "work").iterdir())


def test_a_backup_killed_between_two_pages_leaves_everything_good(fleet):
    """What it had read by then is forgotten; nothing is published, and the next run reads all of it."""
    a_backup_killed_while_reading_leaves_everything_good(fleet, 9)


@pytest.mark.exhaustive
@pytest.mark.parametrize("last", range(2, 15, 3))
def test_a_backup_killed_at_other_requests_leaves_everything_good(fleet, last):
    """Before the bookmark, between pages, before the last look at the bookmark."""
    a_backup_killed_while_reading_leaves_everything_good(fleet, last)


def test_a_killed_backup_leaves_everything_good(fleet):
    """At one of its calls, after the first archive was stored."""
    a_killed_backup_leaves_everything_good(fleet, 6, True)


def test_a_killed_prune_leaves_everything_good(fleet):
    """At one of its calls, when a snapshot was just withdrawn."""
    a_killed_prune_leaves_everything_good(fleet, 6, True)


@pytest.mark.exhaustive
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("last", range(1, CALLS + 1))
def test_a_backup_killed_at_any_call_leaves_everything_good(fleet, last, after):
    """Before and after each call of the vault."""
    a_killed_backup_leaves_everything_good(fleet, last, after)


@pytest.mark.exhaustive
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("last", range(1, CALLS + 1))
def test_a_prune_killed_at_any_call_leaves_everything_good(fleet, last, after):
    """Before and after each call of the vault."""
    a_killed_prune_leaves_everything_good(fleet, last, after)


@pytest.mark.exhaustive
def test_fewer_calls_are_made_than_are_tried(fleet):
    """So each of them was killed."""
    fleet.back_up()
    change(fleet)
    assert run(fleet, "create") < CALLS
    assert run(fleet, "prune") < CALLS


def test_what_a_killed_run_had_read_is_not_read_again(fleet):
    """The database's archive was finished when the run was killed before storing it."""
    portfolio = fleet.root / "portfolio.toml"
    portfolio.write_text(portfolio.read_text().replace('["d1", "kv"]', '["d1"]'))
    # The first call lists the empty vault, the second stores.
    run(fleet, "create", 2)

    manifest = fleet.back_up()

    assert manifest.is_good
    assert fleet.told[0] == "d1/shop-db: a run before this one had read it"
