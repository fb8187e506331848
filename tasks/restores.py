"""Opening a workspace for restores, and the steps of a restore that an operator sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from clodo.backups.backups import Backups
from clodo.backups.restoring.plan import Plan, Wish
from clodo.backups.restoring.rebinding import Rebinding, rebind, rebindings
from clodo.backups.restoring.restorer import Restored, Restorer
from clodo.cloudflare.budget import Lane
from clodo.cloudflare.client import Cloudflare
from clodo.releases.recovery import lock_name
from clodo.releases.site import Account, Site
from clodo.workspace.targets import Target
from tasks.backups import open_backups
from tasks.reports import artifact_key


class SiteAccounts:
    """The accounts of a site, as restores ask for them."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def client(self, account_id: str) -> Cloudflare:
        """Return the client of an account that an environment of the workspace is served by."""
        environment = next(iter(self._site.workspace.portfolio.environments), "production")
        return self._site.account_with(account_id, environment).cloudflare

    def called(self, block: str) -> Cloudflare:
        """Return the client of the account that a block names."""
        return self._site.account_called(block).cloudflare

    def account_of(self, target: Target) -> Account:
        """Return the account that serves *target*."""
        return self._site.account_of(target)

    def lock_of(self, target: Target) -> str:
        """Return the name of the lock that a release of *target* holds."""
        worker = self._site.workspace.effective(target).worker_name
        return lock_name(self._site.account_of(target).keys.account_id, worker)


@contextmanager
def open_restorer(
    workspace: str, *, identity: str | None = None, lane: Lane = Lane.RELEASE
) -> Iterator[tuple[Site, Backups, Restorer]]:
    """
    Open the workspace in the folder *workspace* for restores; Ctrl-C and SIGTERM then ask for an orderly stop.

    Raises:
        BadConfiguration: A file or a block is broken, or a block is missing.
        BadUsage: The identity can't be read.
    """
    with open_backups(workspace, identity=identity) as (site, backups):
        yield (
            site,
            backups,
            Restorer(
                site.workspace,
                site.ledger,
                backups,
                SiteAccounts(site),
                actor=site.actor,
                say=site.log,
                check=site.interruption.raise_if_requested,
                clock=site.clock,
                lane=lane,
            ),
        )


@task(task_run_name="plan a restore of {portfolio}", cache_policy=NO_CACHE, persist_result=False)
def plan_restore(restorer: Restorer, wish: Wish, portfolio: str) -> Plan:
    """Say what a restore would do."""
    return restorer.plan(wish)


@task(task_run_name="restore {portfolio} as planned in {approved}", cache_policy=NO_CACHE, persist_result=False)
def carry_out_restore(restorer: Restorer, wish: Wish, portfolio: str, approved: str, reason: str) -> Restored:
    """Restore and verify. Prefect never repeats it: what was done is found again by the next run."""
    return restorer.restore(wish, approved=approved, reason=reason)


@task(task_run_name="rebind services of {portfolio}", cache_policy=NO_CACHE, persist_result=False)
def rebind_services(site: Site, restored: Restored, portfolio: str, *, do_edit: bool) -> tuple[Rebinding, ...]:
    """Name what was restored in the wrangler configs, or only say what would have to change."""
    return rebind(site.workspace.root, restored) if do_edit else rebindings(site.workspace, restored)


def report_restore(portfolio: str, plan: Plan, restored: Restored) -> None:
    """Leave a page about a restore, and the event ``clodo.snapshot.restored``."""
    lines = [
        f"# Restored {restored.snapshot or plan.taken_at.isoformat()} in {restored.seconds:.1f} s",
        "",
        "| resource | way | id | verified | seconds |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {item.kind}/{item.name} | {item.way} | `{item.id}` | {item.items:,} | {item.seconds:.1f} |"
        for item in restored.resources
    ]
    lines += ["", *(f"- {item.kind}/{item.name}: {note}" for item in restored.resources for note in item.notes)]
    if restored.safety:
        lines += ["", f"What was there before is in the safety snapshot `{restored.safety}`."]
    create_markdown_artifact(markdown="\n".join(lines) + "\n", key=artifact_key("restore", portfolio))
    emit_event(
        event="clodo.snapshot.restored",
        resource={"prefect.resource.id": f"clodo.portfolio.{portfolio}", "prefect.resource.name": portfolio},
        payload=restored.to_json(),
    )
