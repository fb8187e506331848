"""What a command stands on: the workspace, the ledger, and Prefect in use when it needs one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from clodo.cli.options import find_workspace
from clodo.settings import Settings

if TYPE_CHECKING:
    from clodo.errors import BadConfiguration
    from clodo.ledger.ledger import Ledger
    from clodo.workspace.workspace import Workspace
    from deployments.connection import Connection


def workspace_folder(context: typer.Context, given: Path | None) -> Path:
    """Return the workspace's folder: the command's own option, else the one before the command, else found."""
    return find_workspace(given if given is not None else (context.obj or {}).get("workspace"))


def is_debugging(context: typer.Context) -> bool:
    """Whether somebody wants to see everything."""
    return bool((context.obj or {}).get("debug")) or Settings.from_environment().debug


def open_workspace(
    context: typer.Context, given: Path | None, *, pass_over: Callable[[BadConfiguration], None] | None = None
) -> Workspace:
    """Read the workspace, its log lines on standard error; *pass_over* is told of files that can't be read."""
    from clodo.cli.logs import send_to_standard_error
    from clodo.workspace.workspace import Workspace

    send_to_standard_error(debug=is_debugging(context))
    return Workspace.load(workspace_folder(context, given), pass_over=pass_over)


def open_ledger(folder: Path) -> Ledger:
    """Open the ledger of the workspace in *folder*: the shared one if there is one, else its file."""
    from clodo.ledger.ledger import Ledger, default_path

    return Ledger.open(Settings.from_environment().ledger_url or default_path(folder))


@contextmanager
def prefect_for(context: typer.Context, folder: Path) -> Iterator[Connection]:
    """
    Make flows of this process report to a Prefect server, and show what they say.

    Raises:
        ServerUnavailable: ``PREFECT_API_URL`` names one that doesn't answer.
    """
    from prefect.settings import PREFECT_API_URL

    from clodo.cli.logs import narrate_flows, send_to_standard_error
    from clodo.cli.output import progress, say
    from deployments.connection import prefect_in_use
    from deployments.failures import named_as_ours
    from deployments.server import find

    debug = is_debugging(context)
    send_to_standard_error(debug=debug)
    narrate_flows(debug=debug)
    with ExitStack() as stack:
        if PREFECT_API_URL.value() or find(folder):
            connection = stack.enter_context(prefect_in_use(folder, report=_to_nobody))
        else:
            say("No Prefect server runs for this workspace; this command starts one. `clodo up` keeps one running.")
            with progress("Starting") as report:
                connection = stack.enter_context(prefect_in_use(folder, report=report))
        stack.enter_context(named_as_ours())
        yield connection


def _to_nobody(step: str, share: float) -> None:
    """Take a report and say nothing."""
