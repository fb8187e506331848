"""Applying migrations to a D1 database: one file a call, all of it or nothing, looked up before it is repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from clodo.migrations.files import Migration
from clodo.migrations.plan import MigrationStatus

DEFAULT_TABLE = "d1_migrations"
"""wrangler's default for ``migrations_table``."""

RECORD_TABLE = "clodo_migrations"
"""Clodo's own memory beside wrangler's: checksum, duration, release."""


class Rows(Protocol):
    """What one statement answered."""

    @property
    def results(self) -> Sequence[Mapping[str, Any]]:
        """Its rows; empty when it gives none."""
        ...


class D1(Protocol):
    """What applying needs of the D1 client."""

    def query(self, database_id: str, sql: str) -> Sequence[Rows]:
        """Run the statements of *sql* in one transaction; one answer per statement."""
        ...

    def bookmark(self, database_id: str) -> str:
        """Return the Time Travel bookmark of now."""
        ...


class Which(StrEnum):
    """Which of the pending migrations."""

    EXPAND = "expand"
    CONTRACT = "contract"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Applied:
    """
    One migration that was applied.

    Attributes:
        duration: From sending it to its answer.

        was_found: Was the answer lost, and the migration then found applied?

        bookmark: Time Travel's bookmark right after our last statement; only on the last one applied.
    """

    name: str
    sha256: str
    statements: int
    duration: timedelta
    was_found: bool = False
    bookmark: str | None = None


def status(
    d1: D1, database_id: str, folder: Path, *, pattern: str = "*.sql", table: str = DEFAULT_TABLE
) -> MigrationStatus:
    """
    Say which migrations are applied and which are pending, writing nothing: two requests.

    Raises:
        BadConfiguration: A migration file can't be read.
        DatabaseNotFound: The account has no database *database_id*.
    """
    raise NotImplementedError


def apply(
    d1: D1,
    database_id: str,
    folder: Path,
    *,
    which: Which = Which.EXPAND,
    pattern: str = "*.sql",
    table: str = DEFAULT_TABLE,
    release_id: str | None = None,
    accepted: Collection[str] = (),
    on_applied: Callable[[Applied], None] = lambda applied: None,
    elapsed: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> list[Applied]:
    """
    Apply pending migrations one after the other, each all or nothing; stop at the first that fails.

    Every file is read and checked before the first is sent.

    Args:
        which: A release applies EXPAND before its new version is live, CONTRACT long after.

        on_applied: Told of each one, right after it.

        pause: Waits seconds between looking and repeating.

    Returns:
        What was applied, in order; empty when nothing was pending.

    Raises:
        BadConfiguration: A file can't be run as one transaction; nothing was applied.
        Refused: Folder and database disagree; nothing was applied.
        PlanIsStale: Somebody else applied one of them meanwhile.
        MigrationFailed: A file failed and left nothing; says file, line and statement, and which were applied before.
        OutcomeUnknown: An answer was lost and the database can't be asked.
    """
    raise NotImplementedError


def revert(
    d1: D1,
    database_id: str,
    folder: Path,
    names: Sequence[str],
    *,
    pattern: str = "*.sql",
    table: str = DEFAULT_TABLE,
    pause: Callable[[float], None] = time.sleep,
) -> list[str]:
    """
    Run the down files of *names*, last first, each with the removal of its rows, all or nothing.

    Names that are not applied are passed over, so that it may be repeated.

    Returns:
        The names that were reverted, in that order.

    Raises:
        NoWayBack: One of them has no down file; nothing was run.
        MigrationFailed: A down file failed and left nothing.
        OutcomeUnknown: An answer was lost and the database can't be asked.
    """
    raise NotImplementedError
