"""When a host fails again and again, it is left alone for a while, except to undo something."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clodo.cloudflare.breaker import Breaker, Breakers
from clodo.cloudflare.budget import Lane
from clodo.errors import CircuitIsOpen
from tests.cloudflare.wire import FakeTime

HELD_BACK = [Lane.RELEASE, Lane.READ, Lane.BACKUP]


def breaker(time: FakeTime, failures: int = 3) -> Breaker:
    return Breaker("api.test", failures=failures, open_for=timedelta(seconds=30), clock=time.clock())


def fail(breaker: Breaker, times: int = 1, lane: Lane = Lane.RELEASE) -> None:
    for _ in range(times):
        with breaker.passage(lane) as passage:
            passage.failed()


def succeed(breaker: Breaker, lane: Lane = Lane.RELEASE) -> None:
    with breaker.passage(lane) as passage:
        passage.succeeded()


def test_it_opens_after_failures_in_a_row():
    """Three failures in a row hold every other lane back, and the message says until when and why."""
    subject = breaker(FakeTime())
    fail(subject, 3)

    for lane in HELD_BACK:
        with pytest.raises(CircuitIsOpen, match=r"api\.test failed 3 times .* until 2026-11-20T12:00:30Z") as caught:
            subject.raise_if_open(lane)
        assert "releases" in caught.value.message
        assert caught.value.retry_after == timedelta(seconds=30)


def test_a_success_between_failures_starts_the_count_again():
    """Two failures, a success, two failures: closed."""
    subject = breaker(FakeTime())

    fail(subject, 2)
    succeed(subject)
    fail(subject, 2)

    assert not subject.is_open


def test_undo_passes_an_open_circuit_and_its_success_closes_it():
    """An undo is never held back; that it got an answer is news for all."""
    subject = breaker(FakeTime())
    fail(subject, 3)

    succeed(subject, Lane.UNDO)

    subject.raise_if_open(Lane.BACKUP)


def test_a_failing_undo_leaves_it_open():
    """An undo that fails too changes nothing."""
    subject = breaker(FakeTime())
    fail(subject, 3)

    fail(subject, 1, Lane.UNDO)

    assert subject.is_open


def test_after_the_pause_one_request_tries_and_the_others_wait_for_it():
    """Half open means one at a time."""
    time = FakeTime()
    subject = breaker(time)
    fail(subject, 3)
    time.sleep(30)

    with subject.passage(Lane.READ) as passage:
        with pytest.raises(CircuitIsOpen):
            subject.raise_if_open(Lane.READ)
        passage.succeeded()

    subject.raise_if_open(Lane.READ)
    assert not subject.is_open


def test_a_failed_try_opens_it_for_another_pause():
    """The clock of the pause starts again."""
    time = FakeTime()
    subject = breaker(time)
    fail(subject, 3)
    time.sleep(31)

    fail(subject)

    with pytest.raises(CircuitIsOpen) as caught:
        subject.raise_if_open(Lane.READ)
    assert caught.value.retry_after == timedelta(seconds=30)


def test_a_try_that_is_broken_off_lets_the_next_one_try():
    """A Ctrl-C during the try doesn't leave the circuit waiting for its result forever."""
    time = FakeTime()
    subject = breaker(time)
    fail(subject, 3)
    time.sleep(30)

    with pytest.raises(KeyboardInterrupt), subject.passage(Lane.READ):
        raise KeyboardInterrupt

    succeed(subject, Lane.READ)
    assert not subject.is_open


def test_requests_pass_side_by_side():
    """The breaker doesn't make requests of different threads wait for each other."""
    subject = breaker(FakeTime())
    together = threading.Barrier(4, timeout=20)
    passed: list[bool] = []

    def send() -> None:
        with subject.passage(Lane.RELEASE) as passage:
            together.wait()
            passage.succeeded()
        passed.append(True)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(passed) == 4


def test_hosts_fail_on_their_own():
    """A broken storage host doesn't close the way to the API."""
    time = FakeTime()
    breakers = Breakers(failures=1, clock=time.clock())
    fail(breakers.of("storage.test"))

    assert breakers.of("storage.test").is_open
    assert not breakers.of("api.test").is_open


class Circuit(RuleBasedStateMachine):
    """Whatever happens, undo passes, and a closed circuit has seen fewer failures in a row than its bound."""

    def __init__(self) -> None:
        super().__init__()
        self.time = FakeTime()
        self.breaker = breaker(self.time)
        self.in_a_row = 0

    @rule(lane=st.sampled_from(list(Lane)), well=st.booleans())
    def request(self, lane: Lane, well: bool) -> None:
        held_back: CircuitIsOpen | None = None
        try:
            with self.breaker.passage(lane) as passage:
                passage.succeeded() if well else passage.failed()
            self.in_a_row = 0 if well else self.in_a_row + 1
        except CircuitIsOpen as error:
            held_back = error
        if held_back is not None:
            assert lane is not Lane.UNDO
            assert held_back.retry_after is not None
            assert timedelta(0) < held_back.retry_after <= timedelta(seconds=30)

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.time.sleep(seconds)

    @precondition(lambda self: self.breaker.is_open)
    @rule(lane=st.sampled_from(HELD_BACK))
    def tries_after_the_pause(self, lane: Lane) -> None:
        self.time.sleep(30)
        self.breaker.raise_if_open(lane)

    @invariant()
    def open_after_three_failures_in_a_row_only(self) -> None:
        assert self.breaker.is_open == (self.in_a_row >= 3)


Circuit.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestCircuit = Circuit.TestCase
