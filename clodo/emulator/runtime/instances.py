"""One workerd process and the versions it serves: started when needed, counted while used, ended when idle."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from clodo.emulator.runtime.configuration import Entrypoint
from clodo.emulator.runtime.forwarding import Upstream
from clodo.emulator.runtime.ports import VersionSpec
from clodo.emulator.runtime.processes import Workerd

Key = tuple[str, str, str]
"""Account, script and version id; for scripts with Durable Objects an empty version id, as all share one process."""


def key_of(spec: VersionSpec) -> Key:
    """Return whose process serves *spec*."""
    return spec.account_id, spec.script, "" if spec.has_durable_objects else spec.version_id


@dataclass(slots=True, eq=False)
class Version:
    """What is known of one version since the runtime started."""

    spec: VersionSpec
    requests: int = 0
    errors: int = 0
    in_flight: int = 0
    responses: Counter[str] = field(default_factory=Counter)
    last_log: str = ""


class EntrypointMissing(Exception):
    """The version exports nothing of that name."""


class Lease:
    """
    The right to use a running version until `release`; its process is not ended meanwhile, but for good reasons.

    Attributes:
        upstream: Where to send the request.

        version: Its counters.

        workerd: The process.
    """

    def __init__(self, instance: Instance, version: Version, entrypoint: Entrypoint, *, is_long: bool) -> None:
        self.instance = instance
        self.version = version
        assert instance.workerd is not None
        self.workerd = instance.workerd
        self.upstream = instance.upstream(entrypoint)
        self._is_long = is_long
        self._count(1)

    @property
    def socket(self) -> Path:
        """Path of the socket, for RPC."""
        assert self.upstream.path is not None
        return self.upstream.path

    def hold(self) -> None:
        """Count once more."""
        self._count(1)

    def release(self) -> None:
        """Count once less."""
        self._count(-1)

    def _count(self, step: int) -> None:
        self.version.in_flight += step
        self.instance.count(step, is_long=self._is_long)


class Instance:
    """
    One process of one script, there or not.

    Args:
        key: Whose it is.

        specs: What it serves; the first has the Durable Objects.

        spawn: Starts a process for *specs*; returns it and its named entrypoints, in the order of *specs*.
    """

    def __init__(
        self,
        key: Key,
        specs: tuple[VersionSpec, ...],
        spawn: Callable[[tuple[VersionSpec, ...]], Awaitable[tuple[Workerd, tuple[tuple[str, ...], ...]]]],
    ) -> None:
        self.key = key
        self.specs = specs
        self.workerd: Workerd | None = None
        self.in_flight = 0
        self.long_in_flight = 0
        self.last_used = time.monotonic()
        self.finished = 0
        self.cpu_before: float | None = None
        self.has_served = False
        self._spawn = spawn
        self._entrypoints: tuple[tuple[str, ...], ...] = ()
        self._upstreams: dict[Entrypoint, Upstream] = {}
        self._starting: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._only_long = asyncio.Event()
        self._only_long.set()
        #: Closed while a process with Durable Objects is being replaced: requests wait, none fails.
        self._gate = asyncio.Event()
        self._gate.set()
        self._replacing = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def is_running(self) -> bool:
        """Whether a process is there and listens."""
        return self.workerd is not None and self.workerd.is_running

    @property
    def has_objects(self) -> bool:
        """Whether Durable Objects live in it."""
        return not self.key[2]

    def index_of(self, version_id: str) -> int | None:
        """Return the place of a version among `specs`; None if it isn't served here."""
        return next((index for index, spec in enumerate(self.specs) if spec.version_id == version_id), None)

    def try_lease(self, version: Version, entrypoint: str, *, is_long: bool = False) -> Lease | None:
        """
        Return a lease without waiting; None if the process must be started, or replaced, first.

        Raises:
            EntrypointMissing: The version runs and has no such entrypoint.
        """
        if not self._gate.is_set() or not self.is_running:
            return None
        index = self.index_of(version.spec.version_id)
        if index is None:
            return None
        if entrypoint and entrypoint not in self._entrypoints[index]:
            raise EntrypointMissing(entrypoint)
        return Lease(self, version, Entrypoint(index, entrypoint), is_long=is_long)

    async def start(self) -> None:
        """Have the process running; many callers share one start."""
        await self._gate.wait()
        if self.is_running:
            return
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        await asyncio.shield(self._starting)

    async def settled(self) -> None:
        """Wait for a start that is under way, however it ends."""
        if self._starting is not None:
            await asyncio.wait([self._starting])

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # Those who wait get it; if nobody does any more, it is not worth a warning.

    async def _start(self) -> None:
        workerd, self._entrypoints = await self._spawn(self.specs)
        self.workerd = workerd
        self.cpu_before = None
        self.last_used = time.monotonic()
        forget = workerd.on_end

        def ended() -> None:
            if forget is not None:
                forget()
            if self.workerd is workerd:
                self._drop_upstreams()

        workerd.on_end = ended

    def upstream(self, entrypoint: Entrypoint) -> Upstream:
        """Return the pool of connections to one of the sockets."""
        upstream = self._upstreams.get(entrypoint)
        if upstream is None:
            assert self.workerd is not None
            upstream = self._upstreams[entrypoint] = Upstream(self.workerd.folder / entrypoint.socket)
        return upstream

    def _drop_upstreams(self) -> None:
        for upstream in self._upstreams.values():
            task = asyncio.get_running_loop().create_task(upstream.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._upstreams = {}

    def count(self, step: int, *, is_long: bool) -> None:
        """Take note that something began (1) or ended (-1); what `is_long` is not waited for when replacing."""
        self.in_flight += step
        if is_long:
            self.long_in_flight += step
        if step < 0:
            self.finished += 1
            self.has_served = True
            self.last_used = time.monotonic()
        _show(self._idle, self.in_flight == 0)
        _show(self._only_long, self.in_flight == self.long_in_flight)

    async def replace(self, specs: tuple[VersionSpec, ...], *, patience: timedelta) -> None:
        """
        Serve *specs* instead: new requests wait, those in flight end, then the process is exchanged.

        Two processes on one storage of Durable Objects would be two objects with one name, so there is never a
        second one. WebSockets are cut, as by a deployment on Cloudflare.

        Args:
            patience: For how long requests in flight are waited for.
        """
        async with self._replacing:
            if self.specs != specs:
                await self._exchange(specs, patience)

    async def add_entrypoint(self, entrypoint: str, *, patience: timedelta) -> None:
        """Exchange the process, as `replace` does, for one that has *entrypoint*, too, if `spawn` knows it by now."""
        async with self._replacing:
            if all(entrypoint not in names for names in self._entrypoints):
                await self._exchange(self.specs, patience)

    async def _exchange(self, specs: tuple[VersionSpec, ...], patience: timedelta) -> None:
        self._gate.clear()
        try:
            await _wait(self._only_long, patience)
            before, self.specs = self.specs, specs
            await self.end()
            try:
                await self._start()
            except BaseException:
                self.specs = before
                raise
        finally:
            self._gate.set()

    async def rest(self) -> None:
        """End the process until the next request, which waits for the end: objects must never be in two processes."""
        async with self._replacing:
            self._gate.clear()
            try:
                await self.end()
            finally:
                self._gate.set()

    def forget(self, workerd: Workerd) -> None:
        """Let go of a process that is ending; the next request starts another, what is in flight breaks off."""
        if self.workerd is workerd:
            self.workerd = None
            self._drop_upstreams()

    async def drain(self, patience: timedelta) -> None:
        """Wait until nothing is in flight, for at most *patience*."""
        await _wait(self._idle, patience)

    async def abort(self) -> None:
        """End the process, also one that is still starting."""
        if self._starting is not None:
            self._starting.cancel()
        await self.end()

    async def end(self) -> None:
        """End the process if there is one. A later `start` starts another."""
        if self._starting is not None:
            await asyncio.wait([self._starting])
        workerd, self.workerd = self.workerd, None
        self._drop_upstreams()
        if workerd is not None:
            await workerd.stop()
        if self._closing:
            await asyncio.wait(self._closing)


def _show(event: asyncio.Event, value: bool) -> None:
    if value:
        event.set()
    else:
        event.clear()


async def _wait(event: asyncio.Event, patience: timedelta) -> None:
    try:
        await asyncio.wait_for(event.wait(), patience.total_seconds())
    except TimeoutError:
        return
