"""Who holds a lock: one process on one machine, and whether it still lives."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROCESSES = Path("/proc")


@dataclass(frozen=True, slots=True)
class Owner:
    """
    One process, said so exactly that a reused process id isn't mistaken for it.

    Attributes:
        host: The machine's name, for people.

        pid: Process id.

        process_started_at: When that process started, as its operating system says it; only ever compared for equality.

        user: Login name.

        what: What it is doing, in the words of its command line or flow: ``deploy api@production``.

        machine: Which table of processes *pid* is a line of: this boot and process namespace of the host. Two
            containers that share a host name differ here. Empty when it can't be told.
    """

    host: str
    pid: int
    process_started_at: str
    user: str
    what: str
    machine: str = ""

    @classmethod
    def current(cls, what: str) -> Owner:
        """Describe this process, doing *what*."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname(),
            pid=pid,
            process_started_at=process_started_at(pid) or "",
            user=_login_name(),
            what=what,
            machine=machine(),
        )

    def is_gone(self) -> bool:
        """Is it proven that this process no longer runs? False for processes of another machine, and when in doubt."""
        if not self.machine or self.machine != machine() or not self.process_started_at:
            return False
        return process_started_at(self.pid) != self.process_started_at

    def __str__(self) -> str:
        return f"{self.user}@{self.host} (process {self.pid}, {self.what})"


def machine() -> str:
    """Name the table of processes this process is a line of: 16 hex digits, or nothing when it can't be told."""
    facts = [socket.gethostname()]
    try:
        if PROCESSES.is_dir():
            facts += [
                (PROCESSES / "sys/kernel/random/boot_id").read_text().strip(),
                str((PROCESSES / "self/ns/pid").readlink()),
            ]
        else:
            facts.append(_output("sysctl", "-n", "kern.bootsessionuuid"))
    except OSError:
        return ""
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16] if all(facts) else ""


def process_started_at(pid: int) -> str | None:
    """
    Say when process *pid* started, in the operating system's own words.

    Returns:
        Clock ticks since boot on Linux, the date of ``ps`` elsewhere; None when there is no such process or it is a
        zombie, which does nothing more.
    """
    if not PROCESSES.is_dir():
        return _output("ps", "-o", "lstart=", "-p", str(pid)) or None
    try:
        # The second field is the program's name in brackets and may itself hold blanks and brackets.
        fields = (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else started


def _output(*command: str) -> str:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    ).stdout.strip()


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a line in the password file
        return str(os.getuid())
