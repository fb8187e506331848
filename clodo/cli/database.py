"""``clodo database``: D1 databases and their migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clodo.cli.deploy import TakeOverOption
from clodo.cli.options import JsonOption, ReasonOption, SomeTargetsArgument, TargetArgument, WorkspaceOption, YesOption
from clodo.cli.output import ask, show, show_json, show_table
from clodo.cli.session import open_workspace, prefect_for
from clodo.migrations import Which

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clodo.releases.migrating import DatabaseStatus
    from clodo.workspace.targets import Target
    from clodo.workspace.workspace import Workspace

WhichOption = Annotated[Which, typer.Option("--which", help="Those that add, those that drop and rename, or all.")]

app = typer.Typer(help="D1 databases and their migrations.", no_args_is_help=True)


@app.command()
def status(
    context: typer.Context,
    targets: SomeTargetsArgument = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Show which migrations of the targets' databases are applied and which are pending; writes nothing.

    With --json: [{"target", "database", "database_id", "applied": [name], "pending": [{"name", "is_contract"}],
    "findings": [text]}].

    Exit status: 0 shown, 2 bad configuration, 10 no such target or database, 12 not authorised, 75 try later.
    """
    from clodo.releases.migrating import database_status

    loaded = open_workspace(context, workspace)
    chosen = _with_databases(loaded, targets)
    found: list[DatabaseStatus] = []
    if chosen:
        with prefect_for(context, loaded.root):
            from tasks.sites import open_site

            with open_site(str(loaded.root)) as site:
                for target in chosen:
                    found.extend(database_status(site, target))
    _show_status(found, as_json=as_json)


@app.command()
def migrate(
    context: typer.Context,
    target: TargetArgument,
    which: WhichOption = Which.EXPAND,
    take_over: TakeOverOption = False,
    reason: ReasonOption = "",
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Apply the pending migrations of a target's databases, each file all or nothing.

    Expand migrations add; contract ones drop and rename, which can't be taken back, so they are asked for.

    With --json: {"target", "applied": {database: [name]}}.

    Exit status: 0 up to date, 1 a file failed and left nothing (those before it stay), 2 bad configuration,
    4 refused (declined; folder and database disagree), 10 no such target or database, 11 locked, 12 not authorised.
    """
    loaded = open_workspace(context, workspace)
    found = loaded.find(target)
    if which is not Which.EXPAND:
        ask(f"Drop or rename what {found}'s contract migrations say? That can't be taken back.", yes=yes)
    with prefect_for(context, loaded.root):
        from flows.migrate_database import migrate_database as flow

        applied = flow(target=str(found), workspace=str(loaded.root), which=which, reason=reason, take_over=take_over)
    if as_json:
        show_json({"target": str(found), "applied": applied})
        return
    count = 0
    for database, names in applied.items():
        for name in names:
            show(f"{database}: applied {name}")
            count += 1
    show(f"Applied {count} migrations to {found}." if count else f"{found} was up to date.")


def _with_databases(workspace: Workspace, names: Sequence[str] | None) -> list[Target]:
    if names:
        return [workspace.find(name) for name in names]
    return [target for target in workspace.targets if workspace.effective(target).databases]


def _show_status(found: Sequence[DatabaseStatus], *, as_json: bool) -> None:
    if as_json:
        show_json(
            [
                {
                    "target": item.target,
                    "database": item.database,
                    "database_id": item.database_id,
                    "applied": [migration.name for migration in item.status.applied],
                    "pending": [
                        {"name": migration.name, "is_contract": migration.is_contract}
                        for migration in item.status.pending
                    ],
                    "findings": [finding.message for finding in item.status.findings],
                }
                for item in found
            ]
        )
        return
    show_table(
        ("target", "database", "applied", "pending", "next", "wrong"),
        [
            (
                item.target,
                item.database,
                len(item.status.applied),
                len(item.status.pending),
                item.status.pending[0].name if item.status.pending else None,
                "; ".join(finding.message for finding in item.status.findings) or None,
            )
            for item in found
        ],
        empty="No databases.",
    )
