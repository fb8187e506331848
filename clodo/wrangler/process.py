"""Child processes that never outlive us: started from one long-lived thread, each the leader of its own group."""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
TERMINATION_GRACE_SECONDS = 3.0

Line = Callable[[str], None]


class Spawner:
    """
    Starts children from a thread that lives as long as this process.

    The kernel's "signal me when my parent dies" is bound to the *thread* that forked, so a child started from a
    short-lived worker thread would be killed as soon as that thread ends. Linux only; elsewhere a child loses its
    gateway with us and can reach nothing any more.
    """

    def __init__(self) -> None:
        self._wanted: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]
        self._wanted = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._owner = 0

    def start(
        self,
        args: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start *args* in *cwd* with piped output; *env* None inherits ours, *stdin* None is empty."""
        with self._lock:
            if self._owner != os.getpid():
                self._wanted = queue.SimpleQueue()
                threading.Thread(target=self._serve, name="clodo-spawner", daemon=True).start()
                self._owner = os.getpid()
        answer: Future[subprocess.Popen[bytes]] = Future()

        def popen() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [os.fspath(arg) for arg in args],
                cwd=cwd,
                env=None if env is None else dict(env),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )

        self._wanted.put((popen, answer))
        return answer.result()

    def _serve(self) -> None:
        while True:
            popen, answer = self._wanted.get()
            try:
                answer.set_result(popen())
            except (OSError, subprocess.SubprocessError, ValueError) as error:
                answer.set_exception(error)
            del popen, answer


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    # Looked up before the fork: between fork and exec only this one call is made.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    signal_number = int(signal.SIGKILL)

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)

    return ask


SPAWNER = Spawner()


class Child:
    """
    One running child whose output is read line by line, each stream in its own thread.

    Use as a context manager: leaving the block ends the whole process group, whatever happened inside.
    """

    def __init__(
        self,
        args: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: int | None = None,
        pass_fds: Sequence[int] = (),
        on_stdout: Line,
        on_stderr: Line,
        spawner: Spawner = SPAWNER,
        grace_seconds: float = TERMINATION_GRACE_SECONDS,
    ) -> None:
        self._grace_seconds = grace_seconds
        self._process = spawner.start(args, cwd=cwd, env=env, stdin=stdin, pass_fds=pass_fds)
        self._readers = [self._read(self._process.stdout, on_stdout), self._read(self._process.stderr, on_stderr)]

    @property
    def pid(self) -> int:
        """Process id, which is the id of its group too."""
        return self._process.pid

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def wait(self, timeout_seconds: float | None = None) -> int | None:
        """Return the exit status once output is read to its end (negative: the signal), or None if time ran out."""
        try:
            status = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return None
        # A grandchild that inherited the pipes must not hold us up for ever.
        for reader in self._readers:
            reader.join(self._grace_seconds)
        return status

    def end(self) -> None:
        """End the process group: SIGTERM, and SIGKILL for what is still there after a grace period."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace_seconds)
        # The leader may be gone and a grandchild not.
        self._signal(signal.SIGKILL)
        self._process.wait()
        for reader in self._readers:
            reader.join(self._grace_seconds)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    @staticmethod
    def _read(stream: IO[bytes] | None, on_line: Line) -> threading.Thread:
        def read() -> None:
            if stream is None:
                return
            with stream:
                for line in stream:
                    on_line(line.decode("utf-8", "replace").rstrip("\r\n"))

        thread = threading.Thread(target=read, name="clodo-output", daemon=True)
        thread.start()
        return thread
