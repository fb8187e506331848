"""Delete the snapshots that the rules let go."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from tasks.backups import open_backups, prune_vaults


@flow(flow_run_name="prune snapshots of {workspace}", persist_result=False)
def prune_snapshots(
    workspace: str = ".",
    dry_run: bool = False,
    reason: Annotated[str, Field(max_length=500)] = "",
) -> list[dict[str, Any]]:
    """
    Delete what [backups.keep] of portfolio.toml lets go, and what interrupted backups left.

    The newest good snapshot always stays, and so does one that is being restored.

    Args:
        workspace: Folder of the workspace.
        dry_run: Only show what would go.
        reason: Why; kept with the lock.

    Returns:
        Per vault: which snapshots stay and why, which go, and how many parts and bytes go with them.
    """
    with open_backups(workspace) as (_, backups):
        return [pruned.to_json() for pruned in prune_vaults(backups, backups.portfolio, dry_run, reason)]
