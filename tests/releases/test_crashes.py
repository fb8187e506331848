"""Releases whose process is killed, at every point at which something was written down or sent."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clodo.cloudflare.client import Cloudflare
from clodo.emulator.server import EmbeddedCloud
from clodo.releases.assessment import Standing
from clodo.releases.outcome import Ending
from clodo.wrangler.toolchain import Toolchain
from tests.fixtures.embedded_cloud import account_of

from .crashing import AFTER, BEFORE, NOWHERE, Crashes, Point
from .numbered import quick
from .stage import DATABASE, Shop, Stage

FIRST_STEPS = ("note-way-back", "migrate", "upload", "smoke-test", "set-triggers", "verify")
STEPS = ("note-way-back", "migrate", "check-live", "upload", "smoke-test", "roll-out", "set-triggers", "verify")
ROLLBACK_STEPS = ("note-way-back", "roll-out", "verify")
UNDONE_STEPS = ("set-triggers", "roll-out", "smoke-test", "upload", "migrate")
# How many requests that may leave something behind a release of each kind sends.
FIRST_REQUESTS, REQUESTS, UNDO_REQUESTS, ROLLBACK_REQUESTS = 7, 6, 4, 1


def points(*whats: str) -> list[Point]:
    """Return both moments of each."""
    return [Point(what, moment) for what in whats for moment in (BEFORE, AFTER)]


def after(*whats: str) -> list[Point]:
    """Return the moment after each: the one before it is the one after what came last."""
    return [Point(what, AFTER) for what in whats]


def steps(names: tuple[str, ...], first: str, last: str) -> list[Point]:
    """Return the moments of the journal that differ: right before a step begins is right after the last one ended."""
    return [point for name in names for point in (*after(f"{name} {first}"), *points(f"{name} {last}"))]


def requests(first: int, last: int) -> list[Point]:
    """Return the moments after each request that may write was answered, when nobody has read the answer yet."""
    return after(*(f"request {number}" for number in range(first, last + 1)))


BEGINNING = after("releases.create", "audit release-begun")
ENDING = after("live.put", "releases.live", "audit release-live")
FIRST = [*BEGINNING, *steps(FIRST_STEPS, "intent", "done"), *requests(1, FIRST_REQUESTS), *ENDING]
REDEPLOY = [*BEGINNING, *steps(STEPS, "intent", "done"), *requests(1, REQUESTS), *ENDING]
UNDO = [
    *after("verify failed"),
    *steps(UNDONE_STEPS, "undo-intent", "undone"),
    *requests(REQUESTS + 1, REQUESTS + UNDO_REQUESTS),
    *after("live.put", "releases.undone", "audit release-undone"),
]
ROLLBACK = [
    *after("releases.create"),
    *steps(ROLLBACK_STEPS, "intent", "done"),
    *requests(1, ROLLBACK_REQUESTS),
    *ENDING,
]
UPLOADING = [*after("upload intent", "request 2"), Point("upload done", BEFORE)]
FINISHED = {str(point) for point in (Point("verify done", AFTER), *ENDING)}
NEXT_RUNS = ("release", "reconcile")


def with_next_runs(matrix: list[Point]) -> list[tuple[Point, str]]:
    """Let each kind of run come next after each point of the journal, and the two in turn after the others."""
    in_turn = itertools.cycle(NEXT_RUNS)
    return [
        (point, next_run)
        for point in matrix
        for next_run in (NEXT_RUNS if point.what.endswith(("intent", "done", "undone")) else (next(in_turn),))
    ]


class Life:
    """
    A shop that lives through one crash after the other.

    Each `next` version has its own answer, migration, secret, schedule and route, and one more order comes in before
    each crash. What is live must be one of the versions in all of that.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.is_well = True
        self._number = 0
        self._orders = 0
        self._known: dict[str, Shop] = {}

    def next(self, **changes: object) -> str:
        """Write the next version of the workspace and return what it says."""
        self._number += 1
        number = self._number
        shop = self.stage.write(
            says=f"v{number}",
            migrations={**self.stage.shop.migrations, f"{number + 1:04}_v{number}.sql": f"CREATE TABLE v{number} (x);"},
            signing_key=hashlib.sha256(f"the key of version {number}".encode()).hexdigest(),
            crons=(f"{number % 60} * * * *",),
            routes=(f"{self.stage.account.zone}/v{number}/*",),
            **{"live_status": None, **changes},
        )
        self._known[shop.says] = shop
        return shop.says

    def order(self) -> None:
        """Order something, which nobody may lose from now on."""
        assert self.stage.order("book").status_code == 201
        self._orders += 1

    def raise_unless_whole(self, says: str | None) -> None:
        """Fail unless the version that says *says* is live in everything, or no version and nothing of it."""
        self.stage.raise_if_unsettled()
        zone = self.stage.account.zone
        if says is None:
            assert (self.stage.live_version, self.stage.crons, self.stage.routes) == (None, [], [])
            return
        shop = self._known[says]
        answer = self.stage.visit().json()
        assert (answer["says"], answer["signs"]) == (says, shop.signs)
        assert answer["orders"] == self._orders
        assert (self.stage.crons, self.stage.routes) == (list(shop.crons or ()), list(shop.routes or ()))
        through_route = self.stage.account.visit(zone, f"/{says}/x").json()
        assert through_route["says"] == says

    def raise_unless_assessed(self, *standings: Standing) -> None:
        """Fail unless the next look at what is live comes to one of *standings*."""
        assert self.stage.survey().assessment.standing in standings


