"""workerd as a process: started, known to listen, its last words kept, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import BinaryIO

from clodo.emulator.runtime.configuration import Configuration
from clodo.emulator.runtime.pipes import PipeReader
from clodo.emulator.runtime.ports import WorkerdUnavailable

#: What is kept of a process's output, for error messages and `Runtime.log`.
LOG_BYTES = 64 * 1024
#: How long a process may take to end by itself once told to.
TERM_GRACE = timedelta(seconds=1)
IS_LINUX = platform.system() == "Linux"
#: `PR_SET_PDEATHSIG` of <linux/prctl.h>.
_SET_PARENT_DEATH_SIGNAL = 1
#: How long `workerd --version` may take, also when the binary must first be read from a slow disk.
VERSION_SECONDS = 10
#: How executables begin: ELF on Linux; on macOS Mach-O, for one or several processors.
EXECUTABLE_MAGIC = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_WHICH_WORKERD = "Name the binary with --workerd or CLODO_WORKERD, or neither to use the pinned one."
#: Longest Unix socket path that every system takes.
MAX_SOCKET_PATH_BYTES = 103


#: Ends at once if our parent is gone already, else becomes workerd.
_UNLESS_ORPHANED = '[ "$PPID" = "$0" ] && exec "$@"'


def _death_wrapper() -> list[str] | None:
    """
    Return a command that makes the kernel kill workerd when our spawning thread ends; None where there is none.

    util-linux's setpriv costs a millisecond; doing it in Python, after a fork of this large process, ten.
    """
    setpriv, shell = shutil.which("setpriv"), shutil.which("sh")
    if not IS_LINUX or setpriv is None or shell is None:
        return None
    wrapper = [setpriv, "--pdeathsig", "KILL"]
    tried = subprocess.run([*wrapper, shell, "-c", ":"], check=False, capture_output=True)
    return [*wrapper, shell, "-c", _UNLESS_ORPHANED, str(os.getpid())] if tried.returncode == 0 else None


def _die_with_parent() -> Callable[[], None] | None:
    """Return what a child runs before workerd for the same purpose where setpriv is missing; Linux only."""
    if not IS_LINUX:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def bind() -> None:
        libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(127)

    return bind


def _abandon(spawning: asyncio.Future[tuple[subprocess.Popen[bytes], int, int]]) -> None:
    """End a process that nobody waits for any more."""
    if spawning.cancelled() or spawning.exception() is not None:
        return
    popen, output, control = spawning.result()
    os.close(output)
    os.close(control)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)
    popen.wait()


def _unnamed_file(content: bytes) -> BinaryIO:
    """Return an open file with *content* that has no name, so that nobody else can read its secrets."""
    # workerd refuses pipes. In memory where the system can, else a deleted file of mode 0600.
    descriptor = os.memfd_create("workerd", os.MFD_CLOEXEC) if IS_LINUX else None
    file: BinaryIO = tempfile.TemporaryFile() if descriptor is None else os.fdopen(descriptor, "w+b")  # noqa: SIM115
    file.write(content)
    file.seek(0)
    return file


def _raise_unless_binary(workerd: Path) -> None:
    """
    Refuse what only starts workerd, such as npm's ``bin/workerd``, which is a script for Node.

    Whoever starts a launcher knows the launcher: workerd itself would be its child, die neither with us nor when told
    to, and be left behind.
    """
    try:
        with workerd.open("rb") as file:
            beginning = file.read(4)
    except OSError as error:
        raise WorkerdUnavailable(
            f"{workerd}: can't read workerd: {error.strerror}",
            hint=_WHICH_WORKERD,
        ) from error
    if beginning not in EXECUTABLE_MAGIC:
        raise WorkerdUnavailable(
            f"{workerd} is not workerd itself but a script or another file",
            hint=f"npm keeps the binary in node_modules/@cloudflare/workerd-*/bin/workerd. {_WHICH_WORKERD}",
        )


def started_at(pid: int) -> str | None:
    """Return what tells this process from a later one with the same *pid*; None if there is no such process."""
    try:
        # The command, field 2, may hold spaces and parentheses; field 22 is the start in clock ticks since boot.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except (FileNotFoundError, ProcessLookupError):
        if IS_LINUX:
            return None
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def memory_of(pid: int) -> int | None:
    """Return the proportional set size of *pid* in bytes; None where the system doesn't tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), None)


