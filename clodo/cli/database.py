"""``clodo database``: D1 databases and their migrations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clodo.cli.database_reports import show_migrated, show_plan, show_status, show_synced
from clodo.cli.deploy import DryRunOption, TakeOverOption
from clodo.cli.options import (
    JsonOption,
    ReasonOption,
    SomeTargetsArgument,
    TargetArgument,
    WorkspaceOption,
    YesOption,
    read_moment,
)
from clodo.cli.output import ask, number_of, raise_if_nobody_can_be_asked, show, show_json
from clodo.cli.session import open_workspace, prefect_for
from clodo.errors import BadUsage, PartlyDone
from clodo.migrations import Which

if TYPE_CHECKING:
    from clodo.workspace.targets import Target
    from clodo.workspace.workspace import Workspace

WhichOption = Annotated[Which, typer.Option("--which", help="Those that add, those that take away, or all.")]
AcceptOption = Annotated[
    list[str] | None,
    typer.Option("--accept", metavar="FILE", help="Accept the problems and hazards of this file; may be repeated."),
]
MaintenanceOption = Annotated[
    bool, typer.Option("--maintenance", help="Run contract migrations though the version before may be wanted back.")
]
WithDataOption = Annotated[bool, typer.Option("--with-data", help="Rehearse with the rows of the latest snapshot.")]
DatabaseOption = Annotated[
    str | None, typer.Option("--database", metavar="NAME", help="Name or binding, when the target has several.")
]

app = typer.Typer(help="D1 databases and their migrations.", no_args_is_help=True)


@app.command()
def status(
    context: typer.Context,
    targets: SomeTargetsArgument = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Show where the databases of the targets stand, all of the portfolio in one table; writes nothing.

    That is what is applied and what is pending, what the lint says of it, and in what the schema differs from what the
    files make. One request a database, three at most before anything was applied.

    With --json: [{"target", "database", "database_id", "applied": [name], "pending": [{"name", "is_contract",
    "verdict"}], "findings": [text], "hazards": [text], "drift": [sql], "drift_against", "error"}].

    Exit status: 0 shown, 2 bad configuration, 3 some could not be read, 10 no such target, 12 not authorised, 75 try
    later.
    """
    from clodo.releases.database_sync import with_drift
    from clodo.releases.migrating import statuses

    loaded = open_workspace(context, workspace)
    chosen = _with_databases(loaded, targets)
    if not chosen:
        show_status([], [], as_json=as_json)
        return
    with prefect_for(context, loaded.root):
        from tasks.sites import open_site

        with open_site(str(loaded.root)) as site:
            found = statuses(site, chosen)
            drifts = with_drift(site, found)
    show_status(found, drifts, as_json=as_json)
    errors = [item.error for item in found if item.error is not None]
    if errors and len(errors) == len(found):
        raise errors[0]
    if errors:
        raise PartlyDone(f"{len(errors)} of {len(found)} databases could not be read. {errors[0].message}")


