"""The request budget that processes share."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from clodo.cloudflare.budget import Lane, Policy
from clodo.cloudflare.clock import Clock
from clodo.errors import BudgetExhausted
from clodo.ledger import Ledger, new_identifier
from clodo.ledger.budget import LedgerBudget
from clodo.ledger.database import Database

from .processes import run_together, take_all_requests

SMALL = Policy(window_seconds=60.0, ceilings={Lane.UNDO: 40, Lane.RELEASE: 30, Lane.READ: 20, Lane.BACKUP: 10})
NOT_NOW = timedelta(0)


class Budgets:
    """Budgets of several processes over one ledger, in a time that the test moves and a wait moves too."""

    def __init__(self, database, clock):
        self.database, self.clock, self.user = database, clock, new_identifier()
        self.waited = []

    def new(self, **options):
        clock = Clock(monotonic=lambda: self.clock().timestamp(), now=self.clock, sleep=self.sleep, jitter=lambda: 0.0)
        options = {"policy": SMALL, "batch_requests": 5, "batch_lifetime": timedelta(seconds=10)} | options
        return LedgerBudget(self.database, self.user, clock=clock, **options)

    def sleep(self, seconds):
        self.waited.append(seconds)
        self.clock.advance(timedelta(seconds=seconds))


@pytest.fixture
def budgets(place, clock):
    database = Database(place, clock=clock)
    database.open()
    yield Budgets(database, clock)
    database.close()


def take_all(budget, lane):
    taken = 0
    try:
        while True:
            budget.take(lane, deadline=NOT_NOW)
            taken += 1
    except BudgetExhausted:
        return taken


def test_processes_share_one_budget(budgets):
    """What one takes the other lacks, and a lane ends at its ceiling."""
    one, other = budgets.new(), budgets.new()
    for _ in range(12):
        one.take(Lane.RELEASE, deadline=NOT_NOW)
    one.give_back()

    assert take_all(other, Lane.RELEASE) == 18


def test_an_undo_is_never_starved(budgets):
    """When backups, reads and releases have taken all they may, an undo still goes out at once."""
    one = budgets.new()
    assert [take_all(one, lane) for lane in (Lane.BACKUP, Lane.READ, Lane.RELEASE)] == [10, 10, 10]

    assert take_all(budgets.new(), Lane.UNDO) == 10


def test_waiting_ends_when_the_window_has_moved_on(budgets):
    """Who can wait gets the request as soon as an older one has left the window."""
    one = budgets.new(batch_requests=1)
    take_all(one, Lane.BACKUP)

    one.take(Lane.BACKUP, deadline=timedelta(seconds=60))

    assert sum(budgets.waited) == pytest.approx(60, abs=0.1)


def test_a_batch_saves_asking_the_ledger(budgets, query):
    """Requests are drawn in batches: one row for several requests."""
    one = budgets.new()
    for _ in range(5):
        one.take(Lane.RELEASE)

    assert query("SELECT requests FROM clodo_budget_batches") == [(5,)]


def test_what_is_not_used_is_given_back(budgets, query):
    """Giving back leaves in the ledger what was really used."""
    one = budgets.new()
    one.take(Lane.RELEASE, 2)
    one.take(Lane.READ)
    one.give_back()
    one.give_back()

    assert sorted(query("SELECT requests FROM clodo_budget_batches")) == [(1,), (2,)]


def test_a_batch_that_grew_old_is_given_back_before_the_next(budgets, clock, query):
    """What a process did not use of a batch in time is free for others when it draws again."""
    one = budgets.new()
    one.take(Lane.RELEASE)
    clock.advance(timedelta(seconds=11))
    one.take(Lane.RELEASE)

    assert sorted(query("SELECT requests FROM clodo_budget_batches")) == [(1,), (5,)]


def test_a_batch_counts_as_spent_at_its_end(budgets, clock):
    """Requests that go out late in a batch's life still count when the window has left its beginning behind."""
    one, other = budgets.new(), budgets.new(batch_requests=1)
    one.take(Lane.BACKUP)
    clock.advance(timedelta(seconds=9))
    one.take(Lane.BACKUP, 4, deadline=NOT_NOW)
    clock.advance(timedelta(seconds=52))

    assert take_all(other, Lane.BACKUP) == 5


