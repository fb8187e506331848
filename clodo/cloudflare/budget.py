"""Cloudflare's request budget as lanes: who may send a request now, and how long the others wait."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Protocol

from clodo.cloudflare.clock import SYSTEM_CLOCK, Clock
from clodo.errors import BudgetExhausted

# Source: https://developers.cloudflare.com/fundamentals/api/reference/limits/
REQUESTS_PER_WINDOW = 1200
WINDOW_SECONDS = 300.0
DEFAULT_PATIENCE = timedelta(seconds=120)
# A wait that rounding makes shorter than this would spin.
SHORTEST_WAIT_SECONDS = 0.001


class Lane(StrEnum):
    """What a request is for, the most urgent first."""

    UNDO = "undo"
    RELEASE = "release"
    READ = "read"
    BACKUP = "backup"


class Spent(NamedTuple):
    """Requests that were taken from the budget: when (seconds) and how many."""

    at: float
    requests: int


@dataclass(frozen=True, slots=True)
class Grant:
    """
    Send them now.

    Attributes:
        left: Requests that this lane could still take at this moment, after the grant.
    """

    left: int


@dataclass(frozen=True, slots=True)
class Wait:
    """
    Not yet.

    Attributes:
        seconds: When to ask again; infinite if the lane can never have so many at once.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Policy:
    """
    How many requests a window holds, and up to where each lane may fill it.

    A lane is granted requests while *all* lanes together stay at or below its ceiling, so what lies between its ceiling
    and the next is the reserve of the more urgent lanes.

    Attributes:
        window_seconds: Length of the sliding window.

        ceilings: Lane to the number of requests in the window up to which it may fill it.
    """

    window_seconds: float = WINDOW_SECONDS
    ceilings: Mapping[Lane, int] = field(
        default_factory=lambda: MappingProxyType(
            {
                Lane.UNDO: REQUESTS_PER_WINDOW,
                Lane.RELEASE: REQUESTS_PER_WINDOW * 9 // 10,
                Lane.READ: REQUESTS_PER_WINDOW * 7 // 10,
                Lane.BACKUP: REQUESTS_PER_WINDOW * 5 // 10,
            }
        )
    )

    @property
    def limit(self) -> int:
        """Requests that the window holds in all."""
        return max(self.ceilings.values())


POLICY = Policy()


def decide(
    now: float,
    spent: Iterable[Spent],
    lane: Lane,
    count: int = 1,
    *,
    cooldown_until: float = -math.inf,
    policy: Policy = POLICY,
) -> Grant | Wait:
    """
    Decide whether *lane* may send *count* requests at *now*.

    Pure: the in-memory budget and the ledger's budget across processes both ask it, with *spent* from wherever each
    of them keeps it.

    Args:
        now: Seconds, on the same clock as *spent* and *cooldown_until*.

        spent: What was taken, in any order; what is older than the window doesn't count.

        cooldown_until: After a 429 nobody but UNDO sends before this time.
    """
    ceiling = policy.ceilings[lane]
    if count > ceiling:
        return Wait(math.inf)
    held_back = 0.0 if lane is Lane.UNDO else cooldown_until - now
    # Expiry is compared as a sum everywhere, so that the time a Wait names is the time at which the answer changes.
    current = sorted((taken.at + policy.window_seconds, taken.requests) for taken in spent)
    current = [(expires, taken) for expires, taken in current if expires > now]
    in_window = sum(taken for _, taken in current)
    free_at = now
    left = in_window
    for expires, taken in current:
        if left + count <= ceiling:
            break
        left -= taken
        free_at = expires
    wait = max(free_at - now, held_back)
    if wait > 0:
        return Wait(max(wait, SHORTEST_WAIT_SECONDS))
    return Grant(left=ceiling - in_window - count)


