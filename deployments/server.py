"""The Prefect server of a workspace: started, found again, and stopped."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from clodo.errors import Failed, PortInUse, Refused, ServerUnavailable
from clodo.settings import child_environment
from deployments.processes import BackgroundProcess, wait_until

LOOPBACK = "127.0.0.1"
USUAL_PORT = 4200
BOOT_SECONDS = 12.0  # what a first start takes on two cores; only for the progress bar
PATIENCE_SECONDS = 180.0
DRAIN_SECONDS = 15.0
PORTS_TO_TRY = 3

# A proxy that the environment names is for the world outside; this is loopback.
_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Report = Callable[[str, float], None]


def _silence(step: str, share: float) -> None:
    """Report to nobody."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    What guards a server: the word that lets clients in, and the key that its stored blocks are encrypted with.

    Attributes:
        auth_string: ``user:password``; what the UI asks for.

        encryption_key: Fernet key; kept outside of the database that it protects.
    """

    auth_string: str = field(repr=False)
    encryption_key: str = field(repr=False)

    @classmethod
    def load_or_create(cls, folder: Path) -> Credentials:
        """
        Read the credentials in *folder*, or make them before the first server starts there.

        Raises:
            Refused: A database is there whose key is gone.
        """
        file = credentials_file(folder)
        if not file.exists():
            if (folder / "prefect.db").exists():
                raise Refused(
                    f"{file} is gone, so the blocks in {folder / 'prefect.db'} can't be read any more.",
                    hint=f"Put it back from a backup, or remove {folder} to begin anew.",
                )
            auth = f"clodo:{secrets.token_urlsafe(24)}"
            key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
            text = (
                "# Made by Clodo. The Prefect UI asks for the first value; the second one encrypts the saved blocks.\n"
                f"PREFECT_API_AUTH_STRING={auth}\nPREFECT_SERVER_ENCRYPTION_KEY={key}\n"
            )
            write_privately(file, text)
        values = dict(line.partition("=")[::2] for line in file.read_text().splitlines() if not line.startswith("#"))
        try:
            return cls(values["PREFECT_API_AUTH_STRING"], values["PREFECT_SERVER_ENCRYPTION_KEY"])
        except KeyError as error:
            raise Refused(f"{file}: {error.args[0]} is missing.", hint="Put the file back from a backup.") from error


@dataclass(frozen=True, slots=True)
class PrefectServer:
    """
    A Prefect server on loopback.

    Attributes:
        folder: Its ``PREFECT_HOME``: database, credentials, logs.

        port: Where it listens.

        process: The process to stop.

        is_kept: Whether it goes on when nobody uses it.
    """

    folder: Path
    port: int
    process: BackgroundProcess
    is_kept: bool

    @property
    def api_url(self) -> str:
        """Root of its API."""
        return f"http://{LOOPBACK}:{self.port}/api"

    @property
    def ui_url(self) -> str:
        """Address for a browser."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def credentials(self) -> Credentials:
        """What lets one in."""
        return Credentials.load_or_create(self.folder)

    def client_environment(self) -> dict[str, str]:
        """Return the variables by which another process's Prefect uses this server."""
        return {
            "PREFECT_HOME": str(self.folder),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_API_AUTH_STRING": self.credentials.auth_string,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """
        Make this process's Prefect use this server.

        Heartbeats are off: they cost every synchronous flow a second at its end, only code can turn them off, and a
        flow that a person watches needs none.
        """
        from prefect.settings import (
            PREFECT_API_AUTH_STRING,
            PREFECT_API_URL,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
            PREFECT_HOME,
            temporary_settings,
        )

        with (
            temporary_settings(
                {
                    PREFECT_HOME: self.folder,
                    PREFECT_API_URL: self.api_url,
                    PREFECT_API_AUTH_STRING: self.credentials.auth_string,
                    PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
                }
            ),
            settings_in_every_thread(),
        ):
            try:
                yield
            finally:
                send_what_is_queued()


@contextmanager
def settings_in_every_thread() -> Iterator[None]:
    """
    Make the settings in force here those of threads that Prefect hasn't started.

    Settings live in a context variable, which a plain thread doesn't inherit: a line that such a thread logs would make
    Prefect start a server of its own and be lost in it.
    """
    from prefect import context

    before = context.GLOBAL_SETTINGS_CONTEXT
    context.GLOBAL_SETTINGS_CONTEXT = context.SettingsContext.get() or before
    try:
        yield
    finally:
        context.GLOBAL_SETTINGS_CONTEXT = before


def send_what_is_queued() -> None:
    """
    Send the log lines and events that Prefect's background threads still hold, while the server is there to take them.

    The states of task runs are recorded from these events: without this, the last ones of a command would be lost.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for service in (APILogWorker, EventsWorker):
        service.drain_all(timeout=DRAIN_SECONDS)


def folder_of(workspace: Path) -> Path:
    """Return the folder of *workspace*'s Prefect server."""
    return workspace / ".clodo" / "prefect"


def credentials_file(folder: Path) -> Path:
    """Return the file (mode 0600) that says how to log in."""
    return folder / "credentials.env"


def find(workspace: Path) -> PrefectServer | None:
    """Return the server of *workspace* that runs, if one does."""
    folder = folder_of(workspace)
    try:
        document: Mapping[str, Any] = json.loads((folder / "server.json").read_text())
    except FileNotFoundError:
        return None
    server = PrefectServer(
        folder, int(document["port"]), BackgroundProcess.from_json(document["process"]), bool(document["is_kept"])
    )
    return server if server.process.is_running else None


def start(
    workspace: Path, *, port: int | None = None, is_kept: bool = True, report: Report = _silence
) -> tuple[PrefectServer, bool]:
    """
    Start the server of *workspace* unless it runs, and return when it answers.

    Args:
        workspace: Its state is in ``.clodo/prefect`` there.

        port: Where to listen; by default where it listened before, else 4200, else anywhere.

        is_kept: Whether it goes on until `stop`; otherwise it ends with the last process that `borrowed` it.

        report: Is told what is being done, and the share that is done.

    Returns:
        The server, and whether it was started just now.

    Raises:
        PortInUse: Something else listens on *port*.

        Failed: It didn't start; the message ends with its last lines.
    """
    folder = private_folder(folder_of(workspace))
    with _locked(folder / "start.lock"):
        running = find(workspace)
        if running is not None and running.process.is_running:
            if port not in (None, running.port):
                raise PortInUse(
                    f"The Prefect server of this workspace already runs, on port {running.port}.",
                    hint="Run `clodo down` first.",
                )
            if is_kept and not running.is_kept:
                running = replace(running, is_kept=True)
                _remember(running)
            _wait_for(running, report)
            return running, False
        for attempt in range(PORTS_TO_TRY):
            server = _launch(workspace, folder, _choose_port(folder, port), is_kept=is_kept)
            _remember(server)
            try:
                _wait_for(server, report)
            except PortInUse:
                # It takes seconds from choosing a port to listening there; another one does as well if none was named.
                if port is not None or attempt == PORTS_TO_TRY - 1:
                    raise
            else:
                break
        return server, True


def stop(workspace: Path) -> bool:
    """End the server of *workspace*; False when none ran."""
    folder = folder_of(workspace)
    if not folder.is_dir():
        return False
    with _locked(folder / "start.lock"):
        server = find(workspace)
        stopped = server is not None and server.process.stop()
        (folder / "server.json").unlink(missing_ok=True)
        return stopped


@contextmanager
def borrowed(workspace: Path, *, report: Report = _silence) -> Iterator[PrefectServer]:
    """
    Give a running server of *workspace*; one that nobody keeps ends with the last process that borrowed it.

    The kernel drops a process's share of the lock when it ends, however it ends.
    """
    folder = private_folder(folder_of(workspace))
    with open_privately(folder / "users.lock") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        server, _ = start(workspace, is_kept=False, report=report)
        yield server


def private_folder(folder: Path) -> Path:
    """Make *folder* and the ``.clodo`` it lies in (0700), and keep that out of version control."""
    state = next((parent for parent in (folder, *folder.parents) if parent.name == ".clodo"), folder)
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    if state.name == ".clodo" and not (state / ".gitignore").exists():
        (state / ".gitignore").write_text("*\n")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def write_privately(file: Path, text: str) -> None:
    """Write *text* to *file*, mode 0600 from its first moment, whole or not at all."""
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as output:
        output.write(text)
        output.flush()
        os.fsync(output.fileno())
    draft.replace(file)


def open_privately(file: Path) -> IO[bytes]:
    """Open *file*, made with mode 0600 if need be, to lock it."""
    return os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "rb+")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with open_privately(file) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _remember(server: PrefectServer) -> None:
    document = {"port": server.port, "process": server.process.as_json(), "is_kept": server.is_kept}
    write_privately(server.folder / "server.json", json.dumps(document, indent=2))
    (server.folder / "last_port").write_text(str(server.port))


