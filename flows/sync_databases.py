"""Bring many databases to the same schema: all customers of a service, or all targets of an environment."""

from __future__ import annotations

from typing import Annotated, Any, cast

from prefect import flow, unmapped
from prefect.futures import PrefectFuture, wait
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import Field

from clodo.errors import TargetNotFound
from clodo.migrations import Which
from clodo.releases.database_sync import Sync, Synced
from clodo.releases.migrating import Choice
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace
from tasks.databases import open_site_with_rows, report_synced, sync_target

MAX_THREADS = 16
THREADS = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=MAX_THREADS))


@flow(flow_run_name="sync databases of {workspace}", task_runner=THREADS, persist_result=False)
def sync_databases(
    workspace: str = ".",
    service: str | None = None,
    environment: str | None = None,
    targets: list[str] | None = None,
    which: Which = Which.EXPAND,
    accept: list[str] | None = None,
    maintenance: bool = False,
    dry_run: bool = False,
    with_data: bool = False,
    fail_fast: bool = False,
    max_parallel: Annotated[int, Field(ge=1, le=MAX_THREADS)] = 4,
    reason: Annotated[str, Field(max_length=500)] = "",
    take_over: bool = False,
) -> list[Synced]:
    """
    Bring the databases of many targets to the schema of their files, and say in what each still differs from it.

    Args:
        workspace: Folder of the workspace.
        service: Only this service, with all its customers.
        environment: Only this environment.
        targets: Only these targets (api@production/acme).
        which: Expand migrations, contract ones, or all.
        accept: Names of files whose problems and hazards you have looked at and accept.
        maintenance: Run contract migrations though the version before may still be wanted back.
        dry_run: Rehearse and compare only; write nothing.
        with_data: Rehearse with the rows of each database's latest snapshot.
        fail_fast: Begin nothing more once one has failed.
        max_parallel: Databases at the same time.
        reason: Why; kept in the audit trail.
        take_over: Take locks from whoever holds them.

    Returns:
        How each target ended.
    """
    with open_site_with_rows(workspace, with_data=with_data) as (site, source):
        chosen = chosen_targets(site.workspace, service, environment, targets)
        choice = Choice(which, frozenset(accept or ()), maintenance, source)
        sync = Sync(
            site,
            chosen,
            choice,
            max_parallel=max_parallel,
            fail_fast=fail_fast,
            dry_run=dry_run,
            reason=reason,
            take_over=take_over,
        )
        wait(sync_target.map(unmapped(sync), list(chosen)))
        outcomes = sync.finish()
        report_synced(service or site.workspace.portfolio.name, outcomes)
        sync.raise_unless_done()
        return list(outcomes)


def chosen_targets(
    workspace: Workspace, service: str | None, environment: str | None, targets: list[str] | None
) -> list[Target]:
    """
    Return the targets with databases that are meant, in order.

    Raises:
        TargetNotFound: There is none.
    """
    if targets:
        return list(dict.fromkeys(workspace.find(name) for name in targets))
    found = [
        target
        for target in workspace.targets
        if service in (None, target.service)
        and environment in (None, target.environment)
        and workspace.effective(target).databases
    ]
    if not found:
        where = "".join((f" of {service}" if service else "", f" in {environment}" if environment else ""))
        known = sorted(workspace.portfolio.environments)
        hint = f"There are the environments {', '.join(known)}." if environment not in (None, *known) else None
        raise TargetNotFound(f"no target{where} has a database", hint=hint)
    return found
