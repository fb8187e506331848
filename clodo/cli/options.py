"""Options that more than one command takes, spelled the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", metavar="DIR", help="Folder that holds portfolio.toml; found from here by default."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
TARGET_FORM = "api, api@staging, api@production/acme."
TargetArgument = Annotated[str, typer.Argument(metavar="TARGET", help=TARGET_FORM, show_default=False)]
TargetsArgument = Annotated[list[str] | None, typer.Argument(metavar="TARGET", help=TARGET_FORM, show_default=False)]
SomeTargetsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="TARGET", help="Only these; all if left out.", show_default=False)
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the audit trail.")]


def find_workspace(given: Path | None, *, start: Path | None = None) -> Path:
    """
    Return the workspace's folder: *given*, or the nearest folder upwards that is one, or the current folder.

    A folder is a workspace when it has a ``portfolio.toml`` or a ``.clodo`` folder.
    """
    if given is not None:
        return given.expanduser().resolve()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "portfolio.toml").is_file() or (folder / ".clodo").is_dir():
            return folder
    return here
