"""Take a snapshot of a portfolio."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from clodo.workspace.backup_settings import BackupKind
from tasks.backups import check_age, open_backups, report_snapshot, take_snapshot


@flow(flow_run_name="back up {workspace}", persist_result=False)
def back_up(
    workspace: str = ".",
    targets: list[str] | None = None,
    tags: list[str] | None = None,
    kinds: list[BackupKind] | None = None,
    reason: Annotated[str, Field(max_length=500)] = "",
    only_check_age: bool = False,
    export: bool = False,
) -> dict[str, Any]:
    """
    Take a snapshot of what the bindings of the chosen targets name, and publish it in every vault.

    Args:
        workspace: Folder of the workspace.
        targets: Only these; all of the portfolio when neither targets nor tags are given.
        tags: Those whose services have one of these tags in portfolio.toml.
        kinds: Only d1, kv, r2, dns or worker; those that portfolio.toml includes by default.
        reason: Why; kept with the lock and in the audit trail.
        only_check_age: Take none, but fail when the newest good one is older than its objective.
        export: Read databases by Cloudflare's export, in the window of [backups.export]; then they are unavailable.

    Returns:
        The manifest as JSON; empty when only the age was checked.
    """
    with open_backups(workspace) as (site, backups):
        if only_check_age:
            check_age(backups, backups.portfolio)
            return {}
        manifest = take_snapshot(
            site, backups, backups.portfolio, list(targets or ()), list(tags or ()), list(kinds or ()), reason, export
        )
        report_snapshot(manifest)
        backups.raise_unless_good(manifest)
        return manifest.to_json()
