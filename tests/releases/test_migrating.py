"""Migrations within releases and beside them: when contract ones may run, and what a release costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clodo.backups.restoring.plan import Wish as RestoreWish
from clodo.errors import (
    BadUsage,
    DatabaseNotFound,
    MigrationFailed,
    NoWayBack,
    OutcomeUnknown,
    PlanIsStale,
    Refused,
    ReleaseFailed,
)
from clodo.migrations import Which
from clodo.releases.database_creation import create_databases
from clodo.releases.database_rollback import roll_back_database
from clodo.releases.database_rollback_plan import Wanted, Way, plan_rollback, raise_if_impossible
from clodo.releases.migrating import Choice, migrate_target, rehearse_target
from clodo.releases.outcome import Ending

from .numbered import quick
from .stage import DATABASE, ORDERS, TARGET, WORKER, Stage

CONTRACT = Choice(Which.CONTRACT)
DROP = {
    "0001_orders.sql": ORDERS + "ALTER TABLE orders ADD COLUMN colour TEXT;",
    "0002_drop.sql": "-- clodo: contract\nALTER TABLE orders DROP COLUMN colour;",
}


@pytest.fixture
def stage(stage: Stage, tmp_path: Path) -> Stage:
    """A stage whose uploads need no wrangler; what wrangler does is not what is tested here."""
    stage.toolchain = quick(stage.toolchain, tmp_path)
    return stage


def migrate(stage, choice=None):
    """Migrate as `clodo database migrate` does; return the names that were applied."""
    with stage.site() as site:
        done = migrate_target(site, site.workspace.find(TARGET), choice)
    return [name for item in done for name in item.applied]


def window(stage, hours):
    """Let the shop's way back stay open for so long."""
    file = stage.folder / "portfolio.toml"
    file.write_text(file.read_text().replace("[services.shop]\n", f"[services.shop]\nway_back_hours = {hours}\n"))


def test_contract_migrations_wait_for_the_version_that_came_with_them(stage):
    """Never before a release, nor before a release of these files, nor while its way back is open; then they run."""
    stage.write(migrations=DROP)

    with pytest.raises(Refused, match="no release of it is known to be live"):
        migrate(stage, CONTRACT)
    assert stage.release().ending is Ending.LIVE
    with pytest.raises(Refused, match="its way back is open until"):
        migrate(stage, CONTRACT)
    window(stage, 0)
    stage.folder.joinpath(WORKER, "migrations", "0003_more.sql").write_text("CREATE TABLE more (x);")
    with pytest.raises(Refused, match="was released without these files"):
        migrate(stage, CONTRACT)
    stage.folder.joinpath(WORKER, "migrations", "0003_more.sql").unlink()

    assert migrate(stage, CONTRACT) == ["0002_drop.sql"]
    assert "colour" not in stage.query("SELECT sql FROM sqlite_master WHERE name = 'orders'")[0]["sql"]
    stage.raise_if_unsettled()


@pytest.mark.exhaustive
def test_contract_migrations_wait_while_another_version_is_live(stage):
    """What Cloudflare reports counts, not what we remember; a maintenance window overrides all of it."""
    stage.write(migrations=DROP)
    assert stage.release().ending is Ending.LIVE
    window(stage, 0)
    theirs = stage.account.upload_version(WORKER)["id"]
    stage.account.deploy(WORKER, (theirs, 100))

    with pytest.raises(Refused, match=f"Cloudflare reports {theirs} as live"):
        migrate(stage, CONTRACT)
    assert migrate(stage, Choice(Which.CONTRACT, maintenance=True)) == ["0002_drop.sql"]


def test_a_release_with_a_hazard_changes_nothing(stage):
    """What the lint refuses, and what fails in the rehearsal, is found before anything is written."""
    assert stage.release().ending is Ending.LIVE
    before = (stage.applied, stage.live_version, len(stage.versions))

    for sql, error in (
        ("ALTER TABLE orders ADD COLUMN size TEXT NOT NULL;", "not-null-without-default"),
        ("ALTER TABLE nowhere ADD COLUMN size TEXT;", "no such table: nowhere.*found in a rehearsal"),
    ):
        stage.write(says="two", migrations={**stage.shop.migrations, "0002_bad.sql": sql})
        since = stage.requests()[-1]["number"] + 1
        with pytest.raises(ReleaseFailed, match=error):
            stage.release()
        calls = [call for call in stage.requests(since=since) if "/query" not in call["path"]]
        writes = [call for call in calls if call["method"] != "GET"]
        assert writes == []
    assert (stage.applied, stage.live_version, len(stage.versions)) == before


