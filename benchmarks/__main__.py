"""``python -m benchmarks``: measure, print the section of RESULTS.md, and end with 1 when a goal is not reached."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from benchmarks import backups, config, emulator, rehearsal, report, startup
from benchmarks.portfolio import measure
from clodo.settings import Settings
from clodo.wrangler.toolchain import install

app = typer.Typer(
    help="Measure Clodo. Exit status: 0 every goal is reached, 1 one is not.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print every figure as JSON instead of the section.")]
SaveOption = Annotated[bool, typer.Option("--save", help="Also put the section into RESULTS.md.")]


@app.command()
def portfolio(
    services: Annotated[int, typer.Option(min=1, help="How many services are generated.")] = 20,
    runs: Annotated[int, typer.Option(min=1, help="Pairs of runs in each situation.")] = 5,
    logs: Annotated[Path | None, typer.Option(help="Keep the commands' output in this folder.")] = None,
    save: SaveOption = False,
    as_json: JsonOption = False,
) -> None:
    """Release a generated portfolio by Clodo and by plain wrangler in turn: all changed, and nothing changed."""
    with tempfile.TemporaryDirectory(prefix="clodo-benchmark-logs-") as temporary:
        folder = logs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = measure(services, runs, logs=folder, say=_say)
    command = f"uv run python -m benchmarks portfolio --services {services} --runs {runs}"
    section = report.portfolio_section(found, command, _machine())
    _end(section, found.to_json(), is_reached=found.is_reached, save=save, as_json=as_json)


@app.command(name="startup")
def measure_startup(save: SaveOption = False, as_json: JsonOption = False) -> None:
    """Measure how fast the command's help, the embedded cloud and a deployed Worker are there."""
    load = os.getloadavg()[0]
    found = startup.measure(_say)
    section = report.startup_section(found, "uv run python -m benchmarks startup", _machine(), load)
    document = {"starts": [start.to_json() for start in found]}
    _end(section, document, is_reached=all(start.is_reached for start in found), save=save, as_json=as_json)


@app.command(name="config")
def measure_config(save: SaveOption = False, as_json: JsonOption = False) -> None:
    """Measure how fast the configuration of thirty services is validated, shown and migrated."""
    load = os.getloadavg()[0]
    found = config.measure(_say)
    section = report.config_section(found, "uv run python -m benchmarks config", _machine(), load)
    document = {"starts": [start.to_json() for start in found]}
    _end(section, document, is_reached=all(start.is_reached for start in found), save=save, as_json=as_json)


@app.command()
def demo(
    runs: Annotated[int, typer.Option(min=1, help="How often.")] = 3,
    save: SaveOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how long `clodo demo` takes, all of its claims checked."""
    load = os.getloadavg()[0]
    found, checks = rehearsal.measure(runs, _say)
    section = report.demo_section(found, checks, f"uv run python -m benchmarks demo --runs {runs}", _machine(), load)
    document = {**found.to_json(), "checks": checks}
    _end(section, document, is_reached=found.is_reached, save=save, as_json=as_json)


@app.command(name="emulator")
def measure_emulator(
    workers: Annotated[int, typer.Option(min=20, help="How many Workers are deployed to weigh them.")] = 200,
    megabytes: Annotated[int, typer.Option(min=1, help="Size of the database that is imported and exported.")] = 500,
    save: SaveOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what the embedded cloud bears: requests, D1, redeploys under load, many Workers, large databases."""
    load = os.getloadavg()[0]
    found = emulator.measure(_say, workers=workers, megabytes=megabytes)
    command = f"uv run python -m benchmarks emulator --workers {workers} --megabytes {megabytes}"
    section = report.emulator_section(found, command, _machine(), load)
    document = {"figures": [figure.to_json() for figure in found]}
    _end(section, document, is_reached=all(figure.is_reached for figure in found), save=save, as_json=as_json)


@app.command(name="backups")
def measure_backups(
    megabytes: Annotated[int, typer.Option(min=1, help="Size of the database.")] = 1000,
    keys: Annotated[int, typer.Option(min=1, help="Keys of the KV namespace.")] = 100_000,
    save: SaveOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure backups of a large database and a large namespace, against curl, zstd and age."""
    load = os.getloadavg()[0]
    found = backups.measure(_say, megabytes=megabytes, keys=keys)
    command = f"uv run python -m benchmarks backups --megabytes {megabytes} --keys {keys}"
    section = report.backups_section(found, command, _machine(), load)
    document = {"figures": [figure.to_json() for figure in found]}
    _end(section, document, is_reached=all(figure.is_reached for figure in found), save=save, as_json=as_json)


def _end(section: str, document: dict[str, Any], *, is_reached: bool, save: bool, as_json: bool) -> None:
    print(json.dumps(document, indent=2) if as_json else section)
    if save:
        report.save(section)
    raise typer.Exit(0 if is_reached else 1)


def _machine() -> report.Machine:
    return report.Machine.this(dict(install(Settings.from_environment()).versions))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    # A line for each request would be measured too, and stand in the middle of --json.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    # With it Python would compile all that it imports again each time, which no user's machine does.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Whoever ends it must not leave its servers behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    app()