@app.command()
def migrate(
    context: typer.Context,
    target: TargetArgument,
    which: WhichOption = Which.EXPAND,
    accept: AcceptOption = None,
    maintenance: MaintenanceOption = False,
    dry_run: DryRunOption = False,
    with_data: WithDataOption = False,
    take_over: TakeOverOption = False,
    reason: ReasonOption = "",
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Apply the pending migrations of a target's databases, each file all or nothing, after rehearsing all of them.

    Expand migrations add. Contract ones take away what an older version may still read (marked so in the file, or
    found by the lint): they wait until the version that was released with them is live, verified and past its way-back
    window, unless --maintenance says that nobody will want the version before; and they are asked for.

    With --json: {"target", "applied": {database: [name]}, "databases": [{"database", "database_id", "applied",
    "waiting", "hazards", "rehearsal": {"files", "rows", "data_of", "not_copied"}}]}.

    Exit status: 0 up to date, 1 a file failed and left nothing (those before it stay), 2 bad configuration,
    4 refused (declined; folder and database disagree; hazardous; too early), 10 no such target or database, 11 locked,
    12 not authorised, 75 try later, 130 interrupted.
    """
    loaded = open_workspace(context, workspace)
    found = loaded.find(target)
    if which is not Which.EXPAND and not dry_run:
        ask(f"Drop or rename what {found}'s contract migrations say? That can't be taken back.", yes=yes)
    with prefect_for(context, loaded.root):
        from flows.migrate_database import migrate_database as flow

        done = flow(
            target=str(found),
            workspace=str(loaded.root),
            which=which,
            accept=accept,
            maintenance=maintenance,
            dry_run=dry_run,
            with_data=with_data,
            reason=reason,
            take_over=take_over,
        )
    show_migrated(str(found), done, as_json=as_json, is_rehearsal=dry_run, with_data=with_data)


@app.command()
def sync(
    context: typer.Context,
    targets: SomeTargetsArgument = None,
    service: Annotated[
        str | None, typer.Option("--service", metavar="NAME", help="All targets of this service, with all customers.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", metavar="NAME", help="Only this environment.")
    ] = None,
    which: WhichOption = Which.EXPAND,
    accept: AcceptOption = None,
    maintenance: MaintenanceOption = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Begin nothing more once one has failed.")] = False,
    max_parallel: Annotated[int, typer.Option("--max-parallel", min=1, max=16, help="Targets at the same time.")] = 4,
    dry_run: DryRunOption = False,
    with_data: WithDataOption = False,
    take_over: TakeOverOption = False,
    reason: ReasonOption = "",
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Bring the databases of many targets to the schema of their files, and show in what each still differs from it.

    One that fails doesn't stop the others, unless --fail-fast. A difference is shown as SQL, to be read: it is never
    run.

    With --json: {"ok", "targets": [{"target", "is_synced", "skipped", "error", "databases", "drift": {database:
    {"sql", "against"}}}]}.

    Exit status: 0 all have the schema, 1 none has, 2 bad configuration, 3 some have and some have not, 4 refused,
    10 no such target, 11 locked, 12 not authorised, 75 try later, 130 interrupted.
    """
    from clodo.releases.database_sync import NotAllSynced

    loaded = open_workspace(context, workspace)
    if targets and (service or environment):
        raise BadUsage("name targets, or a service and an environment, not both")
    names = [str(loaded.find(name)) for name in targets] if targets else None
    if service is not None:
        loaded.service(service)
    if which is not Which.EXPAND and not dry_run:
        ask("Drop or rename what the contract migrations say, in every database? That can't be taken back.", yes=yes)
    with prefect_for(context, loaded.root):
        from flows.sync_databases import sync_databases as flow

        try:
            outcomes = flow(
                workspace=str(loaded.root),
                service=service,
                environment=environment,
                targets=names,
                which=which,
                accept=accept,
                maintenance=maintenance,
                dry_run=dry_run,
                with_data=with_data,
                fail_fast=fail_fast,
                max_parallel=max_parallel,
                reason=reason,
                take_over=take_over,
            )
        except NotAllSynced as error:
            show_synced(error.outcomes, as_json=as_json, is_rehearsal=dry_run, with_data=with_data)
            raise
    show_synced(outcomes, as_json=as_json, is_rehearsal=dry_run, with_data=with_data)


@app.command()
def rollback(
    context: typer.Context,
    target: TargetArgument,
    database: DatabaseOption = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FILE", help="The last migration that stays."),
    ] = None,
    time_travel: Annotated[
        bool, typer.Option("--time-travel", help="Go back in time instead of running down files.")
    ] = False,
    bookmark: Annotated[
        str | None, typer.Option("--bookmark", metavar="BOOKMARK", help="Go back in time to this bookmark.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Go back in time to this moment: 2026-01-31T12:00:00Z.")
    ] = None,
    dry_run: DryRunOption = False,
    take_over: TakeOverOption = False,
    reason: ReasonOption = "",
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Take the last migrations of a database back, by their down files or by Time Travel, and verify that they are gone.

    By default that is the last one. What would be lost is shown first, rows counted where that can be known, and then
    asked for. Going back in time loses every write since, in every table, whoever made it. The Worker's version stays
    as it is: see `clodo rollback`.

    With --json: {"target", "database", "database_id", "way", "migrations", "bookmark", "now", "losses", "unknown",
    "fingerprint"}, and when it was done also "rows": {table: [before, after]} and "way_forward".

    Exit status: 0 done (or shown, with --dry-run), 1 failed and left nothing, 2 usage, 4 declined, or migrated since
    it was shown, 10 no such target, database or way back, 11 locked, 12 not authorised, 75 try later.
    """
    from clodo.releases.database_rollback_plan import RollbackPlan, Wanted, Way, raise_if_impossible

    loaded = open_workspace(context, workspace)
    found = loaded.find(target)
    moment = read_moment("--at", at)
    way = Way.TIME_TRAVEL if time_travel else None
    raise_if_impossible(Wanted(database, to, way, bookmark, moment), datetime.now(UTC))
    question = f"Take this back in {found}?"
    if not dry_run and not yes:
        raise_if_nobody_can_be_asked(question)
    parameters: dict[str, Any] = {
        "target": str(found),
        "workspace": str(loaded.root),
        "database": database,
        "to": to,
        "way": way,
        "bookmark": bookmark,
        "at": moment,
        "reason": reason,
        "take_over": take_over,
    }
    with prefect_for(context, loaded.root):
        from flows.roll_back_database import roll_back_database as flow

        plan = flow(dry_run=True, **parameters)
        assert isinstance(plan, RollbackPlan)
        if dry_run:
            show_plan(plan, as_json=as_json)
            return
        show_plan(plan, as_json=False, on_standard_error=as_json)
        ask(question, yes=yes)
        done = flow(dry_run=False, approved=plan.fingerprint, **parameters)
    assert not isinstance(done, RollbackPlan)
    if as_json:
        show_json(done.to_json())
        return
    for name, (before, after) in done.rows.items():
        show(f"{name}: {_rows(before)} before, {_rows(after)} now")
    show(f"Rolled back {plan.database}. The way forward: --bookmark {done.way_forward}")


@app.command()
def create(
    context: typer.Context,
    target: TargetArgument,
    databases: Annotated[
        list[str] | None,
        typer.Option("--database", metavar="NAME", help="Only this binding or name; may be repeated."),
    ] = None,
    location: Annotated[
        str | None, typer.Option("--location", metavar="HINT", help="wnam, enam, weur, eeur, apac or oc.")
    ] = None,
    jurisdiction: Annotated[
        str | None, typer.Option("--jurisdiction", metavar="NAME", help="eu or fedramp; goes before --location.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Have a database for each D1 binding of a target, and its id in the wrangler config, whose comments stay.

    One of exactly that name that is there already is adopted. It may be repeated.

    With --json: [{"target", "binding", "database", "database_id", "was_adopted", "diff"}].

    Exit status: 0 there and bound, 1 failed, 2 bad configuration, or several of that name, 4 the config was changed
    meanwhile, 10 no such target, binding or id, 11 somebody else edits the workspace, 12 not authorised, 75 try later,
    130 interrupted.
    """
    from clodo.releases.database_creation import JURISDICTIONS, LOCATIONS

    loaded = open_workspace(context, workspace)
    found = loaded.find(target)
    _raise_unless_known("--location", location, LOCATIONS)
    _raise_unless_known("--jurisdiction", jurisdiction, JURISDICTIONS)
    with prefect_for(context, loaded.root):
        from flows.create_databases import create_databases as flow

        made = flow(
            target=str(found),
            workspace=str(loaded.root),
            databases=databases,
            location=location,  # type: ignore[arg-type]
            jurisdiction=jurisdiction,  # type: ignore[arg-type]
        )
    if as_json:
        show_json([item.to_json() for item in made])
        return
    for item in made:
        show(f"{item.binding}: {'found' if item.was_adopted else 'created'} {item.database} ({item.database_id})")
        if item.diff:
            show(item.diff)


def _with_databases(workspace: Workspace, names: Sequence[str] | None) -> list[Target]:
    if names:
        return [workspace.find(name) for name in names]
    return [target for target in workspace.targets if workspace.effective(target).databases]


def _raise_unless_known(option: str, value: str | None, known: Sequence[str]) -> None:
    if value is not None and value not in known:
        raise BadUsage(f'{option}: "{value}" is none of {", ".join(known)}')


def _rows(count: int | None) -> str:
    return "not there" if count is None else number_of(count, "row")
