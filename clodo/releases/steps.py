"""The steps of a release, and what a journal of them asks for next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clodo.ledger.journal import Entry, Phase


class Step(StrEnum):
    """What a release does that can be seen from outside, in order."""

    NOTE_WAY_BACK = "note-way-back"
    MIGRATE = "migrate"
    CHECK_LIVE = "check-live"
    UPLOAD = "upload"
    SMOKE_TEST = "smoke-test"
    ROLL_OUT = "roll-out"
    SET_TRIGGERS = "set-triggers"
    VERIFY = "verify"
    RECORD = "record"


# In the order to undo: the latest effect first.
UNDOABLE = (Step.SET_TRIGGERS, Step.ROLL_OUT, Step.SMOKE_TEST, Step.UPLOAD, Step.MIGRATE)


@dataclass(frozen=True, slots=True)
class Finish:
    """The new version is live and was verified; only the record is missing."""


@dataclass(frozen=True, slots=True)
class Undo:
    """
    Put back what these steps may have changed, in this order.

    Attributes:
        steps: Empty when nothing was written yet.
    """

    steps: tuple[Step, ...]


def what_next(entries: Iterable[Entry]) -> Finish | Undo:
    """
    Decide what an interrupted release needs: to be finished, or to be undone.

    A release whose new version was verified is finished, all others are undone: going on with an upload or a rollout
    that nobody watched would need the very checks that a new release makes anyway. An undo that had begun is never
    turned into a finish.
    """
    begun: set[Step] = set()
    put_back: set[Step] = set()
    verified = undoing = False
    for entry in entries:
        step, phase = Step(entry.step), entry.phase
        if phase is Phase.INTENT:
            begun.add(step)
        elif phase is Phase.DONE and step is Step.VERIFY:
            verified = True
        elif phase is Phase.UNDONE:
            undoing = True
            put_back.add(step)
        elif phase in (Phase.UNDO_INTENT, Phase.UNDO_FAILED):
            undoing = True
    if verified and not undoing:
        return Finish()
    return Undo(tuple(step for step in UNDOABLE if step in begun and step not in put_back))


def detail_of(entries: Iterable[Entry], step: Step, phase: Phase) -> Mapping[str, Any] | None:
    """Return the detail of the last entry of *step* in *phase*, or None when there is none."""
    found: Mapping[str, Any] | None = None
    for entry in entries:
        if entry.step == step and entry.phase == phase:
            found = entry.detail
    return found