def cpu_seconds_of(pid: int) -> float | None:
    """Return the CPU time that *pid* has used, in seconds; None where the system doesn't tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class StartFailed(Exception):
    """
    A workerd ended, or took too long, before it listened.

    Args:
        output: What it printed.

        timed_out: Whether it was still running.
    """

    def __init__(self, output: str, *, timed_out: bool) -> None:
        super().__init__(output)
        self.output = output
        self.timed_out = timed_out


class Workerd:
    """
    One running workerd.

    Attributes:
        pid: Its process id.

        ended: Set once it is gone, for whatever reason.

        folder: Where its sockets are; deleted with it.

        is_over_limit: Whether it was killed because it used too much CPU time.

        is_tailed: Whether it was told to pass its events on.
    """

    def __init__(
        self, popen: subprocess.Popen[bytes], output: int, folder: Path, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.pid = popen.pid
        self.folder = folder
        self.ended = asyncio.Event()
        self.is_over_limit = False
        self.is_tailed = False
        self.on_end: Callable[[], None] | None = None
        self._popen = popen
        self._loop = loop
        self._log: deque[bytes] = deque()
        self._log_size = 0
        PipeReader(output, loop, self._print, self._output_ended)

    @property
    def is_running(self) -> bool:
        """Whether the process is there, also one that doesn't answer."""
        return not self.ended.is_set()

    @property
    def log(self) -> str:
        """The last of what it printed."""
        return b"".join(self._log).decode("utf-8", errors="replace")

    def _print(self, data: bytes) -> None:
        self._log.append(data)
        self._log_size += len(data)
        while self._log_size > LOG_BYTES and len(self._log) > 1:
            self._log_size -= len(self._log.popleft())

    def _output_ended(self) -> None:
        # workerd has no children, so its output ends when it does; the exit itself may be some microseconds away.
        if self._popen.poll() is None:
            self._loop.call_later(0.001, self._output_ended)
            return
        self.ended.set()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.on_end is not None:
            self.on_end()

    def signal(self, number: int) -> None:
        """Send a signal, unless the process is gone; also to whatever it started, which would keep its output open."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def stop(self, grace: timedelta = TERM_GRACE) -> None:
        """Ask it to end; after *grace* make it."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.ended.wait(), grace.total_seconds())
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended.wait()