class Budget(Protocol):
    """A share of Cloudflare's 1,200 requests in five minutes, which every client of one user takes from."""

    def take(self, lane: Lane, count: int = 1, *, deadline: timedelta = DEFAULT_PATIENCE) -> None:
        """
        Wait until *count* requests may be sent, and take them.

        Args:
            deadline: How long the caller can wait, from now.

        Raises:
            BudgetExhausted: They won't be free within *deadline*.
        """
        ...

    def cooldown(self, seconds: float) -> None:
        """Hold back every lane but UNDO for *seconds*: Cloudflare answered 429 with this ``Retry-After``."""
        ...

    def observe(self, remaining: int, resets_in: float) -> None:
        """
        Take note that Cloudflare itself says *remaining* requests are left, until *resets_in* seconds from now.

        It counts the requests of others too (dashboard, Terraform); the budget never grows by it, it only shrinks.
        """
        ...


class UnlimitedBudget:
    """A budget that never says no, for a cloud that sets no limit."""

    def take(self, lane: Lane, count: int = 1, *, deadline: timedelta = DEFAULT_PATIENCE) -> None:
        """Return at once."""

    def cooldown(self, seconds: float) -> None:
        """Take no notice: each request waits out its own ``Retry-After``."""

    def observe(self, remaining: int, resets_in: float) -> None:
        """Take no notice."""


class InMemoryBudget:
    """A budget shared by the threads of one process."""

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK, policy: Policy = POLICY) -> None:
        self._clock = clock
        self._policy = policy
        self._lock = threading.Lock()
        self._spent: list[Spent] = []
        self._cooldown_until = -math.inf

    def take(self, lane: Lane, count: int = 1, *, deadline: timedelta = DEFAULT_PATIENCE) -> None:
        """Wait until *count* requests may be sent, and take them; raise BudgetExhausted if that is after *deadline*."""
        wait_until_granted(lambda: self._try(lane, count), lane, count, deadline=deadline, clock=self._clock)

    def cooldown(self, seconds: float) -> None:
        """Hold back every lane but UNDO for *seconds*."""
        with self._lock:
            self._cooldown_until = max(self._cooldown_until, self._clock.monotonic() + seconds)

    def observe(self, remaining: int, resets_in: float) -> None:
        """Book what others spent, as far as Cloudflare's count is below ours."""
        with self._lock:
            now = self._clock.monotonic()
            foreign = foreign_spending(now, self._spent, remaining, resets_in, policy=self._policy)
            if foreign is not None:
                self._spent.append(foreign)

    def _try(self, lane: Lane, count: int) -> Grant | Wait:
        with self._lock:
            now = self._clock.monotonic()
            self._spent = [taken for taken in self._spent if taken.at + self._policy.window_seconds > now]
            decision = decide(now, self._spent, lane, count, cooldown_until=self._cooldown_until, policy=self._policy)
            if isinstance(decision, Grant):
                self._spent.append(Spent(now, count))
            return decision


def foreign_spending(
    now: float, spent: Iterable[Spent], remaining: int, resets_in: float, *, policy: Policy = POLICY
) -> Spent | None:
    """
    Say what others must have spent, if Cloudflare counts fewer *remaining* requests than we do.

    Returns:
        An entry to add to *spent* that expires in *resets_in* seconds; None if our count is the lower one.
    """
    in_window = sum(taken.requests for taken in spent if taken.at + policy.window_seconds > now)
    surplus = policy.limit - in_window - max(remaining, 0)
    if surplus <= 0 or resets_in <= 0:
        return None
    return Spent(now + min(resets_in, policy.window_seconds) - policy.window_seconds, surplus)


def wait_until_granted(
    ask: Callable[[], Grant | Wait], lane: Lane, count: int, *, deadline: timedelta, clock: Clock
) -> None:
    """
    Repeat *ask* until it grants, sleeping as long as each Wait says.

    Raises:
        BudgetExhausted: The next wait would end after *deadline*.
    """
    gives_up_at = clock.monotonic() + deadline.total_seconds()
    while isinstance(decision := ask(), Wait):
        if clock.monotonic() + decision.seconds > gives_up_at:
            raise BudgetExhausted(
                f"No room for {count} more API request(s) of the lane {lane.value}"
                f" within {deadline.total_seconds():.0f} s:"
                f" Cloudflare allows {REQUESTS_PER_WINDOW} in {WINDOW_SECONDS:.0f} s per user",
                hint="Wait a few minutes and run it again; what is done already stays done.",
                retry_after=None if math.isinf(decision.seconds) else timedelta(seconds=decision.seconds),
            )
        clock.sleep(decision.seconds)