@pytest.mark.exhaustive
def test_what_the_lint_finds_waits_beyond_the_release(stage):
    """A file that drops something isn't run by a release though nobody marked it; its outcome doesn't list it."""
    assert stage.release().ending is Ending.LIVE
    stage.write(says="two", migrations={**stage.shop.migrations, "0002_drop.sql": "DROP TABLE orders;"})

    outcome = stage.release()

    assert outcome.ending is Ending.LIVE
    assert stage.applied == ["0001_orders.sql"]
    assert "migration 0002_drop.sql" not in outcome.changes


def test_a_pending_migration_costs_a_release_few_requests(stage):
    """One to look, three to note what is there, one to apply, one bookmark after: six to the database."""
    assert stage.release().ending is Ending.LIVE
    stage.write(
        says="two", on_failure="time-travel", migrations={**stage.shop.migrations, "0002_x.sql": "CREATE TABLE x (y);"}
    )
    since = stage.requests()[-1]["number"] + 1

    assert stage.release().ending is Ending.LIVE

    database = [call for call in stage.requests(since=since) if "/d1/database/" in call["path"]]
    assert len(database) == 6, database


def test_a_rehearsal_of_all_databases_comes_before_the_first_is_touched(stage):
    """The second of two files that fails keeps the first from being applied, and a dry run says the same."""
    stage.write(migrations={"0001_orders.sql": ORDERS, "0002_bad.sql": "SELECT nonsense;"})

    with pytest.raises(MigrationFailed, match="no such column: nonsense"):
        migrate(stage)
    with stage.site() as site, pytest.raises(MigrationFailed, match="no such column: nonsense"):
        rehearse_target(site, site.workspace.find(TARGET), Choice())
    assert stage.applied == []


def test_a_rollback_that_was_approved_for_another_state_is_refused(stage):
    """Somebody migrated after the plan was shown: nothing is done, and the plan is to be looked at again."""
    with_down = {"0001_orders.sql": ORDERS, "0002_x.sql": "CREATE TABLE x (y);", "0002_x.down.sql": "DROP TABLE x;"}
    stage.write(migrations=with_down)
    migrate(stage)
    with stage.site() as site:
        target = site.workspace.find(TARGET)
        plan = plan_rollback(site, target, Wanted())
    stage.write(migrations={**with_down, "0003_y.sql": "CREATE TABLE z (y);", "0003_y.down.sql": "DROP TABLE z;"})
    migrate(stage)

    with stage.site() as site:
        with pytest.raises(PlanIsStale, match="was migrated since the plan"):
            roll_back_database(site, target, Wanted(), approved=plan.fingerprint)
        assert stage.applied == ["0001_orders.sql", "0002_x.sql", "0003_y.sql"]
        stage.query("INSERT INTO x VALUES (1), (2)")
        done = roll_back_database(site, target, Wanted(to="0001_orders.sql"), reason="wrong")
        with pytest.raises(DatabaseNotFound, match='no database called "other"'):
            plan_rollback(site, target, Wanted(database="other"))

    assert done.plan.names == ("0003_y.sql", "0002_x.sql")
    assert done.plan.losses == ("the table x with 2 rows", "the table z with 0 rows")
    assert (done.rows["x"], done.rows["z"]) == ((2, None), (0, None))
    assert stage.applied == ["0001_orders.sql"]
    with stage.ledger() as ledger:
        actions = [row.action for row in ledger.audit.list(subject=TARGET)]
    assert [action for action in actions if "rol" in action] == ["database-rolled-back", "database-rollback-begun"]


NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
BOOKMARK = "00000085-0000024c-00004c6d-8e61117bf38d7adb71b934ebbf891683"


@pytest.mark.parametrize(
    "bookmark",
    ["zz", "", "first-primary", BOOKMARK[:-1], BOOKMARK.upper(), f" {BOOKMARK}", f"{BOOKMARK}\n", "2026-01-31"],
)
def test_what_is_no_bookmark_is_refused_without_a_request(bookmark):
    """Its form alone says so; the option, the text and what one looks like are told."""
    with pytest.raises(BadUsage, match=r"--bookmark: .* is no bookmark") as refused:
        raise_if_impossible(Wanted(bookmark=bookmark), NOON)

    assert BOOKMARK in (refused.value.hint or "")
    assert refused.value.exit_code == 2


def test_a_moment_that_is_yet_to_come_is_refused_without_a_request():
    """Nobody goes back to tomorrow; today is fine, and so is a bookmark."""
    raise_if_impossible(Wanted(at=NOON), NOON)
    raise_if_impossible(Wanted(bookmark=BOOKMARK), NOON)

    with pytest.raises(BadUsage, match=r"--at: 2026-11-21T12:00:00\+00:00 is yet to come"):
        raise_if_impossible(Wanted(at=NOON + timedelta(days=1)), NOON)


