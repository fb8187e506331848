"""``clodo up`` and ``clodo down``: all that a rehearsal needs, on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from clodo.cli.options import JsonOption, WorkspaceOption
from clodo.cli.output import progress, show, show_json
from clodo.cli.session import is_debugging, workspace_folder
from clodo.settings import Settings

PortOption = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Port of the embedded cloud.")]
PrefectPortOption = Annotated[
    int | None, typer.Option("--prefect-port", min=1, max=65535, help="Port of the Prefect server.")
]


def up(
    context: typer.Context,
    port: PortOption = None,
    prefect_port: PrefectPortOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Start the embedded cloud, the Prefect server and a worker, and register blocks and deployments.

    What runs already is left alone. Everything listens on 127.0.0.1 only, and keeps its state in .clodo.
    `clodo down` stops it.

    With --json: {"cloud": {"url", "edge_url", "account_id", "subdomain", "zone", "account_block", "pid",
    "started_now"}, "prefect": {"ui_url", "api_url", "credentials_file", "pid", "started_now"},
    "worker": {"pid", "started_now"}, "deployments": [name], "alarms": [name]}.

    Exit status: 0 all of it runs, 1 something didn't start (a port is in use, the toolchain can't be fetched),
    2 portfolio.toml is broken.
    """
    from clodo.cli.logs import narrate_flows, send_to_standard_error
    from deployments import everything

    folder = workspace_folder(context, workspace)
    send_to_standard_error(debug=is_debugging(context))
    narrate_flows(debug=is_debugging(context))
    with progress("Starting") as report:
        running = everything.up(
            folder,
            settings=Settings.from_environment(),
            cloud_port=port,
            prefect_port=prefect_port,
            report=report,
        )
    document = running.as_json()
    if as_json:
        show_json(document)
        return
    for name, title, place in (
        (
            "cloud",
            "Embedded cloud",
            f"{document['cloud']['url']}  (account block {document['cloud']['account_block']})",
        ),
        ("prefect", "Prefect UI", document["prefect"]["ui_url"]),
        ("worker", "Worker", f"process {document['worker']['pid']}"),
    ):
        state = "started" if name in running.started else "was running"
        show(f"{title:<15} {place}  [{state}]")
    show(f"To log in to the UI, give it the PREFECT_API_AUTH_STRING in {document['prefect']['credentials_file']}")
    if running.alarms.without_block is not None:
        show(
            f"Nobody is told when backups are too old: the Prefect server has no block {running.alarms.without_block}."
            " Save it in the UI, and run `clodo up` again."
        )
    show(f"Started {len(running.started)} of 3; {len(running.deployments)} deployments are ready to run.")


def down(context: typer.Context, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """
    Stop what `clodo up` started: the worker with its runs, the Prefect server, the embedded cloud.

    A release that is under way puts back what it had begun first. What was saved stays in .clodo.

    With --json: {"stopped": [name]}.

    Exit status: 0 none of it runs any more (also when nothing ran), 1 something can't be stopped.
    """
    from deployments import everything

    with progress("Stopping") as report:
        stopped = everything.down(workspace_folder(context, workspace), report=report)
    if as_json:
        show_json({"stopped": list(stopped)})
        return
    titles = {"worker": "the worker", "prefect": "the Prefect server", "cloud": "the embedded cloud"}
    show(f"Stopped {', '.join(titles[name] for name in stopped)}." if stopped else "Nothing was running.")
