"""Releases: what was attempted, by whom, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ReleaseKind(StrEnum):
    """What a release sets out to do."""

    FIRST = "first"
    REDEPLOY = "redeploy"
    ADOPT = "adopt"
    ROLLBACK = "rollback"


class ReleaseState(StrEnum):
    """
    How far a release is.

    ``running`` is open: the next run finishes or undoes it. ``failed`` means that undoing was incomplete.
    """

    RUNNING = "running"
    LIVE = "live"
    UNDONE = "undone"
    FAILED = "failed"
    NOTHING_TO_DO = "nothing-to-do"

    @property
    def is_terminal(self) -> bool:
        """Has the release ended?"""
        return self is not ReleaseState.RUNNING


@dataclass(frozen=True, slots=True)
class Release:
    """
    One attempt to take a target to a new version.

    Attributes:
        id: From `new_release_id`.

        target: ``api@production/acme``.

        worker: The Worker's name at Cloudflare.

        account_id: 32 hex digits.

        strategy: ``all-at-once``, …

        reason: Why, in the words of the person or schedule that started it.

        actor: Who started it.

        plan_fingerprint: Of the plan that was approved.

        created_at, finished_at: UTC; *finished_at* is None while it runs.
    """

    id: str
    target: str
    worker: str
    account_id: str
    strategy: str
    reason: str
    actor: str
    kind: ReleaseKind
    plan_fingerprint: str
    created_at: datetime
    state: ReleaseState = ReleaseState.RUNNING
    finished_at: datetime | None = None


class Releases:
    """The releases of a ledger."""

    def create(self, release: Release) -> None:
        """Record *release*, durably, before its first step; recording the same one again changes nothing."""
        raise NotImplementedError

    def set_state(self, release_id: str, state: ReleaseState) -> None:
        """
        Record how a release ended; saying the same twice changes nothing.

        Raises:
            ReleaseNotFound: There is no such release.
            Refused: It had ended in another way; only ``running`` and ``failed`` ones can go on.
        """
        raise NotImplementedError

    def get(self, release_id: str) -> Release:
        """
        Return one release by its whole id.

        Raises:
            ReleaseNotFound: There is no such release.
        """
        raise NotImplementedError

    def find(self, beginning: str) -> Release:
        """
        Return the one release whose id opens with *beginning*.

        Raises:
            ReleaseNotFound: None does.
            AmbiguousName: Several do.
        """
        raise NotImplementedError

    def list(self, target: str | None = None, *, limit: int = 50) -> Sequence[Release]:
        """List releases, newest first, of *target* or of all."""
        raise NotImplementedError

    def open_releases(self) -> Sequence[Release]:
        """List the releases that have not ended, oldest first."""
        raise NotImplementedError
