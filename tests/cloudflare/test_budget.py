"""Who may send a request, and how long the others wait."""

from __future__ import annotations

import math
import threading
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from clodo.cloudflare.budget import (
    POLICY,
    REQUESTS_PER_WINDOW,
    WINDOW_SECONDS,
    Grant,
    InMemoryBudget,
    Lane,
    Policy,
    Spent,
    UnlimitedBudget,
    Wait,
    decide,
    foreign_spending,
)
from clodo.errors import BudgetExhausted
from tests.cloudflare.wire import FakeTime

LANES = st.sampled_from(list(Lane))
HISTORIES = st.lists(
    st.builds(Spent, st.floats(0, 1000, allow_nan=False), st.integers(1, 300)),
    max_size=30,
)
NOWS = st.floats(0, 1500, allow_nan=False)


def in_window(now: float, spent: list[Spent]) -> int:
    return sum(each.requests for each in spent if each.at + WINDOW_SECONDS > now)


# ── The decision ──


@given(NOWS, HISTORIES, LANES, st.integers(1, 400))
def test_a_grant_never_takes_a_lane_over_its_ceiling(now, spent, lane, count):
    """What is granted fits under the lane's ceiling, and `left` says how much more would."""
    decision = decide(now, spent, lane, count)

    if isinstance(decision, Grant):
        assert in_window(now, spent) + count + decision.left == POLICY.ceilings[lane]
        assert decision.left >= 0


@given(NOWS, HISTORIES, st.integers(1, 400), st.floats(0, 2000, allow_nan=False))
def test_undo_is_granted_while_anything_is_left(now, spent, count, cooldown_until):
    """No reserve and no cooldown holds an undo back, only Cloudflare's own limit."""
    decision = decide(now, spent, Lane.UNDO, count, cooldown_until=cooldown_until)

    assert isinstance(decision, Grant) == (in_window(now, spent) + count <= REQUESTS_PER_WINDOW)


@given(NOWS, HISTORIES, st.integers(1, 400))
def test_backup_never_takes_from_the_reserves(now, spent, count):
    """A backup leaves half of the window to the others, whoever spent the rest."""
    decision = decide(now, spent, Lane.BACKUP, count)

    if isinstance(decision, Grant):
        assert in_window(now, spent) + count <= REQUESTS_PER_WINDOW // 2


@given(NOWS, HISTORIES, st.integers(1, 400))
def test_what_a_lane_is_granted_a_more_urgent_one_is_granted_too(now, spent, count):
    """undo > release > read > backup, always."""
    granted = [isinstance(decide(now, spent, lane, count), Grant) for lane in Lane]

    assert granted == sorted(granted, reverse=True)


@given(NOWS, HISTORIES, LANES, st.integers(1, 600), st.floats(0, 2000, allow_nan=False))
def test_a_wait_is_as_long_as_it_must_be(now, spent, lane, count, cooldown_until):
    """At its end the answer is a grant if nobody came between; just before it isn't."""
    decision = decide(now, spent, lane, count, cooldown_until=cooldown_until)

    if isinstance(decision, Wait) and math.isfinite(decision.seconds):
        assert isinstance(
            decide(now + decision.seconds + 0.002, spent, lane, count, cooldown_until=cooldown_until), Grant
        )
        if decision.seconds > 0.01:
            early = now + decision.seconds * 0.99
            assert isinstance(decide(early, spent, lane, count, cooldown_until=cooldown_until), Wait)


def test_more_than_a_lane_can_ever_have_waits_forever():
    """Asking for more than the ceiling is an endless wait, not a loop."""
    assert decide(0, [], Lane.BACKUP, 601) == Wait(math.inf)
    assert decide(0, [], Lane.UNDO, 1201) == Wait(math.inf)


@given(NOWS, HISTORIES, st.sampled_from([Lane.RELEASE, Lane.READ, Lane.BACKUP]), st.floats(0.01, 500))
def test_a_cooldown_holds_back_everybody_but_undo(now, spent, lane, seconds):
    """After a 429 no other lane sends before its Retry-After is over."""
    decision = decide(now, spent, lane, cooldown_until=now + seconds)

    assert isinstance(decision, Wait)
    assert decision.seconds >= seconds - 1e-6


@given(NOWS, HISTORIES, st.integers(0, 1500), st.floats(0.1, 300))
def test_cloudflares_count_is_believed_when_it_is_lower(now, spent, remaining, resets_in):
    """What others must have spent is booked, until Cloudflare says the quota is whole again."""
    spent = [each for each in spent if each.at <= now]
    foreign = foreign_spending(now, spent, remaining, resets_in)
    known = max(0, REQUESTS_PER_WINDOW - in_window(now, spent))

    if foreign is None:
        assert remaining >= REQUESTS_PER_WINDOW - in_window(now, spent)
    else:
        assert REQUESTS_PER_WINDOW - in_window(now, [*spent, foreign]) == remaining < known
        assert in_window(now + resets_in + 0.001, [foreign]) == 0