def _launch(workspace: Path, folder: Path, port: int, *, is_kept: bool) -> PrefectServer:
    credentials = Credentials.load_or_create(folder)
    environment = {
        # A profile or setting of the user's own Prefect must not reach this one.
        **child_environment(without=("PREFECT_",)),
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_API_AUTH_STRING": credentials.auth_string,
        "PREFECT_API_AUTH_STRING": credentials.auth_string,
        "PREFECT_SERVER_ENCRYPTION_KEY": credentials.encryption_key,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_API_HOST": LOOPBACK,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": f"http://{LOOPBACK}:{port}/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # One transaction for each event of each task run is the default, and most of what a rollout costs the server.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        # 100 runs of each schedule in advance is the default, and keeps SQLite locked while others get a 503.
        "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "5",
        "DO_NOT_TRACK": "1",
    }
    words = [
        *(sys.executable, "-m", "deployments.lingering", str(folder)),
        *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
        *("--host", LOOPBACK, "--port", str(port), "--log-level", "warning", "--lifespan", "on"),
    ]
    process = BackgroundProcess.start(words, environment=environment, folder=folder, log=folder / "server.log")
    return PrefectServer(folder, port, process, is_kept)


def _wait_for(server: PrefectServer, report: Report) -> None:
    began = time.monotonic()

    def answers() -> bool:
        waited = time.monotonic() - began
        report("starting the Prefect server", min(0.99, waited / BOOT_SECONDS))
        return is_healthy(server.api_url, server.credentials.auth_string)

    if wait_until(answers, seconds=PATIENCE_SECONDS, alive=lambda: server.process.is_running):
        report("the Prefect server answers", 1.0)
        return
    if server.process.is_running:
        server.process.stop(patience=5)
        raise Failed(f"The Prefect server didn't answer within {PATIENCE_SECONDS:.0f} s. See {server.process.log}.")
    if not is_free(server.port):
        raise PortInUse(f"Another process took port {server.port}.", hint="Run it again, or name another port.")
    raise Failed(f"The Prefect server ended while starting:\n{server.process.last_lines()}")


