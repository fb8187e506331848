"""Locks."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from clodo.errors import LockHeld, LockLost
from clodo.ledger import Ledger, Owner, new_identifier

from .processes import count_under_lock, run_together, run_until_killed, take_lock

MIA = Owner("laptop", 11, "1", "mia", "deploy api@production", "another machine")
BEN = Owner("server", 22, "2", "ben", "portfolio deploy", "yet another machine")
SECOND = timedelta(seconds=1)


def test_a_lock_is_held_by_one(ledger):
    """While one holds it nobody else gets it; then it is free, with a greater number."""
    with ledger.locks.acquire("x", MIA, "a release") as lock:
        lock.check()
        with pytest.raises(LockHeld):
            ledger.locks.acquire("x", BEN, "mine")
        with ledger.locks.acquire("y", BEN, "another name"):
            pass

    with ledger.locks.acquire("x", BEN, "now") as later:
        later.check()
        assert later.fencing == lock.fencing + 1


def test_a_refusal_says_who_why_since_when_and_what_to_do(ledger, clock):
    """LockHeld names owner, reason, both times and the way to take over."""
    ledger.locks.acquire("target/api@production", MIA, "release r0abc")
    clock.advance(SECOND)

    with pytest.raises(LockHeld) as caught:
        ledger.locks.acquire("target/api@production", BEN, "mine")

    assert caught.value.message == (
        "target/api@production: held by mia@laptop (process 11, deploy api@production)"
        " since 2026-11-20T12:00:00Z until at least 2026-11-20T12:01:00Z: release r0abc"
    )
    assert "--take-over" in caught.value.hint
    assert caught.value.exit_code == 11


def test_an_expired_lock_is_free_and_lost(ledger, clock):
    """At its expiry a lock is no longer its holder's, and another may have it."""
    lock = ledger.locks.acquire("x", MIA, "a", SECOND, renew=False)
    clock.advance(SECOND)

    with pytest.raises(LockLost, match="expired"):
        lock.check()
    with pytest.raises(LockLost):
        lock.renew()
    assert ledger.locks.holding("x") is None
    assert ledger.locks.acquire("x", BEN, "b").fencing > lock.fencing


def test_renewing_puts_the_expiry_off(ledger, clock):
    """A lock that is renewed in time stays."""
    lock = ledger.locks.acquire("x", MIA, "a", SECOND, renew=False)
    for _ in range(5):
        clock.advance(SECOND * 0.75)
        lock.renew()

    lock.check()
    assert ledger.locks.holding("x").expires_at == clock() + SECOND


def test_taking_over_ends_the_other_lock(ledger):
    """Who is overtaken learns it at the next check, with the name of the new owner, and letting go frees nothing."""
    lock = ledger.locks.acquire("x", MIA, "a")
    taken = ledger.locks.acquire("x", BEN, "mia's laptop sleeps", take_over=True)

    with pytest.raises(LockLost, match="taken over by ben@server"):
        lock.check()
    lock.release()

    taken.check()
    assert ledger.locks.holding("x").owner == BEN


def test_a_released_lock_is_lost(ledger):
    """After letting go nothing may be written under it, and letting go twice is no error."""
    lock = ledger.locks.acquire("x", MIA, "a")
    lock.release()
    lock.release()

    with pytest.raises(LockLost, match="released"):
        lock.check()
    assert ledger.locks.holding("x") is None


def test_a_lock_of_a_dead_process_is_taken_at_once(ledger):
    """An owner on this machine that is proven gone doesn't block for its lock's lifetime; a living one does."""
    living = Owner.current("a release")
    ledger.locks.acquire("x", living, "a")
    with pytest.raises(LockHeld):
        ledger.locks.acquire("x", living, "b")
    ledger.locks.acquire("x", replace(living, process_started_at="1"), "c", take_over=True)

    assert ledger.locks.acquire("x", living, "d").fencing == 3


def test_a_killed_process_leaves_its_lock_to_the_next(place):
    """After kill -9 the next run on the same machine has the lock at once."""
    run_until_killed(take_lock, place)

    with Ledger.open(place) as ledger:
        assert ledger.locks.holding("x").reason == "to die"
        with ledger.locks.acquire("x", Owner.current("the next run"), "reconcile") as lock:
            lock.check()
            assert lock.fencing == 2


