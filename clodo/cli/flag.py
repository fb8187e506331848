"""``clodo flag``: feature flags, in files, in variables, in KV."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clodo.cli.options import JsonOption, SomeTargetsArgument, TargetsArgument, WorkspaceOption, YesOption
from clodo.cli.output import ask, show, show_json, show_table
from clodo.cli.session import open_workspace, prefect_for
from clodo.errors import BadUsage

if TYPE_CHECKING:
    from datetime import date

    from clodo.flags.flags import Flag, ServiceFlags
    from clodo.workspace.workspace import Workspace

CHANGES_PENDING = 5

app = typer.Typer(help="Feature flags of services, by environment and customer.", no_args_is_help=True)


@app.command("set")
def set_flag(
    context: typer.Context,
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="By its name.", show_default=False)],
    flag: Annotated[str, typer.Argument(metavar="FLAG", help="As declared in its file.", show_default=False)],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="true, 3, text, or JSON.", show_default=False)],
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", metavar="NAME", help="Where; the default if left out.")
    ] = None,
    customer: Annotated[str | None, typer.Option("--customer", "-c", metavar="NAME", help="For whom.")] = None,
    percent: Annotated[
        float | None, typer.Option("--percent", min=0, max=100, help="Of the subjects; the others get the default.")
    ] = None,
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Set a flag in config/flags/<service>.toml; where flags go through KV, the running Workers have it within a minute.

    Comments and order of the file stay. If KV can't be written, the file is as it was.

    With --json: {"service", "flag", "live_at": [target]}; "live_at" is empty when it comes with the next release.

    Exit status: 0 set, 2 no such flag, environment or value, 4 declined, 10 no such service, 12 not authorised, 75 try
    later.
    """
    loaded = open_workspace(context, workspace)
    loaded.service(service)
    declared = _declared(loaded, service)
    parsed = _value(declared, flag, value)
    protected = [name for name, item in loaded.portfolio.environments.items() if item.protected]
    if declared.delivery == "kv" and (environment in protected or (environment is None and protected)):
        ask(f"Set {flag} of {service} for the running Workers of {environment or ', '.join(protected)}?", yes=yes)
    with prefect_for(context, loaded.root):
        from flows.set_flag import set_flag as flow

        done = flow(
            service=service,
            flag=flag,
            value=parsed,
            environment=environment,
            customer=customer,
            percent=percent,
            workspace=str(loaded.root),
        )
    if as_json:
        show_json({"service": service, "flag": flag, "live_at": done})
        return
    where = f"live at {', '.join(done)}" if done else "it comes with the next release"
    show(f"Set {flag} of {service}: {where}.")