def test_a_moment_without_a_time_zone_is_utc():
    """As the Prefect UI may give it: neither refused for that, nor taken for the time where the worker runs."""
    bare = NOON.replace(tzinfo=None)

    raise_if_impossible(Wanted(at=bare), NOON)

    assert Wanted(at=bare).at == NOON
    assert RestoreWish(at=bare).at == NOON


def test_moments_and_bookmarks_out_of_reach_are_no_way_back(stage):
    """A moment before the database was made, a bookmark later than now, and one that it never had change nothing."""
    migrate(stage)
    before_all = "00000000-00000000-00004c6d-8e61117bf38d7adb71b934ebbf891683"
    with stage.site() as site:
        target = site.workspace.find(TARGET)

        with pytest.raises(NoWayBack, match="Time Travel doesn't reach 2020-01-01"):
            plan_rollback(site, target, Wanted(at=datetime(2020, 1, 1, tzinfo=UTC)))
        with pytest.raises(NoWayBack, match="was never at ffffffff"):
            plan_rollback(site, target, Wanted(bookmark=f"ffffffff{BOOKMARK[8:]}"))
        plan = plan_rollback(site, target, Wanted(bookmark=before_all))
        with pytest.raises(NoWayBack, match=r"Invalid bookmark: .*; nothing was changed"):
            roll_back_database(site, target, Wanted(bookmark=before_all), approved=plan.fingerprint)

    assert plan.describe()[0] == f"{DATABASE}: goes back in time to bookmark {before_all}."
    assert any("told by Cloudflare only when" in sentence for sentence in plan.unknown)
    assert stage.applied == ["0001_orders.sql"]


@pytest.mark.exhaustive
def test_a_journey_in_time_without_an_answer_names_the_way_forward(stage):
    """The restore was done and its answer lost: the bookmark of before is in the message and the audit trail."""
    stage.write(migrations={"0001_orders.sql": ORDERS, "0002_x.sql": "CREATE TABLE x (y);"})
    migrate(stage)
    stage.query("INSERT INTO x VALUES (1)")
    wanted = Wanted(to="0001_orders.sql", way=Way.TIME_TRAVEL)
    fault = stage.account.cloud.add_fault("time_travel/restore", action="reset", applied=True, times=None)

    with stage.site() as site:
        target = site.workspace.find(TARGET)
        before = stage.cloudflare.d1.bookmark(stage.database_id)
        with pytest.raises(OutcomeUnknown, match=f"before it the database was at {before}") as caught:
            roll_back_database(site, target, wanted)
        stage.account.cloud.clear_faults(fault)
        begun = site.ledger.audit.list(subject=TARGET)[0]
        assert f"--bookmark {before}" in caught.value.hint
        assert stage.applied == ["0001_orders.sql"]
        roll_back_database(site, target, Wanted(bookmark=before))

    assert (begun.action, begun.detail["now"]) == ("database-rollback-begun", before)
    assert stage.applied == ["0001_orders.sql", "0002_x.sql"]
    assert stage.query("SELECT y FROM x") == [{"y": 1}]


@pytest.mark.parametrize("applied", [True, pytest.param(False, marks=pytest.mark.exhaustive)])
def test_a_database_whose_creation_was_not_answered_is_made_once(stage, applied):
    """A lost answer is looked up by the exact name: the account has one database of it, and the config its id."""
    config = stage.folder / WORKER / "wrangler.toml"
    config.write_text(
        config.read_text().replace(stage.database_id, "").replace('database_id = ""\n', "").replace(DATABASE, "fresh")
    )
    fault = stage.account.cloud.add_fault("d1/database$", method="POST", action="reset", applied=applied)

    with stage.site() as site:
        [made] = create_databases(site, site.workspace.find(TARGET))
    stage.account.cloud.clear_faults(fault)

    assert [item.name for item in stage.cloudflare.d1.list()].count("fresh") == 1
    assert f'database_id = "{made.database_id}"' in config.read_text()
    assert made.diff.count("\n+") >= 1


@pytest.mark.parametrize(
    ("says", "changes"),
    [
        ("two", ("code or configuration", "migrations", "migration 0002_notes.sql")),
        ("one", ("migrations", "migration 0002_notes.sql")),
    ],
)
def test_a_release_says_whether_code_came_with_the_migrations(stage, says, changes):
    """Before the upload nobody could know; afterwards it is told."""
    stage.write(says="one")
    stage.release()
    stage.write(says=says, migrations={"0001_orders.sql": ORDERS, "0002_notes.sql": "CREATE TABLE notes (text TEXT);"})

    outcome = stage.release()

    assert outcome.changes == changes
