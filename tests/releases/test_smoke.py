"""Smoke tests: who answered is proven first, and only then judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.cloudflare.tails import TailEvent
from clodo.errors import CloudflareUnavailable
from clodo.releases.smoke import (
    OVERRIDE_HEADER,
    PROBE_HEADER,
    RETRY_DELAYS,
    UNDECLARED,
    Edge,
    Place,
    Result,
    SmokeTester,
    Verdict,
    key_of,
    unmet,
    version_named_by,
    worst,
)
from clodo.workspace.portfolio import SmokeTest

NEW, OLD = "11111111-new", "22222222-old"
HOST = "shop.example"
BY_HEADER = SmokeTest(path="/", version_header="x-version")
BY_TAIL = SmokeTest(path="/")

Answer = Callable[[httpx.Request], httpx.Response]


class Time:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def clock(self) -> float:
        return sum(self.slept)


class Cloud:
    """Answers at the edge as told, and shows in its tail who answered."""

    def __init__(self, answer: Answer, *, tail_names: str | None = None, tail_fails: bool = False) -> None:
        self.requests: list[httpx.Request] = []
        self.probes: list[str] = []
        self.awaited = 0
        self._answer = answer
        self._tail_names = tail_names
        self._tail_fails = tail_fails
        self.time = Time()

    def tester(self, *, patience: float = 1.0, edge_url: str | None = None) -> SmokeTester:
        edge = Edge(edge_url, transport=httpx.MockTransport(self._respond))
        return SmokeTester(
            edge, self._open, patience=timedelta(seconds=patience), sleep=self.time.sleep, clock=self.time.clock
        )

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answer(request)

    def _open(self, probe: str) -> AbstractContextManager[Any]:
        @contextmanager
        def opened() -> Iterator[Cloud]:
            if self._tail_fails:
                raise CloudflareUnavailable("no tail")
            self.probes.append(probe)
            yield self

        return opened()

    def receive(self, timeout: timedelta) -> TailEvent | None:
        """Show the last request, as the tail does."""
        self.awaited += 1
        if self._tail_names is None:
            return None
        event = {"request": {"headers": {PROBE_HEADER: self.probes[-1]}}}
        return TailEvent.model_validate({"scriptVersion": {"id": self._tail_names}, "event": event})


def says(version: str, status: int = 200, text: str = "fine") -> Answer:
    """Answer with a version in a header."""
    return lambda request: httpx.Response(status, text=text, headers={"x-version": version})


def test_an_answer_that_names_the_version_in_its_header_is_proven():
    """The Worker's own version metadata, in a header, proves who answered."""
    cloud = Cloud(says(NEW))

    (result,) = cloud.tester().run([BY_HEADER], Place(HOST, NEW))

    assert (result.verdict, result.reason) == (Verdict.PASSED, "proven by the version that the Worker names")
    assert (result.name, result.url) == ("GET /", "shop.example/")
    assert cloud.probes == []


def test_an_answer_that_names_the_version_in_its_json_is_proven():
    """The same, at a dotted path of the answer's JSON."""
    cloud = Cloud(lambda request: httpx.Response(200, json={"version": {"id": NEW}}))

    (result,) = cloud.tester().run([SmokeTest(path="/", version_json="version.id")], Place(HOST, NEW))

    assert result.verdict is Verdict.PASSED


def test_a_tail_event_proves_an_answer_that_names_nothing():
    """The event that carries our probe names the version; events of other requests are passed over."""
    cloud = Cloud(lambda request: httpx.Response(200), tail_names=NEW)

    (result,) = cloud.tester().run([BY_TAIL], Place(HOST, NEW))

    assert (result.verdict, result.reason) == (Verdict.PASSED, "proven by a tail event")
    assert cloud.requests[0].headers[PROBE_HEADER] == cloud.probes[0]


def test_no_event_is_awaited_where_no_worker_is_served():
    """Cloudflare's own page proves nothing and needs no tail; it is asked again at once, until a Worker answers."""
    pages = [httpx.Response(404, text="<title>There is nothing here yet</title>"), httpx.Response(200)]
    cloud = Cloud(lambda request: pages[min(len(cloud.requests), 2) - 1], tail_names=NEW)

    (result,) = cloud.tester().run([BY_TAIL], Place(HOST, NEW))

    assert result.verdict is Verdict.PASSED
    assert (len(cloud.requests), cloud.awaited) == (2, 1)


