"""The embedded cloud as something that starts and stops, in this process or as one of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

import uvicorn

from clodo.emulator.access import Call
from clodo.emulator.app import API_PREFIX, Cloud
from clodo.emulator.clock import now
from clodo.emulator.config import AccountKeys, CloudConfig
from clodo.emulator.faults import MAX_REQUESTS, WINDOW_SECONDS, FaultRule
from clodo.emulator.protocols import ResettableHttp, TolerantWebSocket, UninvitedBodies, WholeBodies
from clodo.emulator.runtime.ports import Disturbance
from clodo.emulator.state import forget_state, held, write_state
from clodo.errors import Failed, PortInUse

#: How long requests in flight may take when the cloud is told to stop.
DRAIN_SECONDS = 3

START_SECONDS = 30.0

STOP_SECONDS = 90.0
"""A slow machine ends hundreds of processes of Workers, after calls that were held up were given their time."""

Answer = TypeVar("Answer")


class EmbeddedCloud:
    """
    A Cloudflare on this machine, served from a thread of this process.

    Args:
        config: Where its data is and where it listens.

    Attributes:
        url: Root of the API, ``http://127.0.0.1:PORT/client/v4``.

        edge_url: Root that stands for every Worker's hostname: connect here, name the Worker in ``Host``.

        account: Keys of the first account.

        admin_token: Bearer token of the ``/__clodo/…`` endpoints.
    """

    url: str
    edge_url: str
    account: AccountKeys
    admin_token: str

    def __init__(self, config: CloudConfig) -> None:
        self.config = config
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._cloud: Cloud | None = None

    def start(self) -> EmbeddedCloud:
        """
        Listen and return when the API answers.

        Raises:
            PortInUse: Another process listens there.

            LockHeld: Another embedded cloud uses the same data folder.
        """
        started: concurrent.futures.Future[_Served] = concurrent.futures.Future()

        def run() -> None:
            try:
                with _served(self.config) as served, _runner() as runner:
                    self._loop = runner.get_loop()
                    runner.run(_serve(served, lambda: started.set_result(served)))
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

        # The thread lives as long as the cloud: workerd processes die with the thread that started them.
        self._thread = threading.Thread(target=run, name="embedded cloud", daemon=True)
        self._thread.start()
        served = started.result(timeout=START_SECONDS)
        self._server, self._cloud = served.server, served.cloud
        self.url, self.edge_url = served.url, served.edge_url
        self.account, self.admin_token = served.cloud.first_account, served.cloud.admin_token
        return self

    def stop(self) -> None:
        """End the server and every Worker's process; safe to repeat."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout=STOP_SECONDS)
            if self._thread.is_alive():
                raise Failed(f"the embedded cloud at {self.url} did not stop within {STOP_SECONDS:g} s")
        self._thread = self._server = self._cloud = self._loop = None

    def new_account(self, *, zone: str | None = None, name: str = "Account") -> AccountKeys:
        """Make an account of its own: fresh id, token, subdomain and zone (``<random>.example`` by default)."""

        async def create(cloud: Cloud) -> AccountKeys:
            keys = cloud.accounts.create(name=name, zone=zone)
            cloud.directory.refresh_hosts()
            return keys

        return self._ask(create)

    def add_fault(self, path: str = "", **rule: Any) -> str:
        """
        Arm a fault and return its id.

        Args:
            path: Regular expression; must match somewhere in the path below ``/client/v4``.

            rule: As in :class:`~clodo.emulator.faults.FaultRule`: ``method``, ``action``, ``status``, ``times``, ….
        """

        async def add(cloud: Cloud) -> str:
            return cloud.faults.add(FaultRule.from_json({"path": path, **rule})).id

        return self._ask(add)

    def faults(self) -> list[dict[str, Any]]:
        """Return the armed faults, each with how many calls it has ``seen`` and ``struck``."""

        async def listed(cloud: Cloud) -> list[dict[str, Any]]:
            return cloud.faults.armed()

        return self._ask(listed)

    def clear_faults(self, fault_id: str | None = None) -> None:
        """Disarm one fault, or all."""

        async def clear(cloud: Cloud) -> None:
            if fault_id is None:
                cloud.faults.clear()
            else:
                cloud.faults.remove(fault_id)

        self._ask(clear)

    def calls(
        self,
        *,
        account_id: str | None = None,
        method: str | None = None,
        path: str | None = None,
        token: str | None = None,
        since: int = 0,
    ) -> list[Call]:
        """Return the API calls that fit, oldest first; *path* is a regular expression."""

        async def found(cloud: Cloud) -> list[Call]:
            return cloud.log.calls(account_id=account_id, method=method, path=path, token=token, since=since)

        return self._ask(found)

    def endpoints(self) -> list[tuple[str, str]]:
        """Return method and path of everything the API serves, by path; what varies has a name in braces."""

        async def found(cloud: Cloud) -> list[tuple[str, str]]:
            return list(cloud.endpoints)

        return self._ask(found)

    def forget_calls(self) -> None:
        """Start counting calls anew."""

        async def forget(cloud: Cloud) -> None:
            cloud.log.forget()

        self._ask(forget)

    def disturb(
        self, account_id: str, script: str, version_id: str | None = None, disturbance: Disturbance | None = None
    ) -> None:
        """Make a version (all versions of *script* if None) misbehave; without *disturbance* it ends."""

        async def act(cloud: Cloud) -> None:
            cloud.runtime.disturbances.set(account_id, script, version_id, disturbance)

        self._ask(act)

    def ignore_overrides(self, ignored: bool) -> None:
        """Ignore version overrides for every Worker, or heed them again."""

        async def act(cloud: Cloud) -> None:
            cloud.runtime.ignore_overrides = ignored

        self._ask(act)

    def limit_requests(
        self, is_on: bool, *, maximum: int = MAX_REQUESTS, window_seconds: float = WINDOW_SECONDS
    ) -> None:
        """Switch the limit of requests per user on or off."""

        async def act(cloud: Cloud) -> None:
            cloud.limit.configure(is_on=is_on, maximum=maximum, window_seconds=window_seconds)

        self._ask(act)

    def delay_analytics(self, delay: timedelta) -> None:
        """Let the analytics see what happened only after *delay*, as Cloudflare's do after minutes."""

        async def act(cloud: Cloud) -> None:
            cloud.analytics.delay_seconds = delay.total_seconds()

        self._ask(act)

    def propagate_after(self, delay: timedelta) -> None:
        """Let a deployment reach visitors only after *delay*; with none, those under way arrive at once."""

        async def act(cloud: Cloud) -> None:
            cloud.directory.propagate_after(delay.total_seconds())

        self._ask(act)

    def tail_listeners(self, account_id: str, script: str) -> int:
        """Return how many WebSockets are receiving the Worker's events now."""

        async def count(cloud: Cloud) -> int:
            return cloud.tails.listeners(account_id, script)

        return self._ask(count)

    def _ask(self, question: Callable[[Cloud], Coroutine[Any, Any, Answer]]) -> Answer:
        """Run *question* on the server's loop: what the cloud is made of belongs to its thread."""
        if self._loop is None or self._cloud is None:
            raise Failed("the embedded cloud is not running")
        return asyncio.run_coroutine_threadsafe(question(self._cloud), self._loop).result(timeout=START_SECONDS)

    def __enter__(self) -> EmbeddedCloud:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def run_until_told(config: CloudConfig, ready: Callable[[dict[str, Any]], None]) -> None:
    """
    Serve in this process until SIGTERM or SIGINT, then end cleanly.

    Args:
        ready: Called once, when the API answers, with what is in ``emulator.json``.

    Raises:
        PortInUse: Another process listens there.

        LockHeld: Another embedded cloud uses the same data folder.
    """
    with _served(config) as served, _runner() as runner:
        runner.run(_serve_until_signal(served, lambda: ready(served.state())))


