"""What an interrupted release needs next, judged by its journal alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from clodo.ledger.journal import Entry, Phase
from clodo.releases.steps import UNDOABLE, Finish, Step, Undo, detail_of, what_next
from clodo.releases.story import STORY

WHEN = datetime(2026, 11, 20, tzinfo=UTC)
UNDO_PHASES = (Phase.UNDO_INTENT, Phase.UNDONE, Phase.UNDO_FAILED)

Line = tuple[Step, Phase]


def journal(lines: Sequence[Line]) -> list[Entry]:
    return [Entry(f"j{number}", "r1", step, phase, WHEN) for number, (step, phase) in enumerate(lines)]


lines = st.lists(st.tuples(st.sampled_from(Step), st.sampled_from(Phase)), max_size=30)


def told(steps: Sequence[Step]) -> list[Line]:
    return [(step, phase) for step in steps for phase in (Phase.INTENT, Phase.DONE)]


@st.composite
def lived(draw: st.DrawFn) -> list[Line]:
    """A journal as a release writes it: cut off anywhere, its undo cut off anywhere, again and again."""
    steps = [step for step, _ in STORY if step not in draw(st.sets(st.sampled_from(Step)))]
    whole = told(steps)
    lines = whole[: draw(st.integers(0, len(whole)))]
    if lines and draw(st.booleans()) and lines[-1][1] is Phase.INTENT:
        lines.append((lines[-1][0], Phase.FAILED))
    for _ in range(draw(st.integers(0, 4))):
        todo = what_next(journal(lines))
        if isinstance(todo, Finish):
            break
        undo = [
            (step, phase)
            for step in todo.steps
            for phase in (Phase.UNDO_INTENT, draw(st.sampled_from((Phase.UNDONE, Phase.UNDO_FAILED))))
        ]
        lines += undo[: draw(st.integers(0, len(undo)))]
    return lines


@given(lines)
@example([(Step.VERIFY, Phase.DONE)])
@example([(Step.VERIFY, Phase.DONE), (Step.UPLOAD, Phase.UNDO_INTENT)])
@example([(Step.UPLOAD, Phase.UNDO_FAILED), (Step.VERIFY, Phase.DONE)])
@example([(Step.VERIFY, Phase.DONE), (Step.UPLOAD, Phase.UNDONE)])
def test_only_a_verified_release_whose_undo_never_began_is_finished(lines):
    """Whatever a journal says, finishing needs a proof and no trace of an undo; all else is an undo."""
    is_verified = (Step.VERIFY, Phase.DONE) in lines
    is_undoing = any(phase in UNDO_PHASES for _, phase in lines)

    todo = what_next(journal(lines))

    assert isinstance(todo, Finish) == (is_verified and not is_undoing)


@given(lines)
def test_every_step_that_may_have_changed_something_is_undone_once_and_the_latest_first(lines):
    """What began and was not put back is listed, in the order in which effects are taken back, and nothing else is."""
    begun = {step for step, phase in lines if phase is Phase.INTENT}
    put_back = {step for step, phase in lines if phase is Phase.UNDONE}

    todo = what_next(journal(lines))

    if isinstance(todo, Undo):
        assert todo.steps == tuple(step for step in UNDOABLE if step in begun - put_back)


@given(lived(), lines)
def test_an_undo_that_began_is_never_turned_into_a_finish(before, after):
    """Once the journal tells of an undo, nothing that is written later makes the release a success."""
    if not any(phase in UNDO_PHASES for _, phase in before):
        before = [*before, (Step.ROLL_OUT, Phase.UNDO_INTENT)]

    assert isinstance(what_next(journal([*before, *after])), Undo)


@given(lived())
def test_an_undo_that_is_taken_up_again_puts_each_step_back_once(lines):
    """However often it is cut off, an undo that at last runs through has undone every step that began, once."""
    todo = what_next(journal(lines))
    if isinstance(todo, Finish):
        return

    whole = [*lines, *((step, phase) for step in todo.steps for phase in (Phase.UNDO_INTENT, Phase.UNDONE))]

    undone = [step for step, phase in whole if phase is Phase.UNDONE]
    assert sorted(undone) == sorted({step for step, phase in lines if phase is Phase.INTENT} & set(UNDOABLE))
    assert what_next(journal(whole)) == Undo(())


def test_a_release_that_wrote_nothing_needs_nothing_undone():
    """Without an entry, and after the way back was only noted, the undo is empty."""
    assert what_next([]) == Undo(())
    assert what_next(journal([(Step.NOTE_WAY_BACK, Phase.INTENT)])) == Undo(())


def test_effects_are_taken_back_in_the_opposite_order():
    """The steps to undo are those of the story that write, reversed."""
    writing = [step for step, _ in STORY if step in UNDOABLE]

    assert tuple(reversed(writing)) == UNDOABLE


def test_a_detail_is_that_of_the_last_entry():
    """Of several entries of a step and phase the last one counts; without one there is no detail."""
    entries = [
        Entry(f"j{number}", "r1", Step.UPLOAD, Phase.DONE, WHEN, {"version_id": version})
        for number, version in enumerate(("a", "b"))
    ]

    assert detail_of(entries, Step.UPLOAD, Phase.DONE) == {"version_id": "b"}
    assert detail_of(entries, Step.UPLOAD, Phase.INTENT) is None