def test_an_address_that_stays_unserved_is_named_so():
    """After the patience it is inconclusive, and the reason says what was found."""
    cloud = Cloud(lambda request: httpx.Response(530, text="error code: 1016"), tail_names=NEW)

    (result,) = cloud.tester().run([BY_TAIL], Place(HOST, NEW))

    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, "it is not served yet (answered 530)")
    assert cloud.awaited == 0


def test_an_event_of_somebody_elses_request_proves_nothing():
    """Only the event with our probe counts, though others of the right version come by."""

    class Strangers(Cloud):
        def receive(self, timeout: timedelta) -> TailEvent | None:
            self.time.sleep(1.0)
            event = {"request": {"headers": {PROBE_HEADER: "somebody else"}}}
            return TailEvent.model_validate({"scriptVersion": {"id": NEW}, "event": event})

    cloud = Strangers(lambda request: httpx.Response(200))

    (result,) = cloud.tester().run([BY_TAIL], Place(HOST, NEW))

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "nothing proves" in result.reason


def test_a_preview_url_proves_its_answers():
    """The hostname belongs to one version alone."""
    cloud = Cloud(lambda request: httpx.Response(200))

    (result,) = cloud.tester().run([BY_TAIL], Place("1111-shop.acme.workers.dev", NEW, is_preview=True))

    assert (result.verdict, result.reason) == (Verdict.PASSED, "proven by its preview URL")
    assert cloud.probes == []


def test_an_override_that_is_ignored_is_inconclusive():
    """Asked with an override and answered by the live version, whatever it answers says nothing about the new one."""
    cloud = Cloud(says(OLD, 500))

    (result,) = cloud.tester().run([BY_HEADER], Place(HOST, NEW, override_for="shop"))

    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason == f"version {OLD} answered, not {NEW}"
    assert cloud.requests[0].headers[OVERRIDE_HEADER] == f'shop="{NEW}"'


def test_an_override_that_is_ignored_is_seen_by_the_tail_too():
    """The tail names the live version, so the good answer counts for nothing."""
    cloud = Cloud(lambda request: httpx.Response(200), tail_names=OLD)

    (result,) = cloud.tester().run([BY_TAIL], Place(HOST, NEW, override_for="shop"))

    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_worker_that_breaks_before_it_can_name_itself_is_seen_by_a_tail():
    """An error page names no version; the tail is asked, and the failure is the new version's."""
    cloud = Cloud(lambda request: httpx.Response(500), tail_names=NEW)

    (result,) = cloud.tester().run([BY_HEADER], Place(HOST, NEW))

    assert (result.verdict, result.reason) == (Verdict.FAILED, "answered 500, not 200")


def test_a_good_answer_that_nothing_proves_is_inconclusive():
    """A tail that shows nothing leaves it open who answered."""
    cloud = Cloud(lambda request: httpx.Response(200))

    (result,) = cloud.tester().run([BY_TAIL], Place(HOST, NEW))

    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason == "answered 200, and nothing proves which version answered"


def test_a_tail_that_can_not_be_opened_is_inconclusive():
    """Without a tail there is no proof, and no failure either."""
    (result,) = Cloud(says(NEW), tail_fails=True).tester().run([BY_TAIL], Place(HOST, NEW))

    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, "no answer: CloudflareUnavailable")


def test_static_files_are_proven_by_being_those_of_the_preview_url():
    """What no Worker had a part in is compared, byte for byte, with what the version's own hostname gives."""
    cloud = Cloud(lambda request: httpx.Response(200, text="<h1>new</h1>"))

    (result,) = cloud.tester().run([BY_TAIL], Place(HOST, NEW, twin="1111-shop.acme.workers.dev"))

    assert (result.verdict, result.reason) == (
        Verdict.PASSED,
        "proven by being the very bytes that its preview URL gives",
    )


@pytest.mark.parametrize("at_the_twin", [httpx.Response(200, text="new"), httpx.Response(404, text="old")])
def test_static_files_that_differ_from_the_preview_url_prove_nothing(at_the_twin):
    """Another body or another status there means that somebody else answered here."""

    def answer(request: httpx.Request) -> httpx.Response:
        return at_the_twin if request.url.host.startswith("1111") else httpx.Response(200, text="old")

    (result,) = Cloud(answer).tester().run([BY_TAIL], Place(HOST, NEW, twin="1111-shop.acme.workers.dev"))

    assert result.verdict is Verdict.INCONCLUSIVE


