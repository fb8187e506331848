"""Measuring processes: wall time and CPU of one command, CPU of servers beside it, and waiting until they are idle."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.processes import BackgroundProcess

TICKS = os.sysconf("SC_CLK_TCK")
IDLE_SHARE = 0.05
IDLE_SAMPLE_SECONDS = 0.5
IDLE_SAMPLES = 3
IDLE_PATIENCE_SECONDS = 120.0
TAIL_LINES = 30


class CommandFailed(Exception):
    """A measured command ended with another status than 0; its last lines are in the message."""


@dataclass(frozen=True, slots=True)
class Ended:
    """
    A command that ended well.

    Attributes:
        seconds: From its start to its exit.

        cpu_seconds: Of it and all that it waited for, user and system.
    """

    seconds: float
    cpu_seconds: float
    output: str


def run(words: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path) -> Ended:
    """
    Run a command to its end, standard error going to *log*.

    Raises:
        CommandFailed: Its status is not 0.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = log.with_suffix(".out")
    with log.open("w") as errors, output.open("w") as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=errors
        )
        status = process.wait()
        seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status != 0:
        last = "\n".join((log.read_text() + output.read_text()).splitlines()[-TAIL_LINES:])
        raise CommandFailed(f"{Path(words[0]).name} ended with status {status}:\n{last}")
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return Ended(seconds, cpu, output.read_text())


def cpu_seconds_of(process: BackgroundProcess) -> float:
    """Return the CPU seconds that *process*, its living descendants and its dead children have used so far."""
    used = 0
    for pid in process.family():
        try:
            # After the name, which may hold anything but ends with the last parenthesis.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        user, system, dead_user, dead_system = (int(field) for field in fields[11:15])
        used += user + system
        if pid == process.pid:
            used += dead_user + dead_system
    return used / TICKS


def wait_until_idle(*processes: BackgroundProcess) -> None:
    """
    Return when *processes* have done what they still had to do.

    Raises:
        TimeoutError: They go on.
    """
    deadline = time.monotonic() + IDLE_PATIENCE_SECONDS
    quiet = 0
    used = sum(cpu_seconds_of(process) for process in processes)
    while quiet < IDLE_SAMPLES:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the servers are still busy after {IDLE_PATIENCE_SECONDS:.0f} s")
        time.sleep(IDLE_SAMPLE_SECONDS)
        now = sum(cpu_seconds_of(process) for process in processes)
        quiet = quiet + 1 if now - used <= IDLE_SHARE * IDLE_SAMPLE_SECONDS * len(processes) else 0
        used = now
