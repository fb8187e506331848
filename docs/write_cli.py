"""Writes docs/cli.md from the commands' own help: ``python docs/write_cli.py``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from clodo.cli.main import app

FILE = Path(__file__).with_name("cli.md")
WIDTH = 100

OPENING = """\
# The `clodo` command

Written by `python docs/write_cli.py` from what `--help` says; a test holds it to that.

Results go to standard output, everything else to standard error. `--json` prints one document whose shape stands with
the command. Every command takes `--workspace DIR` (or finds the workspace from the current folder), and `clodo --debug
COMMAND` shows tracebacks and all that Prefect logs. Nothing is asked without a terminal: what would be asked is refused
with status 4 unless `--yes` answers it.

| status | meaning |
|---|---|
| 0 | done, and verified where there is something to verify |
| 1 | failed, or unexpected |
| 2 | usage, or bad configuration |
| 3 | partly done; what is missing is named |
| 4 | refused: declined, unsafe, stale, or blocked by policy |
| 5 | changes pending (only with `--exit-code`) |
| 10 | not found |
| 11 | locked by somebody else |
| 12 | not authorised |
| 75 | try later |
| 130 | interrupted |
"""


def text() -> str:
    """Return the whole page."""
    root = get_command(app)
    parts = [OPENING]
    for path, command, context in commands(root, "clodo", None):
        parts.append(f"## `{path}`\n\n```text\n{command.get_help(context).strip()}\n```\n")
    return "\n".join(parts)


def commands(command: Any, path: str, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    """Give each command below *command*, itself first, with its words and its context."""
    settings = {**command.context_settings, "terminal_width": WIDTH}
    context = command.context_class(command, info_name=path.split()[-1], parent=parent, **settings)
    yield path, command, context
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), f"{path} {name}", context)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    sys.stderr.write(f"Wrote {FILE}.\n")
