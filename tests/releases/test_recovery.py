"""Releases that were cut short: finished or undone, and what others did meanwhile is respected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clodo.errors import LockLost
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.story import Take

from .stage import Stage


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
