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
    target: Annotated[str, Field(description="Service, environment and customer: api@staging, api@production/acme.")],
    workspace: Annotated[str, Field(description="Folder of the workspace.")] = ".",
    which: Annotated[Which, Field(description="Expand migrations, contract ones, or all.")] = Which.EXPAND,
    reason: Annotated[str, Field(max_length=500, description="Why; kept in the audit trail.")] = "",
    take_over: Annotated[bool, Field(description="Take the lock from whoever holds it.")] = False,
) -> dict[str, list[str]]:
    """
    Apply the pending migrations of a target's databases, each file all or nothing.

    Returns:
        Database name to the names of the migrations that were applied, empty when it was up to date.
    """
    with open_site(workspace) as site:
        found = site.workspace.find(target)
        return migrate_target(site, found, which=which, reason=reason, take_over=take_over)
