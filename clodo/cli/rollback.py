"""``clodo rollback``: put a target back to a version that worked."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from clodo.cli.deploy import TakeOverOption
from clodo.cli.options import JsonOption, ReasonOption, TargetArgument, WorkspaceOption, YesOption
from clodo.cli.outcomes import run_flow, show_outcomes
from clodo.cli.output import ask, say
from clodo.cli.session import open_workspace, prefect_for
from clodo.errors import BadConfiguration, BadUsage
from clodo.settings import Settings

if TYPE_CHECKING:
    from clodo.releases.outcome import Outcome
    from clodo.releases.site import AccountKeys
    from clodo.workspace.targets import Target
    from clodo.workspace.workspace import Workspace

ToOption = Annotated[
    str | None, typer.Option("--to", metavar="VERSION", help="A version's whole id; the last good one if left out.")
]
DirectOption = Annotated[
    bool, typer.Option("--direct", help="Use neither Prefect nor the ledger; the token is read from the environment.")
]

CLOUDFLARE_API = "https://api.cloudflare.com/client/v4"


def rollback(
    context: typer.Context,
    target: TargetArgument,
    to: ToOption = None,
    direct: DirectOption = False,
    take_over: TakeOverOption = False,
    reason: ReasonOption = "",
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Give all traffic of a target back to its last good version, or to the one that is named, and verify it.

    Databases and triggers stay as they are. With --direct only Cloudflare is needed: CLOUDFLARE_API_TOKEN,
    CLOUDFLARE_ACCOUNT_ID and, for the embedded cloud, CLOUDFLARE_API_BASE_URL; what was done is written to a file that
    `clodo reconcile` takes into the ledger later.

    With --json: as `clodo deploy --json`, with one target.

    Exit status: 0 the earlier version is live and verified, 1 it failed too (and what was live is live again),
    2 usage, 4 declined, 10 there is no such target, version or way back, 11 locked, 12 not authorised, 75 try later.
    """
    loaded = open_workspace(context, workspace, pass_over=_say_passed_over if direct else None)
    found = loaded.find(target)
    keys = _keys_from_environment() if direct else None
    ask(f"Give all traffic of {found} back to {to or 'its last good version'}?", yes=yes)
    if keys is not None:
        outcomes = [_directly(loaded, found, keys, to=to, reason=reason)]
    else:
        with prefect_for(context, loaded.root):
            from flows.roll_back_target import roll_back_target as flow

            outcomes = run_flow(
                flow,
                as_json=as_json,
                target=str(found),
                workspace=str(loaded.root),
                to=to,
                reason=reason,
                take_over=take_over,
            )
    show_outcomes(outcomes, as_json=as_json)


def _say_passed_over(error: BadConfiguration) -> None:
    """At 3 a.m. a broken file of another service must not keep this one from going back."""
    say(f"Passed over: {error.message}")


def _directly(workspace: Workspace, target: Target, keys: AccountKeys, *, to: str | None, reason: str) -> Outcome:
    from clodo.releases.reconciling import DIRECT_FOLDER
    from clodo.releases.releasing import Wish
    from clodo.releases.rollback import roll_back_directly

    return roll_back_directly(
        target,
        workspace.effective(target),
        workspace.portfolio.settings_of(target.service),
        keys,
        folder=workspace.state_dir / DIRECT_FOLDER,
        actor=getpass.getuser(),
        wish=Wish(reason=reason),
        to=to,
    )


def _keys_from_environment() -> AccountKeys:
    """
    Read what replaces the block when Prefect is down.

    Raises:
        BadUsage: A variable is missing.
    """
    from clodo.logs import register_secret
    from clodo.releases.site import AccountKeys

    settings = Settings.from_environment()
    if settings.api_token is None or settings.account_id is None:
        missing = "CLOUDFLARE_API_TOKEN" if settings.api_token is None else "CLOUDFLARE_ACCOUNT_ID"
        raise BadUsage(f"--direct needs {missing} in the environment")
    register_secret(settings.api_token)
    base_url = settings.base_url or CLOUDFLARE_API
    parts = urlsplit(base_url)
    # Only an embedded cloud is at a loopback address, and it serves the Workers' hostnames on the same port.
    edge_url = f"{parts.scheme}://{parts.netloc}" if parts.hostname in ("127.0.0.1", "localhost", "::1") else None
    return AccountKeys(settings.account_id, settings.api_token, base_url, edge_url)
