"""Visitors: a client that reads and writes through the demo's website all the time, and remembers every answer."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import httpx

VERSION_HEADERS = ("x-web-version", "x-api-version", "x-auth-version")
PAUSE_SECONDS = 0.03


@dataclass(frozen=True, slots=True)
class Visit:
    """
    One request of a visitor.

    Attributes:
        at: Monotonic seconds at which the answer was complete.

        what: Method and path.

        status: None when no answer came.

        is_good: Whether it is the answer that a user expects.

        member: Id of the row that was acknowledged, None for reads.

        versions: Ids of the versions that took part, as the Workers name them.
    """

    at: float
    what: str
    status: int | None
    is_good: bool
    member: str | None = None
    versions: frozenset[str] = field(default_factory=frozenset)


class Visitors:
    """
    Visits the website from a thread until it is left; use it as a context manager.

    Args:
        edge_url: Where hostnames answer.

        hostname: The website's.
    """

    def __init__(self, edge_url: str, hostname: str) -> None:
        self._client = httpx.Client(base_url=edge_url, headers={"host": hostname}, trust_env=False, timeout=20.0)
        self._visits: list[Visit] = []
        self._lock = threading.Lock()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._stay, name="visitors", daemon=True)

    def __enter__(self) -> Visitors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._thread.join()
        self._client.close()

    @property
    def visits(self) -> tuple[Visit, ...]:
        """All visits so far, in order."""
        with self._lock:
            return tuple(self._visits)

    def wait_for(self, count: int, *, timeout: float = 30.0) -> None:
        """Return when *count* more visits have ended, at the latest after *timeout* seconds."""
        wanted = len(self.visits) + count
        deadline = time.monotonic() + timeout
        while len(self.visits) < wanted and time.monotonic() < deadline:
            self._leave.wait(PAUSE_SECONDS)

    def _stay(self) -> None:
        number = 0
        while not self._leave.wait(PAUSE_SECONDS):
            number += 1
            kind = number % 3
            visit = self._sign_up(number) if kind == 0 else self._read("/api/members/count" if kind == 1 else "/")
            with self._lock:
                self._visits.append(visit)

    def _sign_up(self, number: int) -> Visit:
        return self._ask("POST", "/api/members", {"name": f"visitor {number}"}, expected=201)

    def _read(self, path: str) -> Visit:
        return self._ask("GET", path, None, expected=200)

    def _ask(self, method: str, path: str, body: dict[str, str] | None, *, expected: int) -> Visit:
        what = f"{method} {path}"
        try:
            response = self._client.request(method, path, json=body)
        except httpx.TransportError:
            return Visit(time.monotonic(), what, None, is_good=False)
        is_good = response.status_code == expected
        member = str(response.json()["id"]) if is_good and method == "POST" else None
        versions = frozenset(value for name in VERSION_HEADERS if (value := response.headers.get(name)))
        return Visit(time.monotonic(), what, response.status_code, is_good, member, versions)
