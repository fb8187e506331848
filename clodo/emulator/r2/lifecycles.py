"""Lifecycle rules carried out: objects that expire or move to a colder class, uploads that are given up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import structlog

from clodo.emulator.r2.errors import R2Refused
from clodo.emulator.r2.records import Bucket
from clodo.emulator.r2.rules import lifecycle_of
from clodo.emulator.r2.store import Storage

logger = structlog.get_logger(__name__)

#: The real R2 takes up to a day: https://developers.cloudflare.com/r2/buckets/object-lifecycles/.
EVERY = timedelta(minutes=1)


class Swept(NamedTuple):
    """What rules did: how many objects are gone, how many moved, how many uploads are aborted."""

    expired: int = 0
    moved: int = 0
    aborted: int = 0


class Lifecycles:
    """
    Carries out the lifecycle rules of all buckets.

    Args:
        every: How long it rests between two rounds.
    """

    def __init__(self, storage: Storage, *, every: timedelta = EVERY) -> None:
        self._storage = storage
        self._every = every

    async def run(self) -> None:
        """Carry out what is due, again and again, until cancelled."""
        while True:
            try:
                await self.sweep()
            except R2Refused as error:
                # A full disk, or a bucket that was removed meanwhile: the next round tries again.
                logger.warning("lifecycle rules were not carried out", reason=error.message)
            await asyncio.sleep(self._every.total_seconds())

    async def sweep(self, at: float | None = None) -> Swept:
        """
        Carry out what is due.

        Args:
            at: Seconds since 1970; now when left out.
        """
        now = self._storage.now() if at is None else at
        done = Swept()
        for bucket in self._storage.buckets.all():
            for rule in lifecycle_of(bucket):
                if rule["enabled"]:
                    found = await self._carry_out(bucket, rule, now)
                    done = Swept(*(before + more for before, more in zip(done, found, strict=True)))
        return done

    async def _carry_out(self, bucket: Bucket, rule: Mapping[str, Any], now: float) -> Swept:
        prefix = str(rule["conditions"].get("prefix", "")).encode("utf-8", "surrogatepass")
        expired = moved = aborted = 0
        if (until := _due(rule.get("deleteObjectsTransition"), now)) is not None:
            expired = await self._storage.objects.expire(bucket, prefix, until)
        for transition in rule.get("storageClassTransitions") or ():
            if (until := _due(transition, now)) is not None:
                moved += await self._storage.objects.move(bucket, prefix, until, "InfrequentAccess")
        if (until := _due(rule.get("abortMultipartUploadsTransition"), now)) is not None:
            aborted = await self._storage.uploads.expire(bucket, prefix, until)
        return Swept(expired, moved, aborted)


def due_until(condition: Mapping[str, Any], now: float) -> int | None:
    """
    Return the last moment, in milliseconds since 1970, of what is due now; None while nothing is.

    Args:
        condition: By age (``maxAge`` in seconds) or by date, from which on everything is due.

        now: Seconds since 1970.
    """
    if condition["type"] == "Age":
        return int((now - condition["maxAge"]) * 1000)
    date = datetime.fromisoformat(condition["date"])
    begins = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return int(now * 1000) if now >= begins else None


def _due(transition: Mapping[str, Any] | None, now: float) -> int | None:
    return None if transition is None else due_until(transition["condition"], now)
