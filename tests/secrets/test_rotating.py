"""A rotation, step by step and cut at every step: neither value is lost, and nothing is said that was not seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from clodo.errors import BadConfiguration, Refused, ReleaseFailed, UndoIncomplete, VerificationFailed
from clodo.ledger import Ledger
from clodo.ledger.fingerprints import fingerprint_of
from clodo.ledger.secret_records import RotationState
from clodo.secrets.probing import Acceptance, Seen
from clodo.secrets.rotating import Rotator
from clodo.workspace.portfolio import Rotation

OLD = "the-value-before-0123456789"
START = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Killed(BaseException):
    """A process that is gone."""


@dataclass
class World:
    """
    A block, a Worker and a clock.

    Attributes:
        kept: What the block holds.

        live: What the Worker has.

        accepts: Names whose values the Worker accepts.

        is_lax: The Worker accepts every value.

        dies_at: The number of the step at which the process is killed; None for never.
    """

    ledger: Ledger
    kept: dict[str, str] = field(default_factory=lambda: {"KEY": OLD})
    live: dict[str, str] = field(default_factory=lambda: {"KEY": OLD})
    accepts: tuple[str, ...] = ("KEY", "KEY_PREVIOUS")
    now: datetime = START
    refuses_releases: bool = False
    is_lax: bool = False
    dies_at: int | None = None
    steps: Iterator[int] = field(default_factory=count)
    said: list[str] = field(default_factory=list)

    def read(self) -> dict[str, str]:
        """Return what is kept."""
        return dict(self.kept)

    def change(self, values: Mapping[str, str], *, kind: str = "") -> None:
        """Keep and note it, unless killed right before or right after keeping."""
        self._step()
        self.kept.update(values)
        self._step()
        marks = {name: mark(value) for name, value in values.items()}
        self.ledger.secrets.note_kept("api@production", marks, kind=kind)

    def release(self, reason: str, instead: Mapping[str, str]) -> None:
        """Bring to the Worker what is kept, unless killed right before or right after."""
        self._step()
        if self.refuses_releases:
            raise ReleaseFailed("api@production: it answered 500")
        self.live = {**self.kept, **instead}
        self._step()

    def watch(self, value: str, expected: Acceptance) -> Seen:
        """Say what the Worker does with a value."""
        self._step()
        good = self.is_lax or value in [self.live.get(name) for name in self.accepts]
        return Seen(Acceptance.ACCEPTED, 200) if good else Seen(Acceptance.REFUSED, 401)

    def rotator(self, **declared: object) -> Rotator:
        """Return what rotates KEY."""
        ids = count(1)
        given = {"kind": "api", "previous": "KEY_PREVIOUS", "grace_hours": 24, **declared}
        return Rotator(
            target="api@production",
            name="KEY",
            declared=Rotation.model_validate(given),
            keeper=self,
            records=self.ledger.secrets,
            release=self.release,
            watch=self.watch,
            mark=mark,
            new_id=lambda: f"k{next(ids)}-{len(self.ledger.secrets.rotations())}",
            tell=self.said.append,
        )

    def _step(self) -> None:
        if next(self.steps) == self.dies_at:
            raise Killed


def mark(value: str) -> str:
    """Return a value's fingerprint."""
    return fingerprint_of(b"k" * 32, value)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world whose ledger is a file, and whose clock is ours."""
    clock = {"now": START}
    with Ledger.open(tmp_path / "ledger.sqlite3", clock=lambda: clock["now"]) as ledger:
        made = World(ledger)
        made.clock = clock  # type: ignore[attr-defined]
        yield made


def later(world: World, hours: float) -> None:
    """Let time pass."""
    world.clock["now"] += timedelta(hours=hours)  # type: ignore[attr-defined]


def test_both_values_are_good_until_the_one_before_is_retired(world):
    """New and old are accepted; after the grace the old one is refused, and forgotten only then."""
    begun = world.rotator().begin()

    new = world.kept["KEY"]
    assert (begun.state, begun.retire_at) == (RotationState.OVERLAPPING, START + timedelta(hours=24))
    assert world.kept == world.live == {"KEY": new, "KEY_PREVIOUS": OLD}
    assert new != OLD
    with pytest.raises(Refused, match="good until 2026-11-21T12:00:00Z"):
        world.rotator().retire(begun)
    later(world, 24)
    retired = world.rotator().retire(begun)

    assert retired.state is RotationState.RETIRED
    assert world.kept == world.live == {"KEY": new, "KEY_PREVIOUS": new}
    assert world.ledger.secrets.rotations(only_open=True) == []
    assert all(value not in line for value in (new, OLD) for line in world.said)


def test_a_service_with_one_name_is_rotated_only_at_once(world):
    """It is refused until somebody says so; then the old value is seen to be refused."""
    world.accepts = ("KEY",)
    with pytest.raises(Refused, match="no second name"):
        world.rotator(previous=None).begin()

    done = world.rotator(previous=None).begin(at_once=True)

    assert done.state is RotationState.RETIRED
    assert world.live == world.kept == {"KEY": world.kept["KEY"]}
    assert world.kept["KEY"] != OLD


def test_at_once_leaves_no_time_of_grace(world):
    """Both phases, one after the other."""
    done = world.rotator().begin(at_once=True)

    assert done.state is RotationState.RETIRED
    assert OLD not in world.live.values()


def test_a_rotation_under_way_is_not_begun_again(world):
    """The value before the value before would be refused too early."""
    world.rotator().begin()

    with pytest.raises(Refused, match="is being rotated"):
        world.rotator().begin()


def test_nothing_kept_is_nothing_to_replace(world):
    """The remedy is to make one."""
    world.kept.clear()

    with pytest.raises(BadConfiguration, match="not kept"):
        world.rotator().begin()


def test_a_secret_of_no_known_kind_is_not_replaced_by_a_guess(world):
    """It was imported and nothing is declared: refused before anything is written, with what to declare."""
    world.ledger.secrets.note_kept("api@production", {"KEY": mark(OLD)})

    with pytest.raises(BadConfiguration, match="not made by Clodo") as refused:
        world.rotator(kind=None).begin()

    assert "jwt, api, password, database, webhook" in (refused.value.hint or "")
    assert world.kept == world.live == {"KEY": OLD}
    assert world.ledger.secrets.rotations() == []


def test_a_secret_is_replaced_by_one_of_the_kind_it_was_made_as(world):
    """Nothing is declared, but Clodo made it as a webhook's; the kind of a value that is kept no more says nothing."""
    world.ledger.secrets.note_kept("api@production", {"KEY": mark("another value")}, kind="jwt")
    with pytest.raises(BadConfiguration, match="not made by Clodo"):
        world.rotator(kind=None).begin()
    world.ledger.secrets.note_kept("api@production", {"KEY": mark(OLD)}, kind="webhook")

    world.rotator(kind=None).begin()

    assert world.kept["KEY"].startswith("whsec_")
    assert world.kept["KEY_PREVIOUS"] == OLD


