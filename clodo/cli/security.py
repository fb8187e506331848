"""``clodo security``: rules over what the workspace says, and over the secrets it releases with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clodo.cli.config_migration import shortened
from clodo.cli.findings import show_findings
from clodo.cli.options import JsonOption, SomeTargetsArgument, WorkspaceOption
from clodo.cli.output import say, show_json, show_table
from clodo.cli.session import open_workspace, prefect_for
from clodo.errors import BadUsage, Refused

if TYPE_CHECKING:
    from clodo.security.checking import Checked
    from clodo.security.inspecting import Inspection
    from clodo.workspace.targets import Target
    from clodo.workspace.workspace import Workspace

SarifOption = Annotated[bool, typer.Option("--sarif", help="Print a SARIF 2.1.0 log, which code hosts read.")]
ScanOption = Annotated[
    bool, typer.Option("--scan/--no-scan", help="Look for credentials in all files that git keeps, too.")
]
SecretsOption = Annotated[
    bool, typer.Option("--secrets", help="Look at the secrets in the Prefect blocks, too; never shown.")
]
HistoryOption = Annotated[bool, typer.Option("--history", help="Look through git's history of the config files, too.")]

app = typer.Typer(help="Security rules over settings and secrets.", no_args_is_help=True)


@app.command()
def validate(
    context: typer.Context,
    targets: SomeTargetsArgument = None,
    scan: ScanOption = True,
    secrets: SecretsOption = False,
    history: HistoryOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    as_sarif: SarifOption = False,
) -> None:
    """
    Check settings, env files, assets' headers and files against the security rules; writes nothing.

    A finding names rule, key and place, never the value. What a waiver in portfolio.toml sets aside doesn't count,
    until it expires. Every release is checked by the same rules, and a critical finding stops it.

    With --json: {"ok", "findings": [{"rule", "severity", "target", "key", "file", "line", "message", "remedy",
    "expired_waiver"}], "waived": [the same with "reason", "expires"], "notes": [text], "seconds": {part: number}}.

    Exit status: 0 nothing critical, 2 bad configuration, 4 something critical, 10 no such target.
    """
    _raise_if_two_forms(as_json, as_sarif)
    loaded = open_workspace(context, workspace)
    chosen = [loaded.find(name) for name in targets] if targets else list(loaded.targets)
    found = _inspect(context, loaded, chosen, scan=scan, secrets=secrets, history=history)
    if as_sarif:
        _show_sarif(found.checked, loaded)
    elif as_json:
        show_json(_as_json(found))
    else:
        _show(found, loaded)
    _end(found.checked)


@app.command()
def readiness(
    context: typer.Context,
    targets: SomeTargetsArgument = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", metavar="NAME", help="All targets of this environment.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    as_sarif: SarifOption = False,
) -> None:
    """
    Say of each target whether it is ready for release, by all rules: settings, secrets, files, git's history.

    Without targets: those of the default environment. Secrets are read from the Prefect blocks, and never shown.

    With --json: as `validate --json`, and "targets": [{"target", "ready", "critical", "warnings", "notes"}].

    Exit status: 0 all are ready, 2 bad configuration, 4 something critical, 10 no such target.
    """
    _raise_if_two_forms(as_json, as_sarif)
    if targets and environment:
        raise BadUsage("name targets or an --environment, not both")
    loaded = open_workspace(context, workspace)
    wanted = environment or loaded.portfolio.default_environment
    chosen = (
        [loaded.find(name) for name in targets]
        if targets
        else [target for target in loaded.targets if target.environment == wanted]
    )
    if not chosen:
        raise BadUsage(f"no target is in the environment {wanted}")
    found = _inspect(context, loaded, chosen, scan=True, secrets=True, history=True)
    if as_sarif:
        _show_sarif(found.checked, loaded)
    elif as_json:
        show_json({**_as_json(found), "targets": [_standing(target, found.checked) for target in chosen]})
    else:
        _show(found, loaded)
        rows = [_standing(target, found.checked) for target in chosen]
        show_table(
            ("target", "ready", "critical", "warnings", "notes"),
            [
                (row["target"], "yes" if row["ready"] else "NO", row["critical"], row["warnings"], row["notes"])
                for row in rows
            ],
            empty="No targets.",
        )
    _end(found.checked)


def _inspect(
    context: typer.Context,
    workspace: Workspace,
    targets: Sequence[Target],
    *,
    scan: bool,
    secrets: bool,
    history: bool,
) -> Inspection:
    from datetime import UTC, datetime

    from clodo.security.inspecting import inspect

    known = None
    if secrets:
        with prefect_for(context, workspace.root):
            from tasks.secrets import known_secrets

            known = known_secrets(workspace, targets)
    return inspect(
        workspace,
        targets,
        today=datetime.now(UTC).date(),
        secrets=known,
        with_scan=scan,
        with_history=history,
    )


def _show(found: Inspection, workspace: Workspace) -> None:
    show_findings(workspace.root, found.checked.findings)
    for finding, waiver in found.checked.waived:
        line = finding.describe(shortened(workspace.root, finding.place))
        say(f"waived until {waiver.expires}: {line}: {waiver.reason}")
    for note in found.notes:
        say(note)
    said = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in found.seconds.items())
    count, waived = len(found.checked.findings), len(found.checked.waived)
    say(f"{len(found.checked.critical)} critical, {count} findings, {waived} waived ({said}).")


def _show_sarif(checked: Checked, workspace: Workspace) -> None:
    from importlib.metadata import version

    from clodo.security.sarif import to_sarif

    show_json(to_sarif(checked, workspace.root, version=version("clodo")))


def _as_json(found: Inspection) -> dict[str, Any]:
    return {
        "ok": not found.checked.critical,
        "findings": [finding.to_json() for finding in found.checked.findings],
        "waived": [
            {**finding.to_json(), "reason": waiver.reason, "expires": waiver.expires.isoformat()}
            for finding, waiver in found.checked.waived
        ],
        "notes": list(found.notes),
        "seconds": {part: round(seconds, 3) for part, seconds in found.seconds.items()},
    }


def _standing(target: Target, checked: Checked) -> dict[str, Any]:
    severities = [finding.severity.value for finding in checked.findings if finding.target == str(target)]
    return {
        "target": str(target),
        "ready": "critical" not in severities,
        "critical": severities.count("critical"),
        "warnings": severities.count("warning"),
        "notes": severities.count("note"),
    }


def _end(checked: Checked) -> None:
    if checked.critical:
        raise Refused(
            f"{len(checked.critical)} critical findings.",
            hint="Do what the remedies say, or waive one in portfolio.toml with a reason and a date.",
        )


def _raise_if_two_forms(as_json: bool, as_sarif: bool) -> None:
    if as_json and as_sarif:
        raise BadUsage("--json or --sarif, not both")
