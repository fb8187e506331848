"""A Cloudflare in a few lines: a clock that only moves when somebody sleeps, answers by hand, and what was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from clodo.cloudflare.breaker import Breakers
from clodo.cloudflare.budget import Budget, Lane, UnlimitedBudget
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.clock import Clock

ACCOUNT = "9800f4fcb8a02ec3eae3c76fdd3848b7"
TOKEN = "cZ9-a-token-nobody-may-read_4711"
ZONE = "81baa3561cada74e2a1aa853be04431f"
BASE = "https://api.test/client/v4"
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

Script = Callable[[httpx.Request], httpx.Response]


@dataclass
class FakeTime:
    """Seconds that pass only by sleeping."""

    seconds: float = 1000.0
    slept: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.slept.append(seconds)
            self.seconds += seconds

    def clock(self, jitter: float = 0.0) -> Clock:
        return Clock(
            monotonic=lambda: self.seconds,
            now=lambda: START + timedelta(seconds=self.seconds - 1000.0),
            sleep=self.sleep,
            jitter=lambda: jitter,
        )


@dataclass
class Wired:
    """A client, what it was asked to send, and its time."""

    cloudflare: Cloudflare
    requests: list[httpx.Request]
    time: FakeTime
    breakers: Breakers

    @property
    def asked(self) -> list[str]:
        """Method and raw path (with query) of each request, without the API's root."""
        return [f"{each.method} {each.url.raw_path.decode().removeprefix('/client/v4')}" for each in self.requests]

    def body(self, index: int = -1) -> Any:
        return json.loads(self.requests[index].content)


def good(result: Any = None, *, info: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    """An answer in Cloudflare's envelope."""
    body: dict[str, Any] = {"success": True, "result": result, "errors": [], "messages": []}
    if info is not None:
        body["result_info"] = info
    return httpx.Response(200, json=body, headers=_headers(headers))


def bad(status: int, code: int = 0, message: str = "", **headers: str) -> httpx.Response:
    """A refusal in Cloudflare's envelope."""
    body = {"success": False, "result": None, "errors": [{"code": code, "message": message}], "messages": []}
    return httpx.Response(status, json=body, headers=_headers(headers))


def _headers(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def wired(
    script: Script | Iterable[httpx.Response | Exception],
    *,
    budget: Budget | None = None,
    lane: Lane = Lane.RELEASE,
    time: FakeTime | None = None,
    jitter: float = 0.0,
    failures: int = 1000,
    base_url: str = BASE,
    **options: Any,
) -> Wired:
    """Return a client whose requests are answered by *script*: a function, or answers (or failures) in order."""
    requests: list[httpx.Request] = []
    time = time or FakeTime()
    clock = time.clock(jitter)
    answers = iter(script) if not callable(script) else None

    def handle(request: httpx.Request) -> httpx.Response:
        request.read()
        requests.append(request)
        if answers is None:
            return script(request)  # type: ignore[operator]
        answer = next(answers, None)
        assert answer is not None, f"one request too many: {request.method} {request.url}"
        if isinstance(answer, Exception):
            raise answer
        return answer

    breakers = Breakers(clock=clock, failures=failures)
    cloudflare = Cloudflare(
        ACCOUNT,
        TOKEN,
        base_url,
        budget=budget or UnlimitedBudget(),
        lane=lane,
        clock=clock,
        breakers=breakers,
        transport=httpx.MockTransport(handle),
        **options,
    )
    return Wired(cloudflare, requests, time, breakers)
