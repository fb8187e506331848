"""
A process that releases the shop as a command does: Ctrl-C and SIGTERM are requests, and errors become exit statuses.

``python -m tests.releases.interrupted`` reads what to release as JSON from its standard input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from clodo.cli.main import explain
from clodo.ledger import Ledger, default_path
from clodo.releases.interruption import Interruption
from clodo.releases.site import AccountKeys, Site
from clodo.settings import Settings
from clodo.workspace.workspace import Workspace
from clodo.wrangler.toolchain import install

from .stage import release_shop


def main() -> int:
    """Release, and return the exit status."""
    told = json.load(sys.stdin)
    keys = AccountKeys(**told["keys"])
    folder = Path(told["folder"])
    interruption = Interruption()
    try:
        with (
            interruption.on_signals(say),
            Site(
                Workspace.load(folder),
                Ledger.open(default_path(folder)),
                accounts=lambda block: keys,
                secrets=lambda target: {"SIGNING_KEY": told["signing_key"]},
                toolchain=lambda: install(Settings.from_environment()),
                actor="tester",
                tool_environment={},
                log=say,
                interruption=interruption,
            ) as site,
        ):
            say(release_shop(site).ending)
    except BaseException as error:  # noqa: BLE001 -- as the command's own edge
        return explain(error)
    return 0


def say(line: str) -> None:
    """Say a line to the test."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
