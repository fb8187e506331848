"""The process worker of a workspace: takes the runs that the Prefect UI starts."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path

from clodo.errors import Failed
from clodo.settings import child_environment
from deployments.processes import BackgroundProcess, wait_until
from deployments.server import PrefectServer, write_privately

PATIENCE_SECONDS = 90.0
# A release that is told to stop undoes what it did, which takes as long as it takes; then it is stopped for good.
UNDO_SECONDS = 120.0


def start(server: PrefectServer, workspace: Path, *, work_pool: str) -> tuple[BackgroundProcess, bool]:
    """
    Start the worker of *workspace* unless it runs; it isn't ready yet when this returns (`wait_for`).

    Returns:
        The worker's process, and whether it was started just now.
    """
    running = find(server.folder)
    if running is not None:
        return running, False
    words = [
        *(sys.executable, "-m", "prefect", "worker", "start"),
        *("--pool", work_pool, "--type", "process", "--name", worker_name(), "--install-policy", "never"),
    ]
    environment = {
        **child_environment(without=("PREFECT_",)),
        **server.client_environment(),
        # A run that waits ten seconds for a worker to look looks broken to who pressed the button.
        "PREFECT_WORKER_QUERY_SECONDS": "2",
    }
    process = BackgroundProcess.start(
        words, environment=environment, folder=workspace, log=server.folder / "worker.log"
    )
    write_privately(server.folder / "worker.json", json.dumps(process.as_json(), indent=2))
    return process, True


def find(folder: Path) -> BackgroundProcess | None:
    """Return the worker whose state is in *folder*, if it runs."""
    try:
        process = BackgroundProcess.from_json(json.loads((folder / "worker.json").read_text()))
    except FileNotFoundError:
        return None
    return process if process.is_running else None


def wait_for(process: BackgroundProcess, *, work_pool: str, since: datetime) -> None:
    """
    Return when the server in use has heard from *process* after *since*.

    Raises:
        Failed: It ended, or never reported.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import WorkerStatus

    with get_client(sync_client=True) as client:

        def is_online() -> bool:
            workers = client.read_workers_for_work_pool(work_pool)
            return any(
                worker.name == worker_name()
                and worker.status == WorkerStatus.ONLINE
                # A worker that was killed counts as online for another minute and a half.
                and worker.last_heartbeat_time is not None
                and worker.last_heartbeat_time >= since
                for worker in workers
            )

        if not wait_until(is_online, seconds=PATIENCE_SECONDS, alive=lambda: process.is_running):
            raise Failed(f"The Prefect worker didn't come up:\n{process.last_lines()}", hint=f"See {process.log}.")


def stop(folder: Path) -> bool:
    """End the worker whose state is in *folder*, and the runs it started; False when none of them ran."""
    try:
        process = BackgroundProcess.from_json(json.loads((folder / "worker.json").read_text()))
    except FileNotFoundError:
        return False
    stopped = process.stop(patience=UNDO_SECONDS)
    (folder / "worker.json").unlink(missing_ok=True)
    return stopped


def worker_name() -> str:
    """Return the name that the worker goes by in the UI."""
    return f"clodo on {os.uname().nodename}"
