"""``clodo config``: what targets are configured to be, whether that is right, and what changed."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clodo.cli.config_migration import migrate, shortened
from clodo.cli.findings import show_findings
from clodo.cli.options import TARGET_FORM, JsonOption, TargetArgument, WorkspaceOption
from clodo.cli.outcomes import CHANGES_PENDING
from clodo.cli.output import moment, number_of, say, short, show_json, show_table
from clodo.cli.session import open_ledger, open_workspace, prefect_for, workspace_folder
from clodo.errors import BadConfiguration, BadUsage, ClodoError, TargetNotFound

if TYPE_CHECKING:
    from clodo.workspace.differences import Difference
    from clodo.workspace.effective_values import Value
    from clodo.workspace.validation import AccountLookup, Validated
    from clodo.workspace.workspace import Workspace

LIVE = "live"
BAD_CONFIGURATION = 2
_RELEASE_ID = re.compile(r"r[0-9a-hjkmnp-tv-z]{6,26}")
_SIDE = f"{TARGET_FORM} Or a release's id, or `{LIVE}`."

app = typer.Typer(help="What targets are configured to be.", no_args_is_help=True)


@app.command("show")
def show_config(
    context: typer.Context,
    target: TargetArgument,
    only: Annotated[
        str | None, typer.Option("--only", metavar="PREFIX", help="Only values whose path begins so, such as vars.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Show everything a target is configured to be, each value with the file and line that says it; secrets masked.

    With --json: {"target", "worker", "values": [{"path", "value", "place", "is_secret"}]}; places are file:line.

    Exit status: 0 shown, 2 bad configuration, or nothing can be called as --only says; 10 no such target.
    """
    from clodo.workspace.effective_values import beginning_with, effective_values

    loaded = open_workspace(context, workspace)
    found = loaded.find(target)
    values = effective_values(loaded, found) if only is None else beginning_with(effective_values(loaded, found), only)
    if as_json:
        rows = [_value_as_json(value) for value in values]
        show_json({"target": str(found), "worker": loaded.effective(found).worker_name, "values": rows})
        return
    rows_of_text = [(value.path, value.text, shortened(loaded.root, value.place)) for value in values]
    show_table(("key", "value", "from"), rows_of_text, empty="Nothing is configured under this name.")


