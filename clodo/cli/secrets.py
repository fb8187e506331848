"""``clodo secrets``: secrets of Workers, and the API tokens: made, compared, rotated, never shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clodo.cli.deploy import LocalLedgerOption, NoTestsOption, OverwriteOption, TakeOverOption, Wishes, release
from clodo.cli.options import (
    JsonOption,
    ReasonOption,
    SomeTargetsArgument,
    TargetArgument,
    TargetsArgument,
    WorkspaceOption,
    YesOption,
)
from clodo.cli.output import answer_to, ask, moment, say, show, show_json, show_table
from clodo.cli.session import open_ledger, open_workspace, prefect_for, workspace_folder
from clodo.errors import BadUsage
from clodo.secrets.generating import SecretKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clodo.secrets.aging import Aged
    from clodo.workspace.targets import Target
    from clodo.workspace.workspace import Workspace

CHANGES_PENDING = 5
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Of the secret.", show_default=False)]
KindOption = Annotated[
    SecretKind | None,
    typer.Option("--kind", help="What it is for; as is declared, or it was made before, else api."),
]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Also what is kept already.")]

app = typer.Typer(help="Secrets of Workers, and the API tokens: made, compared, rotated.", no_args_is_help=True)


@app.command()
def generate(
    context: typer.Context,
    target: TargetArgument,
    name: NameArgument,
    kind: KindOption = None,
    prefix: Annotated[str, typer.Option("--prefix", metavar="TEXT", help="What a key of kind api begins with.")] = "",
    replace: ReplaceOption = False,
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Make a secret and keep it in the target's Prefect block; nobody sees it. The next release brings it to the Worker.

    With --json: {"target", "name", "kind"}.

    Exit status: 0 kept, 2 it is kept already, or the service doesn't declare it, 4 declined, 10 no such target.
    """
    loaded = open_workspace(context, workspace)
    found = loaded.find(target)
    if replace:
        ask(f"Replace {name} of {found}? Who uses the value before is refused from the next release on.", yes=yes)
    with prefect_for(context, loaded.root):
        from flows.generate_secret import generate_secret as flow

        made = flow(target=str(found), name=name, workspace=str(loaded.root), kind=kind, prefix=prefix, replace=replace)
    if as_json:
        show_json({"target": str(found), "name": name, "kind": made})
        return
    show(f"Made {name} ({made}) for {found}. `clodo secrets push {found}` brings it to the Worker.")


