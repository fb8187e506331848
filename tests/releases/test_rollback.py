"""Going back to an earlier version on purpose, with the ledger and without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clodo.errors import AmbiguousName, LockLost, NoWayBack, Refused, ReleaseFailed, VersionNotFound
from clodo.ledger import default_path
from clodo.releases.assessment import Standing
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.reconciling import DIRECT_FOLDER
from clodo.releases.rollback import at_work_on

from .crashing import AFTER, Point
from .numbered import quick
from .stage import Stage


def live(stage: Stage, says: str, **changes: Any) -> str:
    """Release a version that says *says* and return its id."""
    stage.write(says=says, **changes)
    outcome = stage.release()
    assert outcome.ending is Ending.LIVE
    assert outcome.version_id is not None
    return outcome.version_id


def journals(stage: Stage) -> list[Path]:
    return sorted((stage.folder / ".clodo" / DIRECT_FOLDER).glob("*.jsonl"))


def forget_everything(stage: Stage) -> None:
    """Lose the ledger."""
    for file in default_path(stage.folder).parent.glob("ledger.sqlite3*"):
        file.unlink()


@pytest.fixture
def stage(stage: Stage, tmp_path: Path) -> Stage:
    """A stage whose uploads need no wrangler; what wrangler does is not what is tested here."""
    stage.toolchain = quick(stage.toolchain, tmp_path)
    return stage


@pytest.fixture(params=["with the ledger", pytest.param("directly", marks=pytest.mark.exhaustive)])
def roll_back(request: pytest.FixtureRequest, stage: Stage) -> Callable[..., Outcome]:
    """Rolls the shop back in one of the two ways; the direct one has no ledger."""
    return in_one_way(request.param, stage)


def in_one_way(way: str, stage: Stage) -> Callable[..., Outcome]:
    if way == "with the ledger":
        return stage.roll_back

    def directly(**options: Any) -> Outcome:
        forget_everything(stage)
        return stage.roll_back_directly(**options)

    return directly


def test_the_version_before_is_live_again_and_triggers_and_data_stay(stage):
    """Traffic alone goes back; what is recorded sees that the workspace says something else, and goes forward again."""
    one = live(stage, "one", crons=("0 * * * *",))
    two = live(stage, "two", crons=("5 * * * *",), signing_key="another key than before")
    assert stage.order("book").status_code == 201

    outcome = stage.roll_back()

    assert (outcome.ending, outcome.version_id, outcome.previous_version_id) == (Ending.LIVE, one, two)
    assert (stage.says(), stage.crons, stage.visit().json()["orders"]) == ("one", ["5 * * * *"], 1)
    newest = stage.releases()[0]
    assert (newest.kind.value, newest.state.value) == ("rollback", "live")
    stage.raise_if_unsettled()
    assert stage.survey().assessment.standing is Standing.CHANGED
    assert stage.release().ending is Ending.LIVE
    assert stage.says() == "two"
    stage.raise_if_unsettled()


def test_going_back_again_goes_further_back(stage, roll_back):
    """A version that was gone back from is not good: the next rollback passes it over, with and without a ledger."""
    one, two, three = (live(stage, says) for says in ("one", "two", "three"))
    assert stage.live_version == three

    first = roll_back()
    second = roll_back()

    assert (first.version_id, second.version_id) == (two, one)
    assert stage.says() == "one"
    with pytest.raises(NoWayBack):
        roll_back()
    assert stage.says() == "one"


def test_a_version_that_failed_is_no_way_back(stage, roll_back):
    """It had all the traffic for a moment and was undone; going back never leads there."""
    live(stage, "one")
    stage.write(says="two", live_status=500)
    with pytest.raises(ReleaseFailed):
        stage.release()

    with pytest.raises(NoWayBack) as none:
        roll_back()

    assert none.value.exit_code == 10
    assert "--to" in (none.value.hint or "")
    assert stage.says() == "one"


def test_the_version_can_be_named(stage, roll_back):
    """By its whole id or by how it begins; one that isn't there, is live, or is not the only one is refused."""
    one = live(stage, "one")
    live(stage, "two")
    three = live(stage, "three")

    assert roll_back(to=one[:8]).version_id == one
    assert stage.says() == "one"
    assert roll_back(to=three).version_id == three
    with pytest.raises(Refused, match="is live already") as refused:
        roll_back(to=three)
    with pytest.raises(VersionNotFound, match="ffffffff") as missing:
        roll_back(to="ffffffff")
    with pytest.raises(AmbiguousName, match="3 versions begin with"):
        roll_back(to="")
    assert (refused.value.exit_code, missing.value.exit_code) == (4, 10)
    assert stage.says() == "three"


def test_there_is_no_way_back_without_a_version_before(stage, roll_back):
    """Neither when nothing is deployed, nor when there is only one version."""
    with pytest.raises(NoWayBack, match="nothing is deployed"):
        roll_back()
    live(stage, "one")
    with pytest.raises(NoWayBack, match="no version was live before"):
        roll_back()
    assert stage.says() == "one"


