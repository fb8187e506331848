"""Every API call of a release goes wrong in every way, and the target is live or as it was, never in between."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clodo.emulator.access import Call
from clodo.errors import ClodoError, ReleaseFailed, UndoIncomplete
from clodo.ledger.releases import ReleaseState
from clodo.releases.assessment import Standing
from clodo.releases.outcome import Ending, Outcome
from clodo.wrangler.toolchain import Toolchain
from tests.fixtures.embedded_cloud import CloudAccount

from .numbered import Numbered, State, quick
from .stage import raise_if_done_twice

# What may become of a call. *applied*: Cloudflare does it, and nobody hears of it.
FAULTS: dict[str, dict[str, Any]] = {
    "429 once": {"status": 429, "code": 971, "retry_after": 1.0},
    "500 once": {"status": 500},
    "500 for ever": {"status": 500, "times": None},
    "reset once": {"action": "reset"},
    "reset for ever": {"action": "reset", "times": None},
    "half a body once": {"action": "malformed"},
    "no answer once": {"action": "silence"},
    "done, then 500": {"status": 500, "applied": True},
    "done, then 500, for ever": {"status": 500, "applied": True, "times": None},
    "done, then reset": {"action": "reset", "applied": True},
    "done, then reset, for ever": {"action": "reset", "applied": True, "times": None},
    "done, then half a body": {"action": "malformed", "applied": True},
    "done, then no answer": {"action": "silence", "applied": True},
}
ONLY_WRITES = tuple(name for name in FAULTS if name.startswith("done"))
PASSING = tuple(name for name in FAULTS if name.endswith("once"))
# A call that is never answered is given up after this; the rest of a release must be faster.
IMPATIENT = timedelta(seconds=3)

READS_BY_POST = re.compile(r"/tails$")


@dataclass(frozen=True, order=True)
class Spot:
    """One call of a release: the *nth* with this method whose path fits; *uploads* if wrangler makes it."""

    method: str
    path: str
    nth: int
    uploads: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path} #{self.nth}"

    @property
    def may_write(self) -> bool:
        return self.method != "GET" and not READS_BY_POST.search(self.path)


@dataclass(frozen=True)
class Cell:
    """A call and what becomes of it."""

    spot: Spot
    fault: str

    def __str__(self) -> str:
        return f"{self.fault} at {self.spot}"


def spots_of(calls: list[Call], account: CloudAccount, worker: str) -> tuple[Spot, ...]:
    """Return the calls of *account* as spots, with a pattern in place of each id that the next release has anew."""
    seen: Counter[tuple[str, str]] = Counter()
    spots = []
    for call in calls:
        if call.account_id != account.account_id and account.zone_id not in call.path and call.path != "/zones":
            continue
        named = call.path.replace(f"scripts/{worker}", "scripts/WORKER").replace(
            f"services/{worker}", "services/WORKER"
        )
        named = named.replace(account.account_id, "ACCOUNT").replace(account.zone_id, "ZONE")
        named = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|[0-9a-f]{32}", "ID", named)
        seen[(call.method, named)] += 1
        uploads = call.headers.get("user-agent") != "clodo"
        spots.append(Spot(call.method, named, seen[(call.method, named)], uploads))
    return tuple(spots)


def cells_of(spots: tuple[Spot, ...]) -> list[Cell]:
    """
    Return every way in which every call can go wrong.

    A fault that lasts begins at the first call of its kind, and a read that comes again goes wrong in one way, another
    one each time.
    """
    cells, begun, in_turn = [], set[tuple[str, str, str]](), itertools.cycle(PASSING)
    for spot in spots:
        again = next(in_turn) if spot.method == "GET" and spot.nth > 1 else None
        for fault in FAULTS:
            kind = (fault, spot.method, spot.path)
            if (fault in ONLY_WRITES and not spot.may_write) or (fault.endswith("for ever") and kind in begun):
                continue
            if again is not None and fault in PASSING and fault != again:
                continue
            begun.add(kind)
            cells.append(Cell(spot, fault))
    return cells


@dataclass(frozen=True)
class Kind:
    """
    What is rehearsed.

    Attributes:
        is_first: A first deploy, each of a Worker of its own; else code, secret, migration and all triggers change.

        is_undone: It fails at its very end, in front of users, and the calls of the undo go wrong.

        previews: Whether there are preview URLs; else the new version is asked at 0 %.

        has_down_files, on_failure: What becomes of the schema.
    """

    is_first: bool = False
    is_undone: bool = False
    previews: bool = True
    has_down_files: bool = False
    on_failure: str = "keep"


LIKE = {
    "redeploy at 0 %": "redeploy",
    "first deploy": "redeploy",
    "undo at 0 %": "undo",
    "undo with down files": "undo",
    "undo by time travel": "undo",
    "undo of a first deploy": "undo",
}
"""Which kind makes many of the same calls: only those that it doesn't make are played once more."""