def test_an_old_answer_is_asked_again_until_the_new_version_is_there():
    """While the edge still gives the old version it is asked again, with the given pauses, and then judged."""
    answers = iter([says(OLD), says(OLD), says(NEW)])
    cloud = Cloud(lambda request: next(answers)(request))

    (result,) = cloud.tester(patience=30).run([BY_HEADER], Place(HOST, NEW))

    assert result.verdict is Verdict.PASSED
    assert cloud.time.slept == list(RETRY_DELAYS[:2])
    assert result.seconds == sum(RETRY_DELAYS[:2])


def test_patience_ends_before_it_is_exceeded():
    """A pause that would reach past the deadline is not made."""
    cloud = Cloud(says(OLD))

    cloud.tester(patience=1.0).run([BY_HEADER], Place(HOST, NEW))

    assert sum(cloud.time.slept) <= 1.0
    assert len(cloud.requests) == len(cloud.time.slept) + 1


def test_a_failure_is_not_asked_again():
    """A wrong answer of the right version is an answer."""
    cloud = Cloud(says(NEW, 404))

    (result,) = cloud.tester(patience=30).run([BY_HEADER], Place(HOST, NEW))

    assert (result.verdict, len(cloud.requests)) == (Verdict.FAILED, 1)


def test_no_answer_is_inconclusive_and_asked_again():
    """A connection that breaks says nothing about the version."""

    def breaks(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    cloud = Cloud(breaks)

    (result,) = cloud.tester().run([BY_HEADER], Place(HOST, NEW))

    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, "no answer: ConnectError")
    assert len(cloud.requests) > 1


def test_a_twin_that_does_not_answer_is_inconclusive():
    """A connection to the preview URL that breaks is no crash."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host.startswith("1111"):
            raise httpx.ReadTimeout("late")
        return httpx.Response(200)

    (result,) = Cloud(answer).tester().run([BY_TAIL], Place(HOST, NEW, twin="1111-shop.acme.workers.dev"))

    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_preview_url_that_is_not_served_yet_is_waited_for():
    """Cloudflare's own page for an unknown hostname is no answer of the version; a 404 of the Worker is one."""
    answers = iter([httpx.Response(404, text="There is nothing here yet"), httpx.Response(200)])
    place = Place("1111-shop.acme.workers.dev", NEW, is_preview=True)
    later = Cloud(lambda request: next(answers))
    never = Cloud(lambda request: httpx.Response(404, text="no such page"))

    (came,) = later.tester().run([BY_TAIL], place)
    (failed,) = never.tester().run([BY_TAIL], place)

    assert came.verdict is Verdict.PASSED
    assert (failed.verdict, failed.reason) == (Verdict.FAILED, "answered 404, not 200")


def test_tests_end_at_the_first_that_does_not_pass():
    """Later tests are not asked, and the worst verdict is the last one."""
    tests = [SmokeTest(path=path, version_header="x-version") for path in ("/a", "/b", "/c")]
    cloud = Cloud(lambda request: says(NEW, 500 if request.url.path == "/b" else 200)(request))

    results = cloud.tester().run(tests, Place(HOST, NEW))

    assert [(result.name, result.verdict) for result in results] == [
        ("GET /a", Verdict.PASSED),
        ("GET /b", Verdict.FAILED),
    ]
    assert worst(results) is Verdict.FAILED


def test_what_the_test_says_is_sent():
    """Method, headers, body and query reach the hostname; the answer's URL is kept without the query."""
    test = SmokeTest(path="/a?b=c", method="POST", headers={"x-own": "1"}, body="text", version_header="x-version")
    cloud = Cloud(says(NEW))

    (result,) = cloud.tester(edge_url="http://127.0.0.1:1").run([test], Place(HOST, NEW))

    request = cloud.requests[0]
    assert (request.method, request.content, request.headers["x-own"]) == ("POST", b"text", "1")
    assert (str(request.url), request.headers["host"]) == ("http://127.0.0.1:1/a?b=c", HOST)
    assert result.url == "shop.example/a"


