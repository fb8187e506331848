"""``clodo release``: what was released, and what was left unfinished."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from clodo.cli.options import JsonOption, WorkspaceOption
from clodo.cli.output import moment, short, show, show_json, show_table
from clodo.cli.reconcile import reconcile
from clodo.cli.session import open_ledger, open_workspace, workspace_folder

if TYPE_CHECKING:
    from clodo.ledger.journal import Entry
    from clodo.ledger.releases import Release

app = typer.Typer(help="What was released, and what was left unfinished.", no_args_is_help=True)


@app.command("list")
def list_releases(
    context: typer.Context,
    target: Annotated[str | None, typer.Argument(help="Only those of this target.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, newest first.")] = 20,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    List releases, newest first.

    With --json: a list of {"id", "target", "worker", "account_id", "strategy", "kind", "state", "reason", "actor",
    "created_at", "finished_at"}.

    Exit status: 0 listed (also when there are none), 1 the ledger can't be read, 2 usage, 10 no such target now, and
    none was ever released.
    """
    with open_ledger(workspace_folder(context, workspace)) as ledger:
        releases = ledger.releases.list(_whole(target), limit=limit)
    if target is not None and not releases:
        # Nothing released yet, or a typing error: only the workspace can tell.
        open_workspace(context, workspace).find(target)
    if as_json:
        show_json([release_as_json(release) for release in releases])
        return
    show_table(
        ("release", "target", "kind", "state", "started (UTC)", "by", "reason"),
        [
            (
                short(item.id, among=[other.id for other in releases]),
                item.target,
                item.kind,
                item.state,
                moment(item.created_at),
                item.actor,
                item.reason or None,
            )
            for item in releases
        ],
        empty="No releases yet.",
    )


@app.command("show")
def show_release(
    context: typer.Context,
    release: Annotated[str, typer.Argument(help="Its id, or the beginning of it.", show_default=False)],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Show one release and the steps in its journal.

    With --json: the release as in `release list`, and "steps": a list of {"at", "step", "phase", "detail"}.

    Exit status: 0 shown, 2 more than one release begins so, 10 no release begins so.
    """
    with open_ledger(workspace_folder(context, workspace)) as ledger:
        found = ledger.releases.find(release)
        entries = ledger.journal.entries(found.id)
    if as_json:
        show_json({**release_as_json(found), "steps": [_entry_as_json(entry) for entry in entries]})
        return
    show(f"Release {found.id} of {found.target} (Worker {found.worker}): {found.state}")
    show(f"{found.kind}, {found.strategy}; started {moment(found.created_at)} UTC by {found.actor}")
    if found.finished_at is not None:
        show(f"ended {moment(found.finished_at)} UTC")
    if found.reason:
        show(f"reason: {found.reason}")
    for entry in entries:
        if why := entry.detail.get("message"):
            show(f"{entry.step} {entry.phase}: {why}")
    show_table(
        ("at (UTC)", "step", "phase"),
        [(moment(entry.at), entry.step, entry.phase) for entry in entries],
        empty="No steps were written down.",
    )


def release_as_json(release: Release) -> dict[str, Any]:
    """Return *release* as it stands in JSON; ids whole, times ISO 8601."""
    return {
        "id": release.id,
        "target": release.target,
        "worker": release.worker,
        "account_id": release.account_id,
        "strategy": release.strategy,
        "kind": release.kind.value,
        "state": release.state.value,
        "reason": release.reason,
        "actor": release.actor,
        "created_at": release.created_at.isoformat(),
        "finished_at": release.finished_at and release.finished_at.isoformat(),
    }


def _entry_as_json(entry: Entry) -> dict[str, Any]:
    return {"at": entry.at.isoformat(), "step": entry.step, "phase": entry.phase.value, "detail": dict(entry.detail)}


def _whole(target: str | None) -> str | None:
    """Read `api` as a person means it: the same target as `api@production`."""
    if target is None:
        return None
    from clodo.workspace.targets import Target

    return str(Target.parse(target))


app.command("resume")(reconcile)
