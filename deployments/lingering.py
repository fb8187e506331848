"""Runs a workspace's Prefect server, and ends it when the last process that borrowed it has gone."""

from __future__ import annotations

import ctypes
import fcntl
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

from deployments.server import open_privately

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run ``arguments[1:]`` as the server whose state is in the folder ``arguments[0]``; return its exit status."""
    folder, command = Path(arguments[0]), arguments[1:]
    # Started from the main thread, before there are others: the signal is tied to the thread that spawns.
    child = subprocess.Popen(command, preexec_fn=_die_with_parent)
    signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())
    threading.Thread(target=_end_when_unused, args=(folder, child), daemon=True).start()
    return child.wait()


def _end_when_unused(folder: Path, child: subprocess.Popen[bytes]) -> None:
    """Wait until no process holds a share of the lock, then end *child* unless somebody asked to keep it."""
    with open_privately(folder / "users.lock") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        with open_privately(folder / "start.lock") as starting:
            # Whoever starts (or keeps) the server holds this one until its state is written.
            fcntl.flock(starting, fcntl.LOCK_EX)
            if json.loads((folder / "server.json").read_text())["is_kept"]:
                return
            child.terminate()
            try:
                child.wait(timeout=15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
