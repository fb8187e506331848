"""``clodo customer create`` and ``update``: by options alone, or question by question."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clodo.cli.guided.databases import DatabaseOptions
from clodo.cli.options import JsonOption, WorkspaceOption, YesOption
from clodo.cli.output import say, show, show_json
from clodo.cli.session import open_workspace, prefect_for, workspace_folder
from clodo.errors import BadUsage

if TYPE_CHECKING:
    from clodo.customers.planning import CustomerPlan
    from clodo.workspace.workspace import Workspace

MaybeNameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="The customer's name.", show_default=False)
]
WhereOption = Annotated[
    str | None, typer.Option("--environment", "-e", metavar="NAME", help="Where; the default one if left out.")
]
DomainOption = Annotated[str | None, typer.Option("--domain", metavar="DOMAIN", help="Such as acme.example.com.")]
ServiceOption = Annotated[
    list[str] | None, typer.Option("--service", metavar="NAME", help="Gets a section for it; repeat it for several.")
]
ZoneOption = Annotated[
    str | None, typer.Option("--zone-id", metavar="ID", help="Of the domain; found by its name if left out.")
]
AccountIdOption = Annotated[
    str | None, typer.Option("--account-id", metavar="ID", help="Written where a service's config names none.")
]
DatabaseOption = Annotated[str | None, typer.Option("--database", metavar="NAME", help="D1 database that exists.")]
DatabaseIdOption = Annotated[
    str | None, typer.Option("--database-id", metavar="UUID", help="Its id; found by its name if left out.")
]
NewDatabaseOption = Annotated[
    str | None, typer.Option("--new-database", metavar="NAME", help="D1 database to make on the account.")
]
NoDatabaseOption = Annotated[bool, typer.Option("--no-database", help="No D1 database.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; repeat it for several.")
]
GuidedOption = Annotated[bool, typer.Option("--guided", "-g", help="Ask for what is not given.")]
TokenStdinOption = Annotated[
    bool, typer.Option("--token-stdin", help="The API token comes through standard input; it is kept in the block.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the diff and write nothing.")]
ExitCodeOption = Annotated[
    bool, typer.Option("--exit-code", help="With --dry-run: end with 5 if something would be written.")
]


def create(
    context: typer.Context,
    name: MaybeNameArgument = None,
    domain: DomainOption = None,
    environment: WhereOption = None,
    service: ServiceOption = None,
    zone_id: ZoneOption = None,
    account_id: AccountIdOption = None,
    database: DatabaseOption = None,
    database_id: DatabaseIdOption = None,
    new_database: NewDatabaseOption = None,
    no_database: NoDatabaseOption = False,
    settings: SetOption = None,
    guided: GuidedOption = False,
    token_stdin: TokenStdinOption = False,
    api_root: Annotated[
        str | None, typer.Option("--api-root", metavar="URL", help="Of an embedded cloud, for a block that is new.")
    ] = None,
    edge_url: Annotated[
        str | None, typer.Option("--edge-url", metavar="URL", help="Of an embedded cloud, for a block that is new.")
    ] = None,
    dry_run: DryRunOption = False,
    exit_code: ExitCodeOption = False,
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Make a customer: its env file from the templates, and a section in each service's wrangler config.

    With --guided, --token-stdin or --new-database the account is asked: the token is verified, its permissions are
    listed, the domain's account and zone are looked up, and a new token is kept in the environment's block. All of it
    is done or nothing. Without, only files are written, and no request is sent.

    With --json: {"customer", "written", "files", "diff", "notes", "targets"}.

    Exit status: 0 made, 2 bad usage or configuration, 4 declined, nobody to ask, or a file was changed meanwhile, 5
    with --dry-run --exit-code if something would be written, 10 no such service or domain, 12 not authorised, or a
    right is missing, 75 try later, 130 interrupted; nothing was written.
    """
    from clodo.cli.customer import exit_if_pending, read_settings, show_and_write

    options = DatabaseOptions(database, database_id, new_database, no_database)
    values = read_settings(settings)
    loaded = open_to_change(context, workspace, dry_run=dry_run)
    if guided or token_stdin or new_database is not None:
        from clodo.cli.guided.new_deployment import Given, deploy_new, say_next_steps

        given = Given(
            name,
            environment,
            domain,
            tuple(service) if service else None,
            options,
            values=values,
            token_stdin=token_stdin,
            api_root=api_root,
            edge_url=edge_url,
        )
        with prefect_for(context, loaded.root):
            made = deploy_new(loaded, given, guided=guided, yes=yes, dry_run=dry_run, shows=not as_json)
        _show_done(loaded, made.customer, made.plan, is_written=made.is_written, as_json=as_json)
        if made.is_written:
            say_next_steps(made)
        exit_if_pending(made.plan, wanted=dry_run and exit_code)
        return
    if name is None or domain is None:
        missing = "NAME" if name is None else "--domain"
        raise BadUsage(f"{missing} is not given", hint="Give it, or be asked: clodo customer create --guided.")
    from clodo.customers.planning import NewCustomer, plan_creation
    from clodo.customers.sections import Database

    new = NewCustomer(
        customer=name,
        environment=environment or loaded.portfolio.default_environment,
        domain=domain,
        services=tuple(service or ()),
        account_id=account_id,
        zone_id=zone_id,
        database=Database(database, database_id) if database else None,
        values=values,
    )
    plan = plan_creation(loaded, new)
    question = f"Make {name} in {new.environment}?"
    show_and_write(loaded, name, plan, "customer-created", question, dry_run=dry_run, yes=yes, as_json=as_json)
    exit_if_pending(plan, wanted=dry_run and exit_code)


