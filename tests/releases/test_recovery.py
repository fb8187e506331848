"""Releases that were cut short: finished or undone, and what others did meanwhile is respected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clodo.errors import LockLost, ReleaseFailed
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.story import Take

from .stage import ORDERS, Stage


def dies(*, before: str | None = None, after: str | None = None) -> Take:
    """Take steps up to a point, and there leave everything as a process does that is killed."""

    def take(step: str, work: Callable[[], Any]) -> Any:
        if step == before:
            raise LockLost("killed")
        result = work()
        if step == after:
            raise LockLost("killed")
        return result

    return take


def cut_short(stage: Stage, **where: str) -> str:
    """Begin a release that dies; return its id."""
    with pytest.raises(LockLost):
        stage.release(take=dies(**where))
    return stage.releases()[0].id


def only(outcomes: tuple[Outcome, ...]) -> Outcome:
    (outcome,) = outcomes
    return outcome


def test_a_release_that_died_after_it_was_verified_is_finished(stage):
    """Only the record was missing: nothing is uploaded again, and the next run says what it found."""
    release_id = cut_short(stage, after="verify")
    version = stage.live_version

    outcome = stage.release()

    assert (outcome.ending, outcome.version_id) == (Ending.UNCHANGED, version)
    assert f"release {release_id} had been verified before it was cut short" in outcome.message
    assert len(stage.versions) == 1
    assert [row.state.value for row in stage.releases()] == ["live"]
    stage.raise_if_unsettled()


def test_what_was_left_half_way_is_put_back_even_if_nobody_wants_it_any_more(stage):
    """The workspace says again what is recorded as live; the schedules that the dead release set are put back."""
    stage.write(crons=("0 * * * *",))
    assert stage.release().ending is Ending.LIVE
    stage.write(crons=("5 * * * *",))
    release_id = cut_short(stage, after="set-triggers")
    assert stage.crons == ["5 * * * *"]
    stage.write(crons=("0 * * * *",))

    outcome = stage.release()

    assert outcome.ending is Ending.UNCHANGED
    assert f"release {release_id} interrupted; put back" in outcome.message
    assert stage.crons == ["0 * * * *"]
    stage.raise_if_unsettled()


def test_the_live_version_is_asked_before_its_new_schema_is_kept(stage):
    """A release dies between migrating and checking; that what is live works on the schema is found out, then said."""
    assert stage.release().ending is Ending.LIVE
    stage.write(migrations={**stage.shop.migrations, "0002_colour.sql": "ALTER TABLE orders ADD COLUMN colour TEXT;"})
    cut_short(stage, after="migrate")

    outcome = only(stage.reconcile())

    assert outcome.ending is Ending.UNDONE
    assert "kept: shop-orders: the schema of 0002_colour.sql, on which the live version works" in outcome.message
    assert stage.applied == ["0001_orders.sql", "0002_colour.sql"]


BREAKING = {"0001_orders.sql": ORDERS, "0002_away.sql": "ALTER TABLE orders RENAME TO gone;"}


def test_a_schema_that_breaks_the_live_version_is_taken_back_in_time_when_nobody_wrote(stage):
    """A release dies after a migration that breaks what is live; nobody wrote since, so Time Travel loses nothing."""
    assert stage.release().ending is Ending.LIVE
    assert stage.order("book").status_code == 201
    stage.write(migrations=BREAKING, count="SELECT count(*) AS orders FROM gone")
    cut_short(stage, after="migrate")
    assert stage.visit().status_code == 500

    outcome = only(stage.reconcile())

    assert outcome.ending is Ending.UNDONE
    assert "went back in time to before 0002_away.sql; nobody had written since" in outcome.message
    assert stage.visit().json()["orders"] == 1
    assert stage.applied == ["0001_orders.sql"]
    stage.raise_if_unsettled()


def test_no_row_is_lost_to_take_a_schema_back(stage):
    """Somebody wrote after the migration: nothing goes back in time, the undo says so, and later tries again."""
    assert stage.release().ending is Ending.LIVE
    stage.write(migrations=BREAKING, count="SELECT count(*) AS orders FROM gone")
    cut_short(stage, after="migrate")
    stage.query("INSERT INTO gone (item) VALUES ('late')")

    outcome = only(stage.reconcile())

    assert outcome.ending is Ending.FAILED
    assert "would lose rows that were written since" in outcome.message
    assert stage.query("SELECT item FROM gone") == [{"item": "late"}]
    assert [row.state.value for row in stage.releases()] == ["failed", "live"]
    stage.query("ALTER TABLE gone RENAME TO orders")
    again = only(stage.reconcile())
    assert again.ending is Ending.UNDONE
    assert "on which the live version works" in again.message
    assert stage.visit().json()["orders"] == 1


def test_a_schema_is_taken_back_by_its_down_file(stage):
    """With a way back beside the migration, an undo runs it and forgets the migration."""
    assert stage.release().ending is Ending.LIVE
    stage.write(
        migrations={
            **stage.shop.migrations,
            "0002_colour.sql": "ALTER TABLE orders ADD COLUMN colour TEXT;",
            "0002_colour.down.sql": "ALTER TABLE orders DROP COLUMN colour;",
        }
    )
    cut_short(stage, after="migrate")

    outcome = only(stage.reconcile())

    assert "put back: shop-orders: ran the down files of 0002_colour.sql" in outcome.message
    assert stage.applied == ["0001_orders.sql"]
    assert "colour" not in stage.query("SELECT sql FROM sqlite_master WHERE name = 'orders'")[0]["sql"]


def test_what_applied_before_a_migration_failed_is_kept_or_taken_back(stage):
    """The first of two files applied; with `time-travel` as policy and nobody writing, that one is taken back too."""
    assert stage.release().ending is Ending.LIVE
    stage.write(
        on_failure="time-travel",
        migrations={
            **stage.shop.migrations,
            "0002_colour.sql": "ALTER TABLE orders ADD COLUMN colour TEXT;",
            "0003_wrong.sql": "ALTER TABLE nowhere ADD COLUMN colour TEXT;",
        },
    )

    with pytest.raises(ReleaseFailed, match="no such table: nowhere") as failed:
        stage.release()

    assert "went back in time to before 0002_colour.sql" in failed.value.message
    assert stage.applied == ["0001_orders.sql"]
    stage.raise_if_unsettled()
