"""The ``clodo`` command: which commands there are, and what becomes of errors."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from clodo.cli.lazy import Lazy, ReaderGone, lazy_group
from clodo.cli.options import WorkspaceOption
from clodo.errors import BadUsage, ClodoError, Interrupted, NoSpaceLeft, PortInUse, Refused
from clodo.settings import Settings

COMMANDS = {
    "demo": Lazy("clodo.cli.demo", "demo", "Rehearse the main job on the embedded cloud, for real."),
    "up": Lazy("clodo.cli.up", "up", "Start the embedded cloud, the Prefect server and a worker."),
    "down": Lazy("clodo.cli.up", "down", "Stop what `clodo up` started."),
    "emulator": Lazy("clodo.cli.emulator", "app", "The embedded cloud by itself."),
    "deploy": Lazy("clodo.cli.deploy", "deploy", "Release one target, or several."),
    "portfolio": Lazy("clodo.cli.portfolio", "app", "All targets that belong together."),
    "rollback": Lazy("clodo.cli.rollback", "rollback", "Put a target back to a version that worked."),
    "reconcile": Lazy("clodo.cli.reconcile", "reconcile", "Finish or undo what a dead process left half-way."),
    "release": Lazy("clodo.cli.release", "app", "What was released, and what was left unfinished."),
    "config": Lazy("clodo.cli.config", "app", "What targets are configured to be, and whether that is right."),
    "database": Lazy("clodo.cli.database", "app", "D1 databases and their migrations."),
    "backup": Lazy("clodo.cli.backup", "app", "Snapshots: taken, looked at, proven, restored and pruned."),
    "secrets": Lazy("clodo.cli.secrets", "app", "Secrets of Workers, and the API tokens: made, compared, rotated."),
    "customer": Lazy("clodo.cli.customer", "app", "Customers of services: settings, sections, domains."),
    "domain": Lazy("clodo.cli.domain", "app", "Zones, whom they serve, and whether they work."),
    "flag": Lazy("clodo.cli.flag", "app", "Feature flags of services, by environment and customer."),
    "security": Lazy("clodo.cli.security", "app", "Security rules over settings and secrets."),
}

BROKEN_PIPE = 141  # 128 + SIGPIPE: what the shell reports for a command whose reader went away.

app = typer.Typer(
    name="clodo",
    cls=lazy_group(COMMANDS),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"clodo {version('clodo')}")
        raise typer.Exit


@app.callback()
def clodo(
    context: typer.Context,
    workspace: WorkspaceOption = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, and all that Prefect logs.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which Clodo this is.")
    ] = False,
) -> None:
    """
    Ship, migrate and watch fleets of Cloudflare Workers.

    Exit status: 0 done, 1 unexpected, 2 usage or bad configuration, 3 partly done, 4 refused, 5 changes pending
    (only with --exit-code), 10 not found, 11 locked, 12 not authorised, 75 try later, 130 interrupted.
    """
    context.obj = {"workspace": workspace, "debug": debug}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status: the one place that knows about them."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or Settings.from_environment().debug
    try:
        status = app(words, prog_name="clodo", standalone_mode=False)
        sys.stdout.flush()
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 -- the edge: every error becomes one sentence and a status here
        return explain(error, debug=debug)
    return status if isinstance(status, int) else 0


def explain(error: BaseException, *, debug: bool = False) -> int:
    """Say on standard error what went wrong and what to do about it; return the exit status."""
    if isinstance(error, BrokenPipeError | ReaderGone):
        # Nobody reads any more. Point standard output at nothing, or Python complains again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    if isinstance(error, typer.TyperException) and (show := getattr(error, "show", None)):
        # What a choice is told to be wrong with opens with words of the library underneath.
        error.message = str(getattr(error, "message", "")).removeprefix("Value error, ")
        show()
        return error.exit_code
    known = _as_ours(error)
    if debug:
        traceback.print_exception(error)
    elif known is None:
        print(f"Error: {_unexpected(error)}", file=sys.stderr)
        print("Try: `clodo --debug …` shows where; please report it.", file=sys.stderr)
    if known is None:
        return 1
    print(f"Error: {known.message}", file=sys.stderr)
    if known.hint:
        print(f"Try: {known.hint}", file=sys.stderr)
    return known.exit_code


def _as_ours(error: BaseException) -> ClodoError | None:
    """Name a foreign error that may reach the edge; None when nobody foresaw it."""
    if isinstance(error, ClodoError):
        return error
    if isinstance(error, typer.Abort):
        return Refused("Declined; nothing was done.")
    # It may come while a library is about to do something, which then fails with an error of its own.
    if (
        any(isinstance(each, KeyboardInterrupt) for each in _causes(error))
        or type(error).__name__ == "TerminationSignal"
    ):
        return Interrupted("Interrupted.")
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return NoSpaceLeft(f"No space left on the disk{where}", hint="Free some space and run it again.")
        if error.errno == errno.EADDRINUSE:
            return PortInUse(f"The port is in use{where}", hint="Name another one, or stop what listens there.")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and error.filename:
            return BadUsage(f"{error.filename}: {os.strerror(error.errno)}", hint="Check who owns it.")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give *error*, what it came from, and so on."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _unexpected(error: BaseException) -> str:
    """Say where an error that nobody foresaw came from, without its text: that might quote a secret."""
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).is_file() and f"{os.sep}site-packages{os.sep}" not in frame.filename:
            place = f" at {Path(frame.filename).name}:{frame.lineno}"
    return f"Clodo met an unexpected {type(error).__name__}{place}."
