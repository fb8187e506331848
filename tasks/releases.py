"""Releasing targets: each step of a release is a task run that an operator sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from clodo.releases.outcome import Outcome
from clodo.releases.rollout import Rollout

STEP_NAMES = {
    "note-way-back": "note the way back of {}",
    "migrate": "migrate databases of {}",
    "check-live": "smoke-test live {}",
    "upload": "upload {}",
    "smoke-test": "smoke-test new {}",
    "roll-out": "roll out {}",
    "set-triggers": "set triggers of {}",
    "verify": "verify {}",
    "undo": "undo {}",
}


@task(task_run_name="{title}", cache_policy=NO_CACHE, persist_result=False)
def take_step(title: str, work: Callable[[], Any]) -> Any:
    """Take one step of a release. It is never repeated by Prefect: the step itself knows what is safe to repeat."""
    return work()


@task(task_run_name="release {target}", cache_policy=NO_CACHE, persist_result=False)
def release(rollout: Rollout, target: str) -> Outcome:
    """
    Release one target of *rollout*.

    Raises:
        ReleaseFailed, UndoIncomplete, Refused, LockHeld: As in `clodo.releases.releasing.release_target`.
    """
    return rollout.release(target, take=steps_of(target))


def steps_of(target: str) -> Callable[[str, Callable[[], Any]], Any]:
    """Return what takes each step of *target*'s release as a task run with a name of its own."""

    def take(step: str, work: Callable[[], Any]) -> Any:
        return take_step(STEP_NAMES.get(step, step + " {}").format(target), work)

    return take


@task(task_run_name="compare {count} targets with what is live", cache_policy=NO_CACHE, persist_result=False)
def survey_targets(rollout: Rollout, count: int) -> int:
    """Compare all targets with what is live; return how many need a release."""
    return sum(1 for item in rollout.survey() if not item.is_unchanged)
