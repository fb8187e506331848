"""``clodo emulator``: the embedded cloud by itself, and the bad days one can order there."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer

from clodo.cli.options import JsonOption, YesOption
from clodo.cli.output import ask, progress, say, show, show_json, show_table
from clodo.errors import ApiRefused, BadUsage, Failed, NotFound, ToolchainMissing
from clodo.settings import Settings

app = typer.Typer(help="The embedded cloud by itself.", no_args_is_help=True)
fault = typer.Typer(help="What goes wrong on purpose.", no_args_is_help=True)
app.add_typer(fault, name="fault")

DEFAULT_DATA = Path(".clodo/emulator")

DataOption = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="Folder that keeps everything; made if it isn't there.")
]


@app.command()
def start(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")] = 8787,
    data: DataOption = DEFAULT_DATA,
    account: Annotated[
        str | None, typer.Option(metavar="ID", help="The first account's id: 32 hex digits; made up otherwise.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="T", help="The first account's API token; made up otherwise. Other users see arguments."),
    ] = None,
    zone: Annotated[
        list[str] | None, typer.Option(metavar="DOMAIN", help="A zone that the first account has; repeatable.")
    ] = None,
    workers_subdomain: Annotated[
        str | None, typer.Option(metavar="NAME", help="Workers answer at <worker>.NAME.workers.dev.")
    ] = None,
    workerd: Annotated[
        Path | None, typer.Option(metavar="PATH", help="One's own workerd instead of the pinned one.")
    ] = None,
    rate_limit: Annotated[
        bool, typer.Option("--rate-limit", help="Refuse more than 1,200 requests in five minutes, as the real API.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Repeat the same traffic split between versions at each start.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """
    Serve a Cloudflare on 127.0.0.1 until Ctrl-C or SIGTERM.

    What is deployed, the databases and the keys stay in the data folder and come back with the next start; killing
    the process loses nothing that was acknowledged. Secrets of Workers are kept there in files that only their owner
    can read.

    With --json, one document on standard output once it answers: {"url", "edge_url", "pid", "account_id", "token",
    "subdomain", "zone", "zone_id", "r2_url", "r2_access_key_id", "admin_token", "started_on"}. The same stands in
    emulator.json in the data folder.

    Exit status: 0 stopped when told to, 1 the port is in use or workerd is missing, 2 usage, 11 the data folder is in
    use.
    """
    from clodo.cli.logs import send_to_standard_error
    from clodo.cli.session import is_debugging
    from clodo.emulator.config import CloudConfig
    from clodo.emulator.server import run_until_told

    send_to_standard_error(debug=is_debugging(context))

    if workerd is None:
        workerd = _pinned_workerd()
    if not workerd.is_file():
        raise Failed(f"{workerd}: there is no workerd", hint="Leave --workerd out to use the pinned one.")
    config = CloudConfig(
        data=data.expanduser().absolute(),
        workerd=workerd.expanduser().absolute(),
        port=port,
        account_id=account,
        token=token,
        zones=tuple(zone or ()),
        workers_subdomain=workers_subdomain,
        rate_limit=rate_limit,
        seed=seed,
    )

    def ready(state: dict[str, Any]) -> None:
        if as_json:
            show_json(state)
            return
        show(f"Embedded cloud    {state['edge_url']}")
        show(f"Workers answer at <worker>.{state['subdomain']}.workers.dev, through the same port")
        if state["zone"]:
            show(f"Zone              {state['zone']}")
        show(
            f"R2 over S3        {state['r2_url']}, access key {state['r2_access_key_id']}, secret: the token's SHA-256"
        )
        show("")
        show(f"export CLOUDFLARE_API_BASE_URL={state['url']}")
        show(f"export CLOUDFLARE_ACCOUNT_ID={state['account_id']}")
        show(f"export CLOUDFLARE_API_TOKEN={state['token']}")
        say("Ctrl-C stops it.")

    run_until_told(config, ready)
    say("Stopped.")


@app.command()
def status(data: DataOption = DEFAULT_DATA, as_json: JsonOption = False) -> None:
    """
    Show what runs on the embedded cloud: Workers, versions, requests, errors, memory.

    With --json: {"url", "edge_url", "r2_url", "pid", "account_id", "subdomain", "zone", "seconds", "calls", "faults",
    "rate_limit", "ignore_overrides", "workers": [{"account_id", "script", "version_id", "requests", "errors",
    "responses", "in_flight", "pid", "memory_bytes", "percentage"}]}. A version out of traffic has no percentage. The
    keys are in emulator.json, not here.

    Exit status: 0 it runs, 10 it doesn't.
    """
    state = _running(data)
    found = _call(state, "GET", "/status")
    told = ("url", "edge_url", "r2_url", "pid", "account_id", "subdomain", "zone")
    document = {key: state[key] for key in told} | found
    if as_json:
        show_json(document)
        return
    show(f"{document['url']}  process {document['pid']}, up {document['seconds']:.0f} s, {document['calls']} API calls")
    show(f"R2 over S3: {document['r2_url']}")
    running = {worker["pid"]: worker["memory_bytes"] or 0 for worker in document["workers"] if worker["pid"]}
    names = {(worker["account_id"], worker["script"]) for worker in document["workers"]}
    show(f"{len(names)} Workers, {len(running)} processes of {sum(running.values()) / 2**20:.0f} MiB")
    show_table(
        ("worker", "version", "traffic", "requests", "errors", "in flight", "process", "MiB"),
        [
            (
                worker["script"],
                worker["version_id"][:8],
                None if worker["percentage"] is None else f"{worker['percentage']:g} %",
                worker["requests"],
                worker["errors"],
                worker["in_flight"],
                worker["pid"],
                worker["memory_bytes"] and round(worker["memory_bytes"] / 2**20, 1),
            )
            for worker in document["workers"]
        ],
        empty="Nothing is deployed yet.",
    )


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="What it is called in lists and logs.")] = "token",
    permission: Annotated[
        list[str] | None,
        typer.Option(metavar="GROUP", help='Permission group, such as "D1 Write"; repeatable. Everything otherwise.'),
    ] = None,
    zone: Annotated[
        list[str] | None,
        typer.Option(metavar="DOMAIN", help="Zone that permissions about zones are limited to; repeatable."),
    ] = None,
    account: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Account it reaches; repeatable. The first one's otherwise.")
    ] = None,
    owner: Annotated[str, typer.Option(help="user or account.")] = "user",
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="Such as 2026-12-24T18:00:00Z.")] = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """
    Make an API token, to rehearse what happens when a permission is missing.

    Its value is on standard output, once. With --json: {"id", "token"}.

    Exit status: 0 made, 2 usage or unknown permission, 10 no such zone or account, or the embedded cloud doesn't run.
    """
    state = _running(data)
    body = {
        "name": name,
        "account_ids": account or [state["account_id"]],
        "owner": owner,
        "permissions": permission,
        "zones": zone or [],
        "expires_on": expires,
    }
    made = _call(state, "POST", "/tokens", body)
    if as_json:
        show_json(made)
    else:
        show(made["token"])


@app.command()
def reset(data: DataOption = DEFAULT_DATA, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """
    Delete everything the embedded cloud keeps: accounts, Workers, databases, keys.

    It must not be running. With --json: {"deleted": folder or null}.

    Exit status: 0 nothing is left, 4 declined, 11 it runs.
    """
    import shutil

    from clodo.emulator.state import held

    folder = data.expanduser().absolute()
    if not folder.exists():
        _say_deleted(None, as_json=as_json)
        return
    if not (folder / "cloud.db").is_file() and any(folder.iterdir()):
        raise BadUsage(f"{folder} is not the data folder of an embedded cloud; nothing was deleted")
    with held(folder):
        ask(f"Delete everything in {folder}?", yes=yes)
        shutil.rmtree(folder)
    _say_deleted(folder, as_json=as_json)


@fault.command("add")
def add_fault(
    path: Annotated[str, typer.Argument(help="Regular expression; fits API paths below /client/v4.")] = "",
    method: Annotated[str | None, typer.Option(help="GET, POST, …; any otherwise.")] = None,
    body: Annotated[str, typer.Option(metavar="REGEX", help="Fits what is sent, such as an SQL statement.")] = "",
    action: Annotated[str, typer.Option(help="answer, reset, silence, malformed or pass (delay only).")] = "answer",
    status: Annotated[int, typer.Option(min=100, max=599, help="HTTP status of the answer.")] = 500,
    code: Annotated[int, typer.Option(help="Cloudflare's error number in the answer.")] = 10001,
    message: Annotated[str, typer.Option(help="Message in the answer.")] = "An unknown error has occurred.",
    retry_after: Annotated[float | None, typer.Option(metavar="SECONDS", help="Send Retry-After.")] = None,
    delay: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Wait first.")] = 0.0,
    nth: Annotated[int, typer.Option(min=1, help="The first fitting call that goes wrong.")] = 1,
    times: Annotated[int, typer.Option(min=0, help="How many go wrong from there; 0 for all.")] = 1,
    applied: Annotated[bool, typer.Option("--applied", help="Carry the call out, then fail.")] = False,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """
    Make API calls go wrong.

    With --json: the fault as it is armed, {"id", "path", "method", "body", "action", "nth", "times", "applied",
    "status", "code", "message", "retry_after", "delay_seconds"}; null for any method, no header, and all times.

    Exit status: 0 armed, 2 usage, 10 the embedded cloud doesn't run.
    """
    rule = {
        "path": path,
        "method": method,
        "body": body,
        "action": action,
        "status": status,
        "code": code,
        "message": message,
        "retry_after": retry_after,
        "delay_seconds": delay,
        "nth": nth,
        "times": times or None,
        "applied": applied,
    }
    armed = _call(_running(data), "POST", "/faults", rule)
    if as_json:
        show_json(armed)
    else:
        show(f"Armed {armed['id']}.")


@fault.command("worker")
def disturb_worker(
    worker: Annotated[str, typer.Argument(help="The Worker's name.")],
    version: Annotated[str | None, typer.Option(metavar="ID", help="One version; all of them otherwise.")] = None,
    latency_ms: Annotated[float, typer.Option(min=0, help="Added before each request reaches the Worker.")] = 0.0,
    error_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of requests that fail.")] = 0.0,
    error_status: Annotated[int, typer.Option(min=400, max=599, help="What those are answered.")] = 500,
    hang: Annotated[bool, typer.Option("--hang", help="Never answer.")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Close connections without an answer.")] = False,
    end: Annotated[bool, typer.Option("--end", help="Let it behave again.")] = False,
    account: Annotated[str | None, typer.Option(metavar="ID", help="The first account's otherwise.")] = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """
    Make a Worker misbehave towards its visitors, or one of its versions only.

    Exit status: 0 done, 2 usage, 10 no such Worker or version, or the embedded cloud doesn't run.
    """
    if not (end or hang or drop or latency_ms or error_rate):
        raise BadUsage(
            f"what should {worker} do to its visitors?", hint="--latency-ms, --error-rate, --hang, --drop, or --end."
        )
    state = _running(data)
    target = {"account_id": account or state["account_id"], "script": worker}
    if version:
        target["version_id"] = version
    look = "`clodo emulator status` lists Workers and versions."
    if end:
        _call(state, "DELETE", f"/disturbances?{urllib.parse.urlencode(target)}", if_missing=look)
        show(f"{worker} behaves again.")
        return
    disturbance = {
        "latency_ms": latency_ms,
        "error_rate": error_rate,
        "error_status": error_status,
        "hang": hang,
        "drop": drop,
    }
    _call(state, "PUT", "/disturbances", target | disturbance, if_missing=look)
    show(f"{worker} misbehaves from now on.")


@fault.command("list")
def list_faults(data: DataOption = DEFAULT_DATA, as_json: JsonOption = False) -> None:
    """
    Show the armed faults, and how many calls each has seen and struck.

    With --json: a list of what `add --json` gives, each with "seen" and "struck".

    Exit status: 0, or 10 the embedded cloud doesn't run.
    """
    armed = _call(_running(data), "GET", "/faults")
    if as_json:
        show_json(armed)
        return
    rows = [
        (rule["id"], rule["method"] or "any", rule["path"] or "any", rule["action"], rule["seen"], rule["struck"])
        for rule in armed
    ]
    show_table(("fault", "method", "path", "action", "seen", "struck"), rows, empty="No fault is armed.")


@fault.command("clear")
def clear_faults(data: DataOption = DEFAULT_DATA) -> None:
    """
    Disarm all faults.

    Exit status: 0, or 10 the embedded cloud doesn't run.
    """
    _call(_running(data), "DELETE", "/faults")
    show("No fault is armed any more.")


def _pinned_workerd() -> Path:
    from clodo.wrangler.toolchain import install, locate

    settings = Settings.from_environment()
    try:
        return locate(settings).workerd
    except ToolchainMissing:
        with progress("Installing the toolchain") as report:
            return install(settings, report).workerd


def _say_deleted(folder: Path | None, *, as_json: bool) -> None:
    if as_json:
        show_json({"deleted": str(folder) if folder else None})
    else:
        show(f"Deleted {folder}." if folder else "There was nothing to delete.")


def _running(data: Path) -> dict[str, Any]:
    from clodo.emulator.state import read_state

    folder = data.expanduser().absolute()
    state = read_state(folder)
    if state is None:
        raise NotFound(
            f"no embedded cloud runs on {folder}",
            hint="Start it with `clodo emulator start`, or name its folder with --data.",
        )
    return state


def _call(state: dict[str, Any], method: str, path: str, body: Any = None, *, if_missing: str | None = None) -> Any:
    """
    Ask the running cloud's own endpoints; the standard library does, and keeps the command quick.

    Args:
        if_missing: The hint when something that is named isn't there.
    """
    request = urllib.request.Request(  # noqa: S310
        f"{state['edge_url']}/__clodo{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {state['admin_token']}"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return json.load(answer)["result"]
    except urllib.error.HTTPError as error:
        problem = json.load(error)["errors"][0]["message"]
        if error.code == 400:
            raise BadUsage(problem) from error
        if error.code == 404:
            raise NotFound(problem, hint=if_missing) from error
        raise ApiRefused(problem, status=error.code) from error
    except OSError as error:
        raise NotFound(f"the embedded cloud at {state['edge_url']} doesn't answer: {error}") from error