@app.command("diff")
def diff_config(
    context: typer.Context,
    before: Annotated[str, typer.Argument(metavar="A", help=_SIDE, show_default=False)],
    after: Annotated[str, typer.Argument(metavar="B", help=_SIDE, show_default=False)],
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 5 if something differs.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Show in which values two configurations differ: two targets, or one now and what is live, or what a release used.

    As in `clodo config diff api@staging api@production`, `clodo config diff live api`, `clodo config diff r01k… api`.
    Compared with `live`, only what Cloudflare tells of a Worker counts.

    With --json: {"before", "after", "differences": [{"path", "before", "after", "before_place", "after_place"}]}; null
    where one has no such value.

    Exit status: 0 shown, 2 usage or bad configuration, 5 something differs (only with --exit-code), 10 no such target,
    Worker or release, 12 not authorised, 75 try later.
    """
    loaded = open_workspace(context, workspace)
    if LIVE in (before, after):
        found = _compare_with_live(context, loaded, before, after)
    else:
        found = _compare(loaded, before, after)
    if as_json:
        show_json({"before": before, "after": after, "differences": [item.to_json() for item in found]})
    else:
        rows = [
            (
                item.path,
                item.before.text if item.before else None,
                item.after.text if item.after else None,
                shortened(loaded.root, (item.after or item.before or _nowhere()).place),
            )
            for item in found
        ]
        show_table(("key", before, after, "from"), rows, empty=f"{before} and {after} are configured alike.")
    if exit_code and found:
        raise typer.Exit(CHANGES_PENDING)


@app.command("validate")
def validate_config(
    context: typer.Context,
    look_up: Annotated[
        bool, typer.Option("--look-up", help="Also ask the accounts whether the ids and names exist there.")
    ] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 5 if there are warnings.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Look at every configuration file of the workspace and list all that is wrong, the worst first; writes nothing.

    Errors make a release impossible or wrong; warnings are what wrangler warns of, and more of the kind. How long
    look-ups took is said apart; an account that can't be asked becomes a note, beside all other findings, and is the
    error in the end. `clodo security validate` looks for secrets and unsafe settings.

    With --json: {"files", "seconds", "look_up_seconds", "findings": [{"rule", "severity", "target", "key", "file",
    "line", "message", "remedy", "expired_waiver"}]}; severity is error, warning or note; what doesn't apply is null.

    Exit status: 0 no errors, 2 there are errors, 5 there are warnings (only with --exit-code); and without errors, when
    an account could not be asked: 2 nobody saved its block, 12 not authorised, 75 try later.
    """
    root = workspace_folder(context, workspace)
    started = time.monotonic()
    result, connecting = _validated(context, root, look_up=look_up)
    looking_up = result.looking_up.total_seconds() + connecting
    seconds = time.monotonic() - started - looking_up
    if as_json:
        show_json(
            {
                "files": result.files,
                "seconds": round(seconds, 3),
                "look_up_seconds": round(looking_up, 3) if look_up else None,
                "findings": [finding.to_json() for finding in result.findings],
            }
        )
    else:
        show_findings(root, result.findings)
        looked_up = f", look-ups {looking_up:.2f} s" if look_up else ""
        say(f"Looked at {number_of(result.files, 'file')} in {seconds:.2f} s{looked_up}: {_counted(result)}.")
    if result.has_errors:
        raise typer.Exit(BAD_CONFIGURATION)
    if result.not_looked_up:
        raise result.not_looked_up[0]
    if exit_code and any(finding.severity.value == "warning" for finding in result.findings):
        raise typer.Exit(CHANGES_PENDING)


@app.command("history")
def history(
    context: typer.Context,
    target: TargetArgument,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, newest first.")] = 20,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    List the releases of a target with the configuration each used, and which keys changed since the one before.

    With --json: [{"release", "state", "created_at", "digest", "changed": [path]}]; digest is null when nobody wrote it
    down.

    Exit status: 0 listed, 1 the ledger can't be read, 2 usage, 10 no such target now, and none was ever released.
    """
    from clodo.workspace.differences import differences, values_of_content
    from clodo.workspace.targets import Target

    trouble: ClodoError | None = None
    try:
        found = open_workspace(context, workspace).find(target)
    except (TargetNotFound, BadConfiguration) as error:
        # It may have been a target once, and what was released is known however broken the files are.
        found, trouble = Target.parse(target), error
    with open_ledger(workspace_folder(context, workspace)) as ledger:
        releases = ledger.releases.list(str(found), limit=limit + 1)
        if trouble is not None and not releases:
            raise trouble
        digests = ledger.configurations.digests([release.id for release in releases])
        contents = {
            digest: ledger.configurations.get(release_id)
            for digest, release_id in {digest: release_id for release_id, digest in digests.items()}.items()
        }
    rows: list[dict[str, Any]] = []
    known = [release for release in releases if release.id in digests]
    for release in releases[:limit]:
        digest = digests.get(release.id)
        earlier = next((item for item in known if item.created_at < release.created_at), None)
        changed: list[str] = []
        if digest is not None and earlier is not None and digests[earlier.id] != digest:
            one, other = contents[digests[earlier.id]] or {}, contents[digest] or {}
            changed = [item.path for item in differences(values_of_content(one, ""), values_of_content(other, ""))]
        rows.append(
            {
                "release": release.id,
                "state": release.state.value,
                "created_at": release.created_at.isoformat(),
                "digest": digest,
                "changed": changed,
            }
        )
    if as_json:
        show_json(rows)
        return
    shown = [
        (
            short(row["release"], among=[other["release"] for other in rows]),
            moment(release.created_at),
            row["state"],
            short(row["digest"]),
            ", ".join(row["changed"]) or None,
        )
        for row, release in zip(rows, releases, strict=False)
    ]
    show_table(("release", "started (UTC)", "state", "config", "changed"), shown, empty="No releases yet.")


def _compare(loaded: Workspace, before: str, after: str) -> tuple[Difference, ...]:
    from clodo.workspace.differences import differences

    released = [name for name in (before, after) if _is_release(loaded, name)]
    fingerprint = None
    if released:
        from clodo.ledger import fingerprints
        from clodo.releases.configuration import fingerprinter

        fingerprint = fingerprinter(fingerprints.load_key(loaded.root))
    sides = [_values(loaded, name, is_release=name in released) for name in (before, after)]
    # A release's own places are of files as they were; names of blocks are no part of what Cloudflare is told.
    return differences(sides[0], sides[1], fingerprint=fingerprint)


def _values(loaded: Workspace, name: str, *, is_release: bool) -> tuple[Value, ...]:
    from clodo.workspace.effective_values import effective_values

    if not is_release:
        return effective_values(loaded, loaded.find(name))
    from clodo.releases.configuration import configuration_of_release

    with open_ledger(loaded.root) as ledger:
        return configuration_of_release(ledger, name)[1]


def _is_release(loaded: Workspace, name: str) -> bool:
    return bool(_RELEASE_ID.fullmatch(name)) and name not in {service.name for service in loaded.services}


def _compare_with_live(context: typer.Context, loaded: Workspace, before: str, after: str) -> tuple[Difference, ...]:
    other = after if before == LIVE else before
    if other == LIVE or _is_release(loaded, other):
        raise BadUsage(f"{other} can't be compared with what is live", hint=f"Name a target: {TARGET_FORM}")
    found = loaded.find(other)
    with prefect_for(context, loaded.root):
        from clodo.releases.configuration import live_values, wanted_values
        from clodo.workspace.differences import differences
        from tasks.sites import open_site

        with open_site(str(loaded.root)) as site:
            live, wanted = live_values(site, found), wanted_values(site, found)
    return differences(live, wanted) if before == LIVE else differences(wanted, live)


def _validated(context: typer.Context, root: Path, *, look_up: bool) -> tuple[Validated, float]:
    """Return the findings, and how long it took to be able to ask an account at all."""
    from clodo.customers.findings import customer_findings
    from clodo.settings import Settings
    from clodo.workspace.validation import validate
    from clodo.wrangler.toolchain import config_schema, locate

    def schema_file() -> Path:
        return config_schema(locate(Settings.from_environment()))

    further = (customer_findings,)
    if not look_up:
        return validate(root, schema_file=schema_file, further=further), 0.0
    began = time.monotonic()
    with ExitStack() as stack:
        account = _lookups(context, root, stack)
        connecting = time.monotonic() - began
        return validate(root, schema_file=schema_file, account=account, further=further), connecting


def _lookups(context: typer.Context, root: Path, stack: ExitStack) -> Callable[[str], AccountLookup]:
    """Return what gives the look-up of a block's account; it raises why there is none."""
    from clodo.cloudflare.budget import Lane
    from clodo.cloudflare.client import Cloudflare
    from clodo.workspace.validation.cloudflare_lookup import CloudflareLookup

    unreachable: ClodoError | None = None
    try:
        stack.enter_context(prefect_for(context, root))
    except ClodoError as error:
        unreachable = error

    @functools.cache
    def account(block: str) -> AccountLookup:
        from tasks.sites import account_keys

        if unreachable is not None:
            raise unreachable
        keys = account_keys(block)
        client = Cloudflare(keys.account_id, keys.token, keys.base_url, lane=Lane.READ)
        return CloudflareLookup(stack.enter_context(client))

    return account


def _counted(result: Validated) -> str:
    kinds = [finding.severity.value for finding in result.findings]
    return ", ".join(number_of(kinds.count(kind), kind) for kind in ("error", "warning", "note"))


def _value_as_json(value: Value) -> dict[str, Any]:
    return {"path": value.path, "value": value.shown, "place": value.place, "is_secret": value.is_secret}


def _nowhere() -> Value:
    from clodo.workspace.effective_values import Value

    return Value("", None, "")


app.command("migrate")(migrate)
