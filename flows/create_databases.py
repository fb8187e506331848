"""Have the databases that a target's wrangler config names, and their ids in it."""

from __future__ import annotations

from typing import Literal

from prefect import flow

from clodo.releases.database_creation import Created
from tasks.databases import create, take_back_edits
from tasks.sites import open_site

Location = Literal["wnam", "enam", "weur", "eeur", "apac", "oc"]
Jurisdiction = Literal["eu", "fedramp"]


@flow(flow_run_name="create databases of {target}", persist_result=False)
def create_databases(
    target: str,
    workspace: str = ".",
    databases: list[str] | None = None,
    location: Location | None = None,
    jurisdiction: Jurisdiction | None = None,
) -> list[Created]:
    """
    Have a database on the account for each D1 binding of a target, adopted if there, and its id in the wrangler config.

    Args:
        target: Service, environment and customer: api@staging, api@production/acme.
        workspace: Folder of the workspace.
        databases: Only these bindings or databases.
        location: Where a new one's primary should be.
        jurisdiction: Where its data must stay; goes before the location.

    Returns:
        Each database, with its id and whether it was there.
    """
    take_back_edits(workspace)
    with open_site(workspace) as site:
        return list(create(site, site.workspace.find(target), databases or (), location, jurisdiction))
