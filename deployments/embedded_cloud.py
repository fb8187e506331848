"""The embedded cloud of a workspace as a background process: started, found again, and stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clodo.emulator.state import read_state
from clodo.errors import Failed, PortInUse
from clodo.settings import child_environment
from deployments.processes import BackgroundProcess, wait_until
from deployments.server import is_free, private_folder, write_privately

USUAL_PORT = 8787
PATIENCE_SECONDS = 60.0

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Cloud:
    """
    An embedded cloud that runs.

    Attributes:
        pid: Of its process.

        url: Root of its API.

        edge_url: Where Workers' hostnames are reached.

        account_id: Of its first account.

        token: May do everything there.

        subdomain: Workers answer at ``<name>.<this>.workers.dev``.

        zone: Name of the account's first zone.
    """

    pid: int
    url: str
    edge_url: str
    account_id: str
    token: str = field(repr=False)
    subdomain: str
    zone: str | None


def folder_of(workspace: Path) -> Path:
    """Return the data folder of *workspace*'s embedded cloud: what `clodo emulator` takes by default there."""
    return workspace / ".clodo" / "emulator"


def start(
    workspace: Path,
    *,
    workerd: Path,
    port: int | None = None,
    zones: tuple[str, ...] = (),
    report: Report = lambda step, share: None,
) -> tuple[Cloud, bool]:
    """
    Start the embedded cloud of *workspace* unless it runs, and return when its API answers.

    Args:
        workerd: The binary that runs the Workers.

        port: Where to listen; by default where it listened before, else 8787, else anywhere.

        zones: Domains that its account must have.

    Returns:
        The cloud, and whether it was started just now.

    Raises:
        PortInUse: Something else listens on *port*.

        Failed: It didn't start; the message ends with its last lines.
    """
    running = find(workspace)
    if running is not None:
        if port is not None and not running.edge_url.endswith(f":{port}"):
            raise PortInUse(
                f"The embedded cloud of this workspace already runs, at {running.edge_url}.",
                hint="Run `clodo down` first.",
            )
        return running, False
    state = private_folder(workspace / ".clodo")
    words = [sys.executable, "-m", "clodo.cli", "emulator", "start", "--data", str(folder_of(workspace))]
    words += ["--port", str(_choose_port(state, port)), "--workerd", str(workerd)]
    for zone in zones:
        words += ["--zone", zone]
    report("starting the embedded cloud", 0.1)
    process = BackgroundProcess.start(
        words, environment=child_environment(), folder=workspace, log=state / "emulator.log", keeps_output=False
    )
    write_privately(state / "emulator-process.json", json.dumps(process.as_json(), indent=2))
    answers = wait_until(
        lambda: find(workspace) is not None, seconds=PATIENCE_SECONDS, alive=lambda: process.is_running
    )
    cloud = find(workspace)
    if not answers or cloud is None:
        process.stop(patience=5)
        raise Failed(f"The embedded cloud didn't start:\n{process.last_lines()}", hint=f"See {process.log}.")
    (state / "emulator-port").write_text(cloud.edge_url.rpartition(":")[2])
    report("the embedded cloud answers", 1.0)
    return cloud, True


def find(workspace: Path) -> Cloud | None:
    """Return the embedded cloud that runs on *workspace*'s data, whoever started it."""
    state = read_state(folder_of(workspace))
    if state is None:
        return None
    return Cloud(
        pid=state["pid"],
        url=state["url"],
        edge_url=state["edge_url"],
        account_id=state["account_id"],
        token=state["token"],
        subdomain=state["subdomain"],
        zone=state["zone"],
    )


def stop(workspace: Path) -> bool:
    """End the embedded cloud that `start` started; False when there is none. Its data stays."""
    file = workspace / ".clodo" / "emulator-process.json"
    try:
        process = BackgroundProcess.from_json(json.loads(file.read_text()))
    except FileNotFoundError:
        return False
    stopped = process.stop()
    file.unlink(missing_ok=True)
    return stopped


def _choose_port(state: Path, wanted: int | None) -> int:
    if wanted is not None:
        if not is_free(wanted):
            raise PortInUse(f"Something else listens on port {wanted}.", hint="Name another one, or leave it out.")
        return wanted
    usual = [USUAL_PORT]
    if (state / "emulator-port").exists():
        usual.insert(0, int((state / "emulator-port").read_text()))
    return next((port for port in usual if is_free(port)), 0)
