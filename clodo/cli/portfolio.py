"""``clodo portfolio``: all targets that belong together."""

from __future__ import annotations

from typing import Annotated

import typer

from clodo.cli.options import JsonOption, WorkspaceOption
from clodo.cli.output import show, show_json
from clodo.cli.session import open_workspace
from clodo.errors import BadUsage

app = typer.Typer(help="All targets that belong together.", no_args_is_help=True)


@app.command()
def graph(
    context: typer.Context,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="In Mermaid's words, for a document.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Show which targets need which, in the waves they would be released in.

    With --json: {"waves": [[target]], "needs": [{"target", "needed", "because", "place"}],
    "outside": [{"target", "worker", "because", "place"}]}.

    Exit status: 0 shown, 2 bad configuration (services that need each other in a circle are named).
    """
    if mermaid and as_json:
        raise BadUsage("--mermaid and --json exclude each other")
    loaded = open_workspace(context, workspace)
    found = loaded.graph()
    if as_json:
        show_json(
            {
                "waves": [[str(target) for target in wave] for wave in found.waves()],
                "needs": [
                    {
                        "target": str(link.target),
                        "needed": str(link.needed),
                        "because": link.because,
                        "place": link.place,
                    }
                    for link in found.dependencies
                ],
                "outside": [
                    {"target": str(link.target), "worker": link.worker, "because": link.because, "place": link.place}
                    for link in found.outsiders
                ],
            }
        )
        return
    show(found.to_mermaid() if mermaid else found.to_text())
