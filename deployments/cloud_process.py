"""Runs the embedded cloud until it is told to stop; its keys go to a file that only its owner can read."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

from clodo.emulator.config import CloudConfig
from clodo.emulator.server import EmbeddedCloud
from deployments.server import write_privately


def main(arguments: list[str]) -> int:
    """Serve the data in the folder ``arguments[0]`` with the workerd ``arguments[1]`` on port ``arguments[2]``."""
    folder, workerd, port = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stopping.set())
    with EmbeddedCloud(CloudConfig(data=folder / "data", workerd=workerd, port=port)) as cloud:
        ready = {
            "url": cloud.url,
            "edge_url": cloud.edge_url,
            "account_id": cloud.account.account_id,
            "token": cloud.account.token,
            "subdomain": cloud.account.subdomain,
            "zone": cloud.account.zone,
        }
        write_privately(folder / "running.json", json.dumps(ready, indent=2))
        stopping.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
