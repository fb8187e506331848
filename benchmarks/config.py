"""How fast the configuration of a fleet is read, validated and edited: the messy sample of thirty services."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.startup import Say, Start
from clodo.settings import Settings
from clodo.wrangler.toolchain import install

SAMPLE = Path(__file__).parents[1] / "tests" / "workspace" / "samples" / "messy"
RUNS = 9


def measure(say: Say) -> tuple[Start, ...]:
    """Measure each command from the start of its process to its exit; the first run only warms the disk's cache."""
    install(Settings.from_environment())
    found = []
    for title, words, max_seconds in (
        ("`clodo config validate`, 30 services, without look-ups", ("validate",), 2.0),
        ("`clodo config show`, one target of 30 services", ("show", "orders@production"), 1.0),
        ("`clodo config migrate --dry-run`, 30 services", ("migrate", "--dry-run"), 5.0),
    ):
        with tempfile.TemporaryDirectory(prefix="clodo-benchmark-") as folder:
            sample = Path(folder) / "messy"
            shutil.copytree(SAMPLE, sample)
            found.append(Start(title, _seconds(partial(_run, sample, words)), max_seconds))
        say(f"{title}: median {found[-1].median:.3f} s of {RUNS}")
    return tuple(found)


def _seconds(run: Callable[[], None]) -> tuple[float, ...]:
    seconds = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return tuple(seconds[1:])


def _run(sample: Path, words: tuple[str, ...]) -> None:
    clodo = str(Path(sys.executable).with_name("clodo"))
    ended = subprocess.run(
        [clodo, "--workspace", str(sample), "config", *words], capture_output=True, check=False, text=True
    )
    # The sample has errors on purpose, which is what validate says with 2.
    if ended.returncode != (2 if words == ("validate",) else 0):
        raise RuntimeError(f"clodo config {' '.join(words)} ended with {ended.returncode}: {ended.stderr}")
