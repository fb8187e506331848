"""Finish or undo the releases that a dead process left half-way."""

from __future__ import annotations

from prefect import flow

from clodo.releases.outcome import Outcome
from clodo.releases.reconciling import raise_unless_reconciled, reconcile_releases
from tasks.reports import report
from tasks.sites import open_site


@flow(flow_run_name="reconcile {workspace}", persist_result=False)
def reconcile(
    workspace: str = ".",
) -> list[Outcome]:
    """
    Finish or undo the releases that somebody's dead process left half-way, and take in direct rollbacks.

    A release whose process still lives keeps its lock and is left alone.

    Args:
        workspace: Folder of the workspace.

    Returns:
        How each ended; empty when nothing was left half-way.
    """
    with open_site(workspace) as site:
        outcomes = reconcile_releases(site)
        if outcomes:
            report(outcomes, portfolio=site.workspace.portfolio.name)
        raise_unless_reconciled(outcomes)
        return list(outcomes)
