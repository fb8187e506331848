"""A disk that fills up, or is remounted read-only, in the middle of a release."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from clodo.errors import LedgerUnavailable, ReleaseFailed
from clodo.ledger.releases import ReleaseState
from clodo.releases.outcome import Ending
from clodo.releases.story import Take

from .numbered import quick
from .stage import Stage


@pytest.fixture
def stage(stage: Stage, tmp_path: Path) -> Stage:
    """A stage whose uploads need no wrangler; what wrangler does is not what is tested here."""
    stage.toolchain = quick(stage.toolchain, tmp_path)
    return stage


class Disk:
    """The disk under the ledger; SQLite itself refuses to write while it is read-only."""

    is_read_only = False

    def begin(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA query_only = {int(self.is_read_only)}")


@pytest.fixture
def disk() -> Iterator[Disk]:
    """The disk of every ledger that is opened meanwhile."""
    disk = Disk()
    event.listen(Engine, "begin", disk.begin)
    yield disk
    event.remove(Engine, "begin", disk.begin)


def fills_up(disk: Disk, *, after: str) -> Take:
    """Take steps, and let nothing be written down any more once one of them was done."""

    def take(step: str, work: Callable[[], Any]) -> Any:
        result = work()
        disk.is_read_only = disk.is_read_only or step == after
        return result

    return take


@pytest.mark.parametrize("step", ["note-way-back", "upload", "roll-out", "set-triggers"])
def test_everything_is_put_back_though_nothing_can_be_written_down(stage, disk, step):
    """The old version is live again at once; when there is room, the next run closes the release and goes on."""
    stage.write()
    old = stage.release().version_id
    stage.write(says="two", crons=("5 * * * *",))

    with pytest.raises((ReleaseFailed, LedgerUnavailable)) as failed:
        stage.release(take=fills_up(disk, after=step))
    live, crons, says = stage.live_version, stage.crons, stage.says()
    disk.is_read_only = False
    left = stage.releases()[0].state
    # Its lock could not be given back either, and this process, unlike one that failed, still lives.
    next_run = stage.release(take_over=True)

    assert "read-only" in failed.value.message
    assert (live, crons, says) == (old, [], "one")
    assert left is ReleaseState.RUNNING
    assert next_run.ending is Ending.LIVE
    assert [release.state for release in stage.releases()[:2]] == [ReleaseState.LIVE, ReleaseState.UNDONE]
    assert stage.says() == "two"
