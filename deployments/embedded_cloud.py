"""The embedded cloud of a workspace as a background process: started, found again, and stopped."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
        url: Root of its API.

        edge_url: Where Workers' hostnames are reached.

        account_id: Of its first account.

        token: May do everything there.
    """

    process: BackgroundProcess
    url: str
    edge_url: str
    account_id: str
    token: str = field(repr=False)
    subdomain: str
    zone: str | None


def folder_of(workspace: Path) -> Path:
    """Return the folder of *workspace*'s embedded cloud."""
    return workspace / ".clodo" / "cloud"


def start(
    workspace: Path, *, workerd: Path, port: int | None = None, report: Report = lambda step, share: None
) -> tuple[Cloud, bool]:
    """
    Start the embedded cloud of *workspace* unless it runs, and return when its API answers.

    Args:
        workerd: The binary that runs the Workers.

        port: Where to listen; by default where it listened before, else 8787, else anywhere.

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
    folder = private_folder(folder_of(workspace))
    chosen = _choose_port(folder, port)
    report("starting the embedded cloud", 0.1)
    (folder / "running.json").unlink(missing_ok=True)
    process = BackgroundProcess.start(
        [sys.executable, "-m", "deployments.cloud_process", str(folder), str(workerd), str(chosen)],
        environment=child_environment(),
        folder=workspace,
        log=folder / "cloud.log",
    )
    write_privately(folder / "process.json", json.dumps(process.as_json(), indent=2))
    found = wait_until(
        lambda: (cloud := find(workspace)) is not None and _answers(cloud),
        seconds=PATIENCE_SECONDS,
        alive=lambda: process.is_running,
    )
    cloud = find(workspace)
    if not found or cloud is None:
        process.stop(patience=5)
        raise Failed(f"The embedded cloud didn't start:\n{process.last_lines()}", hint=f"See {process.log}.")
    (folder / "last_port").write_text(str(chosen))
    report("the embedded cloud answers", 1.0)
    return cloud, True


def find(workspace: Path) -> Cloud | None:
    """Return the embedded cloud of *workspace*, if it runs and is ready."""
    folder = folder_of(workspace)
    try:
        process = BackgroundProcess.from_json(json.loads((folder / "process.json").read_text()))
        ready: Mapping[str, Any] = json.loads((folder / "running.json").read_text())
    except FileNotFoundError:
        return None
    return Cloud(process, **ready) if process.is_running else None


def stop(workspace: Path) -> bool:
    """End the embedded cloud of *workspace*; False when it didn't run. Its data stays."""
    folder = folder_of(workspace)
    try:
        process = BackgroundProcess.from_json(json.loads((folder / "process.json").read_text()))
    except FileNotFoundError:
        return False
    stopped = process.stop()
    for name in ("process.json", "running.json"):
        (folder / name).unlink(missing_ok=True)
    return stopped


def _answers(cloud: Cloud) -> bool:
    request = urllib.request.Request(f"{cloud.url}/user/tokens/verify")  # noqa: S310 -- http to loopback
    request.add_header("Authorization", f"Bearer {cloud.token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _choose_port(folder: Path, wanted: int | None) -> int:
    if wanted is not None:
        if not is_free(wanted):
            raise PortInUse(f"Something else listens on port {wanted}.", hint="Name another one, or leave it out.")
        return wanted
    usual = [USUAL_PORT]
    if (folder / "last_port").exists():
        usual.insert(0, int((folder / "last_port").read_text()))
    return next((port for port in usual if is_free(port)), 0)