# ── The budget of a process ──


class Spending(RuleBasedStateMachine):
    """Whatever is asked for and however time passes, no five minutes hold more than 1,200 grants."""

    def __init__(self) -> None:
        super().__init__()
        self.time = FakeTime()
        self.budget = InMemoryBudget(clock=self.time.clock())
        self.granted: list[tuple[float, int]] = []

    @rule(lane=LANES, count=st.integers(1, 500))
    def take(self, lane: Lane, count: int) -> None:
        self.budget.take(lane, count, deadline=timedelta(seconds=3600))
        self.granted.append((self.time.seconds, count))

    @rule(seconds=st.floats(0, 200))
    def pass_time(self, seconds: float) -> None:
        self.time.seconds += seconds

    @rule(seconds=st.floats(0, 60))
    def cool_down(self, seconds: float) -> None:
        self.budget.cooldown(seconds)

    @rule(remaining=st.integers(0, 1200), resets_in=st.floats(0, 300))
    def observe(self, remaining: int, resets_in: float) -> None:
        self.budget.observe(remaining, resets_in)

    @invariant()
    def no_window_is_overdrawn(self) -> None:
        for end, _ in self.granted:
            window = sum(count for at, count in self.granted if at <= end < at + WINDOW_SECONDS)
            assert window <= REQUESTS_PER_WINDOW


Spending.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestSpending = Spending.TestCase


def test_a_backup_that_used_its_share_waits_and_a_release_does_not():
    """600 backup requests leave the release lane 480 at once."""
    time = FakeTime()
    budget = InMemoryBudget(clock=time.clock())
    budget.take(Lane.BACKUP, 600)

    budget.take(Lane.RELEASE, 480)

    assert time.slept == []
    with pytest.raises(BudgetExhausted, match="backup"):
        budget.take(Lane.BACKUP, deadline=timedelta(seconds=10))


def test_releases_leave_a_reserve_to_undo():
    """When releases used all they may, an undo still has 120 requests."""
    time = FakeTime()
    budget = InMemoryBudget(clock=time.clock())
    budget.take(Lane.RELEASE, 1080)

    budget.take(Lane.UNDO, 120)

    assert time.slept == []


def test_a_take_waits_until_the_window_moved_on():
    """The 1,081st release request is sent when the first ones left the window."""
    time = FakeTime()
    budget = InMemoryBudget(clock=time.clock())
    budget.take(Lane.RELEASE, 1080)
    time.seconds += 200

    budget.take(Lane.RELEASE)

    assert time.slept == [100.0]


def test_a_wait_beyond_the_deadline_is_not_begun():
    """BudgetExhausted comes at once and says when it would be free."""
    time = FakeTime()
    budget = InMemoryBudget(clock=time.clock())
    budget.take(Lane.READ, 840)

    with pytest.raises(BudgetExhausted, match="lane read") as caught:
        budget.take(Lane.READ, deadline=timedelta(seconds=299))

    assert caught.value.retry_after == timedelta(seconds=300)
    assert time.slept == []


def test_a_refused_take_takes_nothing():
    """What was not granted is not booked."""
    budget = InMemoryBudget(clock=FakeTime().clock())
    with pytest.raises(BudgetExhausted):
        budget.take(Lane.BACKUP, 601)

    budget.take(Lane.BACKUP, 600)


def test_undo_passes_a_cooldown_and_the_others_wait_it_out():
    """After a 429 of 20 s the undo goes at once, the release 20 s later."""
    time = FakeTime()
    budget = InMemoryBudget(clock=time.clock())
    budget.cooldown(20)

    budget.take(Lane.UNDO)
    assert time.slept == []

    budget.take(Lane.RELEASE)
    assert time.slept == [20.0]


def test_threads_together_never_get_more_than_there_is():
    """Sixteen threads that grab what they can share exactly the lane's ceiling."""
    budget = InMemoryBudget(clock=FakeTime().clock(), policy=Policy(ceilings=dict.fromkeys(Lane, 100)))
    granted: list[int] = []

    def grab() -> None:
        while True:
            try:
                budget.take(Lane.READ, deadline=timedelta(0))
            except BudgetExhausted:
                return
            granted.append(1)

    threads = [threading.Thread(target=grab) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(granted) == 100


def test_an_unlimited_budget_never_waits():
    """For a cloud without limits every take returns."""
    budget = UnlimitedBudget()
    budget.cooldown(1000)
    budget.observe(0, 1000)

    budget.take(Lane.BACKUP, 10_000, deadline=timedelta(0))
