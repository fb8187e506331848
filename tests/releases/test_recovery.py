"""Releases that were cut short: finished or undone, and what others did meanwhile is respected."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clodo.errors import LockHeld, LockLost, Refused, ReleaseFailed
from clodo.ledger.owners import Owner
from clodo.releases.assessment import Standing
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.reconciling import reconcile_releases
from clodo.releases.recovery import lock_name
from clodo.releases.story import Take

from .crashing import AFTER, Point
from .numbered import quick
from .stage import ORDERS, WORKER, Stage, release_shop


@pytest.fixture
def stage(stage: Stage, tmp_path: Path) -> Stage:
    """A stage whose uploads need no wrangler; what wrangler does is not what is tested here."""
    stage.toolchain = quick(stage.toolchain, tmp_path)
    return stage


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


RENAME = "-- clodo: allow rename-table: to break the live version\nALTER TABLE orders RENAME TO gone;"
DROP_INDEX = "-- clodo: allow drop-index: to break the live version\nDROP INDEX by_item;"
BREAKING = {"0001_orders.sql": ORDERS, "0002_away.sql": RENAME}


def test_a_schema_that_breaks_the_live_version_is_taken_back_in_time_when_nobody_wrote(stage):
    """A release dies after a migration that breaks what is live; nobody wrote since, so Time Travel loses nothing."""
    indexed = {"0001_orders.sql": ORDERS + "\nCREATE INDEX by_item ON orders (item);"}
    stage.write(migrations=indexed, count="SELECT count(*) AS orders FROM orders INDEXED BY by_item WHERE item > ''")
    assert stage.release().ending is Ending.LIVE
    assert stage.order("book").status_code == 201
    stage.write(migrations={**indexed, "0002_away.sql": DROP_INDEX}, count="SELECT count(*) AS orders FROM orders")
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
    assert "nothing proves that going back in time would lose no row" in outcome.message
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
    stage.query("INSERT INTO orders (id, item) VALUES (1, 'book')")
    stage.write(
        on_failure="time-travel",
        migrations={
            **stage.shop.migrations,
            "0002_colour.sql": "ALTER TABLE orders ADD COLUMN colour TEXT;",
            # Only the rows can tell, so no rehearsal finds it.
            "0003_wrong.sql": "INSERT INTO orders (id, item) VALUES (1, 'pen');",
        },
    )

    with pytest.raises(ReleaseFailed, match=r"UNIQUE constraint failed: orders\.id") as failed:
        stage.release()

    assert "went back in time to before 0002_colour.sql" in failed.value.message
    assert stage.applied == ["0001_orders.sql"]
    stage.raise_if_unsettled()


def test_a_deployment_that_somebody_made_meanwhile_is_kept(stage):
    """What others deployed after the release died stays live; it is said, and not overwritten unasked."""
    assert stage.release().ending is Ending.LIVE
    stage.write(says="two", crons=("0 * * * *",))
    cut_short(stage, after="set-triggers")
    theirs = stage.account.upload_version(WORKER)["id"]
    stage.account.deploy(WORKER, (theirs, 100))

    outcome = only(stage.reconcile())

    assert outcome.ending is Ending.UNDONE
    assert f"Kept: the deployment that somebody else made meanwhile ({theirs})" in outcome.message
    assert (stage.live_version, stage.crons) == (theirs, [])
    with pytest.raises(Refused, match=f"version {theirs} is live"):
        stage.release()
    assert stage.live_version == theirs
    assert stage.release(overwrite=True).ending is Ending.LIVE
    assert stage.says() == "two"


def test_undoing_a_first_deploy_removes_only_what_it_made(stage):
    """The Worker, its routes and schedules go; tables, rows and Workers that were there before stay."""
    zone = stage.account.zone
    stage.query("CREATE TABLE older (item TEXT)")
    stage.query("INSERT INTO older (item) VALUES ('kept')")
    stage.account.put_worker("other")
    stage.cloudflare.routes.create(stage.account.zone_id, f"{zone}/other/*", "other")
    stage.write(routes=(f"{zone}/shop/*",), crons=("0 * * * *",))
    cut_short(stage, after="set-triggers")
    assert (stage.routes, stage.crons) == ([f"{zone}/shop/*"], ["0 * * * *"])

    outcome = only(stage.reconcile())

    assert outcome.ending is Ending.UNDONE
    assert "removed the Worker shop" in outcome.message
    assert "Kept: shop-orders: the schema of 0001_orders.sql, which no version used before" in outcome.message
    assert stage.query("SELECT item FROM older") == [{"item": "kept"}]
    assert stage.account.visit(zone, "/other/x").status_code == 200
    assert [script["id"] for script in stage.api("GET", "/workers/scripts")] == ["other"]
    stage.raise_if_unsettled()


def test_a_worker_that_somebody_else_uploaded_to_is_not_removed(stage):
    """A first deploy died, somebody put a version on the new Worker: the undo leaves it and says so."""
    cut_short(stage, after="upload")
    theirs = stage.account.upload_version(WORKER)["id"]

    outcome = only(stage.reconcile())

    assert outcome.ending is Ending.UNDONE
    assert f"kept: the Worker shop, since somebody else uploaded to it ({theirs})" in outcome.message
    assert len(stage.versions) == 2


def test_a_worker_that_somebody_deleted_meanwhile_stays_deleted(stage):
    """Nothing is made anew: the undo says that the Worker is gone, and the next release is a first one."""
    assert stage.release().ending is Ending.LIVE
    stage.write(says="two", crons=("0 * * * *",))
    cut_short(stage, after="roll-out")
    stage.api("DELETE", f"/workers/scripts/{WORKER}")

    outcome = only(stage.reconcile())

    assert outcome.ending is Ending.UNDONE
    assert "that somebody deleted the Worker shop" in outcome.message
    assert stage.live_version is None
    assert stage.release().ending is Ending.LIVE
    stage.raise_if_unsettled()


def test_a_target_that_left_the_workspace_is_still_undone(stage):
    """The service's folder was deleted after the release died; its journal and the account are enough."""
    assert stage.release().ending is Ending.LIVE
    stage.write(says="two", migrations={**stage.shop.migrations, "0002_x.sql": "CREATE TABLE x (y);"})
    cut_short(stage, after="roll-out")
    (stage.folder / WORKER).rename(stage.folder / "other")
    shutil.rmtree(stage.folder / "other" / "migrations")
    config = stage.folder / "other" / "wrangler.toml"
    config.write_text(config.read_text().replace('name = "shop"', 'name = "other"'))
    (stage.folder / "portfolio.toml").write_text('[portfolio]\nname = "without the shop"\n')

    outcome = only(stage.reconcile())

    assert outcome.ending is Ending.UNDONE
    assert stage.says() == "one"


