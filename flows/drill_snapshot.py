"""Show that the newest snapshot can be restored, and measure how long that takes."""

from __future__ import annotations

from typing import Any

from prefect import flow

from clodo.backups.drilling import raise_unless_good
from tasks.drills import carry_out_drill, open_driller, report_drill


@flow(flow_run_name="drill {workspace}", persist_result=False)
def drill_snapshot(
    workspace: str = ".",
    snapshot: str | None = None,
    vault: str | None = None,
    identity: str | None = None,
    account: str | None = None,
) -> dict[str, Any]:
    """
    Restore the newest good snapshot into scratch resources, compare it with its manifest, and remove them.

    Args:
        workspace: Folder of the workspace.
        snapshot: Its id or how that begins; the newest good one by default.
        vault: Read it from this one; the first by default.
        identity: Path of a file with a private age key; that of the Vault block is used too.
        account: Block of the account for the scratch resources; where the snapshot was taken by default.

    Returns:
        The drill as the ledger remembers it.
    """
    with open_driller(workspace, identity=identity, account=account) as (site, backups, driller):
        record = carry_out_drill(driller, backups.portfolio, snapshot, vault)
        report_drill(site, backups, record)
        raise_unless_good(record)
        return record.to_json()
