"""How one target's release ended, as a value for reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Ending(StrEnum):
    """How it ended. Only the first three are success."""

    LIVE = "live"
    UNCHANGED = "unchanged"
    ADOPTED = "adopted"
    PLANNED = "planned"
    UNDONE = "undone"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    One target after a run.

    Attributes:
        release_id: None when nothing was begun.

        version_id: What is live and verified, None when we don't know.

        previous_version_id: The way back.

        changes: What the release changed, or would change.

        message: Why it did not succeed, or anything else a person must know.

        exit_code: Of the failure, 0 without.

        tests: Names of the smoke tests that passed, with the proof.
    """

    target: str
    ending: Ending
    release_id: str | None = None
    version_id: str | None = None
    previous_version_id: str | None = None
    changes: tuple[str, ...] = ()
    message: str = ""
    hint: str | None = None
    exit_code: int = 0
    tests: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def is_success(self) -> bool:
        """Whether the target is as desired, verified."""
        return self.ending in (Ending.LIVE, Ending.UNCHANGED, Ending.ADOPTED)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object: the shape of ``clodo deploy --json``'s ``targets``."""
        return {
            "target": self.target,
            "ending": self.ending.value,
            "release_id": self.release_id,
            "version_id": self.version_id,
            "previous_version_id": self.previous_version_id,
            "changes": list(self.changes),
            "message": self.message,
            "hint": self.hint,
            "tests": list(self.tests),
            "seconds": round(self.seconds, 3),
        }
