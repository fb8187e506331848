"""Prove that a snapshot is what was written."""

from __future__ import annotations

from typing import Any

from prefect import flow

from clodo.backups.verification import Level
from tasks.backups import open_backups, report_verification, verify_one


@flow(flow_run_name="verify {snapshot} of {workspace}", persist_result=False)
def verify_snapshot(
    workspace: str = ".",
    snapshot: str | None = None,
    level: Level = Level.HASHES,
    vault: str | None = None,
    identity: str | None = None,
) -> list[dict[str, Any]]:
    """
    Verify a snapshot in every vault, or in one.

    Args:
        workspace: Folder of the workspace.
        snapshot: Its id or how that begins; the newest by default.
        level: hashes needs no private key; open decrypts and reads everything; restore makes the databases anew on
            this machine and compares them row by row.
        vault: Only this one.
        identity: Path of a file with a private age key; that of the Vault block is used too.

    Returns:
        What was found, one entry a vault.
    """
    with open_backups(workspace, identity=identity) as (_, backups):
        chosen = backups.find(snapshot)
        places = [backups.vault(vault)] if vault is not None else backups.vaults
        found = [verify_one(backups, chosen, place.name, level) for place in places]
        for verification in found:
            report_verification(backups.portfolio, verification)
        for verification in found:
            verification.raise_if_wrong()
        return [verification.to_json() for verification in found]
