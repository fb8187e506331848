"""``clodo demo``: the main job, rehearsed for real on the embedded cloud."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clodo.cli.options import JsonOption, WorkspaceOption
from clodo.settings import Settings

if TYPE_CHECKING:
    from clodo.cli.demo.rehearsal import Rehearsal
    from deployments.everything import Running


def demo(
    context: typer.Context,
    keep: Annotated[bool, typer.Option("--keep", help="Leave workspace, cloud and Prefect UI running.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Rehearse the main job on the embedded cloud: release, release again, undo a bad version; then check every claim.

    Writes a sample workspace of three services into a temporary folder (or into the empty --workspace DIR).

    With --json: {"ok", "checks": [{"name", "ok", "detail", "seconds"}], "ui_url", "seconds"}.

    Exit status: 0 every claim was checked and holds, 1 one does not, 4 the folder is not empty.
    """
    from clodo.cli.demo.checks import check_all
    from clodo.cli.output import say, show, show_json, show_table
    from clodo.cli.session import is_debugging

    started = time.monotonic()
    with _stage(workspace, keep=keep, debug=is_debugging(context)) as (folder, running):
        with _rehearsed(folder, running) as rehearsal:
            say("Checking every claim, on the cloud, in the ledger and in what the visitors saw.")
            checks = check_all(rehearsal)
        seconds = time.monotonic() - started
        ok = all(check.ok for check in checks)
        if as_json:
            show_json(
                {
                    "ok": ok,
                    "checks": [check.to_json() for check in checks],
                    "ui_url": running.prefect.ui_url,
                    "seconds": round(seconds, 1),
                }
            )
        else:
            show_table(
                ("", "checked", "found"),
                [("yes" if check.ok else "NO", check.name, check.detail) for check in checks],
                empty="Nothing was checked.",
            )
            held = sum(check.ok for check in checks)
            show(f"{held} of {len(checks)} claims hold, checked in {seconds:.0f} s in all.")
            if keep:
                show(f"Prefect UI: {running.prefect.ui_url}   Workspace: {folder}")
                show(f"Stop all of it with: clodo down --workspace {folder}")
            else:
                show(f"The Prefect UI was at {running.prefect.ui_url}; `clodo demo --keep` leaves it running.")
    if not ok:
        raise typer.Exit(1)


@contextmanager
def _stage(workspace: Path | None, *, keep: bool, debug: bool) -> Iterator[tuple[Path, Running]]:
    """Start cloud, Prefect and worker on a fresh workspace, and stop them again unless they are to be kept."""
    from clodo.cli.demo.rehearsal import write_workspace
    from clodo.cli.logs import narrate_flows, send_to_standard_error
    from clodo.cli.output import progress
    from clodo.errors import Refused
    from deployments import everything

    if workspace is not None:
        folder = workspace.expanduser().resolve()
        if folder.is_dir() and any(folder.iterdir()):
            raise Refused(f"{folder} is not empty", hint="Name an empty or a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix="clodo-demo-"))
    write_workspace(folder, "first")
    send_to_standard_error(debug=debug)
    narrate_flows(debug=debug)
    try:
        with progress("Starting") as report:
            running = everything.up(folder, settings=Settings.from_environment(), report=report)
        with running.prefect.in_use():
            yield folder, running
    finally:
        if not keep:
            with progress("Stopping") as report:
                everything.down(folder, report=report)
            if workspace is None:
                shutil.rmtree(folder)


@contextmanager
def _rehearsed(folder: Path, running: Running) -> Iterator[Rehearsal]:
    """Play all acts; inside, the cloud is as they left it and the visitors are gone."""
    from clodo.cli.demo import rehearsal as acts
    from clodo.cli.demo.visitors import Visitors
    from clodo.cli.output import say
    from clodo.cloudflare.client import Cloudflare

    cloud = running.cloud
    with Cloudflare(cloud.account_id, cloud.token, cloud.url) as cloudflare:
        acts.make_resources(cloudflare)
        key = acts.new_signing_key()
        acts.save_secrets(key)
        say("Act 1: three services that need each other, released in waves to an account that has none of them.")
        first = acts.roll_out(folder, "demo, first version")
        with Visitors(cloud.edge_url, acts.hostname_of(running)) as visitors:
            rehearsal = acts.Rehearsal(folder, running, cloudflare, key, visitors, first=first)
            acts.rehearse(rehearsal, say)
        yield rehearsal
