"""The audit trail: who did what to what, in a chain of hashes that shows a changed, removed or added row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import String, insert, select, type_coerce, update

from clodo.ledger.clocks import to_text
from clodo.ledger.database import Database
from clodo.ledger.schema import audit, audit_head, canonical

FIRST_HASH = "0" * 64
"""What the first row follows from."""

PAGES = {"yield_per": 500}


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

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, actor: str, action: str, subject: str, detail: Mapping[str, Any] | None = None) -> AuditRow:
        """
        Add a row at the end of the chain, durably.

        Raises:
            BadUsage: *detail* is not JSON or too large.
        """
        text = canonical(detail, what=f"detail of {action}")
        with self._database.write() as connection:
            head = connection.execute(select(audit_head).where(audit_head.c.id == 1).with_for_update()).one()
            at = self._database.now(connection)
            values = {
                "sequence": head.sequence + 1,
                "at": at,
                "actor": actor,
                "action": action,
                "subject": subject,
                "detail": text,
                "previous_hash": head.hash,
            }
            values["hash"] = _hash(values)
            connection.execute(insert(audit).values(values))
            connection.execute(
                update(audit_head).where(audit_head.c.id == 1).values(sequence=values["sequence"], hash=values["hash"])
            )
        return AuditRow(**values | {"detail": json.loads(text)})

    def list(self, *, subject: str | None = None, limit: int = 100) -> Sequence[AuditRow]:
        """List rows, newest first."""
        query = select(audit).order_by(audit.c.sequence.desc()).limit(limit)
        if subject is not None:
            query = query.where(audit.c.subject == subject)
        with self._database.read() as connection:
            return [
                AuditRow(**dict(row._mapping) | {"detail": json.loads(row.detail)}) for row in connection.execute(query)
            ]

    def verify(self) -> BrokenRow | None:
        """Walk the whole chain; return the first row that doesn't hold, None when all do."""
        with self._database.read() as connection:
            head = connection.execute(select(audit_head).where(audit_head.c.id == 1)).one_or_none()
            if head is None:
                return BrokenRow(0, "the head of the chain is gone")
            previous = FIRST_HASH
            expected = 1
            # The date as its text: one that was tampered with need not be a date.
            columns = [
                type_coerce(column, String).label("at") if column is audit.c.at else column for column in audit.c
            ]
            for row in connection.execute(select(*columns).order_by(audit.c.sequence), execution_options=PAGES):
                if row.sequence > head.sequence:
                    return BrokenRow(row.sequence, f"row {row.sequence} was added by a foreign hand")
                if row.sequence != expected:
                    return BrokenRow(expected, f"row {expected} is gone; the next one is {row.sequence}")
                if row.previous_hash != previous:
                    return BrokenRow(expected, f"row {expected} doesn't follow from the row before it")
                if row.hash != _hash(dict(row._mapping)):
                    return BrokenRow(expected, f"row {expected} was changed after it was written")
                previous, expected = row.hash, expected + 1
            if expected != head.sequence + 1:
                return BrokenRow(expected, f"row {expected} is gone, and every row after it up to {head.sequence}")
            if previous != head.hash:
                return BrokenRow(head.sequence, f"row {head.sequence} is not the one the chain ends with")
        return None


def _hash(values: Mapping[str, Any]) -> str:
    row = {name: values[name] for name in ("sequence", "actor", "action", "subject", "detail")}
    row["at"] = values["at"] if isinstance(values["at"], str) else to_text(values["at"])
    text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{values['previous_hash']}\n{text}".encode()).hexdigest()