KINDS = {
    "redeploy": Kind(),
    "redeploy at 0 %": Kind(previews=False),
    "first deploy": Kind(is_first=True),
    "undo": Kind(is_undone=True),
    "undo at 0 %": Kind(is_undone=True, previews=False),
    "undo with down files": Kind(is_undone=True, has_down_files=True),
    "undo by time travel": Kind(is_undone=True, on_failure="time-travel"),
    "undo of a first deploy": Kind(is_first=True, is_undone=True, has_down_files=True),
}


class Rehearsal:
    """Releases one state after the other while a call goes wrong, and looks at what each leaves."""

    def __init__(self, make: Callable[[], Numbered], folder: Path, kind: Kind) -> None:
        self.service = make()
        self._make = make
        self._is_first = kind.is_first
        self.is_undone = kind.is_undone
        self._real = self.service.toolchain
        self._quick = quick(self._real, folder)
        self._numbers = itertools.count(1)
        self.struck = 0

    def start_over(self) -> None:
        """Leave what a cell has spoilt behind."""
        self.service = self._make()

    def prepare(self) -> None:
        """Bring about what a cell begins with: a state that is live, or for first deploys nothing at all."""
        if self._is_first:
            self.service = self._make()
        elif self.service.number == 0:
            self.service.write(next(self._numbers))
            self.service.release()

    def write_next(self, *, live_status: int | None = None) -> None:
        """Write what a cell releases; where an undo is rehearsed it fails at the very end, in front of users."""
        status = (500 if self.is_undone else 200) if live_status is None else live_status
        self.service.write(next(self._numbers), live_status=status)

    def use_wrangler(self, used: bool) -> None:
        """Upload with the real wrangler, or with what is faster."""
        self.service.toolchain = self._real if used else self._quick

    def play(self, cell: Cell) -> str:
        """Release the next state while *cell* goes wrong; return how it ended."""
        self.prepare()
        self.use_wrangler(cell.spot.uploads)
        service, cloud = self.service, self.service.account.cloud
        before, versions, migrations = service.observe(), self._versions(), service.migrations()
        self.write_next()
        rule = FAULTS[cell.fault]
        service.answers_within = IMPATIENT if rule.get("action") == "silence" else timedelta(seconds=60)
        fault = cloud.add_fault(self._pattern(cell.spot), method=cell.spot.method, nth=cell.spot.nth, **rule)
        try:
            ended = self._release()
        finally:
            self.struck += sum(armed["struck"] for armed in cloud.faults() if armed["id"] == fault)
            cloud.clear_faults(fault)
            service.answers_within = timedelta(seconds=60)
        if isinstance(ended, UndoIncomplete):
            self._repair(ended)
        self._raise_if_in_between(ended, before, versions, migrations)
        return type(ended).__name__ if isinstance(ended, ClodoError) else str(ended.ending)

    def _pattern(self, spot: Spot) -> str:
        account = self.service.account
        pattern = re.escape(spot.path).replace("ID", "[0-9a-f-]{32,36}")
        pattern = pattern.replace("WORKER", self.service.worker)
        return "^" + pattern.replace("ACCOUNT", account.account_id).replace("ZONE", account.zone_id) + "$"

    def _release(self) -> Outcome | ClodoError:
        try:
            return self.service.release()
        except ClodoError as error:
            return error

    def _repair(self, error: UndoIncomplete) -> None:
        """What could not be put back is put back by the next run, once the fault is gone."""
        assert error.release_id is not None
        with self.service.ledger() as ledger:
            assert ledger.releases.get(error.release_id).state is ReleaseState.FAILED
        assert [outcome.ending for outcome in self.service.reconcile()] == [Ending.UNDONE]

    def _versions(self) -> list[str]:
        return self.service.tags() if self.service.observe().exists else []

    def _raise_if_in_between(
        self, ended: Outcome | ClodoError, before: State, versions: list[str], migrations: list[str]
    ) -> None:
        service = self.service
        after, tags, applied = service.observe(), self._versions(), service.migrations()
        assert len(tags) == len(set(tags)), f"a release uploaded twice: {tags}"
        assert len(tags) - len(versions) <= 1, f"{len(tags) - len(versions)} new versions"
        assert len(applied) == len(set(applied)), f"a migration is there twice: {applied}"
        with service.ledger() as ledger:
            assert ledger.releases.open_releases() == [], "a release is open"
            rows = ledger.releases.list(service.target, limit=1)
            remembered = ledger.live.get(service.target)
            for row in rows:
                raise_if_done_twice(row, ledger.journal.entries(row.id))
        if isinstance(ended, Outcome):
            assert not self.is_undone
            assert ended.ending is Ending.LIVE
            assert rows[0].state is ReleaseState.LIVE
            assert after.shares == {ended.version_id: 100}
            assert remembered is not None
            assert remembered.version_id == ended.version_id
            assert after.answer == {
                "number": service.number,
                "version": ended.version_id,
                "secret": service.digest(service.number),
            }
            assert after.triggers == self._wanted()
            assert f"{service.number:04}_state.sql" in applied
            assert service.survey().assessment.standing is Standing.UNCHANGED
            return
        assert after == before
        assert (remembered.version_id if remembered else None) == next(iter(before.shares), None)
        new = set(applied) - set(migrations)
        if isinstance(ended, ReleaseFailed | UndoIncomplete):
            assert rows[0].id == ended.release_id
            assert rows[0].state is ReleaseState.UNDONE
        else:
            assert new == set(), f"{type(ended).__name__} before anything was begun, yet applied: {new}"
        if isinstance(ended, ReleaseFailed):
            told = set(re.findall(r"\d{4}_state\.sql", ended.message.lower().partition("kept: ")[2]))
            assert told == new, f"kept {new}, but said: {ended.message}"

    def _wanted(self) -> dict[str, Any]:
        service, number = self.service, self.service.number
        return {
            "routes": [f"{service.worker}-{number}.{service.account.zone}/*"],
            "domains": [f"www-{service.worker}-{number}.{service.account.zone}"],
            "schedules": [f"{number % 60} * * * *"],
            "workers_dev": True,
            "previews": service.previews,
            "observability": number % 2 == 0,
        }


