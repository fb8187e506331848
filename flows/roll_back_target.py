"""Put a target back to an earlier version."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from clodo.releases.outcome import Outcome
from clodo.releases.releasing import Wish
from clodo.releases.rollback import roll_back
from tasks.releases import steps_of
from tasks.reports import report
from tasks.sites import open_site


@flow(flow_run_name="roll back {target}", persist_result=False)
def roll_back_target(
    target: str,
    workspace: str = ".",
    to: str | None = None,
    reason: Annotated[str, Field(max_length=500)] = "",
    take_over: bool = False,
) -> Outcome:
    """
    Put a target back to its last good version, or to the one that is named; databases stay as they are.

    Args:
        target: Service, environment and customer: api@staging, api@production/acme.
        workspace: Folder of the workspace.
        to: A version's id; the last good one by default.
        reason: Why; kept with the release.
        take_over: Take the lock from whoever holds it.

    Returns:
        How it ended.
    """
    with open_site(workspace) as site:
        found = site.workspace.find(target)
        outcome = roll_back(site, found, Wish(reason=reason, take_over=take_over), to=to, take=steps_of(str(found)))
        report([outcome], portfolio=site.workspace.portfolio.name)
        return outcome
