"""Bringing many databases to the same schema, several at a time; one that fails stops no other unless asked to."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from clodo.errors import ClodoError, Interrupted, PartlyDone
from clodo.migrations.drift import Drift, drift_among
from clodo.migrations.files import Migration, find_migrations
from clodo.migrations.plan import MigrationStatus
from clodo.migrations.stored import RECORD_TABLE
from clodo.releases.migrating import Choice, DatabaseStatus, Migrated, known_databases, migrate_target, rehearse_target
from clodo.releases.site import Site
from clodo.workspace.targets import Target


@dataclass(frozen=True, slots=True)
class Synced:
    """
    How one target ended.

    Attributes:
        drift: By database; only of those that could be read.

        error: Why it is not at the schema; None when it is.

        was_skipped: Was it not begun, because another had failed or somebody asked to stop?
    """

    target: str
    databases: tuple[Migrated, ...] = ()
    drift: tuple[tuple[str, Drift], ...] = ()
    error: ClodoError | None = None
    was_skipped: bool = False

    @property
    def is_synced(self) -> bool:
        """Is everything applied that was to be, and is the schema what the files make?"""
        return self.error is None and not self.was_skipped and not any(item.sql for _, item in self.drift)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object for scripts and artifacts."""
        return {
            "target": self.target,
            "is_synced": self.is_synced,
            "skipped": self.was_skipped,
            "error": self.error.message if self.error else None,
            "databases": [item.to_json() for item in self.databases],
            "drift": {name: {"sql": list(item.sql), "against": item.against} for name, item in self.drift},
        }


class NotAllSynced(ClodoError):
    """
    Some databases are not at the schema.

    Attributes:
        outcomes: Of all targets, the good ones too.
    """

    def __init__(self, outcomes: Sequence[Synced]) -> None:
        bad = [item for item in outcomes if not item.is_synced]
        good = len(outcomes) - len(bad)
        failed = [item for item in bad if item.error is not None]
        names = ", ".join(f"{item.target} ({_ending(item)})" for item in bad)
        message = f"{good} of {len(outcomes)} targets have the schema; not: {names}"
        codes = {item.error.exit_code for item in failed if item.error is not None}
        if Interrupted.exit_code in codes:
            hint: str | None = "Run the same command again: what was applied stays, and the rest is done then."
            self.exit_code = Interrupted.exit_code
        else:
            first = failed[0].error if failed else None
            drifted = "Take into a migration what is right, and run the SQL that is shown yourself for what isn't."
            hint = first.hint if first is not None else drifted
            only = codes.pop() if len(codes) == 1 and len(failed) == len(bad) else 1
            self.exit_code = PartlyDone.exit_code if good else only
        super().__init__(message, hint=hint)
        self.outcomes = tuple(outcomes)


