"""Cloudflare's request budget of one user, held in the ledger and taken in batches by every process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, delete, insert, select, update

from clodo.cloudflare.budget import (
    DEFAULT_PATIENCE,
    POLICY,
    Grant,
    Lane,
    Policy,
    Spent,
    Wait,
    decide,
    foreign_spending,
    wait_until_granted,
)
from clodo.cloudflare.clock import SYSTEM_CLOCK, Clock
from clodo.ledger.database import Database, insert_unless_there
from clodo.ledger.identifiers import new_identifier
from clodo.ledger.schema import budget_batches as batches
from clodo.ledger.schema import budgets

BATCH_REQUESTS = 20
BATCH_LIFETIME = timedelta(seconds=10)
LOOK_EVERY = timedelta(seconds=1)
"""How old what a process knows of the shared cooldown may be, and how often it compares its count with Cloudflare's."""


@dataclass(slots=True)
class Batch:
    """Requests that were taken from the ledger and not all sent yet; *expires_at* on the monotonic clock."""

    id: str
    requests: int
    left: int
    expires_at: float


class LedgerBudget:
    """
    The budget that all processes on one ledger share. Safe to share between threads.

    A batch is booked as if it were spent at the end of its lifetime, the latest moment at which one of its requests can
    go out, so a window never holds more than Cloudflare allows. What is left of it is given back.
    """

    def __init__(
        self,
        database: Database,
        user_key: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
        policy: Policy = POLICY,
        batch_requests: int = BATCH_REQUESTS,
        batch_lifetime: timedelta = BATCH_LIFETIME,
    ) -> None:
        self._database = database
        self._user_key = user_key
        self._clock = clock
        self._policy = policy
        self._batch_requests = batch_requests
        self._batch_lifetime = batch_lifetime.total_seconds()
        self._mutex = threading.Lock()
        self._batches: dict[Lane, Batch] = {}
        self._cooldown_until = float("-inf")
        self._looked_at = float("-inf")
        self._compared_at = float("-inf")

    def take(self, lane: Lane, count: int = 1, *, deadline: timedelta = DEFAULT_PATIENCE) -> None:
        """
        Wait until *count* requests may be sent, and take them.

        Raises:
            BudgetExhausted: They won't be free within *deadline*.
            LedgerUnavailable: The ledger can't be asked.
        """
        wait_until_granted(lambda: self._try(lane, count), lane, count, deadline=deadline, clock=self._clock)

    def cooldown(self, seconds: float) -> None:
        """Hold back every lane but UNDO for *seconds*, in every process."""
        with self._mutex, self._database.write() as connection:
            now = self._lock_user(connection)
            until = max(self._stored_cooldown(connection), now + seconds)
            connection.execute(update(budgets).where(budgets.c.user_key == self._user_key).values(cooldown_until=until))
            self._remember_cooldown(until, now)

    def observe(self, remaining: int, resets_in: float) -> None:
        """Book what others spent, as far as Cloudflare's count is below ours."""
        with self._mutex:
            monotonic = self._clock.monotonic()
            if monotonic < self._compared_at + LOOK_EVERY.total_seconds():
                return
            self._compared_at = monotonic
            with self._database.read() as connection:
                now = self._database.now(connection).timestamp()
                if foreign_spending(now, self._spent(connection), remaining, resets_in, policy=self._policy) is None:
                    return
            with self._database.write() as connection:
                now = self._lock_user(connection)
                foreign = foreign_spending(now, self._spent(connection), remaining, resets_in, policy=self._policy)
                if foreign is not None:
                    self._book(connection, foreign)

    def give_back(self) -> None:
        """Give back what was taken and not used; a later `take` draws anew."""
        with self._mutex:
            if not self._batches:
                return
            with self._database.write() as connection:
                self._lock_user(connection)
                for batch in self._batches.values():
                    _give_back(connection, batch)
            self._batches.clear()

    def _try(self, lane: Lane, count: int) -> Grant | Wait:
        with self._mutex:
            self._look_at_cooldown()
            monotonic = self._clock.monotonic()
            batch = self._batches.get(lane)
            is_held_back = lane is not Lane.UNDO and monotonic < self._cooldown_until
            if batch and batch.left >= count and monotonic < batch.expires_at and not is_held_back:
                batch.left -= count
                return Grant(left=batch.left)
            return self._draw(lane, count)

    def _draw(self, lane: Lane, count: int) -> Grant | Wait:
        with self._database.write() as connection:
            now = self._lock_user(connection)
            old = self._batches.get(lane)
            if old is not None:
                _give_back(connection, old)
            connection.execute(
                delete(batches).where(
                    batches.c.user_key == self._user_key, batches.c.at < now - self._policy.window_seconds
                )
            )
            spent = self._spent(connection)
            until = self._stored_cooldown(connection)
            decision = decide(now, spent, lane, count, cooldown_until=until, policy=self._policy)
            fresh = None
            if isinstance(decision, Grant):
                # Near the ceiling nobody hoards: a batch leaves at least as much as it takes.
                extra = max(0, min(self._batch_requests - count, decision.left // 2))
                spent_at = now + self._batch_lifetime if extra else now
                identifier = self._book(connection, Spent(spent_at, count + extra))
                if extra:
                    fresh = Batch(identifier, count + extra, extra, self._clock.monotonic() + self._batch_lifetime)
        # Only what the ledger has committed is ours to spend.
        self._batches.pop(lane, None)
        if fresh is not None:
            self._batches[lane] = fresh
        self._remember_cooldown(until, now)
        return decision

    def _look_at_cooldown(self) -> None:
        if self._clock.monotonic() < self._looked_at + LOOK_EVERY.total_seconds():
            return
        with self._database.read() as connection:
            self._remember_cooldown(self._stored_cooldown(connection), self._database.now(connection).timestamp())

    def _remember_cooldown(self, until: float, now: float) -> None:
        self._looked_at = self._clock.monotonic()
        self._cooldown_until = self._looked_at + (until - now)

    def _lock_user(self, connection: Connection) -> float:
        connection.execute(insert_unless_there(connection, budgets).values(user_key=self._user_key, cooldown_until=0.0))
        connection.execute(select(budgets).where(budgets.c.user_key == self._user_key).with_for_update()).one()
        return self._database.now(connection).timestamp()

    def _stored_cooldown(self, connection: Connection) -> float:
        until: float | None = connection.execute(
            select(budgets.c.cooldown_until).where(budgets.c.user_key == self._user_key)
        ).scalar_one_or_none()
        return until or 0.0

    def _spent(self, connection: Connection) -> Sequence[Spent]:
        rows = connection.execute(select(batches.c.at, batches.c.requests).where(batches.c.user_key == self._user_key))
        return [Spent(row.at, row.requests) for row in rows]

    def _book(self, connection: Connection, spent: Spent) -> str:
        identifier = new_identifier("b")
        connection.execute(
            insert(batches).values(id=identifier, user_key=self._user_key, at=spent.at, requests=spent.requests)
        )
        return identifier


def _give_back(connection: Connection, batch: Batch) -> None:
    used = batch.requests - batch.left
    if used:
        connection.execute(update(batches).where(batches.c.id == batch.id).values(requests=used))
    else:
        connection.execute(delete(batches).where(batches.c.id == batch.id))
