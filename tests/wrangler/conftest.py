"""A fake Cloudflare, a gateway before it, and a clock that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from clodo.cloudflare.budget import Budget, Lane, UnlimitedBudget
from clodo.cloudflare.clock import Clock
from clodo.wrangler.gateway import Gateway, GatewaySession

from .cloud import TOKEN, Cloud

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class FakeTime:
    """A clock that jumps when somebody sleeps, and remembers for how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._lock = threading.Lock()
        self.clock = Clock(
            monotonic=lambda: sum(self.slept),
            now=lambda: START + timedelta(seconds=sum(self.slept)),
            sleep=self._sleep,
            jitter=lambda: 0.5,
        )

    def _sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)


class RecordingBudget(UnlimitedBudget):
    """Never says no, and remembers who asked."""

    def __init__(self) -> None:
        self.taken: list[Lane] = []
        self.cooldowns: list[float] = []

    def take(self, lane: Lane, count: int = 1, *, deadline: timedelta = timedelta(0)) -> None:
        self.taken += [lane] * count

    def cooldown(self, seconds: float) -> None:
        self.cooldowns.append(seconds)


@pytest.fixture
def fake() -> Iterator[Cloud]:
    with Cloud() as running:
        yield running


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def budget() -> RecordingBudget:
    return RecordingBudget()


@pytest.fixture
def gateway(fake: Cloud, budget: Budget, fake_time: FakeTime) -> Iterator[Gateway]:
    upstream_timeout = timedelta(seconds=0.5)
    with Gateway(fake.url, TOKEN, budget=budget, clock=fake_time.clock, upstream_timeout=upstream_timeout) as running:
        yield running


AsWrangler = Callable[[GatewaySession], httpx.Client]


@pytest.fixture
def as_wrangler() -> Iterator[AsWrangler]:
    """Makes clients that talk to a session as wrangler does."""
    with ExitStack() as clients:

        def connect(session: GatewaySession) -> httpx.Client:
            headers = {"authorization": f"Bearer {session.token}"}
            return clients.enter_context(httpx.Client(base_url=session.base_url, headers=headers, timeout=30))

        yield connect
