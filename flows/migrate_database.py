"""Apply the pending migrations of a target's databases."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from clodo.migrations import Which
from clodo.releases.migrating import migrate_target
from tasks.sites import open_site


@flow(flow_run_name="migrate databases of {target}", persist_result=False)
def migrate_database(
    target: str,
    workspace: str = ".",
    which: Which = Which.EXPAND,
    reason: Annotated[str, Field(max_length=500)] = "",
    take_over: bool = False,
) -> dict[str, list[str]]:
    """
    Apply the pending migrations of a target's databases, each file all or nothing.

    Args:
        target: Service, environment and customer: api@staging, api@production/acme.
        workspace: Folder of the workspace.
        which: Expand migrations, contract ones, or all.
        reason: Why; kept in the audit trail.
        take_over: Take the lock from whoever holds it.

    Returns:
        Database name to the names of the migrations that were applied, empty when it was up to date.
    """
    with open_site(workspace) as site:
        found = site.workspace.find(target)
        return migrate_target(site, found, which=which, reason=reason, take_over=take_over)
