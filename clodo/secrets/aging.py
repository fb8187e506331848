"""How old secrets are, and which are due to be replaced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clodo.ledger.secret_records import RotationRecord, SecretRecord
    from clodo.workspace.portfolio import Rotation


@dataclass(frozen=True, slots=True)
class Aged:
    """
    A secret and its age.

    Attributes:
        made_at: Since when it has its value, as far as we saw; None when we never saw it.

        due_at: When a new one is due; None for never.

        rotation: How an open rotation stands; None without one.
    """

    target: str
    name: str
    kind: str
    made_at: datetime | None
    due_at: datetime | None
    rotation: str | None

    def is_due(self, now: datetime) -> bool:
        """Whether a new one is due, and none is on its way."""
        return self.rotation is None and self.due_at is not None and self.due_at <= now

    def to_json(self, now: datetime) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "target": self.target,
            "name": self.name,
            "kind": self.kind or None,
            "made_at": self.made_at and self.made_at.isoformat(),
            "age_days": self.made_at and (now - self.made_at).days,
            "due_at": self.due_at and self.due_at.isoformat(),
            "is_due": self.is_due(now),
            "rotation": self.rotation,
        }


def aged(
    target: str,
    name: str,
    record: SecretRecord | None,
    declared: Rotation | None,
    open_rotation: RotationRecord | None,
) -> Aged:
    """Return how old a secret is, and when a new one is due."""
    made_at = record.made_at if record else None
    due_at = None
    if made_at is not None and declared is not None and declared.every_days is not None:
        due_at = made_at + timedelta(days=declared.every_days)
    return Aged(
        target=target,
        name=name,
        kind=record.kind if record else "",
        made_at=made_at,
        due_at=due_at,
        rotation=open_rotation.state.value if open_rotation else None,
    )
