"""``clodo portfolio``: all targets that belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clodo.cli.deploy import (
    ExitCodeOption,
    LocalLedgerOption,
    MaxParallelOption,
    NoTestsOption,
    OverwriteOption,
    StopAfterOption,
    TakeOverOption,
    Wishes,
    release,
)
from clodo.cli.options import JsonOption, ReasonOption, SomeTargetsArgument, WorkspaceOption, YesOption
from clodo.cli.output import moment, short, show, show_json, show_table
from clodo.cli.session import open_ledger, open_workspace, prefect_for
from clodo.errors import BadUsage, NotFound

if TYPE_CHECKING:
    from clodo.cloudflare.scripts import Script
    from clodo.ledger.live import Live
    from clodo.workspace.targets import Target
    from clodo.workspace.workspace import Workspace

app = typer.Typer(help="All targets that belong together.", no_args_is_help=True)

EnvironmentOption = Annotated[
    str | None, typer.Option("--environment", "-e", metavar="NAME", help="The portfolio's default one if left out.")
]


@app.command()
def plan(
    context: typer.Context,
    targets: SomeTargetsArgument = None,
    environment: EnvironmentOption = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 5 if something would change.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Show what `clodo portfolio deploy` would change; write nothing.

    With --json: as `clodo deploy --dry-run --json`.

    Exit status: 0 shown, 2 bad configuration, 5 something would change (--exit-code), 10 not found, 12 not authorised,
    75 try later.
    """
    loaded = open_workspace(context, workspace)
    release(
        context,
        loaded,
        chosen_targets(loaded, targets, environment),
        Wishes("", False, False, False, False),
        dry_run=True,
        exit_code=exit_code,
        yes=True,
        as_json=as_json,
        max_parallel=1,
        stop_after_failures=1,
    )


