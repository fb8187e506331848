"""``clodo deploy``: release one target, or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clodo.cli.options import JsonOption, ReasonOption, TargetsArgument, WorkspaceOption, YesOption
from clodo.cli.outcomes import exit_if_pending, run_flow, show_outcomes
from clodo.cli.output import ask, choose, raise_if_nobody_can_be_asked, say
from clodo.cli.session import open_workspace, prefect_for
from clodo.errors import BadUsage

if TYPE_CHECKING:
    from clodo.releases.outcome import Outcome
    from clodo.workspace.targets import Target
    from clodo.workspace.workspace import Workspace

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would change; write nothing.")]
ExitCodeOption = Annotated[
    bool, typer.Option("--exit-code", help="With --dry-run: end with 5 if something would change.")
]
NoTestsOption = Annotated[bool, typer.Option("--no-tests", help="Leave out the declared smoke tests.")]
TakeOverOption = Annotated[bool, typer.Option("--take-over", help="Take the lock from whoever holds it.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Go on over what somebody else deployed or edited.")]
LocalLedgerOption = Annotated[
    bool, typer.Option("--allow-local-ledger", help="Release to a protected environment without a shared ledger.")
]
MaxParallelOption = Annotated[
    int, typer.Option("--max-parallel", min=1, max=16, help="Targets released at the same time.")
]
StopAfterOption = Annotated[
    int, typer.Option("--stop-after-failures", min=1, help="Begin nothing more after so many failures.")
]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What both `deploy` and `portfolio deploy` take from the command line, in the flows' words."""

    reason: str
    overwrite: bool
    take_over: bool
    skip_tests: bool
    allow_local_ledger: bool

    def parameters(self) -> dict[str, Any]:
        """Return the flow parameters of the same names."""
        return {
            "reason": self.reason,
            "overwrite": self.overwrite,
            "take_over": self.take_over,
            "skip_tests": self.skip_tests,
            "allow_local_ledger": self.allow_local_ledger,
        }


def deploy(
    context: typer.Context,
    targets: TargetsArgument = None,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", help="List the targets and choose.")] = False,
    dry_run: DryRunOption = False,
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
    Release one target, or several in the order of what needs what; undo each one that fails.

    A target is live only when Cloudflare reports the new version and its smoke tests passed there. Targets of a
    protected environment are planned and shown first, and then asked for.

    With --json: {"ok", "dry_run", "targets": [{"target", "ending", "release_id", "version_id", "previous_version_id",
    "changes", "message", "hint", "tests", "seconds"}]}. An ending is live, unchanged, adopted, planned, undone, failed
    or skipped.

    Exit status: 0 every target is as desired and verified, 1 failed (and undone, unless it says otherwise), 2 bad
    configuration or usage, 3 some targets are as desired and some are not, 4 refused, 5 something would change
    (--dry-run --exit-code), 10 not found, 11 locked, 12 not authorised, 75 try later, 130 interrupted (and undone).
    """
    loaded = open_workspace(context, workspace)
    names = list(targets or [])
    if interactive:
        if names:
            raise BadUsage("--interactive lets you choose; name no targets beside it")
        names = choose("Which targets?", [str(target) for target in loaded.targets])
    if not names:
        raise BadUsage(
            "which target?", hint="Name one of: " + ", ".join(str(target) for target in loaded.targets[:10]) + "."
        )
    chosen = list(dict.fromkeys(loaded.find(name) for name in names))
    wishes = Wishes(reason, overwrite, take_over, no_tests, allow_local_ledger)
    release(
        context,
        loaded,
        chosen,
        wishes,
        dry_run=dry_run,
        exit_code=exit_code,
        yes=yes,
        as_json=as_json,
        max_parallel=max_parallel,
        stop_after_failures=stop_after_failures,
    )


def release(
    context: typer.Context,
    workspace: Workspace,
    targets: Sequence[Target],
    wishes: Wishes,
    *,
    dry_run: bool,
    exit_code: bool,
    yes: bool,
    as_json: bool,
    max_parallel: int,
    stop_after_failures: int,
) -> None:
    """Run the flow for one target or for several, after asking where a person must be asked."""
    if exit_code and not dry_run:
        raise BadUsage("--exit-code goes with --dry-run")
    protected = sorted({target.environment for target in targets if _is_protected(workspace, target)})
    must_ask = bool(protected) and not dry_run and not yes
    question = f"Release {len(targets)} to {', '.join(protected)}?"
    if must_ask:
        raise_if_nobody_can_be_asked(question)
    with prefect_for(context, workspace.root):
        if len(targets) == 1:
            from flows.release_target import release_target as flow

            own: dict[str, Any] = {"target": str(targets[0])}
        else:
            from flows.roll_out_portfolio import roll_out_portfolio as flow  # type: ignore[assignment]

            own = {
                "targets": [str(target) for target in targets],
                "environment": targets[0].environment,
                "max_parallel": max_parallel,
                "stop_after_failures": stop_after_failures,
            }

        def run(*, dry: bool) -> list[Outcome]:
            return run_flow(
                flow, as_json=as_json, workspace=str(workspace.root), dry_run=dry, **own, **wishes.parameters()
            )

        if must_ask:
            for planned in run(dry=True):
                say(f"{planned.target}: {'; '.join(planned.changes) or 'nothing to do'}")
            ask(question, yes=False)
        outcomes = run(dry=dry_run)
    show_outcomes(outcomes, as_json=as_json, dry_run=dry_run)
    exit_if_pending(outcomes, wanted=exit_code)


def _is_protected(workspace: Workspace, target: Target) -> bool:
    environment = workspace.portfolio.environments.get(target.environment)
    return environment is not None and environment.protected