@app.command("import")
def import_secrets(
    context: typer.Context,
    target: TargetArgument,
    replace: ReplaceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Keep secrets that come through standard input, as NAME=value lines or a JSON object.

    `clodo secrets import api@staging < secrets.env`. They go into the target's Prefect block, and
    nowhere else. There is no export.

    With --json: {"target", "changed": [name]}.

    Exit status: 0 kept, 2 no good input, names the service doesn't declare, or other values are kept, 10 no such
    target.
    """
    loaded = open_workspace(context, workspace)
    found = loaded.find(target)
    values = _piped()
    with prefect_for(context, loaded.root):
        # Not a flow: values can't be its parameters, which Prefect keeps.
        from tasks.secrets import import_into_block

        changed = import_into_block(str(loaded.root), str(found), values, replace=replace)
    if as_json:
        show_json({"target": str(found), "changed": list(changed)})
        return
    show(f"Kept {', '.join(changed)} for {found}." if changed else f"Nothing new for {found}.")


@app.command()
def push(
    context: typer.Context,
    targets: TargetsArgument = None,
    no_tests: NoTestsOption = False,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
    allow_local_ledger: LocalLedgerOption = False,
    reason: ReasonOption = "push secrets",
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Bring the kept secrets to the targets' Workers: a release, so that code and secrets change together, and are undone
    together.

    With --json: as `clodo deploy --json`.

    Exit status: as `clodo deploy`.
    """
    loaded = open_workspace(context, workspace)
    if not targets:
        raise BadUsage("which target?", hint="Name one: `clodo secrets push api@staging`.")
    release(
        context,
        loaded,
        list(dict.fromkeys(loaded.find(name) for name in targets)),
        Wishes(reason, overwrite, take_over, no_tests, allow_local_ledger),
        dry_run=False,
        exit_code=False,
        yes=yes,
        as_json=as_json,
        max_parallel=2,
        stop_after_failures=1,
    )


@app.command("list")
def list_secrets(
    context: typer.Context,
    targets: SomeTargetsArgument = None,
    due: Annotated[bool, typer.Option("--due", help="Only those that are due to be rotated.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    List the names of secrets, whether each is kept, how old it is, and when it is due; never a value.

    With --json: [{"target", "name", "kept", "kind", "made_at", "age_days", "due_at", "is_due", "rotation"}]. A
    rotation is begun or overlapping while one is under way.

    Exit status: 0 listed, 10 no such target.
    """
    from datetime import UTC, datetime

    loaded = open_workspace(context, workspace)
    chosen = _chosen(loaded, targets)
    now = datetime.now(UTC)
    with prefect_for(context, loaded.root), open_ledger(loaded.root) as ledger:
        from tasks.secrets import ages

        found = [pair for pair in ages(loaded, ledger, chosen) if not due or pair[0].is_due(now)]
    if as_json:
        show_json([{**age.to_json(now), "kept": kept} for age, kept in found])
        return
    show_table(
        ("target", "name", "kept", "kind", "age", "due (UTC)"),
        [
            (age.target, age.name, "yes" if kept else "MISSING", age.kind or None, *_dates(age, now))
            for age, kept in found
        ],
        empty="No secrets." if not due else "Nothing is due.",
    )


@app.command()
def diff(
    context: typer.Context,
    targets: SomeTargetsArgument = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 5 if there is a difference.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Compare the kept secrets with the Workers' by name and keyed fingerprint; writes nothing.

    same: the last release brought the value that is kept. stale: it brought another. missing: the Worker lacks it. not
    kept: it is needed, and nobody keeps it. extra: only the Worker has it. unknown: nothing tells which value it has.

    With --json: [{"target", "name", "comparison", "same_as": [target]}]; "same_as" lists targets of other
    environments that keep the same value.

    Exit status: 0 compared, 5 something differs (--exit-code), 10 no such target, 12 not authorised, 75 try later.
    """
    loaded = open_workspace(context, workspace)
    chosen = _chosen(loaded, targets)
    with prefect_for(context, loaded.root):
        from tasks.secrets import differences
        from tasks.sites import open_site

        with open_site(str(loaded.root)) as site:
            found = differences(site, chosen)
    rows = [(str(target), item) for target, items in found.items() for item in items]
    if as_json:
        show_json([{"target": target, **item.to_json()} for target, item in rows])
    else:
        show_table(
            ("target", "name", "on the Worker", "same value in"),
            [(target, item.name, item.comparison.value, ", ".join(item.twins) or None) for target, item in rows],
            empty="No secrets.",
        )
    if exit_code and any(item.is_difference for _, item in rows):
        raise typer.Exit(CHANGES_PENDING)


@app.command()
def rotate(
    context: typer.Context,
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="api, api@staging.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of the secret.", show_default=False)] = None,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Retire the value before without a time of grace.")
    ] = False,
    without_probe: Annotated[
        bool, typer.Option("--without-probe", help="Also when nothing shows which values the Worker accepts.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Retire what is over its grace, and go on with what was cut short.")
    ] = False,
    token: Annotated[
        str | None, typer.Option("--token", metavar="ACCOUNT", help="Roll the API token of this account's block.")
    ] = None,
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Replace a secret: release a new value beside the one before, see both accepted by the running Worker, and retire the
    one before after its time of grace.

    How is declared under [services.….rotation.NAME] in portfolio.toml. Without a declared kind, a new value is made as
    the one before was; one that was imported is refused. The scheduled flow `retire-secrets` does what --finish does.

    With --json: {"id", "target", "name", "state", "retire_at"}; with --finish [{"target", "name", "state"}];
    with --token {"account", "token_id"}.

    Exit status: 0 done and verified, 1 the Worker did not do what was expected (and the value before is back),
    2 nothing to replace, no kind, no probe, or no address that leads to it (nothing is written), 3 some rotations could
    not be finished, 4 refused (declined; one is under way), 11 locked.
    """
    if sum((target is not None, finish, token is not None)) != 1 or (target is None) != (name is None):
        raise BadUsage("name a target and a secret, or say --finish, or --token ACCOUNT")
    folder = workspace_folder(context, workspace)
    loaded = open_workspace(context, workspace)
    if token is not None:
        ask(f"Give the API token of {token} a new value? Whoever has the old one is refused at once.", yes=yes)
    elif target is not None:
        found = str(loaded.find(target))
        at = "at once" if at_once else "after its time of grace"
        ask(f"Replace {name} of {found}, and retire the value before {at}?", yes=yes)
    told: Any
    with prefect_for(context, folder):
        if token is not None:
            from flows.roll_api_token import roll_api_token

            told = {"account": token, "token_id": roll_api_token(account=token, workspace=str(folder))}
            line = f"The API token {told['token_id']} of {token} has a new value; the old one is refused."
        elif finish:
            from flows.retire_secrets import retire_secrets

            told = retire_secrets(workspace=str(folder))
            line = (
                "\n".join(f"{item['target']}: {item['name']} is {item['state']}." for item in told) or "Nothing to do."
            )
        else:
            from flows.rotate_secret import rotate_secret

            told = rotate_secret(
                target=found, name=name or "", workspace=str(folder), at_once=at_once, without_probe=without_probe
            )
            until = f"; the value before is good until {told['retire_at']}" if told["state"] == "overlapping" else ""
            line = f"{found}: {name} has a new value{until}."
    if as_json:
        show_json(told)
        return
    show(line)


@app.command("token")
def keep_token(
    context: typer.Context,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name of the CloudflareAccount block.")] = "default",
    in_keyring: Annotated[
        bool, typer.Option("--keyring", help="In the operating system's keyring; the block then says only where.")
    ] = False,
    account_id: Annotated[
        str | None, typer.Option("--account-id", metavar="ID", help="32 hex digits, for a block that isn't there yet.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Keep an API token that comes through standard input, or that is asked for; it is verified first.

    With --json: {"account", "token_id"}.

    Exit status: 0 kept, 2 no token, or no such block, 12 Cloudflare doesn't take it.
    """
    folder = workspace_folder(context, workspace)
    text = _piped_token()
    with prefect_for(context, folder):
        from tasks.tokens import save_token

        found = save_token(str(folder), account, text, in_keyring=in_keyring, account_id=account_id)
    if as_json:
        show_json({"account": account, "token_id": found})
        return
    from clodo.security.reading import keys_beside_blocks

    if not in_keyring and keys_beside_blocks(folder):
        say("The key that encrypts this server's blocks lies beside their database: --keyring keeps them apart.")
    show(f"The API token {found} is kept {'in the keyring' if in_keyring else 'in the block'} for {account}.")


def _piped() -> dict[str, str]:
    """Read secrets from standard input."""
    from clodo.secrets.importing import parse_secrets

    if sys.stdin.isatty():
        raise BadUsage("the secrets come through standard input", hint="clodo secrets import api@staging < secrets.env")
    try:
        return parse_secrets(sys.stdin.read())
    except UnicodeDecodeError as error:
        raise BadUsage("standard input is not UTF-8 text") from error


def _piped_token() -> str:
    if sys.stdin.isatty():
        import questionary

        return str(answer_to(questionary.password, "API token:")).strip()
    text = sys.stdin.read().strip()
    if not text or len(text.split()) != 1:
        raise BadUsage("standard input holds no token", hint="Pipe the token in, and nothing else.")
    return text


def _chosen(workspace: Workspace, names: Sequence[str] | None) -> list[Target]:
    return [workspace.find(name) for name in names] if names else list(workspace.targets)


def _dates(age: Aged, now: Any) -> tuple[str | None, str | None]:
    days = None if age.made_at is None else f"{(now - age.made_at).days} d"
    due = moment(age.due_at)
    if age.rotation:
        return days, f"being rotated ({age.rotation})"
    return days, f"{due} DUE" if age.is_due(now) else due