class _Served:
    """A cloud with the socket it will be served from."""

    def __init__(self, config: CloudConfig, listener: socket.socket) -> None:
        self.config = config
        self.listener = listener
        self.cloud = Cloud(config)
        host, port = listener.getsockname()[:2]
        self.edge_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self.url = self.cloud.url = self.edge_url + API_PREFIX
        self.server = _Server(
            uvicorn.Config(
                UninvitedBodies(WholeBodies(self.cloud)),
                http=ResettableHttp,
                ws=TolerantWebSocket,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=DRAIN_SECONDS,
                ws_max_size=64 * 1024 * 1024,
                ws_ping_interval=None,
                ws_per_message_deflate=False,
            )
        )

    def state(self) -> dict[str, Any]:
        """Return what others need to know to use this cloud."""
        return {
            "url": self.url,
            "edge_url": self.edge_url,
            "pid": os.getpid(),
            **asdict(self.cloud.first_account),
            **self.cloud.r2_keys(),
            "admin_token": self.cloud.admin_token,
            "started_on": now(),
        }


@contextlib.contextmanager
def _served(config: CloudConfig) -> Iterator[_Served]:
    """Hold the data folder and the port; give both back at the end."""
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with held(config.data), contextlib.closing(_listener(config)) as listener:
        served = _Served(config, listener)
        try:
            yield served
        finally:
            forget_state(config.data)


class _Server(uvicorn.Server):
    """A server that says when it listens, and leaves signals to whoever started it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.when_listening: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self.when_listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: uvicorn would end the process by the signal it got, before anything is put away."""
        yield


async def _serve(served: _Served, ready: Callable[[], None]) -> None:
    def listening() -> None:
        write_state(served.config.data, served.state())
        ready()

    served.server.when_listening = listening
    try:
        await served.cloud.start()
        await served.server.serve(sockets=[served.listener])
    finally:
        await served.cloud.stop()


async def _serve_until_signal(served: _Served, ready: Callable[[], None]) -> None:
    def stop() -> None:
        # The second signal doesn't wait for requests in flight.
        served.server.force_exit = served.server.should_exit
        served.server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await _serve(served, ready)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _listener(config: CloudConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise Failed(f"{config.host}:{config.port}: {error.strerror}") from error
        raise PortInUse(
            f"{config.host}:{config.port}: another process listens there",
            hint="Stop that process, or choose another port with --port (0 takes any free one).",
        ) from error
    listener.set_inheritable(False)
    return listener


def _runner() -> asyncio.Runner:
    if sys.platform == "win32":
        return asyncio.Runner()
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
