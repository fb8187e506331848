"""Embedded clouds as processes of their own, for measuring: started, spoken to, weighed, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from clodo.wrangler.toolchain import Toolchain

CLODO = str(Path(sys.executable).with_name("clodo"))


@dataclass(frozen=True, slots=True)
class Cloud:
    """A running embedded cloud, and what is needed to use it."""

    process: subprocess.Popen[str] = field(repr=False)
    state: Mapping[str, Any] = field(repr=False)

    @property
    def edge_url(self) -> str:
        """Where all hostnames answer."""
        return str(self.state["edge_url"])

    @property
    def bearer(self) -> dict[str, str]:
        """The header that proves who calls the API."""
        return {"Authorization": f"Bearer {self.state['token']}"}

    @property
    def root(self) -> str:
        """The path that nearly every path of the API begins with."""
        return f"/client/v4/accounts/{self.state['account_id']}"

    def hostname(self, worker: str) -> str:
        """Return a Worker's workers.dev hostname."""
        return f"{worker}.{self.state['subdomain']}.workers.dev"

    def client(self) -> httpx.Client:
        """Return a client of the API and of the Workers; close it."""
        return httpx.Client(base_url=self.edge_url, trust_env=False, timeout=300)

    def call(self, client: httpx.Client, method: str, path: str, **request: Any) -> Any:
        """Call the API below the account and return the result."""
        return verified(client.request(method, self.root + path, headers=self.bearer, **request)).json()["result"]

    def deploy(self, client: httpx.Client, worker: str, code: str, bindings: Sequence[Mapping[str, Any]] = ()) -> None:
        """Deploy a Worker of one module."""
        metadata = {"main_module": "index.js", "compatibility_date": "2026-10-01", "bindings": list(bindings)}
        parts: list[tuple[str, Any]] = [
            ("metadata", (None, json.dumps(metadata))),
            ("index.js", ("index.js", code, "application/javascript+module")),
        ]
        self.call(client, "PUT", f"/workers/scripts/{worker}", files=parts)

    def open_subdomain(self, client: httpx.Client, worker: str) -> None:
        """Let a Worker answer at its workers.dev hostname."""
        enabled = {"enabled": True, "previews_enabled": False}
        self.call(client, "POST", f"/workers/scripts/{worker}/subdomain", json=enabled)

    def memory_bytes(self) -> int:
        """Return the proportional set size of the cloud and its Workers' processes."""
        return sum(_proportional_bytes(pid) for pid in (self.process.pid, *_children(self.process.pid)))

    def stop(self) -> None:
        """End it and wait for the end."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        if self.process.stdout is not None:
            self.process.stdout.close()


def start_cloud(toolchain: Toolchain, data: Path) -> Cloud:
    """Start an embedded cloud in a process of its own; return when it says that it answers."""
    words = [CLODO, "emulator", "start", "--json", "--port", "0", "--data", str(data)]
    process = subprocess.Popen(
        [*words, "--workerd", str(toolchain.workerd)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ),
    )
    document = ""
    for line in process.stdout or ():
        document += line
        if line.startswith("}"):
            return Cloud(process, json.loads(document))
    raise RuntimeError(f"the embedded cloud ended with status {process.wait()}")


def verified(answer: httpx.Response) -> httpx.Response:
    """Return *answer* if it is a success; anything else ends the measurement."""
    if not answer.is_success:
        raise RuntimeError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
    return answer


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has in use now."""
    return int(_fields(Path(f"/proc/{pid}/status"))["VmRSS"].split()[0]) * 1024


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid:
            found.append(int(path.parent.name))
    return found


def _proportional_bytes(pid: int) -> int:
    try:
        return int(_fields(Path(f"/proc/{pid}/smaps_rollup"))["Pss"].split()[0]) * 1024
    except (FileNotFoundError, ProcessLookupError, KeyError):
        return 0  # It ended while we looked.


def _fields(path: Path) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in path.read_text().splitlines())}
