"""First deploys: there is no version to protect, and no traffic to split."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clodo.errors import ReleaseFailed
from clodo.releases.outcome import Ending

from .numbered import quick
from .stage import WORKER, Stage


@pytest.fixture
def stage(stage: Stage, tmp_path: Path) -> Stage:
    """A stage whose uploads need no wrangler; what wrangler does is not what is tested here."""
    stage.toolchain = quick(stage.toolchain, tmp_path)
    return stage


def switches(stage: Stage) -> tuple[bool, bool]:
    """Return whether workers.dev and preview URLs are on."""
    found = stage.api("GET", f"/workers/scripts/{WORKER}/subdomain")
    return found["enabled"], found["previews_enabled"]


@pytest.mark.parametrize(
    ("workers_dev", "previews", "ends"),
    [
        (None, None, (False, False)),
        (True, None, (True, True)),
        (False, None, (False, False)),
        (True, False, (True, False)),
        (False, True, (False, True)),
    ],
)
def test_preview_urls_end_as_the_config_or_wrangler_has_them(stage, workers_dev, previews, ends):
    """They are on for the smoke test unless forbidden, and then as asked; unasked they follow workers.dev."""
    zone = stage.account.zone
    stage.write(workers_dev=workers_dev, previews=previews, routes=(f"{zone}/*",))

    first = stage.release()
    switched = switches(stage)
    stage.write(says="two")
    second = stage.release()

    assert first.ending is second.ending is Ending.LIVE
    assert switched == switches(stage) == ends
    assert stage.account.visit(zone).json()["says"] == "two"
    assert stage.release().ending is Ending.UNCHANGED


def test_a_first_version_without_a_preview_is_tested_where_users_reach_it_and_removed_if_it_fails(stage):
    """Nobody could ask it before; what fails then is gone again, with its route and schedule."""
    stage.write(previews=False, status=500, routes=(f"{stage.account.zone}/*",), crons=("0 * * * *",))

    with pytest.raises(ReleaseFailed, match=r"answered 500.*put back: .*; removed the Worker shop"):
        stage.release()

    assert (stage.live_version, stage.routes, stage.crons) == (None, [], [])
    stage.raise_if_unsettled()


def test_a_first_version_that_fails_at_its_preview_url_gets_no_route(stage):
    """It is asked before anything leads to it: routes and schedules were never set."""
    stage.write(status=500, routes=(f"{stage.account.zone}/*",), crons=("0 * * * *",))

    with pytest.raises(ReleaseFailed, match="answered 500"):
        stage.release()

    assert ("set-triggers", "intent") not in stage.steps(stage.releases()[0].id)
    assert stage.live_version is None
    stage.raise_if_unsettled()


def test_a_database_needs_no_folder_of_migrations(stage):
    """A D1 binding without a single migration is a binding like any other."""
    stage.write(migrations={}, count="SELECT 0 AS orders")
    shutil.rmtree(stage.folder / WORKER / "migrations")

    assert stage.release().ending is Ending.LIVE
    assert stage.applied == []
    stage.raise_if_unsettled()
