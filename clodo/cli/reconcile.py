"""``clodo reconcile``: what was left half-way is finished or undone."""

from __future__ import annotations

import typer

from clodo.cli.options import JsonOption, WorkspaceOption
from clodo.cli.outcomes import run_flow, show_outcomes
from clodo.cli.output import show
from clodo.cli.session import open_workspace, prefect_for

PUT_RIGHT = ("undone", "skipped")
"""How a release may end here without anything being wrong: put back, or still in the hands of somebody who lives."""


def reconcile(context: typer.Context, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """
    Finish or undo the releases that a dead process left half-way, and take in direct rollbacks.

    A release whose process still lives is left alone.

    With --json: as `clodo deploy --json`; "targets" is empty when nothing was left half-way.

    Exit status: 0 nothing is half-way any more, 1 something could not be put back, 2 bad configuration,
    12 not authorised, 75 try later.
    """
    loaded = open_workspace(context, workspace)
    with prefect_for(context, loaded.root):
        from flows.reconcile import reconcile as flow

        outcomes = run_flow(flow, as_json=as_json, workspace=str(loaded.root))
    if not outcomes and not as_json:
        show("Nothing was left half-way.")
        return
    show_outcomes(outcomes, as_json=as_json, also_ok=PUT_RIGHT)