def test_a_way_back_that_fails_is_undone(stage, roll_back):
    """The earlier version no longer works on this schema: what was live before is live again, and that is said."""
    live(stage, "one")
    two = live(stage, "two", count="SELECT 0 AS orders")
    stage.query("DROP TABLE orders")

    with pytest.raises(ReleaseFailed, match=rf"answered 500.*put back: traffic to version {two}"):
        roll_back()

    assert (stage.says(), stage.live_version) == ("two", two)


def test_a_way_back_that_was_undone_blames_nobody_else(stage):
    """What the ledger remembers is live again, by our own hand."""
    live(stage, "one")
    live(stage, "two", count="SELECT 0 AS orders")
    stage.query("DROP TABLE orders")
    with pytest.raises(ReleaseFailed):
        stage.roll_back()

    assert stage.survey().assessment.standing is Standing.UNCHANGED
    stage.raise_if_unsettled()


def test_going_back_from_what_died_half_way_goes_no_further_than_that(stage):
    """A release died with its version live; rolling back undoes that release, and leaves it at that."""
    live(stage, "zero")
    one = live(stage, "one")
    stage.write(says="two")

    def dies(step: str, work: Callable[[], Any]) -> Any:
        if step == "verify":
            raise LockLost("killed")
        return work()

    with pytest.raises(LockLost):
        stage.release(take=dies)
    assert stage.says() == "two"

    outcome = stage.roll_back()

    assert (outcome.ending, outcome.version_id) == (Ending.LIVE, one)
    assert "interrupted; put back" in outcome.message
    assert stage.says() == "one"
    stage.raise_if_unsettled()


def test_a_direct_rollback_is_taken_into_the_ledger(stage):
    """The file of a direct rollback becomes a release of the ledger, once, and the next release goes forward again."""
    one = live(stage, "one")
    live(stage, "two")

    outcome = stage.roll_back_directly()
    (journal,) = journals(stage)
    taken_in = stage.reconcile()

    assert (outcome.version_id, stage.says()) == (one, "one")
    assert [(item.ending, item.release_id) for item in taken_in] == [(Ending.LIVE, outcome.release_id)]
    assert stage.reconcile() == ()
    assert (journal.exists(), journal.with_suffix(".imported").exists(), journals(stage)) == (False, True, [])
    newest = stage.releases()[0]
    assert (newest.id, newest.kind.value, newest.state.value) == (outcome.release_id, "rollback", "live")
    stage.raise_if_unsettled()
    assert stage.survey().assessment.standing is Standing.CHANGED
    assert stage.release().ending is Ending.LIVE
    assert stage.says() == "two"


def test_what_went_live_after_a_direct_rollback_is_not_forgotten_for_it(stage):
    """Somebody released before the rollback's file was taken in: what is remembered stays that release."""
    live(stage, "one")
    live(stage, "two")
    stage.roll_back_directly()
    stage.write(says="three")
    assert stage.release(overwrite=True).ending is Ending.LIVE

    stage.reconcile()

    stage.raise_if_unsettled()
    assert stage.survey().assessment.standing is Standing.UNCHANGED


def test_a_direct_rollback_that_died_is_undone_by_reconciling(stage, crashes):
    """Killed right after the traffic went back, nothing was verified: the ledger takes the file in and undoes it."""
    live(stage, "one")
    two = live(stage, "two")

    assert crashes.run(stage, Point("request 1", AFTER), "direct"), crashes.passed()
    assert stage.says() == "one"
    (outcome,) = stage.reconcile()

    assert outcome.ending is Ending.UNDONE
    assert stage.live_version == two
    stage.raise_if_unsettled()


def test_reconciling_leaves_a_direct_rollback_alone_that_goes_on(stage):
    """While a process works on its file, nobody takes that in or undoes it."""
    live(stage, "one")
    live(stage, "two")
    stage.roll_back_directly()
    (journal,) = journals(stage)

    with at_work_on(journal) as is_ours:
        (outcome,) = stage.reconcile()

    assert is_ours
    assert (outcome.ending, journal.exists()) == (Ending.SKIPPED, True)
    assert stage.reconcile()[0].ending is Ending.LIVE


def test_a_damaged_journal_keeps_nothing_else_from_being_reconciled(stage):
    """It is named, with its line, and stays where it is; the other file is taken in."""
    live(stage, "one")
    live(stage, "two")
    outcome = stage.roll_back_directly()
    damaged = journals(stage)[0].with_name("a.jsonl")
    damaged.write_text("not a journal\n{}\n")

    first, second = stage.reconcile()

    assert (first.ending, second.release_id) == (Ending.FAILED, outcome.release_id)
    assert f"{damaged}:1" in first.message
    assert damaged.exists()


def test_a_direct_rollback_needs_no_ledger(stage):
    """With the ledger gone for good, going back still finds what had all the traffic before."""
    one = live(stage, "one")
    live(stage, "two")
    forget_everything(stage)

    outcome = stage.roll_back_directly()

    assert (outcome.version_id, stage.live_version) == (one, one)
    assert "had all traffic since" in outcome.changes[0]
    assert not default_path(stage.folder).exists()