class Sync:
    """
    The databases of *targets*, brought to the schema of their files.

    Args:
        fail_fast: Begin nothing more once one has failed.

        dry_run: Rehearse only; write nothing.
    """

    def __init__(
        self,
        site: Site,
        targets: Iterable[Target],
        choice: Choice,
        *,
        max_parallel: int = 4,
        fail_fast: bool = False,
        dry_run: bool = False,
        reason: str = "",
        take_over: bool = False,
    ) -> None:
        self.site = site
        self.targets = tuple(targets)
        self._choice = choice
        self._fail_fast = fail_fast
        self._dry_run = dry_run
        self._reason = reason
        self._take_over = take_over
        self._slots = threading.BoundedSemaphore(max_parallel)
        self._lock = threading.Lock()
        self._turns = {key: threading.Lock() for target in self.targets for key in self._databases_of(target)}
        self._outcomes: dict[str, Synced] = {}
        self._found: dict[str, list[tuple[str, Sequence[Migration], MigrationStatus]]] = {}

    def __repr__(self) -> str:
        return f"<Sync of {len(self.targets)} targets>"

    def one(self, target: Target) -> Synced:
        """Bring the databases of one target to the schema; what goes wrong is in the answer, not raised."""
        with self._slots, self._turn_of(target):
            if self.site.interruption.is_requested:
                stopped = Interrupted("not begun, since the sync was stopped")
                return self._note(Synced(str(target), error=stopped, was_skipped=True))
            if self._fail_fast and any(item.error is not None for item in self.outcomes):
                return self._note(Synced(str(target), was_skipped=True))
            try:
                if self._dry_run:
                    done = rehearse_target(self.site, target, self._choice)
                else:
                    done = migrate_target(
                        self.site, target, self._choice, reason=self._reason, take_over=self._take_over
                    )
                self._read(target)
            except ClodoError as error:
                self.site.log(f"{target}: {error.message}")
                return self._note(Synced(str(target), error=error))
            return self._note(Synced(str(target), done))

    def finish(self) -> tuple[Synced, ...]:
        """Compare the schemas of all that were synced; return how each target ended, in the order they were given."""
        flat = [(target, name, files, status) for target, items in self._found.items() for name, files, status in items]
        records = (RECORD_TABLE, *{table for target in self.targets for table in self._tables(target)})
        drifts = drift_among([(files, status) for _, _, files, status in flat], records)
        by_target: dict[str, list[tuple[str, Drift]]] = {}
        for (target, name, _, _), drift in zip(flat, drifts, strict=True):
            by_target.setdefault(target, []).append((name, drift))
        for target, found in by_target.items():
            self._outcomes[target] = replace(self._outcomes[target], drift=tuple(found))
        return self.outcomes

    @property
    def outcomes(self) -> tuple[Synced, ...]:
        """How the targets ended so far."""
        with self._lock:
            return tuple(self._outcomes[str(target)] for target in self.targets if str(target) in self._outcomes)

    def raise_unless_done(self) -> None:
        """
        Say so unless every database has the schema of its files.

        Raises:
            NotAllSynced: With all outcomes.
        """
        if not all(item.is_synced for item in self.outcomes):
            raise NotAllSynced(self.outcomes)

    def _note(self, outcome: Synced) -> Synced:
        with self._lock:
            self._outcomes[outcome.target] = outcome
        return outcome

    def _read(self, target: Target) -> None:
        found = [
            (
                item.database.name,
                find_migrations(item.binding.migrations_folder, item.binding.migrations_pattern or "*.sql"),
                item.status,
            )
            for item in known_databases(self.site, target)
        ]
        with self._lock:
            self._found[str(target)] = found

    @contextmanager
    def _turn_of(self, target: Target) -> Iterator[None]:
        """Wait for those that share a database with *target*: the second then finds what the first has applied."""
        with ExitStack() as turns:
            # In one order, so that no two wait for each other.
            for key in sorted(self._databases_of(target)):
                turns.enter_context(self._turns[key])
            yield

    def _databases_of(self, target: Target) -> set[tuple[str, str]]:
        """Return the block and the name of each database."""
        block = self.site.workspace.portfolio.account_block_of(target)
        return {(block, item.database_name) for item in self.site.workspace.effective(target).databases}

    def _tables(self, target: Target) -> list[str]:
        return [binding.migrations_table for binding in self.site.workspace.effective(target).databases]


def with_drift(site: Site, found: Sequence[DatabaseStatus]) -> tuple[Drift | None, ...]:
    """Say of each database in what its schema differs from what its files make; None for those that weren't read."""
    readable: list[tuple[Sequence[Migration], MigrationStatus]] = []
    records = {RECORD_TABLE}
    for item in found:
        if item.status is None:
            continue
        config = site.workspace.effective(site.workspace.find(item.target))
        binding = next(each for each in config.databases if each.database_name == item.database)
        records.add(binding.migrations_table)
        files = find_migrations(binding.migrations_folder, binding.migrations_pattern or "*.sql")
        readable.append((files, item.status))
    drifts = iter(drift_among(readable, records))
    return tuple(None if item.status is None else next(drifts) for item in found)


def _ending(outcome: Synced) -> str:
    if outcome.was_skipped:
        return "skipped"
    if isinstance(outcome.error, Interrupted):
        return "interrupted"
    return "failed" if outcome.error is not None else "another schema"