def test_closing_a_ledger_gives_back(place, query):
    """A process that ends in order leaves in the ledger what it used."""
    with Ledger.open(place) as ledger:
        ledger.budget("mia").take(Lane.READ, 3)
        assert query("SELECT requests FROM clodo_budget_batches") == [(20,)]

    assert query("SELECT requests FROM clodo_budget_batches") == [(3,)]


def test_a_cooldown_holds_for_every_process(budgets, clock):
    """After a 429 in one process the others wait too, with batches in hand, but an undo goes out."""
    one, other = budgets.new(), budgets.new()
    other.take(Lane.RELEASE)
    clock.advance(timedelta(seconds=2))
    one.cooldown(30)
    one.cooldown(5)

    with pytest.raises(BudgetExhausted):
        other.take(Lane.RELEASE, deadline=timedelta(seconds=20))
    other.take(Lane.UNDO, deadline=NOT_NOW)
    clock.advance(timedelta(seconds=30))
    other.take(Lane.RELEASE, deadline=NOT_NOW)


def test_users_have_budgets_of_their_own(budgets):
    """One user's requests don't count for another."""
    take_all(budgets.new(), Lane.UNDO)
    budgets.user = new_identifier()

    budgets.new().take(Lane.BACKUP, deadline=NOT_NOW)


def test_what_others_spent_is_booked_for_all(budgets):
    """When Cloudflare counts fewer left than we do, every process has fewer."""
    one, other = budgets.new(), budgets.new()
    one.observe(remaining=15, resets_in=30.0)
    one.observe(remaining=0, resets_in=30.0)

    assert take_all(other, Lane.UNDO) == 15


def test_a_foreign_count_above_ours_changes_nothing(budgets, query):
    """The budget never grows by what Cloudflare says."""
    budgets.new().observe(remaining=1000, resets_in=30.0)

    assert query("SELECT count(*) FROM clodo_budget_batches") == [(0,)]


def test_more_than_a_lane_ever_has_is_refused_at_once(budgets):
    """Asking for more than the ceiling says so instead of waiting for ever."""
    with pytest.raises(BudgetExhausted):
        budgets.new().take(Lane.BACKUP, 11, deadline=timedelta(days=1))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some.lists(
        some.tuples(
            some.integers(0, 2),
            some.sampled_from(list(Lane)),
            some.integers(1, 4),
            some.integers(0, 8000),
            some.booleans(),
        ),
        max_size=30,
    )
)
def test_no_window_ever_holds_too_many(budgets, calls):
    """However processes take, wait and give back, a window holds what the policy allows, and a lane its share."""
    budgets.user = new_identifier()
    processes = [budgets.new() for _ in range(3)]
    sent = []
    for who, lane, count, milliseconds, gives_back in calls:
        budgets.clock.advance(timedelta(milliseconds=milliseconds))
        try:
            processes[who].take(lane, count, deadline=NOT_NOW)
        except BudgetExhausted:
            continue
        sent.append((budgets.clock().timestamp(), count, lane))
        if gives_back:
            processes[who].give_back()

    for end, _, _ in sent:
        window = [(count, lane) for at, count, lane in sent if end - SMALL.window_seconds < at <= end]
        assert sum(count for count, _ in window) <= SMALL.limit
        assert sum(count for count, lane in window if lane is Lane.BACKUP) <= SMALL.ceilings[Lane.BACKUP]


def test_processes_that_race_never_take_more_than_there_is(place):
    """Two real processes that take until nothing is left take nearly all of the lane's ceiling, never more."""
    taken = run_together(2, take_all_requests, place)

    assert 1080 - 20 <= sum(taken) <= 1080
