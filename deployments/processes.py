"""Background processes that outlive a command, and are known again by process id and start time."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clodo.errors import Failed

POLL = 0.05  # seconds; there is no portable event for "a process that isn't our child has ended"


MARK = "CLODO_PROCESS_MARK"


@dataclass(frozen=True, slots=True)
class BackgroundProcess:
    """
    A process, told apart from a later one that got the same number, and all that it starts.

    Attributes:
        pid: Process id; also the id of its process group.

        started: What the system says of its start; compared, never parsed.

        mark: Value of an environment variable that it and its descendants carry, wherever they move to.

        log: File that its output goes to.
    """

    pid: int
    started: str
    mark: str
    log: str

    @classmethod
    def start(
        cls,
        words: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        keeps_output: bool = True,
    ) -> BackgroundProcess:
        """
        Start *words* in a session of its own.

        Args:
            log: File (mode 0600) that its standard error is added to.

            keeps_output: Add its standard output too; False for one that prints a secret there.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        mark = secrets.token_hex(8)
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
            process = subprocess.Popen(
                list(words),
                env={**environment, MARK: mark},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output if keeps_output else subprocess.DEVNULL,
                stderr=output,
                start_new_session=True,
                umask=0o077,
            )
        _CHILDREN[process.pid] = process
        return cls(process.pid, start_of(process.pid) or "", mark, str(log))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> BackgroundProcess:
        """Read what `as_json` gave."""
        return cls(int(document["pid"]), str(document["started"]), str(document["mark"]), str(document["log"]))

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @property
    def is_running(self) -> bool:
        """Whether this very process still runs."""
        child = _CHILDREN.get(self.pid)
        if child is not None and child.poll() is not None:
            return False
        return bool(self.started) and start_of(self.pid) == self.started

    def family(self) -> set[int]:
        """
        Return the ids of this process and its descendants that run, even when it is itself gone.

        Without Linux's ``/proc`` only those are found whose ancestors still run.
        """
        own = {self.pid} if self.is_running else set()
        if not _HAS_PROC:
            return own | (_descendants_of(self.pid) if own else set())
        wanted = f"{MARK}={self.mark}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0") and start_of(int(folder.name)):
                    own.add(int(folder.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # gone meanwhile, or another user's
        return own

    def stop(self, *, patience: float = 30.0, clock: Callable[[], float] = time.monotonic) -> bool:
        """
        End it and all it started: ask first, insist after *patience* seconds.

        Returns:
            False when nothing of it ran any more.
        """
        if not self.family():
            return False
        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
            for pid in self.family():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue  # it ended by itself
            if _wait(lambda: not self.family(), seconds, clock):
                return True
        raise Failed(f"Process {self.pid} can't be ended.", hint=f"See {self.log}.")

    def last_lines(self, count: int = 15) -> str:
        """Return the end of its log."""
        try:
            return "\n".join(Path(self.log).read_text(errors="replace").splitlines()[-count:])
        except FileNotFoundError:
            return ""


_HAS_PROC = Path("/proc/self/environ").exists()
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


def start_of(pid: int) -> str | None:
    """Return what the system says of the start of process *pid*; None when there is none, or only its remains."""
    if _HAS_PROC:
        try:
            # The command's name is in brackets and may itself hold spaces and brackets.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else f"{_boot()}:{fields[19]}"
    listed = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = listed.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def wait_until(ready: Callable[[], bool], *, seconds: float, alive: Callable[[], bool]) -> bool:
    """Return whether *ready* came true within *seconds*; False at once when *alive* no longer is."""
    return _wait(lambda: ready() or not alive(), seconds, time.monotonic) and alive()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return ""


def _descendants_of(pid: int) -> set[int]:
    listed = subprocess.run(["ps", "-Ao", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(line.split()[0]): int(line.split()[1]) for line in listed.splitlines()}
    found: set[int] = set()
    todo = {pid}
    while todo:
        todo = {child for child, parent in parents.items() if parent in todo} - found
        found |= todo
    return found


def _wait(condition: Callable[[], bool], seconds: float, clock: Callable[[], float]) -> bool:
    deadline = clock() + seconds
    while not condition():
        if clock() >= deadline:
            return False
        time.sleep(POLL)
    return True
