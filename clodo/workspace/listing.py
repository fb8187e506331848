"""The workspace as rows, for `clodo config` and whoever else lists it."""

from __future__ import annotations

from dataclasses import dataclass

from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class TargetRow:
    """
    One target, as a table shows it.

    Attributes:
        file: The wrangler config, relative to the workspace's root where it lies in it.

        section: ``env.staging``, or ``top level``.

        account_block: Name of the ``CloudflareAccount`` block.

        secrets_block: Name of the ``ServiceSecrets`` block.

        databases: Names.

        namespaces: Binding names.

        services: Names of the Workers it calls.

        routes: Patterns and custom domains.

        crons: None when the config leaves schedules alone.

        secrets: Names that the secrets block must hold.

        warnings: ``file:line: sentence`` each.
    """

    target: Target
    worker: str
    file: str
    section: str
    account_block: str
    secrets_block: str
    compatibility_date: str | None
    databases: tuple[str, ...]
    namespaces: tuple[str, ...]
    services: tuple[str, ...]
    routes: tuple[str, ...]
    crons: tuple[str, ...] | None
    secrets: tuple[str, ...]
    smoke_tests: int
    is_protected: bool
    warnings: tuple[str, ...]


def list_targets(workspace: Workspace) -> tuple[TargetRow, ...]:
    """Return one row per target, sorted by target."""
    return tuple(_row(workspace, target) for target in workspace.targets)


def _row(workspace: Workspace, target: Target) -> TargetRow:
    effective, portfolio = workspace.effective(target), workspace.portfolio
    settings = portfolio.settings_of(target.service)
    file = effective.file
    return TargetRow(
        target=target,
        worker=effective.worker_name,
        file=str(file.relative_to(workspace.root) if file.is_relative_to(workspace.root) else file),
        section="top level" if effective.section is None else f"env.{effective.section}",
        account_block=portfolio.account_block_of(target),
        secrets_block=portfolio.secrets_block_of(target),
        compatibility_date=effective.compatibility_date,
        databases=tuple(database.database_name for database in effective.databases),
        namespaces=tuple(namespace.binding for namespace in effective.namespaces),
        services=tuple(dict.fromkeys(service.service for service in effective.services)),
        routes=tuple(route.pattern for route in effective.routes),
        crons=effective.crons,
        secrets=tuple(sorted({*settings.secrets, *effective.required_secrets})),
        smoke_tests=len(settings.smoke_tests),
        is_protected=portfolio.environments[target.environment].protected,
        warnings=effective.warnings,
    )