Stages = Callable[..., Stage]


@pytest.fixture(scope="module")
def stages(cloud: EmbeddedCloud, toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Makes stages that live as long as this module; hundreds of crashes are not all played with the real wrangler."""
    with ExitStack() as exits:

        def make(*, has_wrangler: bool = False) -> Stage:
            folder: Path = tmp_path_factory.mktemp("workspace")
            account = exits.enter_context(account_of(cloud, cloud.new_account(name="crashes")))
            client = exits.enter_context(Cloudflare(account.account_id, account.token, cloud.url))
            tools = toolchain if has_wrangler else quick(toolchain, tmp_path_factory.getbasetemp())
            return Stage(account, folder, tools, client, client.d1.create(DATABASE).uuid)

        yield make


@pytest.fixture(scope="module")
def lives() -> list[Life]:
    """The life that goes on from test to test, at most one."""
    return []


@pytest.fixture
def life(stages: Stages, lives: list[Life]) -> Life:
    """A shop that is live: the one that the test before left, if it left it well."""
    if not lives or not lives[0].is_well:
        fresh = Life(stages())
        fresh.next()
        assert fresh.stage.release().ending is Ending.LIVE
        lives[:] = [fresh]
    lives[0].is_well = False
    return lives[0]


def crash_first(stage: Stage, crashes: Crashes, point: Point, next_run: str) -> Life:
    """A first deploy is killed at *point*; afterwards there is no Worker, or it is live and verified."""
    life = Life(stage)
    new = life.next()

    assert crashes.run(stage, point), f"never came to {point}; passed {crashes.passed()}"

    if next_run == "reconcile":
        stage.reconcile()
        life.raise_unless_whole(new if str(point) in FINISHED else None)
        life.raise_unless_assessed(Standing.UNCHANGED if str(point) in FINISHED else Standing.FIRST)
    else:
        stage.release()
        life.raise_unless_whole(new)
        life.raise_unless_assessed(Standing.UNCHANGED)
    return life


def crash_redeploy(life: Life, crashes: Crashes, point: Point, next_run: str) -> None:
    """A redeploy is killed at *point*; afterwards the old version is live and verified, or the new one."""
    old = life.stage.says()
    life.order()
    new = life.next()

    assert crashes.run(life.stage, point), f"never came to {point}; passed {crashes.passed()}"

    if next_run == "reconcile":
        life.stage.reconcile()
        life.raise_unless_whole(new if str(point) in FINISHED else old)
        life.raise_unless_assessed(Standing.UNCHANGED if str(point) in FINISHED else Standing.CHANGED)
    else:
        life.stage.release()
        life.raise_unless_whole(new)
        life.raise_unless_assessed(Standing.UNCHANGED)
    life.is_well = True


def crash_undo(life: Life, crashes: Crashes, point: Point, next_run: str) -> None:
    """The undo of a version that fails where users reach it is killed at *point*; the old version is live again."""
    old = life.stage.says()
    life.order()
    life.next(live_status=500)

    assert crashes.run(life.stage, point), f"never came to {point}; passed {crashes.passed()}"

    if next_run == "reconcile":
        life.stage.reconcile()
        life.raise_unless_whole(old)
        life.raise_unless_assessed(Standing.CHANGED)
    else:
        new = life.next()
        life.stage.release()
        life.raise_unless_whole(new)
        life.raise_unless_assessed(Standing.UNCHANGED)
    life.is_well = True


def sampled(matrix: list[Point], count: int) -> list[tuple[Point, str]]:
    """Return some points of *matrix*, each with what runs next; prints them with the seed that chose them."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    chosen = [(point, chance.choice(NEXT_RUNS)) for point in chance.sample(matrix, count)]
    print(f"seed {seed}:", *(f"killed {point}, then {next_run};" for point, next_run in chosen))  # noqa: T201
    return chosen


def test_a_first_deploy_that_is_killed_somewhere_is_there_or_not_at_all(stages, crashes):
    """Killed at a random point, the next run leaves the new Worker, verified, or nothing of it."""
    for point, next_run in sampled(FIRST, 1):
        crash_first(stages(has_wrangler=True), crashes, point, next_run)


def test_a_redeploy_that_is_killed_somewhere_is_finished_or_undone(life, crashes):
    """Killed at random points, the next run leaves the new version or the old one, verified, and nothing twice."""
    for point, next_run in sampled(REDEPLOY, 2):
        crash_redeploy(life, crashes, point, next_run)


def test_an_undo_that_is_killed_somewhere_is_completed(life, crashes):
    """Killed at a random point of its undo, a bad version is undone by the next run."""
    for point, next_run in sampled(UNDO, 1):
        crash_undo(life, crashes, point, next_run)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("point", "next_run"), with_next_runs(FIRST), ids=str)
