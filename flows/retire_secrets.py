"""Retire the values that rotated secrets had before, once their time of grace is over; say which rotations are due."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_table_artifact

from clodo.errors import ClodoError, LockHeld, PartlyDone
from tasks.reports import artifact_key
from tasks.rotations import due_rotations, finish
from tasks.secrets import ages, opened
from tasks.sites import narrator


@flow(flow_run_name="retire secrets of {workspace}", persist_result=False)
def retire_secrets(workspace: str = ".") -> list[dict[str, str]]:
    """
    Retire what is over its grace, go on with rotations that a dead process began, and report which secrets are due.

    Args:
        workspace: Folder of the workspace.

    Returns:
        One entry a rotation that was taken up: target, name, state.
    """
    say = narrator()
    with opened(workspace) as (loaded, ledger, _):
        now = ledger.secrets.now()
        due = [age for age, is_kept in ages(loaded, ledger, loaded.targets) if is_kept and age.is_due(now)]
        todo = due_rotations(ledger, now)
    if due:
        rows = [{"target": age.target, "name": age.name, "due": f"{age.due_at:%Y-%m-%d}"} for age in due]
        key = artifact_key("secrets-due", loaded.portfolio.name)
        create_table_artifact(table=rows, key=key, description=f"{len(due)} secrets are due to be rotated")
        for age in due:
            say(f"{age.target}: {age.name} is due to be rotated since {age.due_at:%Y-%m-%d}")
    done: list[dict[str, str]] = []
    failed: list[str] = []
    for record in todo:
        try:
            ended = finish(workspace, record)
        except LockHeld:
            # Somebody is at it.
            continue
        except ClodoError as error:
            failed.append(error.message)
            say(error.message)
            continue
        done.append({"target": ended.target, "name": ended.name, "state": ended.state.value})
    if failed:
        raise PartlyDone(f"{len(failed)} of {len(todo)} rotations could not be finished: {failed[0]}")
    return done