def test_a_release_that_fails_puts_the_value_back(world):
    """The block holds what the Worker has, and the rotation is closed."""
    world.refuses_releases = True

    with pytest.raises(ReleaseFailed):
        world.rotator().begin()

    assert world.kept["KEY"] == OLD
    assert world.live == {"KEY": OLD}
    assert world.ledger.secrets.rotations()[0].state is RotationState.PUT_BACK


def test_a_worker_that_refuses_the_value_before_gets_it_back(world):
    """It does not look at the second name: that is seen, and the value before is released again."""
    world.accepts = ("KEY",)

    with pytest.raises(VerificationFailed, match="the value before of KEY was not seen to be accepted"):
        world.rotator().begin()

    assert world.kept["KEY"] == world.live["KEY"] == OLD
    assert "putting the value of KEY back" in world.said[-1]
    assert all(line.count("api@production") == 1 for line in world.said)


def test_a_value_that_is_still_accepted_is_not_retired(world):
    """The Worker accepts everything: the rotation stays open, and the old value stays known."""
    begun = world.rotator().begin()
    later(world, 25)
    world.is_lax = True

    with pytest.raises(VerificationFailed, match="not seen to be refused"):
        world.rotator().retire(begun)

    assert world.kept["KEY_PREVIOUS"] == OLD
    assert world.ledger.secrets.rotations()[0].state is RotationState.OVERLAPPING


def test_a_process_that_dies_anywhere_loses_no_value(world):
    """Killed at each step of both phases, the next run ends where an uncut one does; somebody's value always works."""
    for step in range(40):
        for record in world.ledger.secrets.rotations(only_open=True):
            world.ledger.secrets.put_rotation(type(record)(**{**_fields(record), "state": RotationState.RETIRED}))
        world.kept, world.live = {"KEY": OLD}, {"KEY": OLD}
        world.steps, world.dies_at = count(), step
        was_killed = False
        try:
            world.rotator().retire(_past_grace(world, world.rotator().begin()))
        except Killed:
            was_killed = True
            assert OLD in world.live.values() or world.kept["KEY"] in world.live.values()
            assert OLD in world.kept.values() or world.kept["KEY"] == world.live.get("KEY_PREVIOUS")
            world.dies_at = None
            _finish(world)
        assert world.live == world.kept, f"killed at {step}"
        assert OLD not in world.live.values(), f"killed at {step}"
        assert world.live["KEY"] == world.live["KEY_PREVIOUS"]
        if not was_killed:
            assert step > 8
            return
    raise AssertionError("it never came to an end")


def test_a_rotation_that_died_before_its_kind_was_noted_goes_on_with_the_kind_before(world):
    """Killed after the new value was kept: where no kind is declared, the rotation after that still knows it."""
    world.ledger.secrets.note_kept("api@production", {"KEY": mark(OLD)}, kind="jwt")
    world.dies_at = 1
    with pytest.raises(Killed):
        world.rotator(kind=None).begin()
    world.dies_at = None
    world.rotator(kind=None).retire(_past_grace(world, world.rotator(kind=None).begin()))

    assert world.rotator(kind=None).begin().state is RotationState.OVERLAPPING


def _finish(world: World) -> None:
    found = world.ledger.secrets.rotations(only_open=True)
    is_begun = not found or found[0].state is RotationState.BEGUN
    record = world.rotator().begin() if is_begun else found[0]
    world.rotator().retire(_past_grace(world, record))


def _past_grace(world: World, record):
    later(world, 25)
    return record


def _fields(record) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__slots__}


def test_what_can_not_be_put_back_says_so(world):
    """After a kill the value before is only where the second name keeps it; with one name it is gone."""
    world.dies_at = 2
    with pytest.raises(Killed):
        world.rotator(previous=None).begin(at_once=True)
    world.dies_at, world.refuses_releases = None, True

    with pytest.raises(UndoIncomplete, match="not known any more"):
        world.rotator(previous=None).begin(at_once=True)

    assert world.ledger.secrets.rotations()[0].state is RotationState.BEGUN
