"""Take one target to a new version."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from clodo.releases.outcome import Outcome
from clodo.releases.releasing import Wish
from clodo.releases.rollout import Rollout
from tasks.releases import release, survey_targets
from tasks.reports import report
from tasks.sites import open_site


@flow(flow_run_name="release {target}", persist_result=False)
def release_target(
    target: str,
    workspace: str = ".",
    reason: Annotated[str, Field(max_length=500)] = "",
    dry_run: bool = False,
    overwrite: bool = False,
    take_over: bool = False,
    skip_tests: bool = False,
    allow_local_ledger: bool = False,
) -> Outcome:
    """
    Take one target to a new version; undo it if anything about that version is wrong.

    Args:
        target: Service, environment and customer: api@staging, api@production/acme.
        workspace: Folder of the workspace.
        reason: Why; kept with the release.
        dry_run: Only show what would change; write nothing.
        overwrite: Go on over what somebody else deployed.
        take_over: Take the lock from whoever holds it.
        skip_tests: Leave out the declared smoke tests.
        allow_local_ledger: Release to a protected environment with a ledger that only this machine sees.

    Returns:
        How it ended.
    """
    wish = Wish(reason, overwrite, take_over, allow_local_ledger, skip_tests)
    with open_site(workspace) as site:
        rollout = Rollout(site, [site.workspace.find(target)], wish)
        survey_targets(rollout, 1)
        if dry_run:
            return rollout.plan()[0]
        for wave in rollout.waves_to_release():
            for name in wave:
                release(rollout, name, return_state=True)
                rollout.note_crash(name, "its task ended without an outcome")
        report(rollout.outcomes, portfolio=site.workspace.portfolio.name)
        rollout.raise_unless_done()
        return rollout.outcomes[0]
