"""How fast things start: the command's help, the embedded cloud, and a deployed Worker."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.clouds import CLODO, start_cloud, verified
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
    found = [Start("`clodo --help`", _helps(CLODO), 0.35)]
    say(_told(found[-1]))
    with tempfile.TemporaryDirectory(prefix="clodo-benchmark-") as folder:
        found.append(Start("embedded cloud, process start to first answer", _clouds(toolchain, folder), 2.0))
        say(_told(found[-1]))
        found.append(Start("deploy to live: upload sent to first right answer", _deploys(toolchain, folder), 0.15))
        say(_told(found[-1]))
    return tuple(found)


def _helps(clodo: str) -> tuple[float, ...]:
    seconds = []
    for _ in range(HELP_RUNS + 1):
        started = time.perf_counter()
        subprocess.run([clodo, "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return tuple(seconds[1:])


def _clouds(toolchain: Toolchain, folder: str) -> tuple[float, ...]:
    seconds = []
    for number in range(CLOUD_RUNS + 1):
        started = time.perf_counter()
        cloud = start_cloud(toolchain, Path(folder) / f"cloud-{number}")
        try:
            verified(httpx.get(f"{cloud.state['url']}/user/tokens/verify", headers=cloud.bearer, trust_env=False))
            seconds.append(time.perf_counter() - started)
        finally:
            cloud.stop()
    return tuple(seconds[1:])


def _deploys(toolchain: Toolchain, folder: str) -> tuple[float, ...]:
    cloud = start_cloud(toolchain, Path(folder) / "deploys")
    seconds = []
    try:
        with cloud.client() as client:
            cloud.deploy(client, "benchmark", WORKER.format(answer="warm"))
            cloud.open_subdomain(client, "benchmark")
            for number in range(DEPLOY_RUNS):
                answer = f"version {number}"
                started = time.perf_counter()
                cloud.deploy(client, "benchmark", WORKER.format(answer=answer))
                while client.get("/", headers={"Host": cloud.hostname("benchmark")}).text != answer:
                    if time.perf_counter() - started > PATIENCE_SECONDS:
                        raise RuntimeError(f"{answer} is not live after {PATIENCE_SECONDS:.0f} s")
                seconds.append(time.perf_counter() - started)
    finally:
        cloud.stop()
    return tuple(seconds)


def _told(start: Start) -> str:
    return f"{start.title}: median {start.median:.3f} s of {len(start.seconds)}"
