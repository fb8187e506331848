"""Tail events: from what workerd tells to what wrangler tail shows."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiohttp

from clodo.emulator.runtime.control import ask
from clodo.emulator.runtime.instances import Instance, Key
from clodo.emulator.runtime.ports import TailSink, VersionSpec

#: Requests whose wall time is remembered until their event arrives.
MAX_REMEMBERED = 4096


class WallTimes:
    """How long requests took, by their ray id: workerd itself always says 0."""

    def __init__(self) -> None:
        self._milliseconds: OrderedDict[str, float] = OrderedDict()

    def note(self, ray: str, milliseconds: float) -> None:
        """Remember one request, and forget the oldest beyond `MAX_REMEMBERED`."""
        self._milliseconds[ray] = milliseconds
        while len(self._milliseconds) > MAX_REMEMBERED:
            self._milliseconds.popitem(last=False)

    def take(self, ray: str) -> float:
        """Return and forget; 0 if unknown."""
        return self._milliseconds.pop(ray, 0.0)


def event_of(item: Mapping[str, Any], spec: VersionSpec, wall_times: WallTimes) -> dict[str, Any]:
    """
    Return workerd's trace *item* as a message of wrangler tail.

    Shape:
        ``{outcome, scriptName, scriptVersion: {id, tag?, message?}, exceptions, logs, eventTimestamp, event: {request:
        {url, method, headers, cf}, response: {status}} | {cron, scheduledTime} | {queue, batchSize} | …, truncated,
        executionModel, diagnosticsChannelEvents, wallTime, cpuTime, entrypoint?}``
    """
    version = {"id": spec.version_id}
    if spec.tag is not None:
        version["tag"] = spec.tag
    if spec.message is not None:
        version["message"] = spec.message
    event = item.get("event")
    wall_time = item.get("wallTime") or 0
    if isinstance(event, Mapping) and isinstance(request := event.get("request"), Mapping):
        headers = request.get("headers")
        ray = headers.get("cf-ray", "") if isinstance(headers, Mapping) else ""
        wall_time = wall_time or round(wall_times.take(ray))
    return {**item, "wallTime": wall_time, "scriptName": spec.script, "scriptVersion": version}


def killed_event(url: str, method: str, headers: Iterable[tuple[bytes, bytes]], seconds: float) -> dict[str, Any]:
    """Return what a tail is told of a request whose process was killed for using up its CPU time."""
    now_ms = round(time.time() * 1000)
    shown = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in headers if not name.startswith(b"x-clodo")
    }
    return {
        "outcome": "exceededCpu",
        "eventTimestamp": now_ms - round(seconds * 1000),
        "event": {"request": {"url": url, "method": method, "headers": shown}},
        "logs": [],
        "exceptions": [{"name": "Error", "message": "Worker exceeded CPU time limit.", "timestamp": now_ms}],
        "diagnosticsChannelEvents": [],
        "truncated": False,
        "executionModel": "stateless",
        "wallTime": round(seconds * 1000),
        "cpuTime": round(seconds * 1000),
    }


class Tails:
    """
    Who listens to which script.

    Args:
        clock: Tells Unix seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._sinks: dict[tuple[str, str], dict[str, tuple[int, TailSink]]] = {}

    def open(self, account_id: str, script: str, sink: TailSink) -> str:
        """Add a listener; return its id."""
        tail_id = secrets.token_hex(16)
        opened = int(self._clock() * 1000)
        self._sinks.setdefault((account_id, script), {})[tail_id] = opened, sink
        return tail_id

    def close(self, tail_id: str) -> tuple[str, str] | None:
        """Remove a listener; return its account and script, None if it was gone."""
        for key, sinks in self._sinks.items():
            if sinks.pop(tail_id, None) is not None:
                if not sinks:
                    del self._sinks[key]
                return key
        return None

    def is_wanted(self, account_id: str, script: str) -> bool:
        """Whether anybody listens to *script*."""
        return (account_id, script) in self._sinks

    def deliver(self, account_id: str, script: str, event: Mapping[str, Any]) -> None:
        """Give *event*, which comes when all its work is done, to each listener who was there when it began."""
        began = event.get("eventTimestamp") or math.inf
        for opened, sink in list(self._sinks.get((account_id, script), {}).values()):
            if began >= opened:
                sink(event)


class TailSwitch:
    """
    Tells running processes whether anybody listens, so that they keep their events to themselves when not.

    Args:
        is_tailed: Says whether anybody listens to a script.

        instances: The processes there are now.
    """

    def __init__(self, is_tailed: Callable[[str, str], bool], instances: Mapping[Key, Instance]) -> None:
        self._is_tailed = is_tailed
        self._instances = instances
        self._turning: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop telling."""
        for task in self._turning:
            task.cancel()
        await asyncio.gather(*self._turning, return_exceptions=True)

    def turn(self, account_id: str, script: str) -> None:
        """Tell the processes of *script*, in the background."""
        for instance in self._instances.values():
            if instance.key[:2] == (account_id, script):
                task = asyncio.create_task(self._turn(instance))
                self._turning.add(task)
                task.add_done_callback(self._turning.discard)

    async def _turn(self, instance: Instance) -> None:
        # A process that is starting was configured before somebody listened.
        await instance.settled()
        if instance.workerd is None or not instance.is_running:
            return
        wanted = instance.workerd.is_tailed = self._is_tailed(*instance.key[:2])
        try:
            await ask(instance.workerd.folder / "control.sock", "/tailing", {"tailing": wanted})
        except (OSError, aiohttp.ClientError):
            return  # It is ending; the next process of this script is told at its start.

    async def turned(self) -> None:
        """Wait until the processes know who listens, so that the request after `open_tail` is seen."""
        if self._turning:
            await asyncio.wait(list(self._turning))
