"""Migrating the databases of a target outside a release, under the same lock as its releases."""

from __future__ import annotations

from dataclasses import dataclass

from clodo.ledger.owners import Owner
from clodo.migrations import MigrationStatus, Which
from clodo.migrations import databases as migrations
from clodo.releases.desired import find_databases
from clodo.releases.recovery import interrupted_releases, lock_name, recover
from clodo.releases.site import Site
from clodo.workspace.targets import Target


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """Where one database of a target stands."""

    target: str
    database: str
    database_id: str
    status: MigrationStatus


def database_status(site: Site, target: Target) -> tuple[DatabaseStatus, ...]:
    """Say which migrations of *target*'s databases are applied and which are pending; writes nothing."""
    account = site.account_of(target)
    config = site.workspace.effective(target)
    return tuple(
        DatabaseStatus(
            str(target),
            database.name,
            database.database_id,
            migrations.status(
                account.cloudflare.d1,
                database.database_id,
                binding.migrations_folder,
                pattern=binding.migrations_pattern or "*.sql",
                table=binding.migrations_table,
            ),
        )
        for database, binding in zip(find_databases(account.databases, config), config.databases, strict=True)
    )


def migrate_target(
    site: Site, target: Target, *, which: Which = Which.EXPAND, reason: str = "", take_over: bool = False
) -> dict[str, list[str]]:
    """
    Apply the pending migrations of *target*'s databases, each file all or nothing.

    Returns:
        Database name to the names of the migrations that were applied.

    Raises:
        Refused: Folder and database disagree.

        MigrationFailed: A file failed and left nothing; those before it stay.
    """
    account = site.account_of(target)
    config = site.workspace.effective(target)
    databases = find_databases(account.databases, config)
    applied: dict[str, list[str]] = {}
    with site.ledger.locks.acquire(
        lock_name(account.keys.account_id, config.worker_name),
        Owner.current(f"migrate {target}"),
        reason or f"migrate {target}",
        take_over=take_over,
    ) as lock:
        for row in interrupted_releases(site, account.keys.account_id, config.worker_name):
            recover(site, row, lock)
        guarded = account.cloudflare.with_guard(lock.check)
        for database, binding in zip(databases, config.databases, strict=True):
            done = migrations.apply(
                guarded.d1,
                database.database_id,
                binding.migrations_folder,
                which=which,
                pattern=binding.migrations_pattern or "*.sql",
                table=binding.migrations_table,
                on_applied=lambda item: site.log(f"{target}: applied {item.name}"),
            )
            applied[database.name] = [item.name for item in done]
            if done:
                site.ledger.audit.append(
                    site.actor, "migrated", str(target), {"database": database.name, "files": applied[database.name]}
                )
    return applied
