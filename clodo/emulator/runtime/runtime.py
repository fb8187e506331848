"""What the control plane drives: versions checked, started, watched, disturbed and retired."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import structlog

from clodo.emulator.runtime.alarms import Alarms, Owner
from clodo.emulator.runtime.bindings.desk import Desk
from clodo.emulator.runtime.bindings.server import BindingServer
from clodo.emulator.runtime.caching import Cache
from clodo.emulator.runtime.callees import Callees
from clodo.emulator.runtime.config import RuntimeConfig
from clodo.emulator.runtime.configuration import Backends, Callee, callees_of, clamp_date, exported_name, objects_of
from clodo.emulator.runtime.disturbances import Disturbances
from clodo.emulator.runtime.doors import Doors
from clodo.emulator.runtime.exports import raise_if_useless, refusal
from clodo.emulator.runtime.housekeeping import is_runaway, is_superfluous
from clodo.emulator.runtime.instances import EntrypointMissing, Instance, Key, Lease, Version, key_of
from clodo.emulator.runtime.kept_objects import move
from clodo.emulator.runtime.launching import Launcher
from clodo.emulator.runtime.listening import Listener
from clodo.emulator.runtime.orders import Orders
from clodo.emulator.runtime.ports import (
    BucketBackend,
    DatabaseBackend,
    Directory,
    EventBackend,
    NamespaceBackend,
    QueueBackend,
    ScriptInvalid,
    TailSink,
    Validated,
    VersionSpec,
    VersionStats,
    WorkerdUnavailable,
)
from clodo.emulator.runtime.processes import Nursery, StartFailed, memory_of
from clodo.emulator.runtime.tails import Tails, TailSwitch, WallTimes, event_of
from clodo.emulator.runtime.traffic import choose_version

if TYPE_CHECKING:
    from clodo.emulator.analytics.recorder import Recorder

logger = structlog.get_logger(__name__)

#: How often idle and runaway processes are looked for.
TIDY_SECONDS = 1.0


class Runtime:
    """
    Runs Workers. All methods belong to the event loop that called `start`.

    Args:
        directory: What is deployed.

        databases, namespaces, buckets, queues, events: The stores behind bindings. Without one, its bindings are there
            and say clearly that nobody serves them.

        random: Gives numbers in [0, 1) for the traffic split and injected errors; seed it to repeat a rehearsal.

        clock: Tells Unix seconds, for the alarms of objects that sleep.
    """

    def __init__(
        self,
        config: RuntimeConfig,
        directory: Directory,
        *,
        databases: DatabaseBackend | None = None,
        namespaces: NamespaceBackend | None = None,
        buckets: BucketBackend | None = None,
        queues: QueueBackend | None = None,
        events: EventBackend | None = None,
        random: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.directory = directory
        self.random = random or Random().random
        self.ignore_overrides = False
        self.wall_times = WallTimes()
        #: Told about every run of a Worker, when somebody counts them.
        self.recorder: Recorder | None = None
        self.orders = Orders(self)
        self._tails = Tails()
        self.disturbances = Disturbances()
        self._nursery = Nursery(config.workerd, config.data / "processes")
        self._instances: dict[Key, Instance] = {}
        self._versions: dict[Key, Version] = {}
        self._wanted: dict[tuple[str, str], dict[str, VersionSpec]] = {}
        self._secret = secrets.token_hex(32)
        self._background: set[asyncio.Task[None]] = set()
        #: What Workers keep with the Cache API.
        self.cache = Cache()
        self._doors = Doors(self, buckets, self.cache, self._secret)
        self._desk = BindingServer(
            Desk(
                databases,
                namespaces,
                queues,
                events,
                self._secret.encode(),
                self.count_subrequest,
                self.deliver_tail,
            )
        )
        self._callees = Callees(self._doors, lambda: self._nursery.folder, self._connect)
        self._launcher = Launcher(config, self._nursery, self._backends, self._is_tailed)
        self._alarms = Alarms(config.data / "objects", clock)
        self._switch = TailSwitch(self._is_tailed, self._instances)
        self._listener: Listener | None = None
        self._is_open = False

    # --- life

    async def start(self) -> None:
        """
        Open the back ends and end what an earlier runtime of the same data folder left running.

        Raises:
            WorkerdUnavailable: workerd is missing, or the data folder is in use.
        """
        self.config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            await self._nursery.open()
        except WorkerdUnavailable:
            await self._nursery.close()
            raise
        self._listener = Listener(self._doors)
        await self._listener.open(self._nursery.folder / "back.sock")
        await self._desk.open(self._nursery.folder / "desk.sock")
        self._is_open = True
        self._launcher.open()
        self._in_background(self._tidy())

    async def stop(self) -> None:
        """End every process, all at the same time: SIGTERM, a second later SIGKILL. Safe to repeat."""
        if not self._is_open:
            return
        self._is_open = False
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, self._switch.close(), self._launcher.close(), return_exceptions=True)
        self._callees.cut()
        await asyncio.gather(*(instance.abort() for instance in self._instances.values()))
        self._instances.clear()
        await self._nursery.close()
        await self._callees.close()
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        await self._desk.close()
        await self._doors.close()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._ended_in_background)

    def _ended_in_background(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("background work ended", error=type(error).__name__, reason=str(error))

    # --- versions

    async def validate(self, spec: VersionSpec) -> Validated:
        """
        Start *spec* once to learn its handlers, and then have it running in the background: its first request is near.

        Raises:
            ScriptInvalid: workerd refuses it; the message is workerd's, as the API shows it with code 10021.
        """
        _, warning = clamp_date(spec.compatibility_date, self._nursery.newest)
        warnings = () if warning is None else (warning,)
        if not spec.has_script:
            await self._launcher.compose(spec)
            return Validated(0, (), {}, warnings)
        exports = await self._launcher.find_exports(spec, is_new=True)
        raise_if_useless(spec, exports)
        if spec.assets is not None:
            await self._launcher.compose(spec)
        if not spec.has_durable_objects:
            self._in_background(self._start_early(spec))
        return Validated(await self._launcher.startup_ms(exports), exports.handlers, exports.named, warnings)

    async def _start_early(self, spec: VersionSpec) -> None:
        try:
            await self.ensure(spec)
        except (ScriptInvalid, WorkerdUnavailable) as error:
            # Whoever deploys it gets the same answer, and has somebody to tell.
            logger.info("a validated version didn't start", script=spec.script, reason=error.message)

    async def ensure(self, spec: VersionSpec) -> None:
        """
        Have *spec* running and listening. Call before its deployment is made current, so that nobody waits.

        A script with Durable Objects is only checked here: its versions share a process, which `deployed` exchanges.

        Raises:
            ScriptInvalid: workerd refuses it.

            WorkerdUnavailable: It doesn't start now.
        """
        key = key_of(spec)
        instance = self._instances.get(key)
        if spec.has_durable_objects:
            if spec.has_script:
                raise_if_useless(spec, await self._launcher.find_exports(spec))
            return
        if instance is not None and instance.specs != (spec,):
            del self._instances[key]
            self._in_background(self._end(instance, timedelta(seconds=30)))
            instance = None
        if instance is None:
            instance = self._instances[key] = Instance(key, (spec,), self._launcher.spawn)
        await self._start(instance)

    async def _start(self, instance: Instance) -> None:
        try:
            await instance.start()
        except StartFailed as error:
            if error.timed_out:
                raise WorkerdUnavailable("Script startup exceeded CPU time limit.") from error
            raise WorkerdUnavailable(refusal(error.output)) from error

    async def _backends(self, specs: Sequence[VersionSpec]) -> Backends:
        callees = {callee: f"unix:{await self._callees.address(callee)}" for callee in callees_of(specs)}
        for callee in callees:
            if exported_name(callee.entrypoint) != callee.entrypoint:
                propped = self._launcher.with_props.setdefault((callee.account_id, callee.script), set())
                propped.add(callee.entrypoint)
        objects = {}
        for account_id, script, class_name in objects_of(specs):
            for version_id, _ in self.directory.live_traffic(account_id, script) or ():
                owner = self.directory.spec(account_id, script, version_id)
                for item in owner.durable_objects if owner is not None else ():
                    if item.class_name == class_name:
                        objects[script, class_name] = item.unique_key
        folder = self._nursery.folder
        return Backends(f"unix:{folder / 'desk.sock'}", f"unix:{folder / 'back.sock'}", self._secret, callees, objects)

    async def _connect(self, callee: Callee) -> Lease:
        """Choose the version that an RPC connection of *callee* leads to from now on."""
        traffic = self.directory.live_traffic(callee.account_id, callee.script)
        if not traffic:
            raise ConnectionRefusedError(f"{callee.script} is not deployed")
        version_id = choose_version(traffic, callee.script, (), self.random)
        try:
            lease = await self.lease(callee.account_id, callee.script, version_id, callee.entrypoint)
        except (ScriptInvalid, WorkerdUnavailable, EntrypointMissing) as error:
            raise ConnectionRefusedError(str(error)) from error
        lease.release()  # The pipe counts sessions itself.
        return lease

    # --- using versions

    async def lease(
        self, account_id: str, script: str, version_id: str, entrypoint: str = "", *, is_long: bool = False
    ) -> Lease:
        """
        Return the right to use a version, which is started if it must be. Release it.

        Args:
            is_long: A WebSocket: not waited for when a process with Durable Objects is exchanged.

        Raises:
            ScriptInvalid, WorkerdUnavailable: It doesn't run.

            EntrypointMissing: It has no such entrypoint.
        """
        version = self._version(account_id, script, version_id)
        if version is None:
            raise WorkerdUnavailable(f"{script} has no version {version_id}")
        key = key_of(version.spec)
        was_added = False
        while True:
            instance = self._instances.get(key)
            lease = None
            if instance is not None:
                try:
                    lease = instance.try_lease(version, entrypoint, is_long=is_long)
                except EntrypointMissing:
                    if was_added or exported_name(entrypoint) == entrypoint:
                        raise
                    # The process is older than the binding with these props.
                    was_added = True
                    await self._add_entrypoint(instance, entrypoint)
                    continue
            if lease is not None:
                if lease.workerd.is_tailed != self._is_tailed(account_id, script):
                    self._switch.turn(account_id, script)
                await self._switch.turned()
                return lease
            if instance is None:
                specs = self._group(version.spec) if version.spec.has_durable_objects else (version.spec,)
                instance = self._instances[key] = Instance(key, specs, self._launcher.spawn)
            elif instance.index_of(version_id) is None:
                await self._regroup(instance, version.spec)
            await self._start(instance)

    def _version(self, account_id: str, script: str, version_id: str) -> Version | None:
        key = (account_id, script, version_id)
        version = self._versions.get(key)
        if version is None and (spec := self.directory.spec(*key)) is not None:
            version = self._versions[key] = Version(spec)
        return version

    def _group(self, wanted: VersionSpec | None, account_id: str = "", script: str = "") -> tuple[VersionSpec, ...]:
        """
        Return the versions of a script with Durable Objects that its process is to serve.

        The one with the most traffic comes first: all objects run its code, since an object can't be in two places.
        """
        if wanted is not None:
            account_id, script = wanted.account_id, wanted.script
        traffic = self.directory.live_traffic(account_id, script) or ()
        found = [
            spec
            for version_id, _ in sorted(traffic, key=lambda item: -item[1])
            if (spec := self.directory.spec(account_id, script, version_id)) is not None and spec.has_durable_objects
        ]
        if wanted is not None:
            self._wanted.setdefault((account_id, script), {})[wanted.version_id] = wanted
        for spec in self._wanted.get((account_id, script), {}).values():
            if all(spec.version_id != other.version_id for other in found):
                found.append(spec)
        return tuple(found)

    async def _regroup(self, instance: Instance, wanted: VersionSpec | None) -> None:
        account_id, script, _ = instance.key
        specs = self._group(wanted, account_id, script)
        try:
            await instance.replace(specs, patience=self.config.exchange_patience)
        except StartFailed as error:
            raise WorkerdUnavailable(refusal(error.output)) from error

    async def _add_entrypoint(self, instance: Instance, entrypoint: str) -> None:
        try:
            await instance.add_entrypoint(entrypoint, patience=self.config.exchange_patience)
        except StartFailed as error:
            raise WorkerdUnavailable(refusal(error.output)) from error

    async def deployed(self, account_id: str, script: str) -> None:
        """
        Follow a change of *script*'s deployment: call right after the directory has it.

        Versions out of traffic are retired after their last request (and `retire_after`); RPC connections of callers
        are moved to the new deployment; a process with Durable Objects is exchanged. Nothing in flight is dropped.

        Raises:
            WorkerdUnavailable: The process with Durable Objects doesn't start with the new version; the old one runs.
        """
        for key, version in self._versions.items():
            # Migrations may have changed which classes keep objects, also those of older versions.
            if key[:2] == (account_id, script) and (spec := self.directory.spec(*key)) is not None:
                version.spec = spec
        instance = self._instances.get((account_id, script, ""))
        if instance is not None:
            live = {version_id for version_id, _ in self.directory.live_traffic(account_id, script) or ()}
            self._wanted.pop((account_id, script), None)
            if live:
                await self._regroup(instance, None)
        self._callees.repoint(account_id, script)

    async def retire(
        self, account_id: str, script: str, version_id: str, *, grace: timedelta = timedelta(seconds=30)
    ) -> None:
        """Let requests in flight end (for at most *grace*), then end the process. Returns when it has ended."""
        instance = self._instances.get((account_id, script, version_id))
        if instance is None:
            return
        await instance.drain(grace)
        await self._discard(instance)

    async def remove(self, account_id: str, script: str) -> None:
        """End every process of a deleted script and delete what its Durable Objects kept."""
        ended = [instance for key, instance in self._instances.items() if key[:2] == (account_id, script)]
        await asyncio.gather(*(self._discard(instance) for instance in ended))
        for key in [key for key in self._versions if key[:2] == (account_id, script)]:
            del self._versions[key]
        self._wanted.pop((account_id, script), None)
        self.disturbances.forget(account_id, script)
        folder = self._launcher.objects_folder(account_id, script)
        await asyncio.get_running_loop().run_in_executor(None, lambda: shutil.rmtree(folder, ignore_errors=True))

    async def move_objects(
        self, account_id: str, target: str, moves: Mapping[str, str], change: Callable[[], None]
    ) -> None:
        """
        Give Durable Objects with all that they keep to another script.

        Args:
            moves: The keys of their storage, each with the script that has had it.

            change: Makes the directory say so; called when nobody runs or reaches them any more.
        """
        scripts = {target, *moves.values()}
        while reaching := [
            instance
            for instance in self._instances.values()
            if instance.key[0] == account_id
            and (instance.key[1] in scripts or {script for _, script, _ in objects_of(instance.specs)} & scripts)
        ]:
            await asyncio.gather(*(self._discard(instance) for instance in reaching))
        # Nothing is awaited from here on, so that nobody starts in between.
        change()
        for key in [key for key in self._versions if key[0] == account_id]:
            del self._versions[key]
        for script in scripts:
            self._wanted.pop((account_id, script), None)
        for unique_key, script in moves.items():
            move(self.config.data / "objects", unique_key, (account_id, script), (account_id, target))
        self._launcher.with_objects.add((account_id, target))

    async def _end(self, instance: Instance, grace: timedelta) -> None:
        await instance.drain(grace)
        self._keep_log(instance)
        await instance.end()

    async def _discard(self, instance: Instance) -> None:
        if self._instances.get(instance.key) is instance:
            del self._instances[instance.key]
        self._keep_log(instance)
        await instance.end()

    def _keep_log(self, instance: Instance) -> None:
        if instance.workerd is None:
            return
        for spec in instance.specs:
            version = self._versions.get((spec.account_id, spec.script, spec.version_id))
            if version is not None:
                version.last_log = instance.workerd.log

    async def _tidy(self) -> None:
        """Once a second: end what is idle or out of traffic or uses up its CPU time; wake objects with an alarm."""
        for owner in await asyncio.get_running_loop().run_in_executor(None, self._alarms.owners):
            self._launcher.with_objects.add(owner)
        while True:
            self._ring()
            await asyncio.sleep(TIDY_SECONDS)
            now = time.monotonic()
            for instance in list(self._instances.values()):
                if is_runaway(instance, self.config.cpu_limit):
                    self._kill(instance)
                if not is_superfluous(instance, self.directory, self.config, now):
                    continue
                if instance.has_objects:
                    self._keep_log(instance)
                    self._in_background(instance.rest())
                else:
                    # Out of the table before it is told to end: a request that comes now starts another.
                    del self._instances[instance.key]
                    self._in_background(self._end(instance, timedelta(0)))

    def _ring(self) -> None:
        def is_running(owner: Owner) -> bool:
            instance = self._instances.get((*owner, ""))
            return instance is not None and instance.is_running

        for account_id, script in self._alarms.due(self._launcher.with_objects, is_running, within=TIDY_SECONDS):
            self._in_background(self._wake(account_id, script))

    async def _wake(self, account_id: str, script: str) -> None:
        """Start a script's process, which then rings its alarms itself."""
        for version_id, _ in self.directory.live_traffic(account_id, script) or ():
            spec = self.directory.spec(account_id, script, version_id)
            if spec is None or not spec.has_durable_objects:
                continue
            try:
                lease = await self.lease(account_id, script, version_id)
            except (ScriptInvalid, WorkerdUnavailable) as error:
                logger.warning("objects with an alarm were not woken", script=script, reason=error.message)
            else:
                lease.release()
            return

    def _kill(self, instance: Instance) -> None:
        workerd = instance.workerd
        if workerd is not None:
            self._keep_log(instance)
            workerd.is_over_limit = True
            workerd.signal(signal.SIGKILL)
            instance.forget(workerd)

    # --- tails

    def open_tail(self, account_id: str, script: str, sink: TailSink) -> str:
        """Send each event of *script* to *sink* from now on; return what `close_tail` takes."""
        tail_id = self._tails.open(account_id, script, sink)
        self._switch.turn(account_id, script)
        return tail_id

    def close_tail(self, tail_id: str) -> None:
        """Stop sending. Safe to repeat."""
        key = self._tails.close(tail_id)
        if key is not None:
            self._switch.turn(*key)

    def _is_tailed(self, account_id: str, script: str) -> bool:
        return self._tails.is_wanted(account_id, script) or bool(self.directory.tail_consumers(account_id, script))

    def count_subrequest(self, version_id: str) -> None:
        """Count a request that a version sends out."""
        if self.recorder is not None:
            self.recorder.subrequest(version_id)

    def deliver_tail(self, account_id: str, script: str, version_id: str, events: Iterable[Mapping[str, Any]]) -> None:
        """Pass on what a process of *script* tells about one of its versions: to tails and to tail Workers."""
        if not self._is_tailed(account_id, script):
            return
        version = self._version(account_id, script, version_id)
        if version is None:
            return
        told = [event_of(event, version.spec, self.wall_times) for event in events]
        for event in told:
            self._tails.deliver(account_id, script, event)
        for consumer in self.directory.tail_consumers(account_id, script):
            self._in_background(self._tell(account_id, consumer, told))

    async def _tell(self, account_id: str, consumer: str, events: Sequence[Mapping[str, Any]]) -> None:
        try:
            answer = await self.orders.tail(account_id, consumer, events)
        except (ScriptInvalid, WorkerdUnavailable) as error:
            logger.warning("a tail Worker got nothing", script=consumer, reason=error.message)
            return
        if answer.get("outcome") != "ok":
            logger.warning("a tail Worker failed", script=consumer, reason=answer.get("reason"))

    # --- disturbing and looking

    def count_injected(self, account_id: str, script: str, version_id: str, status: int) -> None:
        """Count a request that a disturbance answered."""
        version = self._version(account_id, script, version_id)
        if version is not None:
            version.requests += 1
            version.errors += 1
            if status:
                version.responses[f"{status // 100}xx"] += 1

    def stats(self) -> Sequence[VersionStats]:
        """Return what each version that was asked anything since the start, or runs, has done."""
        for instance in self._instances.values():
            for spec in instance.specs:
                self._version(spec.account_id, spec.script, spec.version_id)
        found = []
        for (account_id, script, version_id), version in self._versions.items():
            server = self._instances.get(key_of(version.spec))
            is_here = server is not None and server.is_running and server.index_of(version_id) is not None
            pid = server.workerd.pid if server is not None and is_here and server.workerd is not None else None
            found.append(
                VersionStats(
                    account_id,
                    script,
                    version_id,
                    requests=version.requests,
                    errors=version.errors,
                    responses=dict(version.responses),
                    in_flight=version.in_flight,
                    pid=pid,
                    memory_bytes=None if pid is None else memory_of(pid),
                )
            )
        return found

    def log(self, account_id: str, script: str, version_id: str) -> str:
        """Return the last 64 KiB that this version's workerd printed."""
        version = self._versions.get((account_id, script, version_id))
        if version is None:
            return ""
        instance = self._instances.get(key_of(version.spec))
        if instance is not None and instance.workerd is not None and instance.index_of(version_id) is not None:
            return instance.workerd.log
        return version.last_log
