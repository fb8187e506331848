"""How long `clodo demo` takes once the toolchain is installed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.startup import Start

MAX_SECONDS = 90.0

Say = Callable[[str], None]


class DemoFailed(Exception):
    """The demo says that a claim does not hold, so its seconds mean nothing."""


def measure(runs: int, say: Say) -> tuple[Start, int]:
    """
    Run the demo *runs* times; return its seconds, process start to exit, and how many claims it checked.

    Raises:
        DemoFailed: A claim does not hold.
    """
    seconds = []
    checks = 0
    for number in range(1, runs + 1):
        started = time.perf_counter()
        demo = subprocess.run(
            [str(Path(sys.executable).with_name("clodo")), "demo", "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds.append(time.perf_counter() - started)
        checks = len(_checked(demo)["checks"])
        say(f"demo, run {number}: {seconds[-1]:.1f} s, {checks} claims hold")
    return Start("`clodo demo`, process start to exit", tuple(seconds), MAX_SECONDS), checks


def _checked(demo: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    if demo.returncode != 0:
        raise DemoFailed(f"status {demo.returncode}: {demo.stdout[-2000:]}{demo.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(demo.stdout)
    if not found["ok"]:
        raise DemoFailed(f"not every claim holds: {found['checks']}")
    return found