@app.command("list")
def list_flags(
    context: typer.Context,
    services: Annotated[
        list[str] | None, typer.Argument(metavar="SERVICE", help="Only these; all if left out.", show_default=False)
    ] = None,
    expired: Annotated[bool, typer.Option("--expired", help="Only those that should be gone.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    List flags with their defaults, where they differ, and until when they are meant to be there.

    With --json: [{"service", "flag", "type", "default", "expires", "expired", "description", "delivery",
    "environments", "customers"}].

    Exit status: 0 listed, 2 a file is broken, 10 no such service.
    """
    from datetime import UTC, datetime

    from clodo.flags.files import services_with_flags

    loaded = open_workspace(context, workspace)
    for name in services or ():
        loaded.service(name)
    for name in services_with_flags(loaded.root):
        loaded.service(name)
    chosen = services or services_with_flags(loaded.root)
    today = datetime.now(UTC).date()
    found = [
        (service, name, flag, declared)
        for service in chosen
        for declared in (_declared(loaded, service),)
        for name, flag in sorted(declared.flags.items())
        if not expired or flag.is_expired(today)
    ]
    if as_json:
        show_json([_as_json(service, name, flag, declared, today) for service, name, flag, declared in found])
        return
    show_table(
        ("service", "flag", "type", "default", "otherwise", "expires"),
        [
            (
                service,
                name,
                flag.type,
                json.dumps(flag.default, ensure_ascii=False),
                _otherwise(flag),
                _until(flag, today),
            )
            for service, name, flag, _ in found
        ],
        empty="No flags.",
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
    Compare the flags in files with what the running Workers are served; writes nothing.

    With --json: [{"target", "flag", "here", "live"}], only those that differ; null for a flag that isn't there.

    Exit status: 0 compared, 2 a file is broken, 5 something differs (--exit-code), 10 no such target, 12 not
    authorised.
    """
    loaded = open_workspace(context, workspace)
    chosen = [loaded.find(name) for name in targets] if targets else list(loaded.targets)
    with prefect_for(context, loaded.root):
        from tasks.flags import differences
        from tasks.sites import open_site

        with open_site(str(loaded.root)) as site:
            found = differences(site, chosen)
    if as_json:
        show_json([item.to_json() for item in found])
    else:
        show_table(
            ("target", "flag", "here", "live"),
            [(item.target, item.flag, _served(item.here), _served(item.live)) for item in found],
            empty="All flags are as the files say.",
        )
    if exit_code and found:
        raise typer.Exit(CHANGES_PENDING)


@app.command()
def push(
    context: typer.Context,
    targets: TargetsArgument = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Write the flags of targets to KV as their files say, after they were edited by hand.

    With --json: {"live_at": [target]}.

    Exit status: 0 written and read back, 2 their flags don't go through KV, 10 no such target, 12 not authorised.
    """
    loaded = open_workspace(context, workspace)
    if not targets:
        raise BadUsage("which target?", hint="Name one: `clodo flag push api@staging`.")
    chosen = [str(loaded.find(name)) for name in targets]
    with prefect_for(context, loaded.root):
        from flows.push_flags import push_flags as flow

        done = flow(targets=chosen, workspace=str(loaded.root))
    if as_json:
        show_json({"live_at": done})
        return
    show(f"Wrote the flags of {', '.join(done)}.")


@app.command()
def module() -> None:
    """
    Print the module that decides flags in a Worker: `clodo flag module > src/flags.mjs`.

    Exit status: 0 printed.
    """
    from importlib.resources import files

    typer.echo((files("clodo.flags") / "worker" / "flags.mjs").read_text(encoding="utf-8"), nl=False)


def _declared(workspace: Workspace, service: str) -> ServiceFlags:
    from clodo.flags.files import file_of, read_flags

    declared = read_flags(workspace.root, service)
    if declared is None:
        raise BadUsage(
            f"{service} has no flags: there is no {file_of(workspace.root, service).relative_to(workspace.root)}",
            hint="docs/flags.md shows how they are declared.",
        )
    return declared


def _value(declared: ServiceFlags, flag: str, text: str) -> Any:
    """Read VALUE as the flag's type asks; text is taken as it is."""
    known = declared.flags.get(flag)
    if known is None or known.type == "string":
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadUsage(f"{flag} is of the type {known.type}, which the value is not") from error


def _otherwise(flag: Flag) -> str | None:
    settings = [*flag.environments.items(), *flag.customers.items()]
    said = [
        f"{name} {json.dumps(item.value, ensure_ascii=False)}"
        + (f" for {item.percent:g} %" if item.percent is not None else "")
        for name, item in settings
    ]
    return "; ".join(said) or None


def _until(flag: Flag, today: date) -> str | None:
    if flag.expires is None:
        return None
    return f"{flag.expires} EXPIRED" if flag.is_expired(today) else flag.expires.isoformat()


def _served(setting: Any) -> str | None:
    if setting is None:
        return None
    value = json.dumps(setting.get("value") if isinstance(setting, dict) else setting, ensure_ascii=False)
    return f"{value} for {setting['percent']:g} %" if isinstance(setting, dict) and "percent" in setting else value


def _as_json(service: str, name: str, flag: Flag, declared: ServiceFlags, today: date) -> dict[str, Any]:
    return {
        "service": service,
        "flag": name,
        "type": flag.type,
        "default": flag.default,
        "expires": flag.expires and flag.expires.isoformat(),
        "expired": flag.is_expired(today),
        "description": flag.description,
        "delivery": declared.delivery,
        "environments": {name: item.model_dump(exclude_none=True) for name, item in flag.environments.items()},
        "customers": {name: item.model_dump(exclude_none=True) for name, item in flag.customers.items()},
    }
