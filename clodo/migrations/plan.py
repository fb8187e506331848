"""What is found in the folder against what the database says was applied; pure values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from clodo.errors import Refused
from clodo.migrations.files import Migration, down_name
from clodo.migrations.lint import Hazard, lint, takes_something_away, verdict_of
from clodo.migrations.rules import Verdict
from clodo.migrations.schema import SchemaRow


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

        pending: What is found and not applied, in the order to apply; those in which the lint found that they take
            something away are contract ones.

        findings: What is wrong; empty when nothing is.

        hazards: What the lint found in what is pending.

        schema: The database's, as rows.

        database_bytes: Its size; None when nobody knows.

        applied_files: The files of what is applied, in the order in which it was.

        records: Tables that record what was applied, wrangler's first.
    """

    applied: tuple[AppliedRow, ...]
    pending: tuple[Migration, ...]
    findings: tuple[Finding, ...]
    hazards: tuple[Hazard, ...] = ()
    schema: tuple[SchemaRow, ...] = ()
    database_bytes: int | None = None
    applied_files: tuple[Migration, ...] = ()
    records: tuple[str, ...] = ()

    @classmethod
    def between(
        cls,
        found: Sequence[Migration],
        applied: Sequence[AppliedRow],
        *,
        schema: Sequence[SchemaRow] = (),
        records: Sequence[str] = (),
        database_bytes: int | None = None,
    ) -> MigrationStatus:
        """
        Compare the files *found*, in their order, with the rows *applied*, and lint those that are pending.

        Raises:
            BadConfiguration: A file waives a rule that doesn't exist.
        """
        rows = {row.name: row for row in applied}
        files = {migration.name: migration for migration in found}
        pending = tuple(migration for migration in found if migration.name not in rows)
        hazards = lint(pending, schema, records=records, database_bytes=database_bytes)
        contract = {item.name for item in pending if item.is_contract or takes_something_away(item.name, hazards)}
        pending = tuple(replace(item, is_contract=item.name in contract) for item in pending)
        found = [replace(item, is_contract=item.is_contract or item.name in contract) for item in found]
        return cls(
            applied=tuple(applied),
            pending=pending,
            findings=(
                *_edited(found, rows),
                *_without_file(found, applied),
                *_out_of_order(found, rows),
                *_duplicates(found, rows),
            ),
            hazards=hazards,
            schema=tuple(schema),
            database_bytes=database_bytes,
            applied_files=tuple(files[row.name] for row in applied if row.name in files),
            records=tuple(records),
        )

    @property
    def names(self) -> frozenset[str]:
        """The names of all migrations that the folder or the database knows."""
        found = (item.name for items in (self.applied, self.pending, self.findings) for item in items)
        return frozenset(found)

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
        open_findings = [finding for finding in self.findings if finding.name not in accepted]
        if open_findings:
            raise Refused(
                "; ".join(finding.message for finding in open_findings),
                hint="Put the files back as they were applied, and give what is new a higher number of its own.",
            )

    def raise_if_hazardous(self, chosen: Sequence[Migration], accepted: Collection[str] = ()) -> None:
        """
        Refuse what the lint refuses, and what needs an approval that nobody gave.

        What makes a file a contract one needs no other approval than to be run as one.

        Args:
            chosen: What is about to be applied.

            accepted: Names of migrations whose hazards a person has looked at and accepts.

        Raises:
            Refused: Names every hazard.
        """
        names = {migration.name for migration in chosen}
        counting = [
            item
            for item in self.hazards
            if item.migration in names and item.waived_because is None and not item.rule.is_contract
        ]
        refused = [item for item in counting if item.rule.verdict is Verdict.REFUSED]
        if refused:
            raise Refused(
                "; ".join(item.message for item in refused),
                hint=f"Change the file, or waive it there: -- clodo: allow {refused[0].rule.name}: why",
            )
        open_hazards = [item for item in counting if item.migration not in accepted]
        if open_hazards:
            first = open_hazards[0]
            raise Refused(
                "; ".join(item.message for item in open_hazards),
                hint=f"Waive it in the file (-- clodo: allow {first.rule.name}: why), or accept it:"
                f" `clodo database migrate --accept {first.migration}`.",
            )

    def verdict_of(self, name: str) -> Verdict:
        """Return what becomes of the pending migration *name*."""
        return verdict_of(name, self.hazards)


def _edited(found: Sequence[Migration], rows: Mapping[str, AppliedRow]) -> Iterator[Finding]:
    for migration in found:
        row = rows.get(migration.name)
        if row and row.sha256 and row.sha256 != migration.sha256:
            yield Finding(
                migration.name,
                Problem.EDITED,
                f"{migration.path} was edited after it was applied at {row.applied_at}"
                f" (SHA-256 {row.sha256[:12]} then, {migration.sha256[:12]} now)",
            )


def _without_file(found: Sequence[Migration], applied: Sequence[AppliedRow]) -> Iterator[Finding]:
    names = {migration.name for migration in found}
    ways_back = {down_name(migration.name): migration for migration in found}
    for row in applied:
        if row.name in ways_back:
            yield Finding(
                row.name,
                Problem.DOWN_FILE_APPLIED,
                f"{row.name} undoes {ways_back[row.name].name}, but was applied at {row.applied_at} as if it were"
                " a migration (wrangler takes every *.sql for one: keep down files in a folder down/)",
            )
        elif row.name not in names:
            yield Finding(
                row.name, Problem.MISSING, f"{row.name} was applied at {row.applied_at}, but there is no such file"
            )


def _out_of_order(found: Sequence[Migration], rows: Mapping[str, AppliedRow]) -> Iterator[Finding]:
    # A contract migration is held back on purpose, so later ones are usually applied before it.
    last = max((index for index, migration in enumerate(found) if migration.name in rows), default=-1)
    for migration in found[: max(last, 0)]:
        if migration.name not in rows and not migration.is_contract:
            yield Finding(
                migration.name,
                Problem.OUT_OF_ORDER,
                f"{migration.path} is pending, but {found[last].name}, which comes after it, is applied already",
            )


def _duplicates(found: Sequence[Migration], rows: Mapping[str, AppliedRow]) -> Iterator[Finding]:
    # What is applied already is history: two of one number did no harm there.
    for migration in found:
        if migration.number is None or migration.name in rows:
            continue
        first = migration.name.split("/")[0]
        others = [
            other.name for other in found if other.number == migration.number and other.name.split("/")[0] != first
        ]
        if others:
            yield Finding(
                migration.name,
                Problem.DUPLICATE,
                f"{migration.path} shares its number {migration.number} with {', '.join(others)}",
            )
