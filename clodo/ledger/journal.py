"""The journal of a release: what is about to be done, written before; what came of it, written after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from clodo.ledger.clocks import Clock, utc_now
from clodo.ledger.releases import Release, ReleaseState


class Phase(StrEnum):
    """Where a step stands."""

    INTENT = "intent"
    DONE = "done"
    FAILED = "failed"
    UNDO_INTENT = "undo-intent"
    UNDONE = "undone"
    UNDO_FAILED = "undo-failed"


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One line of a journal.

    Attributes:
        id: Unique and time-sortable; the same in a file and in the ledger it was imported into.

        step: Name of the step: ``upload``, ``migrate``, …

        detail: What is needed to finish or undo the step; small, JSON, never a secret.
    """

    id: str
    release_id: str
    step: str
    phase: Phase
    at: datetime
    detail: Mapping[str, Any] = field(default_factory=dict)


class Journal(Protocol):
    """Where a release writes down its steps."""

    def append(self, release_id: str, step: str, phase: Phase, detail: Mapping[str, Any] | None = None) -> Entry:
        """
        Write one entry; it survives a power cut once this returns.

        Raises:
            ReleaseNotFound: The ledger has no such release (a file journal takes any).
            BadUsage: *detail* is not JSON or too large.
            NoSpaceLeft: The disk is full.
            LedgerUnavailable: It can't be written.
        """
        ...

    def entries(self, release_id: str) -> Sequence[Entry]:
        """Return the entries of one release in the order they were written; empty when there are none."""
        ...


class LedgerJournal:
    """The journal in the ledger."""

    def append(self, release_id: str, step: str, phase: Phase, detail: Mapping[str, Any] | None = None) -> Entry:
        """Write one entry; it survives a power cut once this returns."""
        raise NotImplementedError

    def entries(self, release_id: str) -> Sequence[Entry]:
        """Return the entries of one release in the order they were written."""
        raise NotImplementedError


class FileJournal:
    """
    A journal in a file, for ``clodo rollback --direct`` when the ledger is out of reach.

    One JSON object a line, each forced to the disk. A last line that was cut off by a crash was never acknowledged:
    reading passes over it, the next append removes it.
    """

    def __init__(self, path: Path, *, clock: Clock = utc_now) -> None:
        self.path = path
        self._clock = clock

    def record_release(self, release: Release) -> None:
        """Write down the release itself, so that it can be imported into a ledger later."""
        raise NotImplementedError

    def record_state(self, release_id: str, state: ReleaseState) -> None:
        """Write down how a release ended."""
        raise NotImplementedError

    def append(self, release_id: str, step: str, phase: Phase, detail: Mapping[str, Any] | None = None) -> Entry:
        """Write one entry and force it to the disk."""
        raise NotImplementedError

    def entries(self, release_id: str) -> Sequence[Entry]:
        """Return the entries of one release in the order they were written."""
        raise NotImplementedError

    def releases(self) -> Sequence[Release]:
        """Return the releases the file tells of, each in its last recorded state."""
        raise NotImplementedError