def update(
    context: typer.Context,
    name: MaybeNameArgument = None,
    environment: WhereOption = None,
    domain: DomainOption = None,
    zone_id: ZoneOption = None,
    database: DatabaseOption = None,
    database_id: DatabaseIdOption = None,
    new_database: NewDatabaseOption = None,
    no_database: NoDatabaseOption = False,
    settings: SetOption = None,
    unset: Annotated[list[str] | None, typer.Option("--unset", metavar="NAME", help="A setting to take away.")] = None,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Give settings with older names (DOMAIN, CLOUDFLARE_ZONE_ID) today's.")
    ] = False,
    guided: GuidedOption = False,
    token_stdin: TokenStdinOption = False,
    dry_run: DryRunOption = False,
    exit_code: ExitCodeOption = False,
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Change a customer's domain (with its routes and addresses), database, settings, or the API token; with a diff.

    With --guided, --token-stdin or --new-database the account is asked, as by `create`. Without, only files are
    written, and no request is sent. All of it is done or nothing.

    With --json: {"customer", "written", "files", "diff", "notes", "targets"}.

    Exit status: 0 changed, or nothing to do; 2 bad usage or configuration, 4 declined, nobody to ask, or a file was
    changed meanwhile, 5 with --dry-run --exit-code if something would be written, 10 no such customer or domain, 12 not
    authorised, or a right is missing, 75 try later, 130 interrupted; nothing was written.
    """
    from clodo.cli.customer import exit_if_pending, read_settings, show_and_write

    options = DatabaseOptions(database, database_id, new_database, no_database)
    values: dict[str, str | None] = {**read_settings(settings), **dict.fromkeys(unset or ())}
    loaded = open_to_change(context, workspace, dry_run=dry_run)
    if guided or token_stdin or new_database is not None:
        from clodo.cli.guided.update import Wanted, update_guided

        wanted = Wanted(
            name,
            environment if guided or environment else loaded.portfolio.default_environment,
            domain,
            zone_id,
            options,
            values,
            migrate,
            token_stdin,
        )
        with prefect_for(context, loaded.root):
            changed = update_guided(loaded, wanted, guided=guided, yes=yes, dry_run=dry_run, shows=not as_json)
        _show_done(loaded, changed.customer, changed.plan, is_written=changed.is_written, as_json=as_json)
        exit_if_pending(changed.plan, wanted=dry_run and exit_code)
        return
    if name is None:
        raise BadUsage("NAME is not given", hint="Give it, or be asked: clodo customer update --guided.")
    from clodo.customers.planning import CustomerChange, plan_change
    from clodo.customers.sections import Database

    where = environment or loaded.portfolio.default_environment
    change = CustomerChange(
        domain=domain,
        zone_id=zone_id,
        changes_database=database is not None or no_database,
        database=Database(database, database_id) if database else None,
        values=values,
        migrates=migrate,
    )
    if change == CustomerChange():
        raise BadUsage("nothing is said to change", hint="Say what, or be asked: clodo customer update --guided.")
    plan = plan_change(loaded, name, where, change)
    question = f"Change {name} in {where}?"
    show_and_write(loaded, name, plan, "customer-updated", question, dry_run=dry_run, yes=yes, as_json=as_json)
    exit_if_pending(plan, wanted=dry_run and exit_code)


def open_to_change(context: typer.Context, given: Path | None, *, dry_run: bool) -> Workspace:
    """Read the workspace, after an edit of it whose process died was taken back."""
    from clodo.cli.config_migration import shortened
    from clodo.workspace.editing import take_back_interrupted
    from clodo.workspace.workspace import STATE_FOLDER

    root = workspace_folder(context, given)
    if not dry_run:
        for file in take_back_interrupted(root / STATE_FOLDER):
            say(f"Took back an edit of {shortened(root, str(file))} that was interrupted.")
    return open_workspace(context, given)


def _show_done(loaded: Workspace, name: str, plan: CustomerPlan, *, is_written: bool, as_json: bool) -> None:
    from clodo.cli.customer import as_document

    if as_json:
        show_json(as_document(loaded, name, plan, is_written=is_written))
    elif is_written:
        count = sum(edit.has_changes for edit in plan.edits)
        show(f"Done: {name}, {count} files written.")
    else:
        say("Nothing was written.")
