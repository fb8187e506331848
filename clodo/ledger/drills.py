"""Drills: when a snapshot was last restored to see whether it can be, and how long that took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select

from clodo.ledger.clocks import to_text
from clodo.ledger.database import Database
from clodo.ledger.schema import drills as table


@dataclass(frozen=True, slots=True)
class DrillRecord:
    """
    What the ledger remembers of a drill.

    Attributes:
        at: When it began, UTC.

        is_good: Everything came back and was as in the manifest.

        rto_seconds: From the start to the last comparison: how long a restore takes.

        rpo_seconds: How old the snapshot was: how much a restore would have lost.

        items: Rows and keys that were compared.

        problem: What went wrong; None when nothing did.
    """

    id: str
    portfolio: str
    snapshot: str
    vault: str
    at: datetime
    is_good: bool
    rto_seconds: float
    rpo_seconds: float
    items: int
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return asdict(self) | {"at": to_text(self.at)}

    @property
    def rto(self) -> timedelta:
        """How long a restore takes."""
        return timedelta(seconds=self.rto_seconds)

    @property
    def rpo(self) -> timedelta:
        """How much a restore would have lost."""
        return timedelta(seconds=self.rpo_seconds)


class Drills:
    """The drills of all portfolios."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: DrillRecord) -> None:
        """Remember a drill."""
        with self._database.write() as connection:
            connection.execute(
                insert(table).values({field.name: getattr(record, field.name) for field in fields(record)})
            )

    def latest(self, portfolio: str, *, limit: int = 20) -> Sequence[DrillRecord]:
        """Return the last drills of a portfolio, oldest first."""
        query = select(table).where(table.c.portfolio == portfolio).order_by(table.c.at.desc(), table.c.id.desc())
        with self._database.read() as connection:
            found = [DrillRecord(**row._mapping) for row in connection.execute(query.limit(limit))]
        return found[::-1]
