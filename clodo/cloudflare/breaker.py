"""Circuit breakers by host: after repeated failures no request is sent for a while, except to undo something."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from clodo.cloudflare.budget import Lane
from clodo.cloudflare.clock import SYSTEM_CLOCK, Clock
from clodo.errors import CircuitIsOpen

# pybreaker imports redis where it is installed (Prefect's server needs it), for a storage that isn't used here: a tenth
# of all that a command imports. None is Python's own word for "there is no such module".
if "redis" in sys.modules:
    import pybreaker
else:
    sys.modules["redis"] = None  # type: ignore[assignment]
    try:
        import pybreaker
    finally:
        del sys.modules["redis"]

FAILURES_TO_OPEN = 10
OPEN_FOR = timedelta(seconds=30)

log = structlog.get_logger("clodo.cloudflare")


class _HostFailed(Exception):
    """Tells pybreaker of a failure; never leaves this module."""


class _GivenClockStorage(pybreaker.CircuitMemoryStorage):
    """pybreaker's own storage, except that the age of an open circuit is measured by our clock, not by the wall's."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(pybreaker.STATE_CLOSED)
        self._clock = clock
        self._opened: float | None = None

    @property
    def opened_at(self) -> datetime | None:
        if self._opened is None:
            return None
        return datetime.now(UTC) - timedelta(seconds=self._clock.monotonic() - self._opened)

    @opened_at.setter
    def opened_at(self, datetime: datetime) -> None:
        self._opened = self._clock.monotonic()

    def remaining(self, open_for: timedelta) -> timedelta:
        """Return how long the circuit stays open from now."""
        if self._opened is None:
            return timedelta(0)
        return max(open_for - timedelta(seconds=self._clock.monotonic() - self._opened), timedelta(0))


class _Narrator(pybreaker.CircuitBreakerListener):
    def state_change(self, cb: pybreaker.CircuitBreaker, old_state: Any, new_state: Any) -> None:
        log.warning("circuit breaker", host=cb.name, was=old_state.name if old_state else None, now=new_state.name)


class Passage:
    """One request on its way to the host; say how it ended."""

    def __init__(self) -> None:
        self.ended_well: bool | None = None

    def succeeded(self) -> None:
        """The host answered, whatever it said."""
        self.ended_well = True

    def failed(self) -> None:
        """The host answered 5xx, or not at all."""
        self.ended_well = False


class Breaker:
    """
    The circuit breaker of one host.

    pybreaker keeps the state; requests are sent outside of its lock, or they would wait for each other.

    Args:
        host: Name for messages.

        failures: So many in a row, of all threads, open it.

        open_for: Then nothing is sent for so long; after that one request tries.
    """

    def __init__(
        self,
        host: str,
        *,
        failures: int = FAILURES_TO_OPEN,
        open_for: timedelta = OPEN_FOR,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.host = host
        self._open_for = open_for
        self._clock = clock
        self._lock = threading.Lock()
        self._trying = False
        self._storage = _GivenClockStorage(clock)
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=failures,
            reset_timeout=open_for.total_seconds(),
            listeners=[_Narrator()],
            state_storage=self._storage,
            name=host,
            throw_new_error_on_trip=False,
        )

    @property
    def is_open(self) -> bool:
        """Whether requests (other than of the lane UNDO) are held back."""
        return self._breaker.current_state != pybreaker.STATE_CLOSED

    def raise_if_open(self, lane: Lane) -> None:
        """Raise CircuitIsOpen if a request of *lane* would not be let through now."""
        with self._lock:
            self._check(lane)

    @contextmanager
    def passage(self, lane: Lane) -> Iterator[Passage]:
        """
        Let one request through, and learn from how it ended.

        Raises:
            CircuitIsOpen: The host failed too often; it says when the next request may try.
        """
        with self._lock:
            self._check(lane)
            tries = self.is_open and lane is not Lane.UNDO
            if tries:
                self._trying = True
        passage = Passage()
        try:
            yield passage
        finally:
            with self._lock:
                if tries:
                    self._trying = False
                if passage.ended_well is not None:
                    self._learn(passage.ended_well)

    def _check(self, lane: Lane) -> None:
        if lane is Lane.UNDO or not self.is_open:
            return
        remaining = self._storage.remaining(self._open_for)
        if remaining > timedelta(0) or self._trying:
            again = self._clock.now() + remaining
            raise CircuitIsOpen(
                f"{self.host} failed {self._breaker.fail_max} times in a row, so Clodo sends it nothing until"
                f" {again:%Y-%m-%dT%H:%M:%SZ}, to spare it and the running releases; undoing goes on",
                hint="Look at https://www.cloudflarestatus.com and repeat the command later.",
                retry_after=remaining,
            )

    def _learn(self, ended_well: bool) -> None:
        if ended_well:
            # Also when only an undo got through: the host is there again.
            if self.is_open:
                self._breaker.close()
            else:
                self._breaker.call(lambda: None)
            return
        try:
            self._breaker.call(_fail)
        except (_HostFailed, pybreaker.CircuitBreakerError):
            return


def _fail() -> None:
    raise _HostFailed


class Breakers:
    """The breakers of a process, one per host."""

    def __init__(
        self,
        *,
        failures: int = FAILURES_TO_OPEN,
        open_for: timedelta = OPEN_FOR,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._failures = failures
        self._open_for = open_for
        self._clock = clock
        self._lock = threading.Lock()
        self._by_host: dict[str, Breaker] = {}

    def of(self, host: str) -> Breaker:
        """Return the breaker of *host* (name, with its port if it has one)."""
        with self._lock:
            if host not in self._by_host:
                self._by_host[host] = Breaker(host, failures=self._failures, open_for=self._open_for, clock=self._clock)
            return self._by_host[host]


# Flows open a client per step; what one of them learnt of a host, the next one should know.
PROCESS_BREAKERS = Breakers()
