"""Apply the pending migrations of a target's databases."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from clodo.migrations import Which
from clodo.releases.migrating import Choice, Migrated
from tasks.databases import migrate, open_site_with_rows, rehearse, report_migrated


@flow(flow_run_name="migrate databases of {target}", persist_result=False)
def migrate_database(
    target: str,
    workspace: str = ".",
    which: Which = Which.EXPAND,
    accept: list[str] | None = None,
    maintenance: bool = False,
    dry_run: bool = False,
    with_data: bool = False,
    reason: Annotated[str, Field(max_length=500)] = "",
    take_over: bool = False,
) -> list[Migrated]:
    """
    Apply the pending migrations of a target's databases, each file all or nothing, after rehearsing all of them.

    Args:
        target: Service, environment and customer: api@staging, api@production/acme.
        workspace: Folder of the workspace.
        which: Expand migrations, contract ones, or all.
        accept: Names of files whose problems and hazards you have looked at and accept.
        maintenance: Run contract migrations though the version before may still be wanted back.
        dry_run: Rehearse only; write nothing.
        with_data: Rehearse with the rows of the latest snapshot.
        reason: Why; kept in the audit trail.
        take_over: Take the lock from whoever holds it.

    Returns:
        What became of each database.
    """
    with open_site_with_rows(workspace, with_data=with_data) as (site, source):
        found = site.workspace.find(target)
        choice = Choice(which, frozenset(accept or ()), maintenance, source)
        done = rehearse(site, found, choice) if dry_run else migrate(site, found, choice, reason, take_over)
        report_migrated(str(found), done, is_rehearsal=dry_run)
        return list(done)
