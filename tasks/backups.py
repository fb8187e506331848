"""Opening the backups of a workspace with what is saved in blocks, and the steps of a backup that an operator sees."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from getpass import getpass
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from blocks import Vault
from clodo.backups.backups import Backups, local_vault
from clodo.backups.identity_files import identities, read_identity
from clodo.backups.manifest import Kind, Manifest
from clodo.backups.pruning import Pruned
from clodo.backups.snapshots import summary
from clodo.backups.verification import Level, Verification
from clodo.errors import BackupTooOld
from clodo.logs import register_secret
from clodo.releases.site import Site
from tasks.reports import artifact_key
from tasks.sites import open_site, saved


@contextmanager
def open_backups(workspace: str, *, identity: str | None = None) -> Iterator[tuple[Site, Backups]]:
    """
    Open the workspace in the folder *workspace* and its backups.

    Args:
        identity: Path of a file with a private age key, whose passphrase is asked for if it has one; those of the
            `Vault` blocks are used too.

    Raises:
        BadConfiguration: A file or a block is broken, or a block is missing.
        BadUsage: The identity can't be read, or is protected by a passphrase and nobody can be asked.
        IdentityMissing: The passphrase is another one.
    """
    with open_site(workspace) as site:
        names = site.workspace.portfolio.backups.vaults
        blocks = {name: saved(Vault, name) for name in names}
        vaults = [block.get_client(name) for name, block in blocks.items()] or [local_vault(site.workspace.state_dir)]
        texts = [block.identity.get_secret_value() for block in blocks.values() if block.identity is not None]
        if identity is not None:
            texts.append(_identity(Path(identity).expanduser()))
        for text in texts:
            register_secret(text.strip())
        keys = [key for text in texts for key in identities(text)]
        yield (
            site,
            Backups(
                site.workspace,
                site.ledger,
                vaults,
                actor=site.actor,
                identities=keys,
                say=site.log,
                clock=site.clock,
            ),
        )


@task(task_run_name="read and store {portfolio}", cache_policy=NO_CACHE, persist_result=False)
def take_snapshot(
    site: Site,
    backups: Backups,
    portfolio: str,
    targets: list[str],
    tags: list[str],
    kinds: list[str],
    reason: str,
    export: bool,
) -> Manifest:
    """Take a snapshot and publish it. Prefect never repeats it: what is done is found again by the next run."""
    chosen = [Kind(kind) for kind in kinds] or None
    return backups.create(site.account_of, targets=targets, tags=tags, kinds=chosen, reason=reason, export=export)


@task(task_run_name="verify {snapshot} in {vault} ({level})", cache_policy=NO_CACHE, persist_result=False)
def verify_one(backups: Backups, snapshot: str, vault: str, level: Level) -> Verification:
    """Verify a snapshot in one vault."""
    return backups.verify(snapshot, level, vault=vault)


@task(task_run_name="prune the vaults of {portfolio}", cache_policy=NO_CACHE, persist_result=False)
def prune_vaults(backups: Backups, portfolio: str, dry_run: bool, reason: str) -> list[Pruned]:
    """Delete what the rules let go."""
    return backups.prune(dry_run=dry_run, reason=reason)


def report_snapshot(manifest: Manifest) -> None:
    """Leave a table of the snapshot's archives, and an event that says whether it is a good one of the whole."""
    rows = [
        {
            "archive": archive.label,
            "exactness": archive.exactness.value,
            "read in": archive.captured_in if archive.captured_in != manifest.id else "this one",
            "bytes": f"{archive.size:,}",
            "of": f"{archive.plain_size:,}",
            "requests": archive.requests,
            "seconds": f"{archive.seconds:.1f}",
        }
        for archive in manifest.archives
    ]
    rows += [
        {"archive": f"{item.kind.value}/{item.name}", "exactness": f"missing: {item.why}"} for item in manifest.missing
    ]
    create_table_artifact(table=rows, key=artifact_key("backup", manifest.portfolio), description=summary(manifest))
    kind = "degraded" if not manifest.is_good else "good" if manifest.is_whole else "partial"
    emit_event(
        event=f"clodo.snapshot.{kind}",
        resource={
            "prefect.resource.id": f"clodo.portfolio.{manifest.portfolio}",
            "prefect.resource.name": manifest.portfolio,
        },
        payload={"snapshot": manifest.id, "bytes": manifest.own_size, "missing": len(manifest.missing)},
    )


@task(
    task_run_name="look how old the newest good snapshot of {portfolio} is", cache_policy=NO_CACHE, persist_result=False
)
def check_age(backups: Backups, portfolio: str) -> None:
    """
    Emit ``clodo.backup.too-old`` and fail when the newest good snapshot is older than its objective.

    Raises:
        BackupTooOld: It is, or there is none.
    """
    try:
        backups.raise_if_too_old(datetime.now(UTC))
    except BackupTooOld as error:
        emit_event(
            event="clodo.backup.too-old",
            resource={"prefect.resource.id": f"clodo.portfolio.{portfolio}", "prefect.resource.name": portfolio},
            payload={"message": error.message},
        )
        raise


def report_verification(portfolio: str, found: Verification) -> None:
    """Leave a page about a verification, and the event ``clodo.snapshot.verified`` or ``.wrong``."""
    lines = [f"# {found.snapshot} in {found.vault}: {'good' if found.is_good else 'WRONG'}", ""]
    lines += [f"- level: {found.level.value}, archives: {found.archives}, rows: {found.rows:,}"]
    lines += [f"- wrong: {finding}" for finding in found.findings] + [f"- note: {note}" for note in found.notes]
    create_markdown_artifact(markdown="\n".join(lines) + "\n", key=artifact_key("verification", portfolio))
    emit_event(
        event=f"clodo.snapshot.{'verified' if found.is_good else 'wrong'}",
        resource={"prefect.resource.id": f"clodo.portfolio.{portfolio}", "prefect.resource.name": portfolio},
        payload=found.to_json(),
    )


def _identity(file: Path) -> str:
    """Read an identity; a command that plans first and then acts asks for its passphrase once."""
    try:
        moment = file.stat().st_mtime_ns
    except OSError:
        # Reading it says what is wrong.
        moment = 0
    return _read_once(file, moment)


@cache
def _read_once(file: Path, moment: int) -> str:
    return read_identity(file, _ask())


def _ask() -> Callable[[str], str] | None:
    """Return what asks for a passphrase; None where nobody sits, as in a worker."""
    return getpass if sys.stdin.isatty() else None
