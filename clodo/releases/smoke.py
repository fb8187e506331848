"""Smoke tests: real requests to a Worker, whose answers count only when it is proven which version gave them."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

import httpx

from clodo.cloudflare.tails import TailEvent
from clodo.errors import CloudflareUnavailable
from clodo.workspace.portfolio import SmokeTest

PROBE_HEADER = "x-clodo-probe"
TAIL_PATIENCE_SECONDS = 5.0
OVERRIDE_HEADER = "Cloudflare-Workers-Version-Overrides"
UNDECLARED = SmokeTest(path="/")
"""Asked of a service that declares no smoke test: anything but a server error passes."""
RETRY_DELAYS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)


class Verdict(StrEnum):
    """What a smoke test says. Only PASSED is success."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Result:
    """
    One smoke test, asked and judged.

    Attributes:
        name: Method and path.

        url: What was asked, without query.

        verdict: Passed, failed or inconclusive.

        reason: Why not passed; how it was proven when passed.

        seconds: Until the last answer was complete.
    """

    name: str
    url: str
    verdict: Verdict
    reason: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object for journals and reports."""
        return {
            "name": self.name,
            "url": self.url,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where a version can be asked.

    Attributes:
        hostname: Of the request.

        version_id: The version we mean to ask.

        is_preview: Whether the hostname belongs to that version alone, which proves every answer.

        override_for: Name of the Worker whose version override header is sent, None without.

        twin: The version's preview hostname, for answers that no Worker had a part in (static assets): they are
            proven by being the same, byte for byte, as the answer there.
    """

    hostname: str
    version_id: str
    is_preview: bool = False
    override_for: str | None = None
    twin: str | None = None


class Tail(Protocol):
    """Trace events of one Worker while it is open."""

    def receive(self, timeout: timedelta) -> TailEvent | None:
        """Return the next event, None if none came within *timeout*."""


OpenTail = Callable[[str], AbstractContextManager[Tail]]
"""Given a probe id, opens a tail of the Worker that shows the requests which carry it."""