@app.command()
def deploy(
    context: typer.Context,
    targets: SomeTargetsArgument = None,
    environment: EnvironmentOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The same as `clodo portfolio plan`.")] = False,
    exit_code: ExitCodeOption = False,
    no_tests: NoTestsOption = False,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
    allow_local_ledger: LocalLedgerOption = False,
    max_parallel: MaxParallelOption = 2,
    stop_after_failures: StopAfterOption = 1,
    reason: ReasonOption = "",
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Release the targets of an environment in waves, each after what it needs; undo each one that fails.

    Unchanged targets are recognised and left alone. A protected environment is planned and shown first, and then asked
    for.

    With --json: as `clodo deploy --json`.

    Exit status: 0 every target is as desired and verified, 1 failed (and undone, unless it says otherwise), 2 bad
    configuration or usage, 3 some targets are as desired and some are not, 4 refused, 5 something would change
    (--dry-run --exit-code), 10 not found, 11 locked, 12 not authorised, 75 try later, 130 interrupted (and undone).
    """
    loaded = open_workspace(context, workspace)
    release(
        context,
        loaded,
        chosen_targets(loaded, targets, environment),
        Wishes(reason, overwrite, take_over, no_tests, allow_local_ledger),
        dry_run=dry_run,
        exit_code=exit_code,
        yes=yes,
        as_json=as_json,
        max_parallel=max_parallel,
        stop_after_failures=stop_after_failures,
    )


@app.command()
def status(
    context: typer.Context,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", metavar="NAME", help="Only this one; all if left out.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Only what the ledger remembers; ask nobody.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Show what is live at each target, and whether Cloudflare agrees with what we remember: one request an account.

    A state is as-recorded, changed-elsewhere, half-way (changed, while a release of ours is unfinished),
    deleted-elsewhere, not-ours (a Worker that Clodo has not released), not-deployed, or, with --offline, recorded or
    not-recorded.

    With --json: [{"target", "worker", "state", "version_id", "release_id", "recorded_at", "open_release", "last"}].

    Exit status: 0 shown, 2 bad configuration, 10 no such environment, 12 not authorised, 75 try later.
    """
    loaded = open_workspace(context, workspace)
    targets = [target for target in loaded.targets if environment in (None, target.environment)]
    if environment is not None and not targets:
        raise no_such_environment(loaded, environment)
    listed = None if offline else _listed_scripts(context, loaded, targets)
    rows = _rows(loaded, targets, listed)
    if as_json:
        show_json([row.as_json() for row in rows])
        return
    show_table(
        ("target", "worker", "state", "version", "released (UTC)", "half-way"),
        [
            (
                row.target,
                row.worker,
                row.state,
                short(row.version_id),
                moment(row.recorded_at),
                short(row.open_release, among=[other.open_release for other in rows if other.open_release]),
            )
            for row in rows
        ],
        empty="No targets.",
    )


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
    found = open_workspace(context, workspace).graph()
    if not as_json:
        show(found.to_mermaid() if mermaid else found.to_text())
        return
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


def chosen_targets(workspace: Workspace, names: Sequence[str] | None, environment: str | None) -> list[Target]:
    """
    Return the targets that are meant: those that are named, else all of the environment.

    Raises:
        NotFound: The portfolio has no target in that environment.

        BadUsage: A named target is in another environment than the one asked for.
    """
    if names:
        found = list(dict.fromkeys(workspace.find(name) for name in names))
        for target in found:
            if environment is not None and target.environment != environment:
                raise BadUsage(f"{target} is not in {environment}", hint="Leave --environment out, or name others.")
        return found
    wanted = environment or workspace.portfolio.default_environment
    targets = [target for target in workspace.targets if target.environment == wanted]
    if not targets:
        raise no_such_environment(workspace, wanted)
    return targets


def no_such_environment(workspace: Workspace, name: str) -> NotFound:
    """Return the error that names the environments there are."""
    known = sorted({target.environment for target in workspace.targets})
    return NotFound(f"no target is in the environment {name}", hint=f"There are: {', '.join(known)}.")


@dataclass(frozen=True, slots=True)
class Row:
    """Where a target stands."""

    target: str
    worker: str
    state: str
    version_id: str | None
    release_id: str | None
    recorded_at: datetime | None
    open_release: str | None
    last: str | None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values; ids whole, times ISO 8601."""
        return {
            "target": self.target,
            "worker": self.worker,
            "state": self.state,
            "version_id": self.version_id,
            "release_id": self.release_id,
            "recorded_at": self.recorded_at and self.recorded_at.isoformat(),
            "open_release": self.open_release,
            "last": self.last,
        }


def state_of(remembered: Live | None, listed: Script | None, *, is_asked: bool, is_half_way: bool) -> str:
    """Return how what we remember of a target stands to what the account lists."""
    if not is_asked:
        return "recorded" if remembered is not None else "not-recorded"
    if listed is None:
        return "deleted-elsewhere" if remembered is not None else "not-deployed"
    if remembered is None:
        return "not-ours"
    modified_on = listed.modified_on.isoformat() if listed.modified_on else ""
    agrees = (listed.etag or "", modified_on) == (remembered.script_etag, remembered.script_modified_on)
    if agrees:
        return "as-recorded"
    return "half-way" if is_half_way else "changed-elsewhere"


def _rows(workspace: Workspace, targets: Sequence[Target], listed: Mapping[Target, Script | None] | None) -> list[Row]:
    with open_ledger(workspace.root) as ledger:
        live = {item.target: item for item in ledger.live.all()}
        half_way = {item.target: item.id for item in reversed(ledger.releases.all_unfinished())}
        rows = []
        for target in targets:
            remembered = live.get(str(target))
            last = next(iter(ledger.releases.list(str(target), limit=1)), None)
            rows.append(
                Row(
                    target=str(target),
                    worker=workspace.effective(target).worker_name,
                    state=state_of(
                        remembered,
                        (listed or {}).get(target),
                        is_asked=listed is not None,
                        is_half_way=str(target) in half_way,
                    ),
                    version_id=remembered.version_id if remembered else None,
                    release_id=remembered.release_id if remembered else None,
                    recorded_at=remembered.recorded_at if remembered else None,
                    open_release=half_way.get(str(target)),
                    last=last.state.value if last else None,
                )
            )
    return rows


def _listed_scripts(
    context: typer.Context, workspace: Workspace, targets: Sequence[Target]
) -> dict[Target, Script | None]:
    with prefect_for(context, workspace.root):
        from tasks.sites import open_site

        with open_site(str(workspace.root)) as site:
            listed: dict[str, dict[str, Script]] = {}
            found: dict[Target, Script | None] = {}
            for target in targets:
                account = site.account_of(target)
                if account.keys.account_id not in listed:
                    listed[account.keys.account_id] = {item.id: item for item in account.cloudflare.scripts.list()}
                found[target] = listed[account.keys.account_id].get(workspace.effective(target).worker_name)
            return found
