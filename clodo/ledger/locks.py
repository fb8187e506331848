"""Locks with owners, expiry and fencing numbers, held across processes and machines."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

from sqlalchemy import Row, select, update

from clodo.errors import LedgerUnavailable, LockHeld, LockLost, NoSpaceLeft
from clodo.ledger.database import Database, insert_unless_there
from clodo.ledger.owners import Owner
from clodo.ledger.schema import locks

DEFAULT_LIFETIME = timedelta(seconds=60)

SECONDS = "%Y-%m-%dT%H:%M:%SZ"

NOBODY = dict.fromkeys(
    ("host", "machine", "pid", "process_started_at", "user_name", "what", "reason", "acquired_at", "expires_at")
)
"""The columns of a lock that is free; its fencing number stays."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What the ledger says of a lock that is held: by whom, why, since when, until when, with which number."""

    name: str
    owner: Owner
    reason: str
    fencing: int
    acquired_at: datetime
    expires_at: datetime


class Lock:
    """
    A lock that we hold; use it as a context manager.

    A background thread renews it every third of its lifetime until it is released.

    Attributes:
        name: What is locked: ``target/api@production``.

        fencing: Greater than every number ever given out for this name.
    """

    def __init__(self, database: Database, name: str, fencing: int, lifetime: timedelta) -> None:
        self.name = name
        self.fencing = fencing
        self._database = database
        self._lifetime = lifetime
        self._is_over = threading.Event()

    def check(self) -> None:
        """
        Ask the ledger whether the lock is still ours; call it before every write.

        Raises:
            LockLost: It expired, was released or was taken over; nothing more may be written.
            LedgerUnavailable: Nobody can tell.
        """
        with self._database.read() as connection:
            row = connection.execute(select(locks).where(locks.c.name == self.name)).one_or_none()
            self._raise_if_lost(row, self._database.now(connection))

    def renew(self) -> None:
        """
        Put the expiry off by one lifetime from now.

        Raises:
            LockLost: It had expired or been taken over.
        """
        with self._database.write() as connection:
            row = connection.execute(select(locks).where(locks.c.name == self.name).with_for_update()).one_or_none()
            now = self._database.now(connection)
            self._raise_if_lost(row, now)
            connection.execute(update(locks).where(locks.c.name == self.name).values(expires_at=now + self._lifetime))

    def release(self) -> None:
        """Let go; releasing a lock that was released or lost changes nothing."""
        self._is_over.set()
        with self._database.write() as connection:
            connection.execute(
                update(locks).where(locks.c.name == self.name, locks.c.fencing == self.fencing).values(NOBODY)
            )

    def keep(self) -> None:
        """Renew it in the background until it is released or lost."""
        threading.Thread(target=self._keep, name=f"renew {self.name}", daemon=True).start()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.release()
        except (LedgerUnavailable, NoSpaceLeft):
            # It expires, and is free once this process is gone; what went wrong inside tells more.
            if error is None:
                raise

    def _keep(self) -> None:
        while not self._is_over.wait(self._lifetime.total_seconds() / 3):
            try:
                self.renew()
            except LockLost:
                return
            except (LedgerUnavailable, NoSpaceLeft):
                # Nobody hears this thread. It tries again until the lock expires, and then the owner's check tells.
                continue

    def _raise_if_lost(self, row: Row[Any] | None, now: datetime) -> None:
        holding = _holding(row)
        if holding is None:
            raise LockLost(f"{self.name}: our lock {self.fencing} was released")
        if holding.fencing != self.fencing:
            raise LockLost(
                f"{self.name}: our lock {self.fencing} was taken over by {holding.owner}"
                f" at {holding.acquired_at:{SECONDS}}: {holding.reason}"
            )
        if holding.expires_at <= now:
            raise LockLost(f"{self.name}: our lock {self.fencing} expired at {holding.expires_at:{SECONDS}}")


class Locks:
    """The locks of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(
        self,
        name: str,
        owner: Owner,
        reason: str,
        ttl: timedelta = DEFAULT_LIFETIME,
        *,
        take_over: bool = False,
        renew: bool = True,
    ) -> Lock:
        """
        Take the lock *name*, at once or not at all.

        A lock that expired is free, and so is one whose owner, a process of this machine, is proven to be gone.

        Args:
            ttl: How long it lasts without being renewed.

            take_over: Take it from whoever holds it; their next check raises LockLost.

            renew: Renew it in the background; False for a lock shorter than its lifetime.

        Raises:
            LockHeld: Somebody else has it; says who, why, since when and until when.
        """
        with self._database.write() as connection:
            connection.execute(insert_unless_there(connection, locks).values(name=name, fencing=0))
            row = connection.execute(select(locks).where(locks.c.name == name).with_for_update()).one()
            now = self._database.now(connection)
            holding = _holding(row)
            if holding and holding.expires_at > now and not take_over and not holding.owner.is_gone():
                raise LockHeld(
                    f"{name}: held by {holding.owner} since {holding.acquired_at:{SECONDS}}"
                    f" until at least {holding.expires_at:{SECONDS}}: {holding.reason}",
                    hint="Wait until it is done, or take over with `--take-over` if you know that it is stuck.",
                )
            lock = Lock(self._database, name, row.fencing + 1, ttl)
            connection.execute(
                update(locks)
                .where(locks.c.name == name)
                .values(
                    fencing=lock.fencing,
                    host=owner.host,
                    machine=owner.machine,
                    pid=owner.pid,
                    process_started_at=owner.process_started_at,
                    user_name=owner.user,
                    what=owner.what,
                    reason=reason,
                    acquired_at=now,
                    expires_at=now + ttl,
                )
            )
        if renew:
            lock.keep()
        return lock

    def holding(self, name: str) -> Holding | None:
        """Say who holds *name* now; None when nobody does."""
        with self._database.read() as connection:
            row = connection.execute(select(locks).where(locks.c.name == name)).one_or_none()
            holding = _holding(row)
            return holding if holding and holding.expires_at > self._database.now(connection) else None


def _holding(row: Row[Any] | None) -> Holding | None:
    if row is None or row.host is None:
        return None
    owner = Owner(row.host, row.pid, row.process_started_at, row.user_name, row.what, row.machine)
    return Holding(row.name, owner, row.reason, row.fencing, row.acquired_at, row.expires_at)
