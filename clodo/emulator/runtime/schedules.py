"""The clock behind Cron Triggers: each minute it runs the Workers whose schedules name that minute."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog

from clodo.emulator.runtime.crons import Cron, CronInvalid
from clodo.emulator.runtime.ports import ScriptInvalid, WorkerdUnavailable

logger = structlog.get_logger(__name__)

_MINUTE = timedelta(minutes=1)
#: A machine that slept does not do all of its night's work when it wakes.
MAX_LATE = timedelta(minutes=5)


class Trigger(NamedTuple):
    """One schedule of one Worker."""

    account_id: str
    script: str
    cron: str


Fire = Callable[[str, str, str, datetime], Awaitable[Mapping[str, Any]]]
"""Runs a Worker's ``scheduled`` handler: account, script, cron, the minute it is for."""


class ScheduleClock:
    """
    Fires triggers, each once a minute at most.

    Args:
        triggers: Returns the schedules there are now.

        fire: Runs a Worker.

        clock: Tells the time.
    """

    def __init__(self, triggers: Callable[[], Iterable[Trigger]], fire: Fire, clock: Callable[[], datetime]) -> None:
        self._triggers = triggers
        self._fire = fire
        self._clock = clock
        self._done = _minute_of(clock())
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._crons: dict[str, Cron | None] = {}

    def start(self) -> None:
        """Begin with the next minute; what was missed before stays missed."""
        self._done = _minute_of(self._clock())
        self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End at once. Safe to repeat."""
        tasks = [*self._running, *([self._loop] if self._loop is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loop = None

    async def settled(self) -> None:
        """Wait until every run that was begun has ended."""
        while self._running:
            await asyncio.wait(self._running)

    async def _run(self) -> None:
        while True:
            until = self._done + _MINUTE - self._clock()
            await asyncio.sleep(max(0.0, until.total_seconds()))
            self.fire_due()

    def fire_due(self) -> None:
        """Start what is due in the minutes since the last call."""
        current = _minute_of(self._clock())
        minute = max(self._done, current - MAX_LATE)
        self._done = max(self._done, current)
        while minute < current:
            minute += _MINUTE
            for trigger in self._triggers():
                cron = self._read(trigger.cron)
                if cron is not None and cron.matches(minute):
                    task = asyncio.create_task(self._run_one(trigger, minute))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)

    def _read(self, text: str) -> Cron | None:
        if text not in self._crons:
            try:
                self._crons[text] = Cron.parse(text)
            except CronInvalid as error:
                # Kept by an older version of this cloud, which looked less closely.
                logger.warning("a schedule is never due", cron=text, reason=error.message)
                self._crons[text] = None
        return self._crons[text]

    async def _run_one(self, trigger: Trigger, minute: datetime) -> None:
        try:
            await self._fire(trigger.account_id, trigger.script, trigger.cron, minute)
        except (ScriptInvalid, WorkerdUnavailable) as error:
            logger.warning("a scheduled run failed", script=trigger.script, cron=trigger.cron, reason=error.message)


def _minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
