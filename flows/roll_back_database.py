"""Take the last migrations of a database back, by down files or by going back in time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from prefect import flow
from pydantic import Field

from clodo.releases.database_rollback import RolledBack
from clodo.releases.database_rollback_plan import RollbackPlan, Wanted, Way
from tasks.databases import plan_database_rollback, report_rolled_back, take_database_back
from tasks.sites import open_site


@flow(flow_run_name="roll back a database of {target}", persist_result=False)
def roll_back_database(
    target: str,
    workspace: str = ".",
    database: str | None = None,
    to: str | None = None,
    way: Way | None = None,
    bookmark: str | None = None,
    at: datetime | None = None,
    approved: str | None = None,
    dry_run: bool = True,
    reason: Annotated[str, Field(max_length=500)] = "",
    take_over: bool = False,
) -> RollbackPlan | RolledBack:
    """
    Take the last migrations of a database back. What would be lost is said first: by default nothing is done but that.

    Args:
        target: Service, environment and customer: api@staging, api@production/acme.
        workspace: Folder of the workspace.
        database: Name or binding, when the target has several.
        to: The last migration that stays; by default only the last one applied is taken back.
        way: Down files, or Time Travel to right before the first migration that goes.
        bookmark: Go back to this Time Travel bookmark.
        at: Go back to this moment.
        approved: Fingerprint of the plan you said yes to; refused when it would be another by now.
        dry_run: Only say what would be done and lost.
        reason: Why; kept in the audit trail.
        take_over: Take the lock from whoever holds it.

    Returns:
        The plan, or what was done.
    """
    wanted = Wanted(database, to, way, bookmark, at)
    with open_site(workspace) as site:
        found = site.workspace.find(target)
        if dry_run:
            return plan_database_rollback(site, found, wanted)
        done = take_database_back(site, found, wanted, approved, reason, take_over)
        report_rolled_back(done)
        return done
