"""How fast things start: the command's help, the embedded cloud, and a deployed Worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from clodo.settings import Settings
from clodo.wrangler.toolchain import Toolchain, install

HELP_RUNS = 20
CLOUD_RUNS = 7
DEPLOY_RUNS = 30
PATIENCE_SECONDS = 10.0
WORKER = "export default {{ fetch() {{ return new Response('{answer}'); }} }};"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Start:
    """
    Something that starts, and how long it took each time.

    Attributes:
        max_seconds: What is to be reached, by the median.
    """

    title: str
    seconds: tuple[float, ...]
    max_seconds: float

    @property
    def median(self) -> float:
        """The median of all runs."""
        return median(self.seconds)

    @property
    def is_reached(self) -> bool:
        """Whether the median is within the goal."""
        return self.median <= self.max_seconds

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "title": self.title,
            "median": round(self.median, 4),
            "max_seconds": self.max_seconds,
            "is_reached": self.is_reached,
            "seconds": [round(seconds, 4) for seconds in self.seconds],
        }


def measure(say: Say) -> tuple[Start, ...]:
    """Measure all starts, one after the other; the first of each kind only warms the disk's cache."""
    toolchain = install(Settings.from_environment())
    clodo = str(Path(sys.executable).with_name("clodo"))
    found = [Start("`clodo --help`", _helps(clodo), 0.35)]
    say(_told(found[-1]))
    with tempfile.TemporaryDirectory(prefix="clodo-benchmark-") as folder:
        found.append(Start("embedded cloud, process start to first answer", _clouds(clodo, toolchain, folder), 2.0))
        say(_told(found[-1]))
        found.append(
            Start("deploy to live: upload sent to first right answer", _deploys(clodo, toolchain, folder), 0.15)
        )
        say(_told(found[-1]))
    return tuple(found)


def _helps(clodo: str) -> tuple[float, ...]:
    seconds = []
    for _ in range(HELP_RUNS + 1):
        started = time.perf_counter()
        subprocess.run([clodo, "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return tuple(seconds[1:])


def _clouds(clodo: str, toolchain: Toolchain, folder: str) -> tuple[float, ...]:
    seconds = []
    for number in range(CLOUD_RUNS + 1):
        started = time.perf_counter()
        cloud, state = _start_cloud(clodo, toolchain, Path(folder) / f"cloud-{number}")
        try:
            _verify(httpx.get(f"{state['url']}/user/tokens/verify", headers=_bearer(state), trust_env=False))
            seconds.append(time.perf_counter() - started)
        finally:
            _stop(cloud)
    return tuple(seconds[1:])


def _deploys(clodo: str, toolchain: Toolchain, folder: str) -> tuple[float, ...]:
    cloud, state = _start_cloud(clodo, toolchain, Path(folder) / "deploys")
    worker = f"/client/v4/accounts/{state['account_id']}/workers/scripts/benchmark"
    host = {"Host": f"benchmark.{state['subdomain']}.workers.dev"}
    seconds = []
    try:
        with httpx.Client(base_url=state["edge_url"], trust_env=False, timeout=30) as client:
            _upload(client, worker, state, "warm")
            enabled = {"enabled": True, "previews_enabled": False}
            _verify(client.post(f"{worker}/subdomain", json=enabled, headers=_bearer(state)))
            for number in range(DEPLOY_RUNS):
                answer = f"version {number}"
                started = time.perf_counter()
                _upload(client, worker, state, answer)
                while client.get("/", headers=host).text != answer:
                    if time.perf_counter() - started > PATIENCE_SECONDS:
                        raise RuntimeError(f"{answer} is not live after {PATIENCE_SECONDS:.0f} s")
                seconds.append(time.perf_counter() - started)
    finally:
        _stop(cloud)
    return tuple(seconds)


def _upload(client: httpx.Client, worker: str, state: Mapping[str, Any], answer: str) -> None:
    metadata = {"main_module": "index.js", "compatibility_date": "2026-10-01", "bindings": []}
    parts: list[tuple[str, Any]] = [
        ("metadata", (None, json.dumps(metadata))),
        ("index.js", ("index.js", WORKER.format(answer=answer), "application/javascript+module")),
    ]
    _verify(client.put(worker, files=parts, headers=_bearer(state)))


def _start_cloud(clodo: str, toolchain: Toolchain, data: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """Start an embedded cloud in a process of its own; return when it says that it answers."""
    words = [clodo, "emulator", "start", "--json", "--port", "0", "--data", str(data)]
    cloud = subprocess.Popen(
        [*words, "--workerd", str(toolchain.workerd)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ),
    )
    document = ""
    for line in cloud.stdout or ():
        document += line
        if line.startswith("}"):
            return cloud, json.loads(document)
    raise RuntimeError(f"the embedded cloud ended with status {cloud.wait()}")


def _stop(cloud: subprocess.Popen[str]) -> None:
    cloud.send_signal(signal.SIGTERM)
    cloud.wait(timeout=30)
    if cloud.stdout is not None:
        cloud.stdout.close()


def _bearer(state: Mapping[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {state['token']}"}


def _verify(answer: httpx.Response) -> None:
    if not answer.is_success:
        raise RuntimeError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")


def _told(start: Start) -> str:
    return f"{start.title}: median {start.median:.3f} s of {len(start.seconds)}"