def test_an_environment_that_left_the_workspace_is_found_by_its_account(stage):
    """No environment is called production any more, but one is served by the same account."""
    assert stage.release().ending is Ending.LIVE
    stage.write(says="two")
    cut_short(stage, after="roll-out")
    portfolio = stage.folder / "portfolio.toml"
    portfolio.write_text(portfolio.read_text() + "\n[environments.live]\n")

    outcome = only(stage.reconcile())

    assert outcome.ending is Ending.UNDONE
    assert stage.says() == "one"


def test_a_release_of_an_account_nobody_knows_any_more_is_said(stage):
    """The block now is for another account: nothing is touched there, and the message says what to do."""
    assert stage.release().ending is Ending.LIVE
    stage.write(says="two")
    release_id = cut_short(stage, after="roll-out")
    elsewhere = replace(stage.keys, account_id="0" * 32)

    with stage.site(keys=elsewhere) as site:
        outcome = only(reconcile_releases(site))

    assert (outcome.ending, outcome.release_id, outcome.exit_code) == (Ending.FAILED, release_id, 2)
    assert f"served by the account {stage.account.account_id} any more" in outcome.message
    assert only(stage.reconcile()).ending is Ending.UNDONE


def test_an_interruption_after_the_proof_is_no_reason_to_undo(stage):
    """Ctrl-C between the verification and its record leaves the new version live; the next run records it."""

    def interrupted(step: str, work: Callable[[], Any]) -> Any:
        result = work()
        if step == "verify":
            raise KeyboardInterrupt
        return result

    with pytest.raises(KeyboardInterrupt):
        stage.release(take=interrupted)
    assert stage.says() == "one"

    assert "had been verified" in stage.release().message
    stage.raise_if_unsettled()


def test_an_undone_release_blames_nobody_else(stage):
    """After a failed version was undone, the workspace of before is unchanged, not changed by somebody else."""
    stage.write(migrations={})
    first = stage.write(count="SELECT 0 AS orders")
    assert stage.release().ending is Ending.LIVE
    stage.write(says="two", live_status=500)
    with pytest.raises(ReleaseFailed, match="fails its smoke test"):
        stage.release()
    assert stage.says() == "one"

    stage.write(**vars(first))

    assert stage.survey().assessment.standing is Standing.UNCHANGED
    stage.raise_if_unsettled()


def test_the_lock_of_a_living_process_is_respected(stage):
    """Somebody is at it: the release says who, why and since when, with status 11, and writes nothing."""
    name = lock_name(stage.account.account_id, WORKER)
    with stage.ledger() as ledger, ledger.locks.acquire(name, Owner.current("release it"), "night shift"):
        with pytest.raises(LockHeld, match=r"held by .*release it\) since .*: night shift") as held:
            stage.release()

        assert held.value.exit_code == 11
        assert stage.releases() == []
        assert stage.versions == []
        with pytest.raises(LockLost), stage.site() as site:
            release_shop(site, take=dies(before="note-way-back"), take_over=True)


def test_reconciling_leaves_a_release_alone_whose_process_lives(stage):
    """An open release under a held lock is somebody's work in progress."""
    release_id = cut_short(stage, after="upload")
    name = lock_name(stage.account.account_id, WORKER)
    with stage.ledger() as ledger, ledger.locks.acquire(name, Owner.current("release it"), "night shift"):
        outcome = only(stage.reconcile())

    assert (outcome.ending, outcome.release_id) == (Ending.SKIPPED, release_id)
    assert "night shift" in outcome.message
    assert only(stage.reconcile()).ending is Ending.UNDONE


def test_the_lock_of_a_dead_process_is_taken_over(stage, crashes):
    """A killed process leaves its lock behind; the next run needs nobody's word to take it."""
    assert crashes.run(stage, Point("upload done", AFTER))
    with stage.ledger() as ledger:
        assert ledger.locks.holding(lock_name(stage.account.account_id, WORKER)) is not None

    assert stage.release().ending is Ending.LIVE
    stage.raise_if_unsettled()
