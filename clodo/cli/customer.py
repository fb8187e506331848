"""``clodo customer``: tenants of services: made from templates, looked at, changed, taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from clodo.cli.config_migration import shortened
from clodo.cli.customer_changes import DryRunOption, ExitCodeOption, create, open_to_change, update
from clodo.cli.findings import show_findings
from clodo.cli.options import JsonOption, WorkspaceOption, YesOption
from clodo.cli.outcomes import CHANGES_PENDING
from clodo.cli.output import ask, say, short, show, show_json, show_table
from clodo.cli.session import open_ledger, open_workspace, prefect_for, workspace_folder
from clodo.errors import BadUsage

if TYPE_CHECKING:
    from clodo.customers.pieces import Piece, Pieces
    from clodo.customers.planning import CustomerPlan
    from clodo.workspace.workspace import Workspace

BAD_CONFIGURATION = 2

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The customer's name.", show_default=False)]
EnvironmentOption = Annotated[
    str | None, typer.Option("--environment", "-e", metavar="NAME", help="Only there; everywhere if left out.")
]
TokensOption = Annotated[
    bool, typer.Option("--tokens/--no-tokens", help="Ask Prefect which blocks hold a token, or don't.")
]

app = typer.Typer(help="Customers of services: their settings, sections and domains.", no_args_is_help=True)


@app.command("list")
def list_customers(
    context: typer.Context,
    tokens: TokensOption = True,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    List what each customer's deployments consist of, each piece from where it really lives; tokens as set or missing.

    With --json: [{"customer", "environment", "target", "worker", "account_id", "zone_id", "token", "token_block",
    "token_in_worker", "domain", "database_id", "database_name"}]; ids, domain and database are {"value", "place"} or
    null, "token" is set, missing or "not asked".

    Exit status: 0 listed, 2 bad configuration, 75 try later.
    """
    loaded = open_workspace(context, workspace)
    found = _pieces(context, loaded, None, tokens=tokens)
    if as_json:
        show_json([pieces.to_json() for pieces in found])
        return
    _show_pieces(found)