def test_nothing_declared_still_asks():
    """Without a smoke test the new version must answer, with anything but a server error."""
    place = Place(HOST, NEW)

    (fine,) = Cloud(lambda request: httpx.Response(404), tail_names=NEW).tester().run([], place)
    (broken,) = Cloud(lambda request: httpx.Response(503), tail_names=NEW).tester().run([], place)

    assert (fine.verdict, broken.verdict) == (Verdict.PASSED, Verdict.FAILED)


@pytest.mark.parametrize(
    ("test", "response", "problem"),
    [
        (SmokeTest(path="/"), httpx.Response(200), None),
        (SmokeTest(path="/"), httpx.Response(204), "answered 204, not 200"),
        (SmokeTest(path="/", expect_status=404), httpx.Response(404), None),
        (SmokeTest(path="/", expect_body_contains="ok"), httpx.Response(200, text="not o k"), "the body lacks 'ok'"),
        (SmokeTest(path="/", expect_json={"a": 1}), httpx.Response(200, text="<"), "the body is not JSON"),
        (SmokeTest(path="/", expect_json={"a": 1}), httpx.Response(200, content=b"\xff"), "the body is not JSON"),
        (SmokeTest(path="/", expect_json={"a": {"b": 1}}), httpx.Response(200, json={"a": {"b": 1, "c": 2}}), None),
        (SmokeTest(path="/", expect_json={"a": {"b": 1}}), httpx.Response(200, json={"a": {}}), "a.b is missing"),
        (SmokeTest(path="/", expect_json={"a": {"b": 1}}), httpx.Response(200, json={"a": 1}), "a is not an object"),
        (SmokeTest(path="/", expect_json={"a": 1}), httpx.Response(200, json={"a": 2}), "a is not 1"),
        (SmokeTest(path="/", expect_json=[1]), httpx.Response(200, json=[1, 2]), "the body is not [1]"),
        (SmokeTest(path="/", expect_json={"a": True}), httpx.Response(200, json={"a": 1}), "a is not true"),
        (SmokeTest(path="/", expect_json={"a": 1}), httpx.Response(200, json={"a": True}), "a is not 1"),
        (UNDECLARED, httpx.Response(499), None),
        (UNDECLARED, httpx.Response(500), "answered 500"),
    ],
)
def test_an_answer_is_judged_by_what_the_test_expects(test, response, problem):
    """Status, text and JSON are compared; what the answer holds beyond that is never quoted."""
    assert unmet(test, response) == problem


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, st.dictionaries(st.text(max_size=3), json_values, max_size=3))
def test_json_meets_itself_and_may_hold_more(expected, more):
    """An answer equal to what is expected passes, and so does an object with further keys."""
    test = SmokeTest(path="/", expect_json=expected)
    if test.expect_json is None:
        return
    answer = {**more, **expected} if isinstance(expected, dict) else expected

    assert unmet(test, httpx.Response(200, text=json.dumps(answer))) is None


@pytest.mark.parametrize("text", ["", "<", "[]", '{"version": 1}', '{"version": {"id": 1}}', '"x"', b"\xff"])
def test_an_answer_without_the_version_names_none(text):
    """Whatever stands where the version should be, anything but text names nothing."""
    content = text if isinstance(text, bytes) else text.encode()
    response = httpx.Response(200, content=content)

    assert version_named_by(SmokeTest(path="/", version_json="version.id"), response) is None


def test_tests_of_one_path_are_told_apart():
    """What one of them found says nothing about another that expects something else."""
    tests = [SmokeTest(path="/"), SmokeTest(path="/", expect_json={"says": "two"}), SmokeTest(path="/", method="POST")]

    assert len({key_of(test) for test in tests}) == len(tests)
    assert key_of(tests[0]) == key_of(SmokeTest(path="/"))


def test_nothing_asked_is_inconclusive():
    """No result at all is no success; one failure outweighs everything."""
    passed, failed, unclear = (Result("n", "u", verdict, "", 0.0) for verdict in Verdict)

    assert worst([]) is Verdict.INCONCLUSIVE
    assert worst([passed]) is Verdict.PASSED
    assert worst([passed, unclear]) is Verdict.INCONCLUSIVE
    assert worst([unclear, failed, passed]) is Verdict.FAILED