def recorded(rehearsal: Rehearsal) -> tuple[Spot, ...]:
    """
    Return the calls of a release in which nothing goes wrong; of an undo, only those that come on top.

    Each call is played with that which made it, wrangler or its stand-in: the numbers of the others differ.
    """
    if rehearsal.is_undone:
        well, undone = (calls_of(rehearsal, by_wrangler=False, live_status=status) for status in (200, 500))
        alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(well, undone, strict=False))
        return undone[len(list(alike)) :]
    spots = []
    for by_wrangler in (True, False):
        found = calls_of(rehearsal, by_wrangler=by_wrangler, live_status=200)
        spots += [spot for spot in found if spot.uploads == by_wrangler]
    return tuple(spots)


def calls_of(rehearsal: Rehearsal, *, by_wrangler: bool, live_status: int) -> tuple[Spot, ...]:
    """Return the calls of one release that nobody disturbs."""
    rehearsal.prepare()
    rehearsal.write_next(live_status=live_status)
    rehearsal.use_wrangler(by_wrangler)
    service, cloud = rehearsal.service, rehearsal.service.account.cloud
    since = max((call.number for call in cloud.calls()), default=0)
    if live_status == 200:
        assert service.release().ending is Ending.LIVE
    else:
        with pytest.raises(ReleaseFailed):
            service.release()
    return spots_of(cloud.calls(since=since), service.account, service.worker)


