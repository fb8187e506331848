"""Opening a workspace for drills, and what a drill leaves for an operator to see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from clodo.backups.backups import Backups
from clodo.backups.drilling import Driller
from clodo.backups.drilling_trend import page
from clodo.ledger import DrillRecord
from clodo.releases.site import Site
from tasks.backups import open_backups
from tasks.reports import artifact_key
from tasks.restores import SiteAccounts


@contextmanager
def open_driller(
    workspace: str, *, identity: str | None = None, account: str | None = None
) -> Iterator[tuple[Site, Backups, Driller]]:
    """
    Open the workspace in the folder *workspace* for drills.

    Args:
        account: Block of the account for the scratch resources.
    """
    with open_backups(workspace, identity=identity) as (site, backups):
        yield (
            site,
            backups,
            Driller(
                site.workspace,
                site.ledger,
                backups,
                SiteAccounts(site),
                block=account,
                say=site.log,
                check=site.interruption.raise_if_requested,
                clock=site.clock,
            ),
        )


@task(task_run_name="restore a snapshot of {portfolio} into scratch", cache_policy=NO_CACHE, persist_result=False)
def carry_out_drill(driller: Driller, portfolio: str, snapshot: str | None, vault: str | None) -> DrillRecord:
    """Restore into scratch resources, compare, measure, remove."""
    return driller.drill(snapshot, vault=vault)


def report_drill(site: Site, backups: Backups, record: DrillRecord) -> None:
    """Leave a page with the trend of all drills, and the event ``clodo.drill.passed`` or ``.failed``."""
    drills = site.ledger.drills.latest(record.portfolio)
    create_markdown_artifact(
        markdown=page(drills, backups.settings.objective), key=artifact_key("drill", record.portfolio)
    )
    emit_event(
        event=f"clodo.drill.{'passed' if record.is_good else 'failed'}",
        resource={
            "prefect.resource.id": f"clodo.portfolio.{record.portfolio}",
            "prefect.resource.name": record.portfolio,
        },
        payload={
            "snapshot": record.snapshot,
            "vault": record.vault,
            "rto_seconds": record.rto_seconds,
            "rpo_seconds": record.rpo_seconds,
            "problem": record.problem,
        },
    )
