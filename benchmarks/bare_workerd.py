"""workerd by itself, with its own bundled D1: what the embedded cloud is compared with."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIGURATION = """
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "d1", worker = .databases),
    (name = "files", disk = (path = "{folder}", writable = true))
  ],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "main")]
);
const worker :Workerd.Worker = (
  modules = [(name = "index.js", esModule = embed "index.js")],
  compatibilityDate = "2026-10-01",
  bindings = [(name = "DB", wrapped = (moduleName = "cloudflare-internal:d1-api", innerBindings = [
    (name = "fetcher", service = (name = "d1", props = (json = "{{\\"database\\": \\"shop\\"}}")))
  ]))]
);
const databases :Workerd.Worker = (
  modules = [(name = "d1.js", bundled = "/workerd/d1.js")],
  compatibilityDate = "2026-10-01",
  durableObjectNamespaces = [(className = "D1Database", uniqueKey = "d1", enableSql = true)],
  durableObjectStorage = (localDisk = "files"),
  bindings = [(name = "DATABASE", durableObjectNamespace = "D1Database")]
);
"""

PATIENCE_SECONDS = 10.0


@contextmanager
def bare_workerd(binary: Path, folder: Path, code: str) -> Iterator[int]:
    """Run *code* with a D1 database as ``DB``; give the port that it listens on."""
    files = folder / "files"
    files.mkdir(parents=True)
    port = _free_port()
    (folder / "index.js").write_text(code)
    (folder / "config.capnp").write_text(CONFIGURATION.format(folder=files, port=port))
    process = subprocess.Popen(
        [binary, "serve", "--experimental", folder / "config.capnp"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"TZ": "UTC"},
    )
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError("workerd does not listen")