class Nursery:
    """
    Starts workerd processes, and ends those that an earlier nursery of the same folder left running.

    Args:
        workerd: The binary.

        records: Folder with a file a process, which outlives us.
    """

    def __init__(self, workerd: Path, records: Path) -> None:
        self.workerd = workerd
        self.records = records
        self.newest = date.min
        self.children: set[Workerd] = set()
        self._counter = 0
        self._folder: Path | None = None
        # The parent-death signal is bound to the thread that spawns; this one lives until `close`.
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="workerd-spawner")
        self._wrapper: list[str] = []
        self._before_exec: Callable[[], None] | None = None
        self._lock: int | None = None

    @property
    def folder(self) -> Path:
        """The short-named folder of mode 0700 in which all sockets are."""
        assert self._folder is not None
        return self._folder

    async def open(self) -> None:
        """
        Sweep, and find out what the binary can do.

        Raises:
            WorkerdUnavailable: The binary is missing or doesn't run, or the folder is in use.
        """
        loop = asyncio.get_running_loop()
        self.records.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_lock()
        await loop.run_in_executor(self._spawner, self._sweep)
        base = Path(tempfile.gettempdir())
        if len(os.fsencode(base)) > MAX_SOCKET_PATH_BYTES - 50:
            base = Path("/tmp")  # noqa: S108 - made with mkdtemp: ours alone, mode 0700
        self._folder = Path(tempfile.mkdtemp(prefix="clodo-", dir=base))
        self.newest = await loop.run_in_executor(self._spawner, self._find_newest)
        wrapper = await loop.run_in_executor(self._spawner, _death_wrapper)
        self._wrapper = wrapper or []
        self._before_exec = None if wrapper else _die_with_parent()

    def _take_lock(self) -> None:
        lock = os.open(self.records / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise WorkerdUnavailable(
                f"another embedded cloud runs on the data in {self.records.parent}",
                hint="Stop it first, or give this one a folder of its own.",
            ) from error
        self._lock = lock

    def _find_newest(self) -> date:
        _raise_unless_binary(self.workerd)
        try:
            answer = subprocess.run(
                [self.workerd, "--version"],
                capture_output=True,
                text=True,
                check=True,
                timeout=VERSION_SECONDS,
                env={},
            )
            name, newest = answer.stdout.split()
            if name != "workerd":
                raise ValueError(name)
            return min(date.fromisoformat(newest), date.today())
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise WorkerdUnavailable(
                f"{self.workerd} doesn't run as workerd",
                hint=_WHICH_WORKERD,
            ) from error

    def _sweep(self) -> None:
        for record in self.records.glob("*.json"):
            try:
                left = json.loads(record.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                left = {}
            pid = left.get("pid")
            if isinstance(pid, int) and left.get("started") is not None and started_at(pid) == left["started"]:
                os.kill(pid, signal.SIGKILL)
            folder = Path(str(left.get("folder", "")))
            if folder.name and folder.parent.name.startswith("clodo-"):
                shutil.rmtree(folder.parent, ignore_errors=True)
            record.unlink(missing_ok=True)

    def new_folder(self) -> Path:
        """Make the folder of one process's sockets."""
        self._counter += 1
        folder = self.folder / f"{self._counter:x}"
        folder.mkdir(mode=0o700)
        return folder

    async def spawn(self, configuration: Configuration, folder: Path, *, timeout: timedelta) -> Workerd:
        """
        Start a workerd and return it once it listens on every socket.

        Args:
            configuration: Goes through a file without a name, since it holds secrets.

            folder: From `new_folder`.

        Raises:
            StartFailed: It ended first, or didn't listen within *timeout*.

            WorkerdUnavailable: The system won't start it.
        """
        loop = asyncio.get_running_loop()
        spawning = loop.run_in_executor(self._spawner, self._popen, configuration.text)
        try:
            popen, output, control = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            spawning.add_done_callback(_abandon)
            raise
        child = Workerd(popen, output, folder, loop)
        self.children.add(child)
        record = self.records / f"{popen.pid}.json"
        child.on_end = lambda: self._forget(child, record)
        listening = loop.create_future()
        heard = bytearray()

        def hear(data: bytes) -> None:
            heard.extend(data)
            if heard.count(b'"listen"') >= configuration.sockets and not listening.done():
                listening.set_result(True)

        def silence() -> None:
            if not listening.done():
                listening.set_result(False)

        reader = PipeReader(control, loop, hear, silence)
        try:
            ready = await asyncio.wait_for(asyncio.shield(listening), timeout.total_seconds())
        except TimeoutError:
            child.signal(signal.SIGKILL)
            await child.ended.wait()
            raise StartFailed(child.log, timed_out=True) from None
        except asyncio.CancelledError:
            child.signal(signal.SIGKILL)
            raise
        finally:
            reader.close()
        if not ready:
            child.signal(signal.SIGKILL)
            await child.ended.wait()
            raise StartFailed(child.log, timed_out=False)
        return child

    def _popen(self, configuration: str) -> tuple[subprocess.Popen[bytes], int, int]:
        output, output_end = os.pipe()
        control, control_end = os.pipe()
        command: Sequence[str | Path] = [
            *self._wrapper,
            self.workerd,
            "serve",
            "--experimental",
            f"--control-fd={control_end}",
            "--import-path=/",
            "/dev/stdin",
        ]
        try:
            with _unnamed_file(configuration.encode()) as file:
                popen = subprocess.Popen(
                    command,
                    stdin=file,
                    stdout=output_end,
                    stderr=output_end,
                    pass_fds=[control_end],
                    env={"TZ": "UTC"},
                    cwd="/",
                    start_new_session=True,  # Ctrl-C is for us, who drain first
                    preexec_fn=self._before_exec,
                )
        except OSError as error:
            os.close(output)
            os.close(control)
            raise WorkerdUnavailable(f"can't start {self.workerd}: {error.strerror}") from error
        finally:
            os.close(output_end)
            os.close(control_end)
        record = {"pid": popen.pid, "started": started_at(popen.pid), "folder": str(self.folder / "x")}
        (self.records / f"{popen.pid}.json").write_text(json.dumps(record), encoding="utf-8")
        return popen, output, control

    def _forget(self, child: Workerd, record: Path) -> None:
        record.unlink(missing_ok=True)
        self.children.discard(child)

    async def close(self) -> None:
        """End all children at the same time, and remove the sockets."""
        await asyncio.gather(*(child.stop() for child in list(self.children)))
        self._spawner.shutdown(wait=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