@app.command("show")
def show_customer(
    context: typer.Context,
    name: NameArgument,
    environment: EnvironmentOption = None,
    tokens: TokensOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Show a customer's deployments: the six pieces, and everything each is configured to be, with file and line.

    With --json: {"customer", "deployments": [as `list`, and "values": [{"path", "value", "place", "is_secret"}]]}.

    Exit status: 0 shown, 2 bad configuration, 10 no such customer.
    """
    from clodo.customers.planning import settings_of
    from clodo.workspace.effective_values import Value, effective_values, looks_secret

    loaded = open_workspace(context, workspace)
    wanted = {settings.environment: settings for settings in settings_of(loaded, name, environment)}
    found = [item for item in _pieces(context, loaded, name, tokens=tokens) if item.environment in wanted]

    def values_of(pieces: Pieces) -> tuple[Value, ...]:
        if pieces.target is not None:
            return effective_values(loaded, pieces.target)
        env = wanted[pieces.environment].env
        return tuple(
            Value(f"vars.{key}", text, env.place_of(key), looks_secret(key, text)) for key, text in env.values.items()
        )

    if as_json:
        deployments = [
            {
                **pieces.to_json(),
                "values": [
                    {"path": value.path, "value": value.shown, "place": value.place, "is_secret": value.is_secret}
                    for value in values_of(pieces)
                ],
            }
            for pieces in found
        ]
        show_json({"customer": name, "deployments": deployments})
        return
    for pieces in found:
        show(f"{pieces.target or f'{name} in {pieces.environment}, released by no service'}")
        rows = [
            (label, piece.value if piece else None, shortened(loaded.root, piece.place) if piece else None)
            for label, piece in _six(pieces)
        ]
        show_table(("piece", "value", "from"), [*rows, ("API token", *_token(pieces))], empty="")
        show_table(
            ("key", "value", "from"),
            [(value.path, value.text, shortened(loaded.root, value.place)) for value in values_of(pieces)],
            empty="",
        )


@app.command("validate")
def validate_customers(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only this one; all if left out.", show_default=False)
    ] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 5 if there are warnings.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    List what is wrong with customers' settings, sections and templates, the worst first; writes nothing.

    With --json: {"findings": [{"rule", "severity", "target", "key", "file", "line", "message", "remedy",
    "expired_waiver"}]}, as of `clodo config validate`.

    Exit status: 0 no errors, 2 there are errors, 5 there are warnings (only with --exit-code), 10 no such customer.
    """
    from clodo.customers.findings import customer_findings, findings_of
    from clodo.customers.planning import settings_of
    from clodo.workspace.finding import in_order

    root = workspace_folder(context, workspace)
    if name is None:
        findings = in_order(customer_findings(root))
    else:
        loaded = open_workspace(context, workspace)
        mine = settings_of(loaded, name)
        findings = in_order(finding for settings in mine for finding in findings_of(loaded, settings))
    if as_json:
        show_json({"findings": [finding.to_json() for finding in findings]})
    else:
        show_findings(root, findings)
    if any(finding.severity.value == "error" for finding in findings):
        raise typer.Exit(BAD_CONFIGURATION)
    if exit_code and any(finding.severity.value == "warning" for finding in findings):
        raise typer.Exit(CHANGES_PENDING)


@app.command("deploy-command")
def deploy_command(
    context: typer.Context,
    name: NameArgument,
    environment: EnvironmentOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Print the command that releases everything a customer has.

    With --json: {"command": [word], "targets": [target]}.

    Exit status: 0 printed, 2 bad configuration, 10 no such customer, or nothing is released for it.
    """
    import shlex

    from clodo.customers.pieces import targets_of_customer
    from clodo.customers.planning import settings_of
    from clodo.errors import TargetNotFound

    loaded = open_workspace(context, workspace)
    targets = [
        str(target)
        for settings in settings_of(loaded, name, environment)
        for target, _ in targets_of_customer(loaded, settings)
    ]
    if not targets:
        raise TargetNotFound(f"no service has a section for {name}", hint=f"clodo customer validate {name}")
    words = ["clodo", "deploy", *targets]
    if as_json:
        show_json({"command": words, "targets": targets})
        return
    show(shlex.join(words))


@app.command("remove")
def remove_customer(
    context: typer.Context,
    name: NameArgument,
    environment: EnvironmentOption = None,
    dry_run: DryRunOption = False,
    exit_code: ExitCodeOption = False,
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Take a customer out of the workspace: its env files and its sections; all or nothing, with a diff.

    What runs on Cloudflare goes on running, and its databases stay: that is said, with their names.

    With --json: {"customer", "written", "files", "diff", "notes", "targets"}; "targets" are those that are gone.

    Exit status: 0 removed, 2 bad configuration, 4 declined, or a file was changed meanwhile, 5 with --dry-run
    --exit-code if something would be written, 10 no such customer.
    """
    from clodo.customers.planning import plan_removal

    loaded = open_to_change(context, workspace, dry_run=dry_run)
    plan = plan_removal(loaded, name, environment)
    question = f"Take {name} out of {len(plan.edits)} files?"
    show_and_write(loaded, name, plan, "customer-removed", question, dry_run=dry_run, yes=yes, as_json=as_json)
    exit_if_pending(plan, wanted=dry_run and exit_code)


def show_and_write(
    loaded: Workspace,
    name: str,
    plan: CustomerPlan,
    action: str,
    question: str,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Show what a plan writes, ask, and write it; nothing is written when it is declined or fails."""
    notes = [shortened(loaded.root, note) for note in plan.notes]
    if not as_json:
        show(plan.diff(loaded.root).rstrip("\n") if plan.has_changes else "Nothing changes.")
        for note in notes:
            say(f"Note: {note}.")
    is_written = plan.has_changes and not dry_run
    if is_written:
        ask(question, yes=yes)
        from tasks.customers import write_plan

        with open_ledger(loaded.root) as ledger:
            write_plan(loaded, ledger, name, plan, action)
    if as_json:
        show_json(as_document(loaded, name, plan, is_written=is_written))
    elif is_written:
        say(f"Wrote {sum(edit.has_changes for edit in plan.edits)} files.")


def as_document(loaded: Workspace, name: str, plan: CustomerPlan, *, is_written: bool) -> dict[str, Any]:
    """Return what a script reads of a plan."""
    return {
        "customer": name,
        "written": is_written,
        "files": [shortened(loaded.root, str(edit.file)) for edit in plan.edits if edit.has_changes],
        "diff": plan.diff(loaded.root),
        "notes": [shortened(loaded.root, note) for note in plan.notes],
        "targets": [str(target) for target in (*plan.targets, *plan.gone)],
    }


def exit_if_pending(plan: CustomerPlan, *, wanted: bool) -> None:
    """End with 5 when a dry run found something to write and the caller asked to be told so."""
    if wanted and plan.has_changes:
        raise typer.Exit(CHANGES_PENDING)


def read_settings(given: list[str] | None) -> dict[str, str]:
    """
    Read ``NAME=VALUE`` options.

    Raises:
        BadUsage: One has no ``=``, or a name is given twice.
    """
    values: dict[str, str] = {}
    for text in given or ():
        name, mark, value = text.partition("=")
        if not mark:
            raise BadUsage(f'"{name}" is no NAME=VALUE')
        if name in values:
            raise BadUsage(f'"{name}" is given twice')
        values[name] = value
    return values


def _pieces(context: typer.Context, loaded: Workspace, name: str | None, *, tokens: bool) -> tuple[Pieces, ...]:
    from clodo.customers.pieces import pieces_of

    if not tokens or not loaded.customers:
        return pieces_of(loaded, customer=name)
    with prefect_for(context, loaded.root):
        from tasks.customers import SavedAccounts

        accounts = SavedAccounts()
        return pieces_of(loaded, customer=name, token=accounts.token, account_id=accounts.account_id)


def _show_pieces(found: tuple[Pieces, ...]) -> None:
    def cell(piece: Piece | None, *, is_id: bool = False) -> str | None:
        return None if piece is None else short(piece.value) if is_id else piece.value

    rows: list[tuple[Any, ...]] = [
        (
            pieces.customer,
            pieces.environment,
            pieces.target.service if pieces.target is not None else None,
            cell(pieces.domain),
            cell(pieces.account_id, is_id=True),
            cell(pieces.zone_id, is_id=True),
            pieces.token.value,
            cell(pieces.database_name),
            cell(pieces.database_id, is_id=True),
        )
        for pieces in found
    ]
    columns = ("customer", "environment", "service", "domain", "account", "zone", "token", "database", "database id")
    show_table(columns, rows, empty="No customers: config/customers/ has none.")


def _six(pieces: Pieces) -> list[tuple[str, Piece | None]]:
    return [
        ("domain", pieces.domain),
        ("account id", pieces.account_id),
        ("zone id", pieces.zone_id),
        ("database name", pieces.database_name),
        ("database id", pieces.database_id),
    ]


def _token(pieces: Pieces) -> tuple[str, str]:
    also = f", and the Worker's secret {pieces.token_in_worker}" if pieces.token_in_worker else ""
    return pieces.token.value, f"block {pieces.token_block}{also}"


app.command("create")(create)
app.command("update")(update)
