"""What is found in the folder against what the database says was applied; pure values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from clodo.migrations.files import Migration


@dataclass(frozen=True, slots=True)
class AppliedRow:
    """
    One migration as the database remembers it.

    Attributes:
        sha256: Of the file when Clodo applied it; None when somebody else (wrangler) applied it.

        applied_at: As the database wrote it.
    """

    name: str
    applied_at: str
    sha256: str | None = None
    release_id: str | None = None


class Problem(StrEnum):
    """What can be wrong between folder and database."""

    EDITED = "edited after it was applied"
    MISSING = "applied, but the file is gone"
    OUT_OF_ORDER = "pending, but a later one is applied already"
    DUPLICATE = "shares its number with another"
    DOWN_FILE_APPLIED = "a down file that was applied as if it were a migration"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem, with the migration it concerns and a sentence that says it whole."""

    name: str
    problem: Problem
    message: str


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """
    Where a database stands.

    Attributes:
        applied: What the database says was applied, in that order.

        pending: What is found and not applied, in the order to apply.

        findings: What is wrong; empty when nothing is.
    """

    applied: tuple[AppliedRow, ...]
    pending: tuple[Migration, ...]
    findings: tuple[Finding, ...]

    @classmethod
    def between(cls, found: Sequence[Migration], applied: Sequence[AppliedRow]) -> MigrationStatus:
        """Compare the files *found* with the rows *applied*."""
        raise NotImplementedError

    @property
    def pending_expand(self) -> tuple[Migration, ...]:
        """The pending migrations that a release runs before the new version is live."""
        return tuple(migration for migration in self.pending if not migration.is_contract)

    @property
    def pending_contract(self) -> tuple[Migration, ...]:
        """The pending migrations that wait until the new version is past its way-back window."""
        return tuple(migration for migration in self.pending if migration.is_contract)

    @property
    def is_up_to_date(self) -> bool:
        """Is nothing pending and nothing wrong?"""
        return not self.pending and not self.findings

    def raise_if_unsafe(self, accepted: Collection[str] = ()) -> None:
        """
        Refuse when folder and database disagree.

        Args:
            accepted: Names of migrations whose problems a person has looked at and accepts.

        Raises:
            Refused: Names every problem.
        """
        raise NotImplementedError