@pytest.fixture
def rehearse(account: CloudAccount, toolchain: Toolchain, tmp_path: Path) -> Callable[[str], Rehearsal]:
    """Given the name of a kind, makes a rehearsal of it."""
    numbers = itertools.count(1)

    def rehearsal(name: str) -> Rehearsal:
        kind = KINDS[name]

        def make() -> Numbered:
            number = next(numbers)
            made = Numbered.create(account, toolchain, tmp_path / f"workspace-{number}", f"svc{number}")
            return replace(made, previews=kind.previews, has_down_files=kind.has_down_files, on_failure=kind.on_failure)

        return Rehearsal(make, tmp_path, kind)

    return rehearsal


def play_all(rehearsal: Rehearsal, cells: list[Cell], capsys: pytest.CaptureFixture[str]) -> None:
    """Play *cells* one after the other and fail with all that went wrong."""
    wrong, ends = [], Counter[str]()
    for cell in cells:
        try:
            ends[rehearsal.play(cell)] += 1
        except AssertionError as error:
            wrong.append(f"{cell}: {error}")
            rehearsal.start_over()
    with capsys.disabled():
        print(f"\n{len(cells)} faults, of which {rehearsal.struck} struck: {dict(ends)}")  # noqa: T201
    assert not wrong, "\n\n".join(wrong)


def test_a_release_whose_calls_go_wrong_ends_live_or_undone(rehearse, capsys):
    """A sample of the matrix: whatever becomes of a call, the target is on the new version or as it was."""
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    kind = chance.choice(sorted(KINDS))
    rehearsal = rehearse(kind)
    cells = cells_of(recorded(rehearsal))
    with_wrangler = [cell for cell in cells if cell.spot.uploads]
    others = [cell for cell in cells if not cell.spot.uploads]
    chosen = chance.sample(with_wrangler, min(1, len(with_wrangler))) + chance.sample(others, 3)
    with capsys.disabled():
        print(f"\nseed {seed}, {kind}: " + "; ".join(map(str, chosen)))  # noqa: T201
    play_all(rehearsal, chosen, capsys)


def of_its_own(rehearse: Callable[[str], Rehearsal], kind: str) -> tuple[Rehearsal, list[Cell]]:
    """Return a rehearsal of *kind*, and what can go wrong in it and not in the kind that it is like."""
    rehearsal = rehearse(kind)
    spots = recorded(rehearsal)
    if kind in LIKE:
        known = {(spot.method, spot.path, spot.nth) for spot in recorded(rehearse(LIKE[kind]))}
        spots = tuple(spot for spot in spots if (spot.method, spot.path, spot.nth) not in known)
    return rehearsal, cells_of(spots)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_call_of_a_release_goes_wrong_in_each_way(rehearse, kind, fault, capsys):
    """The whole matrix of redeploys and their undos, and of the other kinds each call that these don't make."""
    rehearsal, cells = of_its_own(rehearse, kind)

    play_all(rehearsal, [cell for cell in cells if cell.fault == fault], capsys)
