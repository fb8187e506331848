"""Locks with owners, expiry and fencing numbers, held across processes and machines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType

from clodo.ledger.owners import Owner

DEFAULT_LIFETIME = timedelta(seconds=60)


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

    name: str
    fencing: int

    def check(self) -> None:
        """
        Ask the ledger whether the lock is still ours; call it before every write.

        Raises:
            LockLost: It expired, was released or was taken over; nothing more may be written.
            LedgerUnavailable: Nobody can tell.
        """
        raise NotImplementedError

    def renew(self) -> None:
        """
        Put the expiry off by one lifetime from now.

        Raises:
            LockLost: It had expired or been taken over.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Let go; releasing a lock that was released or lost changes nothing."""
        raise NotImplementedError

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class Locks:
    """The locks of a ledger."""

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

        A lock that expired is free. One whose owner was a process of this machine that is proven to be gone is free too.

        Args:
            ttl: How long it lasts without being renewed.

            take_over: Take it from whoever holds it; their next check raises LockLost.

            renew: Renew it in the background; False for a lock shorter than its lifetime.

        Raises:
            LockHeld: Somebody else has it; says who, why, since when and until when.
        """
        raise NotImplementedError

    def holding(self, name: str) -> Holding | None:
        """Say who holds *name* now; None when nobody does."""
        raise NotImplementedError