def test_a_first_deploy_killed_at_any_point(stages, crashes, point, next_run):
    """Whatever the point, the next run leaves the new Worker, verified, or nothing of it."""
    crash_first(stages(), crashes, point, next_run)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("point", "next_run"), with_next_runs(REDEPLOY), ids=str)
def test_a_redeploy_killed_at_any_point(life, crashes, point, next_run):
    """Whatever the point, the next run leaves the new version or the old one, verified, and nothing twice."""
    crash_redeploy(life, crashes, point, next_run)


@pytest.mark.exhaustive
@pytest.mark.parametrize("point", UPLOADING, ids=str)
def test_a_release_killed_while_the_real_wrangler_runs(stages, crashes, point):
    """wrangler dies with its parent, and what it had sent is found: a first deploy and a redeploy, at each request."""
    life = crash_first(stages(has_wrangler=True), crashes, point, "release")

    crash_redeploy(life, crashes, point, "reconcile")


@pytest.mark.exhaustive
@pytest.mark.parametrize(("point", "next_run"), with_next_runs(UNDO), ids=str)
def test_an_undo_killed_at_any_point(life, crashes, point, next_run):
    """Whatever the point of the undo, the next run completes it."""
    crash_undo(life, crashes, point, next_run)


@pytest.mark.exhaustive
@pytest.mark.parametrize("point", UNDO[1:], ids=str)
def test_a_reconcile_that_is_killed_itself_is_completed_by_the_next(life, crashes, point):
    """A release dies before it was verified, and the process that undoes it dies too; the third completes the undo."""
    if point.what.startswith("request"):
        number = int(point.what.removeprefix("request ")) - REQUESTS
        point = Point(f"request {number}", point.moment)
    old = life.stage.says()
    life.order()
    life.next()
    assert crashes.run(life.stage, Point("verify done", BEFORE))

    assert crashes.run(life.stage, point, "reconcile"), f"never came to {point}; passed {crashes.passed()}"
    life.stage.reconcile()

    life.raise_unless_whole(old)
    life.raise_unless_assessed(Standing.CHANGED)
    life.is_well = True


@pytest.mark.exhaustive
@pytest.mark.parametrize("point", ROLLBACK, ids=str)
def test_a_rollback_killed_at_any_point(life, crashes, point):
    """A rollback that dies is undone or finished too; triggers stay those of the newer version."""
    old = life.stage.says()
    crons, routes = life.stage.crons, life.stage.routes
    new = life.next()
    assert life.stage.release().ending is Ending.LIVE
    crons, routes = life.stage.crons, life.stage.routes

    assert crashes.run(life.stage, point, "rollback"), f"never came to {point}; passed {crashes.passed()}"
    life.stage.reconcile()

    life.stage.raise_if_unsettled()
    assert life.stage.says() == (old if str(point) in FINISHED else new)
    assert (life.stage.crons, life.stage.routes) == (crons, routes)
    life.next()
    assert life.stage.release().ending is Ending.LIVE
    life.is_well = True


@pytest.mark.exhaustive
def test_these_are_all_the_points_there_are(stages, crashes):
    """Left alone, a first deploy, a redeploy, an undo and a rollback pass the points of the matrix and no others."""
    stage = stages()
    life = Life(stage)
    passed: list[set[str]] = []
    for action, changes in (("release", {}), ("release", {}), ("rollback", None), ("release", {"live_status": 500})):
        if changes is not None:
            life.next(**changes)
        assert not crashes.run(stage, NOWHERE, action)
        passed.append({line.partition(" ")[2] for line in crashes.passed()})

    first, redeploy, rollback, undo = passed
    assert first == {point.what for point in FIRST}
    assert redeploy == {point.what for point in REDEPLOY}
    assert rollback == {point.what for point in ROLLBACK}
    assert undo - redeploy == {point.what for point in UNDO} - redeploy