def is_healthy(api_url: str, auth_string: str | None) -> bool:
    """Whether the server at *api_url* is up and lets *auth_string* in."""
    request = urllib.request.Request(f"{api_url}/admin/version")  # noqa: S310 -- http(s) only: the URL is ours
    if auth_string:
        request.add_header("Authorization", f"Basic {base64.b64encode(auth_string.encode()).decode()}")
    try:
        with _WITHOUT_PROXY.open(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def raise_if_unreachable(api_url: str) -> None:
    """
    Check once that a Prefect server answers at *api_url*.

    Raises:
        ServerUnavailable: It doesn't.
    """
    try:
        with _WITHOUT_PROXY.open(f"{api_url.rstrip('/')}/health", timeout=10):
            return
    except urllib.error.HTTPError as error:
        reason: object = f"HTTP {error.code}"
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
    raise ServerUnavailable(
        f"The Prefect server at {api_url} doesn't answer ({reason}).",
        hint="Start it, or unset PREFECT_API_URL and run `clodo up`.",
    )


def is_free(port: int) -> bool:
    """Whether *port* can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _choose_port(folder: Path, wanted: int | None) -> int:
    if wanted is not None:
        if not is_free(wanted):
            raise PortInUse(f"Something else listens on port {wanted}.", hint="Name another one, or leave it out.")
        return wanted
    usual = [USUAL_PORT]
    if (folder / "last_port").exists():
        usual.insert(0, int((folder / "last_port").read_text()))
    for port in usual:
        if is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
