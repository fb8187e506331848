"""Release the targets of an environment in waves, each after what it needs."""

from __future__ import annotations

from typing import Annotated, Any, cast

from prefect import flow, unmapped
from prefect.futures import PrefectFuture, wait
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import Field

from clodo.releases.outcome import Outcome
from clodo.releases.releasing import Wish
from clodo.releases.rollout import Rollout
from clodo.workspace.targets import Target
from tasks.releases import release, survey_targets
from tasks.reports import report
from tasks.sites import open_site

MAX_THREADS = 16
THREADS = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=MAX_THREADS))


@flow(
    flow_run_name="roll out {environment} of {workspace}",
    task_runner=THREADS,
    persist_result=False,
)
def roll_out_portfolio(
    workspace: str = ".",
    environment: str = "production",
    targets: list[str] | None = None,
    max_parallel: Annotated[int, Field(ge=1, le=MAX_THREADS)] = 2,
    stop_after_failures: Annotated[int, Field(ge=1)] = 1,
    reason: Annotated[str, Field(max_length=500)] = "",
    dry_run: bool = False,
    overwrite: bool = False,
    take_over: bool = False,
    skip_tests: bool = False,
    allow_local_ledger: bool = False,
) -> list[Outcome]:
    """
    Release the targets of an environment in waves, each after what it needs; undo each one that fails.

    Args:
        workspace: Folder of the workspace.
        environment: Which environment's targets.
        targets: Only these targets (api@staging); all of the environment by default.
        max_parallel: Targets released at the same time.
        stop_after_failures: Begin nothing more after so many failures.
        reason: Why; kept with each release.
        dry_run: Only show what would change; write nothing.
        overwrite: Go on over what somebody else deployed.
        take_over: Take locks from whoever holds them.
        skip_tests: Leave out the declared smoke tests.
        allow_local_ledger: Release to a protected environment with a ledger that only this machine sees.

    Returns:
        How each target ended, in the order of the waves.
    """
    wish = Wish(reason, overwrite, take_over, allow_local_ledger, skip_tests)
    with open_site(workspace) as site:
        chosen = (
            [site.workspace.find(name) for name in targets] if targets else _all_of(site.workspace.targets, environment)
        )
        rollout = Rollout(site, chosen, wish, max_parallel=max_parallel, stop_after_failures=stop_after_failures)
        survey_targets(rollout, len(chosen))
        if dry_run:
            return list(rollout.plan())
        for wave in rollout.waves_to_release():
            futures = release.map(unmapped(rollout), list(wave))
            wait(futures)
            for target, future in zip(wave, futures, strict=True):
                rollout.note_crash(target, f"its task ended as {future.state.name}")
        report(rollout.outcomes, portfolio=site.workspace.portfolio.name)
        rollout.raise_unless_done()
        return list(rollout.outcomes)


def _all_of(targets: tuple[Target, ...], environment: str) -> list[Target]:
    return [target for target in targets if target.environment == environment]
