"""``clodo config migrate``: what older layouts say, moved into the wrangler configs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clodo.cli.options import JsonOption, WorkspaceOption, YesOption
from clodo.cli.outcomes import CHANGES_PENDING
from clodo.cli.output import ask, say, show, show_json
from clodo.cli.session import workspace_folder
from clodo.errors import VerificationFailed


def migrate(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the diff and write nothing.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --dry-run: end with 5 if something would be written.")
    ] = False,
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Move what older layouts say (config/base, config/environments, src/config/domains.js) into the wrangler configs.

    Shows the diff and asks. Comments and order stay, all files are written or none, and the workspace is read again
    before it counts. Older files that nothing needs any more are removed; JavaScript stays, the Worker may import it.

    With --json: {"written": bool, "files": [path], "diff", "notes": [text]}.

    Exit status: 0 migrated, or nothing to do; 2 bad configuration, 4 declined, or a file was changed meanwhile, 5 with
    --dry-run --exit-code if something would be written.
    """
    from clodo.workspace.editing import applied, take_back_interrupted
    from clodo.workspace.layouts.migration import plan_migration
    from clodo.workspace.workspace import STATE_FOLDER, Workspace

    root = workspace_folder(context, workspace)
    if not dry_run:
        for file in take_back_interrupted(root / STATE_FOLDER):
            say(f"Took back an edit of {shortened(root, str(file))} that was interrupted.")
    before = Workspace.load(root)
    plan = plan_migration(root)
    diff = "".join(edit.diff(root) for edit in plan.edits)
    notes = [shortened(root, note) for note in plan.notes]
    if not as_json:
        show(diff.rstrip("\n") if diff else "Nothing in this workspace is laid out in an older way.")
        for note in notes:
            say(f"Note: {note}")
    is_written = False
    if plan.has_changes and not dry_run:
        ask(f"Write {len(plan.edits)} files?", yes=yes)
        with applied(plan.edits, state_dir=before.state_dir):
            after = Workspace.load(root)
            if after.targets != before.targets:
                raise VerificationFailed("The workspace would have other targets; every file is as it was.")
        is_written = True
    if as_json:
        files = [shortened(root, str(edit.file)) for edit in plan.edits]
        show_json({"written": is_written, "files": files, "diff": diff, "notes": notes})
    elif is_written:
        say(f"Wrote {len(plan.edits)} files.")
    if dry_run and exit_code and plan.has_changes:
        raise typer.Exit(CHANGES_PENDING)


def shortened(root: Path, place: str) -> str:
    """Return a path, or ``file:line``, as seen from the workspace."""
    return place.removeprefix(f"{root}/")
