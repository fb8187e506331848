"""One release told in order, and undone when any of it fails."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

from clodo.errors import ClodoError, Interrupted, LockLost, ReleaseFailed, UndoIncomplete
from clodo.releases.release import Release, Verified
from clodo.releases.steps import Finish, Step, what_next
from clodo.releases.undo import UndoReport

Take = Callable[[str, Callable[[], Any]], Any]
"""How a step is taken: given its name and the work, does it; the flows take each as a Prefect task."""


def directly(step: str, work: Callable[[], Any]) -> Any:
    """Take a step without telling anybody."""
    return work()


Story = tuple[tuple[Step, Callable[[Release], Any]], ...]

STORY: Story = (
    (Step.NOTE_WAY_BACK, Release.note_way_back),
    (Step.MIGRATE, Release.migrate),
    (Step.CHECK_LIVE, Release.check_live),
    (Step.UPLOAD, Release.upload),
    (Step.SMOKE_TEST, Release.smoke_test),
    (Step.ROLL_OUT, Release.roll_out),
    (Step.SET_TRIGGERS, Release.set_triggers),
    (Step.VERIFY, Release.verify),
)

ROLLBACK: Story = (
    (Step.NOTE_WAY_BACK, Release.note_way_back),
    (Step.ROLL_OUT, Release.roll_out),
    (Step.VERIFY, Release.verify),
)


def carry_out(
    release: Release, undo: Callable[[], UndoReport], *, take: Take = directly, story: Story = STORY
) -> Verified:
    """
    Take *release* from the first step to a verified live version, or put everything back.

    Args:
        undo: Undoes this release by its journal.

        take: How each step is taken.

        story: The steps, in order.

    Raises:
        ReleaseFailed: It failed, for whatever reason, and was undone; carries the cause's exit status.

        UndoIncomplete: It failed, and something could not be put back.

        LockLost: Somebody else took over; from then on nothing more may be written, not even an undo.

        Interrupted, KeyboardInterrupt: It came when all was verified, and the next run records that it is live; or it
            came a second time, and the next run undoes it.
    """
    undone = _UndoneOnFailure(release, undo, take)
    with undone:
        for step, work in story:
            undone.step = step
            take(step, partial(work, release))
    if release.progress.verified is None:
        raise UndoIncomplete(f"{release.target}: release {release.id} ended without being verified")
    return release.progress.verified


@dataclass
class _UndoneOnFailure(AbstractContextManager[None]):
    """Undoes on every way out but success: errors of ours, bugs, Ctrl-C, a task that was cancelled."""

    release: Release
    undo: Callable[[], UndoReport]
    take: Take
    step: Step | None = None

    def __exit__(
        self, kind: type[BaseException] | None, cause: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if cause is None or isinstance(cause, LockLost) or self.release.interruption.is_final:
            return
        if isinstance(what_next(self.release.journal.entries(self.release.id)), Finish):
            return
        why = cause.message if isinstance(cause, ClodoError) else f"{type(cause).__name__}: {cause}"
        # Why it failed is said by the error, where it ends; here only where.
        where = f"the step {self.step} failed"
        if isinstance(cause, KeyboardInterrupt | Interrupted):
            why = where = "interrupted"
        why = why.removeprefix(f"{self.release.target}: ")
        self.release.tell(f"{where}; putting back what this release changed")
        report: UndoReport = self.take("undo", self.undo)
        self.release.tell(report.describe())
        why = f"{self.release.target}: {why}"
        if not report.is_complete:
            raise UndoIncomplete(
                f"{why}; {report.describe()}",
                release_id=self.release.id,
                hint=f"Look at `clodo release show {self.release.id}`; `clodo reconcile` tries again.",
            ) from cause
        raise ReleaseFailed(
            f"{why}; {report.describe()}",
            release_id=self.release.id,
            cause=cause,
            hint=cause.hint if isinstance(cause, ClodoError) else None,
        ) from cause
