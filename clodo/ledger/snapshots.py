"""Which snapshots there are and what is known of them: an index, for the vaults have the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import delete, select, update

from clodo.ledger.database import Database, insert_unless_there
from clodo.ledger.schema import snapshots as table


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """
    What the ledger remembers of a snapshot in a vault.

    Attributes:
        id, vault: Which, and where.

        created_at: When it was begun, UTC.

        is_good: Everything was in it, each database as it was at one moment.

        is_whole: The whole portfolio was asked for, not some of its targets or kinds.

        exactness: exact or fuzzy.

        size, own_size: Bytes of all its archives, and of those that it brought itself.

        archives, missing: How many.

        verified_at, verified_level: The last verification that passed, and how deep it went; None before the first.

        found_wrong: What the last verification that failed said; None when the last one passed.
    """

    id: str
    vault: str
    portfolio: str
    created_at: datetime
    seconds: float
    is_good: bool
    exactness: str
    size: int
    own_size: int
    archives: int
    missing: int
    verified_at: datetime | None = None
    verified_level: str | None = None
    found_wrong: str | None = None
    is_whole: bool = True


class Snapshots:
    """The index of snapshots."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: SnapshotRecord) -> None:
        """Remember a snapshot; one that is known already stays as it is."""
        values = {field.name: getattr(record, field.name) for field in fields(record)}
        with self._database.write() as connection:
            connection.execute(insert_unless_there(connection, table).values(values))

    def verified(self, snapshot: str, vault: str, at: datetime, level: str) -> None:
        """Note that a verification passed."""
        self._set(snapshot, vault, verified_at=at, verified_level=level, found_wrong=None)

    def failed(self, snapshot: str, vault: str, what: str) -> None:
        """Note what a verification found wrong."""
        self._set(snapshot, vault, found_wrong=what)

    def forget(self, snapshot: str, vault: str) -> None:
        """Forget a snapshot that was pruned."""
        with self._database.write() as connection:
            connection.execute(delete(table).where(table.c.id == snapshot, table.c.vault == vault))

    def all(self, *, portfolio: str | None = None, vault: str | None = None) -> Sequence[SnapshotRecord]:
        """Return what is known, oldest first."""
        query = select(table).order_by(table.c.id, table.c.vault)
        if portfolio is not None:
            query = query.where(table.c.portfolio == portfolio)
        if vault is not None:
            query = query.where(table.c.vault == vault)
        with self._database.read() as connection:
            return [SnapshotRecord(**row._mapping) for row in connection.execute(query)]

    def _set(self, snapshot: str, vault: str, **values: object) -> None:
        with self._database.write() as connection:
            connection.execute(update(table).where(table.c.id == snapshot, table.c.vault == vault).values(values))
