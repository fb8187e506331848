"""Visitors: a client that reads and writes through the demo's website all the time, and remembers every answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

VERSION_HEADERS = ("x-web-version", "x-api-version", "x-auth-version")
PAUSE_SECONDS = 0.03


@dataclass(frozen=True, slots=True)
class Visit:
    """
    One request of a visitor.

    Attributes:
        what: Method and path.

        found: What came, in a few words: ``answered 200``.

        is_good: Whether it is the answer that a user expects.

        member: Id of the row that was acknowledged, None for reads.

        versions: Ids of the versions that took part, as the Workers name them.
    """

    what: str
    found: str
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
        self._signed_up = 0
        self._members = 0  # that there must be at least
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
        kinds = (self._read_the_page, self._count_members, self._sign_up)
        number = 0
        while not self._leave.wait(PAUSE_SECONDS):
            visit = kinds[number % len(kinds)]()
            number += 1
            with self._lock:
                self._visits.append(visit)

    def _read_the_page(self) -> Visit:
        return self._ask("GET", "/", lambda answer: answer.status_code == 200 and "<h1>Clodo demo</h1>" in answer.text)

    def _count_members(self) -> Visit:
        # Whoever has signed up must be counted, and those who were counted before.
        return self._ask("GET", "/api/members/count", self._counts_everybody)

    def _sign_up(self) -> Visit:
        body = {"name": f"visitor {self._signed_up + 1}"}
        visit = self._ask("POST", "/api/members", lambda answer: answer.status_code == 201, body=body)
        self._signed_up += visit.member is not None
        self._members += visit.member is not None
        return visit

    def _counts_everybody(self, answer: httpx.Response) -> bool:
        if answer.status_code != 200:
            return False
        counted = int(answer.json()["count"])
        expected, self._members = self._members, max(counted, self._members)
        return counted >= expected

    def _ask(
        self,
        method: str,
        path: str,
        is_expected: Callable[[httpx.Response], bool],
        *,
        body: dict[str, str] | None = None,
    ) -> Visit:
        what = f"{method} {path}"
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            return Visit(what, f"got no answer ({type(error).__name__})", is_good=False)
        found = f"answered {answer.status_code}"
        versions = frozenset(value for name in VERSION_HEADERS if (value := answer.headers.get(name)))
        try:
            is_good = is_expected(answer)
            member = str(answer.json()["id"]) if is_good and method == "POST" else None
        except (ValueError, KeyError, TypeError):
            return Visit(what, f"{found} with a body that makes no sense", is_good=False, versions=versions)
        if not is_good and answer.is_success:
            found += " with something else than expected"
        return Visit(what, found, is_good, member, versions)
