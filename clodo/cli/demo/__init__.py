"""``clodo demo``: the main job, rehearsed for real on the embedded cloud."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clodo.cli.options import JsonOption, WorkspaceOption
from clodo.errors import Interrupted, Refused
from clodo.settings import Settings

if TYPE_CHECKING:
    from clodo.cli.demo.checks import Checked
    from deployments.everything import Running

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo(
    context: typer.Context,
    keep: Annotated[bool, typer.Option("--keep", help="Leave workspace, cloud and Prefect UI running.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Rehearse the main job on the embedded cloud: release, release again, undo a bad version, restore a database.

    At the end each claim is checked.

    Writes a sample workspace of three services into a temporary folder (or into the empty --workspace DIR). Needs no
    account, and changes nothing outside of that folder but the toolchain's cache. Ctrl-C stops all that it started.

    With --json: {"ok", "checks": [{"name", "ok", "detail", "seconds"}], "ui_url", "seconds"}.

    Exit status: 0 every claim was checked and holds, 1 one does not, 4 the folder is not empty, 130 interrupted.
    """
    from clodo.cli.output import say
    from clodo.cli.session import is_debugging

    started = time.monotonic()
    with _stage(workspace, keep=keep, debug=is_debugging(context)) as (folder, running):
        from clodo.cli.demo.checks import check_all
        from clodo.cli.demo.rehearsal import rehearsed

        with rehearsed(folder, running.cloud, say) as rehearsal:
            if rehearsal.problem:
                say(rehearsal.problem)
            say("Checking every claim: on the cloud, in the ledger, and in what the visitors saw.")
            checks = check_all(rehearsal)
        status = report(checks, running.prefect.ui_url, time.monotonic() - started, as_json=as_json)
        if keep:
            _say_how_to_go_on(folder, running)
        elif not as_json:
            say(f"The Prefect UI was at {running.prefect.ui_url}; `clodo demo --keep` leaves all of it running.")
    raise typer.Exit(status)


def report(checks: Sequence[Checked], ui_url: str, seconds: float, *, as_json: bool) -> int:
    """Show what was found on standard output; return the exit status: 0 only if every claim holds."""
    from clodo.cli.output import show, show_json, show_table

    ok = bool(checks) and all(check.ok for check in checks)
    if as_json:
        document: dict[str, Any] = {
            "ok": ok,
            "checks": [check.to_json() for check in checks],
            "ui_url": ui_url,
            "seconds": round(seconds, 1),
        }
        show_json(document)
        return 0 if ok else 1
    show("")
    rows = [("ok" if check.ok else "FALSE", check.name, check.detail) for check in checks]
    show_table(("", "claim", "found"), rows, empty="Nothing was checked.")
    held = sum(check.ok for check in checks)
    show(f"\n{held} of {len(checks)} claims were checked and hold; {seconds:.0f} s in all.")
    return 0 if ok else 1


def _say_how_to_go_on(folder: Path, running: Running) -> None:
    from clodo.cli.output import say
    from deployments.server import credentials_file

    say(f"Prefect UI: {running.prefect.ui_url}")
    say(f"  Log in with the PREFECT_API_AUTH_STRING in {credentials_file(running.prefect.folder)}")
    say(f"Workspace: {folder}")
    say(f"  Look around: clodo release list --workspace {folder}")
    say(f"  Go on: mend the misspelt word in {folder / 'api/src/index.js'}, then")
    say(f"    clodo portfolio deploy --workspace {folder}")
    say(f"  Stop all of it: clodo down --workspace {folder}")


@contextmanager
def _stage(workspace: Path | None, *, keep: bool, debug: bool) -> Iterator[tuple[Path, Running]]:
    """Start cloud, Prefect and worker on a fresh workspace, and stop them again unless they are to be kept."""
    from clodo.cli.output import progress, say

    folder = _fresh_folder(workspace)
    say(f"Rehearsing in {folder}: an embedded Cloudflare, a Prefect server and three Workers, all on this machine.")
    try:
        with _ended_in_order():
            # Prefect takes seconds to import; somebody who waits should know for what.
            with progress("Starting") as report:
                report("loading Prefect", 0.0)
                from clodo.cli.demo.rehearsal import write_workspace
                from clodo.cli.logs import narrate_flows, send_to_standard_error
                from deployments import everything

                send_to_standard_error(debug=debug)
                narrate_flows(debug=debug)
                write_workspace(folder, "first")
                running = everything.up(folder, settings=Settings.from_environment(), report=report)
            with running.prefect.in_use():
                yield folder, running
    except (KeyboardInterrupt, Interrupted):
        _strike(folder, remove=workspace is None and not keep)
        raise
    except BaseException:
        _strike(folder, remove=False)
        say(f"What it left, logs too, is in {folder}")
        raise
    if not keep:
        _strike(folder, remove=workspace is None)


def _fresh_folder(wanted: Path | None) -> Path:
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="clodo-demo-"))
    folder = wanted.expanduser().resolve()
    if folder.is_dir() and any(folder.iterdir()):
        raise Refused(f"{folder} is not empty", hint="Name an empty or a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _strike(folder: Path, *, remove: bool) -> None:
    """Stop all that runs for *folder*, whoever presses Ctrl-C meanwhile; nobody else would stop it."""
    from clodo.cli.output import progress, say
    from deployments import everything

    def wait(_number: int, _frame: FrameType | None) -> None:
        say("Still stopping what was started; it takes a few seconds.")

    with _handling(wait), progress("Stopping") as report:
        everything.down(folder, report=report)
        if remove:
            shutil.rmtree(folder)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the demo as Ctrl-C does: by way of everything that stops things."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted("Interrupted.")

    with _handling(end):
        yield


@contextmanager
def _handling(handler: Any) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