def test_a_held_lock_renews_itself(place):
    """A lock outlives its lifetime as long as its holder lives: the expiry moves by itself."""
    with Ledger.open(place) as ledger, ledger.locks.acquire("x", MIA, "a", SECOND * 0.6) as lock:
        first = ledger.locks.holding("x").expires_at
        while (holding := ledger.locks.holding("x")).expires_at == first:
            pass

        assert holding.fencing == lock.fencing
        lock.check()


def test_renewing_ends_with_the_lock(ledger):
    """No thread is left behind by a lock that was released."""
    lock = ledger.locks.acquire("a name of its own", MIA, "a")
    [thread] = [thread for thread in threading.enumerate() if thread.name == "renew a name of its own"]

    lock.release()

    thread.join(10)
    assert not thread.is_alive()


def test_processes_that_race_never_hold_it_together(place, tmp_path):
    """Two processes that take a lock as fast as they can get it one after the other, each with an own number."""
    rounds = 25
    counter = tmp_path / "counter"
    counter.write_text("0")

    numbers = run_together(2, count_under_lock, place, rounds, counter)

    assert counter.read_text() == str(2 * rounds)
    assert all(mine == sorted(mine) for mine in numbers)
    assert sorted(numbers[0] + numbers[1]) == list(range(1, 2 * rounds + 1))


class LockMachine(RuleBasedStateMachine):
    """Several people at one lock: whoever's check passes is the only one, and numbers only grow."""

    def __init__(self, ledger, clock):
        super().__init__()
        self.ledger, self.clock = ledger, clock
        self.locks = []
        self.holder = None
        self.expires_at = clock()

    @initialize()
    def begin(self):
        self.name = new_identifier()

    @property
    def is_held(self):
        return self.holder is not None and self.clock() < self.expires_at

    def took(self, lock, lifetime):
        self.locks.append(lock)
        self.holder, self.expires_at = lock, self.clock() + lifetime

    @rule(owner=some.sampled_from([MIA, BEN]), seconds=some.integers(1, 9), take_over=some.booleans())
    def acquire(self, owner, seconds, take_over):
        lifetime = timedelta(seconds=seconds)
        if self.is_held and not take_over:
            with pytest.raises(LockHeld):
                self.ledger.locks.acquire(self.name, owner, "r", lifetime, renew=False)
        else:
            self.took(
                self.ledger.locks.acquire(self.name, owner, "r", lifetime, take_over=take_over, renew=False), lifetime
            )

    @rule(choice=some.integers(0, 3))
    def renew(self, choice):
        for lock in self.locks[-1 - choice :][:1]:
            if lock is self.holder and self.is_held:
                lock.renew()
                self.expires_at = self.clock() + lock._lifetime
            else:
                with pytest.raises(LockLost):
                    lock.renew()

    @rule(choice=some.integers(0, 3))
    def release(self, choice):
        for lock in self.locks[-1 - choice :][:1]:
            lock.release()
            if lock is self.holder:
                self.holder = None

    @rule(milliseconds=some.integers(1, 6000))
    def wait(self, milliseconds):
        self.clock.advance(timedelta(milliseconds=milliseconds))

    @invariant()
    def only_the_holder_passes(self):
        valid = []
        for lock in self.locks[-4:]:
            try:
                lock.check()
            except LockLost:
                continue
            valid.append(lock)
        assert valid == ([self.holder] if self.is_held else [])

    @invariant()
    def numbers_grow(self):
        numbers = [lock.fencing for lock in self.locks]
        assert numbers == sorted(set(numbers))


def run_lock_machine(ledger, clock, examples):
    run_state_machine_as_test(
        lambda: LockMachine(ledger, clock),
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_there_is_never_a_second_holder(ledger, clock):
    """Through any acquiring, taking over, renewing, releasing and waiting one at most holds it; numbers only grow."""
    run_lock_machine(ledger, clock, 12)


@pytest.mark.exhaustive
def test_there_is_never_a_second_holder_through_long_histories(ledger, clock):
    """The same over hundreds of histories."""
    run_lock_machine(ledger, clock, 400)
