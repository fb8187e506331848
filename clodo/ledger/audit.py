"""The audit trail: who did what to what, in a chain of hashes that shows a changed, removed or added row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class AuditRow:
    """
    One row of the trail.

    Attributes:
        sequence: 1, 2, 3, …; no gaps.

        hash: SHA-256 of the row before's hash and of this row in canonical JSON; 64 hex digits.
    """

    sequence: int
    at: datetime
    actor: str
    action: str
    subject: str
    previous_hash: str
    hash: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """The first row where the chain doesn't hold, and what is wrong with it."""

    sequence: int
    problem: str


class Audit:
    """The audit trail of a ledger."""

    def append(self, actor: str, action: str, subject: str, detail: Mapping[str, Any] | None = None) -> AuditRow:
        """Add a row at the end of the chain, durably."""
        raise NotImplementedError

    def list(self, *, subject: str | None = None, limit: int = 100) -> Sequence[AuditRow]:
        """List rows, newest first."""
        raise NotImplementedError

    def verify(self) -> BrokenRow | None:
        """Walk the whole chain; return the first row that doesn't hold, None when all do."""
        raise NotImplementedError
