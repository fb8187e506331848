"""Bring back what a snapshot holds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from clodo.backups.restoring.plan import Wish
from tasks.restores import carry_out_restore, open_restorer, plan_restore, rebind_services, report_restore


@flow(flow_run_name="restore {snapshot} of {workspace}", persist_result=False)
def restore_snapshot(
    workspace: str = ".",
    snapshot: str | None = None,
    only: list[str] | None = None,
    in_place: bool = False,
    table: str | None = None,
    prefix: str | None = None,
    rename: dict[str, str] | None = None,
    account: str | None = None,
    at: datetime | None = None,
    vault: str | None = None,
    identity: str | None = None,
    plan: str | None = None,
    dry_run: bool = False,
    rebind: bool = False,
    reason: Annotated[str, Field(max_length=500)] = "",
) -> dict[str, Any]:
    """
    Restore a snapshot into new resources, or in place, and compare what came back with the manifest.

    Args:
        workspace: Folder of the workspace.
        snapshot: Its id or how that begins; the newest by default.
        only: Labels such as d1/shop; by default everything but zones and Workers, which are in use.
        in_place: Overwrite what is there, after a safety snapshot.
        table: Only this table of the one database.
        prefix: Only keys of the one namespace that begin so.
        rename: Name in the snapshot to the name of the new resource.
        account: Block of another account to restore into.
        at: Take databases back to this moment by Time Travel instead; in place.
        vault: Read it from this one; the first by default.
        identity: Path of a file with a private age key; that of the Vault block is used too.
        plan: Fingerprint of the plan that was approved; another one is refused.
        dry_run: Only say what would be done.
        rebind: Name what came back in the wrangler configs, and release the services.
        reason: Why; kept with the lock and in the audit trail.

    Returns:
        The plan, what came back (null for a dry run), and what became of the services' bindings.
    """
    wish = Wish(snapshot, vault, tuple(only or ()), in_place, table, prefix, tuple((rename or {}).items()), account, at)
    with open_restorer(workspace, identity=identity) as (site, backups, restorer):
        drawn = plan_restore(restorer, wish, backups.portfolio)
        drawn.raise_if_stale(plan)
        if dry_run:
            return {"plan": drawn.described(), "restored": None, "rebound": []}
        restored = carry_out_restore(restorer, wish, backups.portfolio, drawn.fingerprint, reason)
        report_restore(backups.portfolio, drawn, restored)
        rebound = rebind_services(site, restored, backups.portfolio, do_edit=rebind)
    if rebind and rebound:
        from flows.roll_out_portfolio import roll_out_portfolio

        targets = sorted({item.target for item in rebound})
        roll_out_portfolio(
            workspace=workspace, targets=targets, reason=reason or f"rebind after a restore of {snapshot}"
        )
    return {"plan": drawn.described(), "restored": restored.to_json(), "rebound": [item.to_json() for item in rebound]}
