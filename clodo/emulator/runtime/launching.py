"""Starting versions: what workerd needs for it, and what a version that has never run exports."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from clodo.emulator.runtime.alarms import Owner
from clodo.emulator.runtime.assets import compose
from clodo.emulator.runtime.config import RuntimeConfig
from clodo.emulator.runtime.configuration import OBJECTS_ENTRYPOINT, Backends, empty, exported_name, probing, serving
from clodo.emulator.runtime.control import ask
from clodo.emulator.runtime.exports import Exports, content_key, listeners_of, read_exports, refusal
from clodo.emulator.runtime.kept_objects import folder_of
from clodo.emulator.runtime.ports import ScriptInvalid, VersionSpec, WorkerdUnavailable
from clodo.emulator.runtime.processes import Nursery, StartFailed, Workerd


class Launcher:
    """
    Starts versions.

    Args:
        backends: Returns where the Python end of the versions' bindings listens.

        is_tailed: Says whether somebody wants the events of a script.
    """

    def __init__(
        self,
        config: RuntimeConfig,
        nursery: Nursery,
        backends: Callable[[Sequence[VersionSpec]], Awaitable[Backends]],
        is_tailed: Callable[[str, str], bool],
    ) -> None:
        self._config = config
        self._nursery = nursery
        self._backends = backends
        self._is_tailed = is_tailed
        #: Scripts whose processes have had Durable Objects.
        self.with_objects: set[Owner] = set()
        #: Entrypoints with `props` that other Workers' bindings name, by the script that they are of.
        self.with_props: dict[Owner, set[str]] = {}
        self._exports: dict[str, Exports] = {}
        self._empty_start: asyncio.Task[float] | None = None
        self._starts = asyncio.Semaphore(max(2, os.cpu_count() or 1))

    def open(self) -> None:
        """Measure what starting nothing takes, which also reads the binary before the first upload needs it."""
        self._empty_start = asyncio.create_task(self._time_empty_start())

    async def close(self) -> None:
        """Forget what is under way."""
        if self._empty_start is not None:
            self._empty_start.cancel()
            await asyncio.gather(self._empty_start, return_exceptions=True)

    def objects_folder(self, account_id: str, script: str) -> Path:
        """Return where the Durable Objects of a script keep their data."""
        return folder_of(self._config.data / "objects", account_id, script)

    async def startup_ms(self, exports: Exports) -> int:
        """
        Return how long a version took to start, less what an empty one takes.

        Raises:
            WorkerdUnavailable: Not even an empty script starts.
        """
        empty_seconds = 0.0
        if self._empty_start is not None:
            try:
                empty_seconds = await asyncio.shield(self._empty_start)
            except StartFailed as error:
                raise WorkerdUnavailable(f"workerd doesn't start: {error.output}") from error
        return max(1, round((exports.startup_seconds - empty_seconds) * 1000))

    async def spawn(self, specs: tuple[VersionSpec, ...]) -> tuple[Workerd, tuple[tuple[str, ...], ...]]:
        """
        Start a process for *specs*; return it and the named entrypoints of each.

        Raises:
            StartFailed, ScriptInvalid: It doesn't start.
        """
        # First, as it learns of props; a Worker may be bound to itself.
        backends = await self._backends(specs)
        entrypoints: list[tuple[str, ...]] = []
        assets: dict[int, Path] = {}
        for index, spec in enumerate(specs):
            names = (await self.find_exports(spec)).entrypoints if spec.has_script else ()
            propped = self.with_props.get((spec.account_id, spec.script), ()) if spec.has_script else ()
            entrypoints.append((*names, *(name for name in propped if exported_name(name) in ("", *names))))
            if spec.assets is not None:
                assets[index] = await self.compose(spec)
        objects = None
        if specs[0].has_durable_objects:
            objects = self.objects_folder(specs[0].account_id, specs[0].script)
            objects.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.with_objects.add((specs[0].account_id, specs[0].script))
        folder = self._nursery.new_folder()
        is_tailed = self._is_tailed(specs[0].account_id, specs[0].script)
        configuration = serving(
            specs,
            backends=backends,
            sockets=folder,
            entrypoints=entrypoints,
            assets=assets,
            objects=objects,
            newest=self._nursery.newest,
            tailing=is_tailed,
        )
        async with self._starts:
            workerd = await self._nursery.spawn(configuration, folder, timeout=self._config.start_timeout)
        workerd.is_tailed = is_tailed
        shared = (OBJECTS_ENTRYPOINT,) if objects is not None else ()
        return workerd, tuple((*names, *shared) for names in entrypoints)

    async def find_exports(self, spec: VersionSpec, *, is_new: bool = False) -> Exports:
        """
        Return what *spec* exports, starting it for that only if it wasn't known.

        Raises:
            ScriptInvalid: It doesn't start.
        """
        key = content_key(spec)
        known = self._exports.get(key)
        if known is not None and not is_new:
            return known
        if spec.body_part is not None:
            script = next((module.path for module in spec.modules if module.name == spec.body_part), None)
            handlers = () if script is None else listeners_of(script)
        folder = self._nursery.new_folder()
        try:
            backends = await self._backends((spec,))
            configuration = probing(spec, backends=backends, sockets=folder, newest=self._nursery.newest)
            began = time.monotonic()
            async with self._starts:
                workerd = await self._nursery.spawn(configuration, folder, timeout=self._config.start_timeout)
        except StartFailed as error:
            if error.timed_out:
                raise ScriptInvalid("Script startup exceeded CPU time limit.") from error
            raise ScriptInvalid(refusal(error.output)) from error
        try:
            if spec.body_part is not None:
                exports = Exports(handlers, {}, (), time.monotonic() - began)
            else:
                described = await ask(folder / "v0.sock", "/", None)
                exports = read_exports(described, time.monotonic() - began)
        finally:
            workerd.signal(signal.SIGKILL)
        self._exports[key] = exports
        return exports

    async def compose(self, spec: VersionSpec) -> Path:
        """Lay out the assets of *spec* as a folder, once for each set of files."""
        assert spec.assets is not None
        files = spec.assets.files
        digest = hashlib.sha256(
            b"\0".join(f"{name}\0{path}".encode() for name, path in sorted(files.items()))
        ).hexdigest()
        folder = self._config.data / "assets" / digest[:2] / digest
        await asyncio.get_running_loop().run_in_executor(None, compose, files, folder)
        return folder

    async def _time_empty_start(self) -> float:
        """Return how many seconds workerd takes to start a script that does nothing."""
        folder = self._nursery.new_folder()
        began = time.monotonic()
        workerd = await self._nursery.spawn(
            empty(sockets=folder, newest=self._nursery.newest), folder, timeout=self._config.start_timeout
        )
        seconds = time.monotonic() - began
        await workerd.stop()
        return seconds
