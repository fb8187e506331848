"""Options that more than one command takes, spelled the same everywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from clodo.errors import BadUsage

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


def read_moment(option: str, text: str | None) -> datetime | None:
    """
    Return the moment that an option names, in UTC unless it says otherwise.

    Raises:
        BadUsage: It is no moment.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadUsage(f'{option}: "{text}" is no moment', hint="Write it like 2026-01-31T12:00:00Z.") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


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