class Edge:
    """
    The place where Workers' hostnames answer.

    Args:
        edge_url: Connect here whatever the hostname (the embedded cloud's root); None goes by DNS and HTTPS.

        transport: For tests on the wire.
    """

    def __init__(self, edge_url: str | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        self._edge_url = edge_url.rstrip("/") if edge_url else None
        self._client = httpx.Client(transport=transport, follow_redirects=False, trust_env=False)

    def request(
        self,
        hostname: str,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        timeout: float = 10.0,
    ) -> httpx.Response:
        """
        Send one request to *hostname* and return the whole answer.

        Raises:
            httpx.TransportError: No complete answer came.
        """
        sent = dict(headers or {})
        if self._edge_url is None:
            url = f"https://{hostname}{path}"
        else:
            url = f"{self._edge_url}{path}"
            sent["host"] = hostname
            sent.setdefault("x-forwarded-proto", "https")
        return self._client.request(method, url, headers=sent, content=body, timeout=timeout)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def key_of(test: SmokeTest) -> str:
    """Return what tells *test* from others, also from one that asks the same path for something else."""
    digest = hashlib.sha256(test.model_dump_json().encode()).hexdigest()[:8]
    return f"{test.method} {test.path} {digest}"


def unmet(test: SmokeTest, response: httpx.Response) -> str | None:
    """Say which expectation of *test* the *response* does not meet, or None when it meets all."""
    if test is UNDECLARED:
        return f"answered {response.status_code}" if response.status_code >= 500 else None
    if response.status_code != test.expect_status:
        return f"answered {response.status_code}, not {test.expect_status}"
    if test.expect_body_contains is not None and test.expect_body_contains not in response.text:
        return f"the body lacks {test.expect_body_contains!r}"
    if test.expect_json is not None:
        try:
            body = response.json()
        except ValueError:  # not JSON, or not even text
            return "the body is not JSON"
        missing = _json_difference(test.expect_json, body)
        if missing is not None:
            return missing
    return None


def _json_difference(expected: Any, actual: Any, where: str = "") -> str | None:
    """Objects may have more keys than expected; everything else must be equal. Actual values are not quoted."""
    if isinstance(expected, Mapping):
        if not isinstance(actual, Mapping):
            return f"{where or 'the body'} is not an object"
        for key, value in expected.items():
            if key not in actual:
                return f"{where}{'.' if where else ''}{key} is missing"
            difference = _json_difference(value, actual[key], f"{where}{'.' if where else ''}{key}")
            if difference is not None:
                return difference
        return None
    return None if _is_same(expected, actual) else f"{where or 'the body'} is not {json.dumps(expected)}"


def _is_same(expected: Any, actual: Any) -> bool:
    """In Python true equals 1; in JSON it doesn't. Numbers are equal by value, as JSON knows only one kind."""
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(_is_same(*pair) for pair in zip(expected, actual, strict=True))
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return expected.keys() == actual.keys() and all(_is_same(value, actual[key]) for key, value in expected.items())
    return bool(expected == actual)


def version_named_by(test: SmokeTest, response: httpx.Response) -> str | None:
    """Return the version id that the Worker itself named (its version metadata binding), if *test* says where."""
    if test.version_header is not None:
        named: str | None = response.headers.get(test.version_header)
        return named
    if test.version_json is not None:
        try:
            value: Any = response.json()
        except ValueError:  # not JSON, or not even text
            return None
        for key in test.version_json.split("."):
            if not isinstance(value, Mapping):
                return None
            value = value.get(key)
        return value if isinstance(value, str) else None
    return None


class SmokeTester:
    """
    Asks a version, proves who answered, and judges.

    Args:
        edge: Where hostnames answer.

        open_tail: How to watch the Worker, for answers that name no version.

        patience: How long an answer from elsewhere (an old version, no version yet) is taken for propagation.

        sleep: Waits between tries.

        clock: Monotonic seconds.
    """

    def __init__(
        self,
        edge: Edge,
        open_tail: OpenTail,
        *,
        patience: timedelta = timedelta(seconds=30),
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._edge = edge
        self._open_tail = open_tail
        self._patience = patience.total_seconds()
        self._sleep = sleep
        self._clock = clock

    def run(self, tests: Sequence[SmokeTest], place: Place) -> tuple[Result, ...]:
        """Ask *place* each of *tests* in order; stop at the first that did not pass."""
        results: list[Result] = []
        for test in tests or (UNDECLARED,):
            result = self._ask(test, place)
            results.append(result)
            if result.verdict is not Verdict.PASSED:
                break
        return tuple(results)

    def _ask(self, test: SmokeTest, place: Place) -> Result:
        started = self._clock()
        deadline = started + self._patience
        url = place.hostname + test.path.partition("?")[0]
        result = Result(f"{test.method} {test.path}", url, Verdict.INCONCLUSIVE, "", 0.0)
        by_tail = not place.is_preview and test.version_header is None and test.version_json is None
        for delay in _delays():
            verdict, reason, is_proven = self._try_once(test, place, by_tail=by_tail)
            # A Worker that fails before it can name its version is still seen by a tail.
            by_tail = by_tail or not (place.is_preview or is_proven)
            result = Result(result.name, result.url, verdict, reason, self._clock() - started)
            if verdict is not Verdict.INCONCLUSIVE or self._clock() + delay > deadline:
                return result
            self._sleep(delay)
        return result

    def _try_once(self, test: SmokeTest, place: Place, *, by_tail: bool) -> tuple[Verdict, str, bool]:
        probe = uuid.uuid4().hex
        headers = {**(test.headers or {}), PROBE_HEADER: probe}
        if place.override_for is not None:
            headers[OVERRIDE_HEADER] = f'{place.override_for}="{place.version_id}"'
        try:
            if not by_tail:
                response = self._send(test, place, headers)
                answered_by = place.version_id if place.is_preview else version_named_by(test, response)
                proof = "its preview URL" if place.is_preview else "the version that the Worker names"
            else:
                with self._open_tail(probe) as tail:
                    response = self._send(test, place, headers)
                    # Where no Worker answered no event will come.
                    answered_by = None if _is_unserved(response) else self._seen_by(tail, probe)
                proof = "a tail event"
        except (httpx.TransportError, CloudflareUnavailable) as error:
            return Verdict.INCONCLUSIVE, f"no answer: {type(error).__name__}", False
        if (place.is_preview or by_tail) and _is_unserved(response):
            what = "the preview URL" if place.is_preview else "it"
            return Verdict.INCONCLUSIVE, f"{what} is not served yet (answered {response.status_code})", False
        if answered_by is None and place.twin is not None and self._is_same_at(place.twin, test, response):
            answered_by, proof = place.version_id, "being the very bytes that its preview URL gives"
        if answered_by is None:
            reason = f"answered {response.status_code}, and nothing proves which version answered"
            return Verdict.INCONCLUSIVE, reason, False
        if answered_by != place.version_id:
            return Verdict.INCONCLUSIVE, f"version {answered_by} answered, not {place.version_id}", True
        problem = unmet(test, response)
        if problem is not None:
            return Verdict.FAILED, problem, True
        return Verdict.PASSED, f"proven by {proof}", True

    def _is_same_at(self, twin: str, test: SmokeTest, response: httpx.Response) -> bool:
        try:
            other = self._send(test, Place(twin, "", is_preview=True), test.headers)
        except httpx.TransportError:
            return False
        return (other.status_code, other.content) == (response.status_code, response.content)

    def _seen_by(self, tail: Tail, probe: str) -> str | None:
        """Return the version that a tail names for the request that carries *probe*, None if it shows none in time."""
        deadline = self._clock() + TAIL_PATIENCE_SECONDS
        while (left := deadline - self._clock()) > 0:
            event = tail.receive(timedelta(seconds=left))
            if event is None:
                return None
            if event.request_headers.get(PROBE_HEADER) == probe:
                return event.version_id
        return None

    def _send(self, test: SmokeTest, place: Place, headers: Mapping[str, str]) -> httpx.Response:
        return self._edge.request(
            place.hostname,
            test.path,
            method=test.method,
            headers=headers,
            body=test.body,
            timeout=test.timeout_seconds,
        )


def _delays() -> Iterator[float]:
    yield from RETRY_DELAYS
    while True:
        yield RETRY_DELAYS[-1]


def _is_unserved(response: httpx.Response) -> bool:
    """Say whether it is Cloudflare's own page for a hostname that no Worker serves: one of these, or an error 10xx."""
    is_page = "error code: 10" in response.text or "nothing here yet" in response.text.lower()
    return response.status_code in (404, 522, 530) and is_page


def worst(results: Iterable[Result]) -> Verdict:
    """Return FAILED if any failed, else INCONCLUSIVE if any was, else PASSED; nothing asked is inconclusive."""
    verdicts = {result.verdict for result in results}
    for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASSED if verdicts else Verdict.INCONCLUSIVE
