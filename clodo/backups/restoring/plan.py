"""What a restore would do, as values: shown first, and carried out only as it was shown."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from clodo.backups.manifest import Kind
from clodo.errors import PlanIsStale


class Way(StrEnum):
    """How a resource comes back."""

    CREATE = "create"
    """Into a resource that isn't there yet."""
    OVERWRITE = "overwrite"
    """Into the one that is there, after a safety snapshot."""
    MERGE = "merge"
    """Likewise, and what the snapshot doesn't have stays."""
    TRAVEL = "travel"
    """By Time Travel, in place, after a safety snapshot."""


@dataclass(frozen=True, slots=True)
class Wish:
    """
    What somebody wants restored.

    Attributes:
        snapshot: Its id or how that begins; the newest by default.

        only: Labels (``d1/shop``) or names; when empty, everything but zones and Workers.

        in_place: Overwrite what is there.

        table: Only this table of the one database.

        prefix: Only keys of the one namespace that begin so.

        rename: Name to new name.

        account: Block of another account to restore into.

        at: Take databases to this moment by Time Travel, instead of from a snapshot; without a time zone it is UTC.
    """

    snapshot: str | None = None
    vault: str | None = None
    only: tuple[str, ...] = ()
    in_place: bool = False
    table: str | None = None
    prefix: str | None = None
    rename: tuple[tuple[str, str], ...] = ()
    account: str | None = None
    at: datetime | None = None

    def __post_init__(self) -> None:
        """Give the moment a time zone: the Prefect UI and schedules need not."""
        if self.at is not None and self.at.tzinfo is None:
            object.__setattr__(self, "at", self.at.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Step:
    """
    One resource of a plan.

    Attributes:
        source_id: Its id in the snapshot.

        account_id: Where it is restored to.

        name: What it will be called.

        there_id: The resource that is overwritten; None for a new one.

        there: What is in it now, such as ``3 tables`` or ``12 keys``; empty for a new one.

        was_there: Whether the resource that the snapshot was taken of still exists.

        items: Rows, keys or objects that come back.

        bookmark: Where Time Travel goes, for `Way.TRAVEL`.

        seconds, requests: Estimated.

        targets: Whose bindings named the source.

        changes: Of what is merged into: each change, for a person.
    """

    kind: Kind
    way: Way
    source_id: str
    source: str
    account_id: str
    name: str
    there_id: str | None
    there: str
    was_there: bool
    items: int
    bytes: int
    seconds: float
    requests: int
    bookmark: str | None = None
    targets: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What tells it apart in a journal."""
        return f"{self.kind.value}/{self.account_id}/{self.source_id}"

    @property
    def label(self) -> str:
        """What a person calls the source: ``d1/shop``."""
        return f"{self.kind.value}/{self.source}"

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return asdict(self) | {
            "targets": list(self.targets),
            "risks": list(self.risks),
            "changes": list(self.changes),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """
    A restore that nobody has begun.

    Attributes:
        snapshot, vault: Where from; empty for a journey in time.

        taken_at: How old what comes back is.

        steps: In the order in which they are done.

        left: What the snapshot holds and this restore leaves, with the reason.
    """

    snapshot: str
    vault: str
    taken_at: datetime
    steps: tuple[Step, ...]
    table: str | None = None
    prefix: str | None = None
    left: tuple[tuple[str, str], ...] = ()

    @property
    def fingerprint(self) -> str:
        """The same for the same plan, whatever it is estimated to take."""
        document = self.to_json()
        for name in ("fingerprint", "seconds", "requests", "left"):
            del document[name]
        for step in document["steps"]:
            del step["seconds"], step["requests"], step["risks"]
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def overwrites(self) -> bool:
        """Is anything overwritten that is there?"""
        return any(step.way is not Way.CREATE for step in self.steps)

    def raise_if_stale(self, approved: str | None) -> None:
        """
        Compare it with the plan that somebody saw.

        Raises:
            PlanIsStale: It is another one by now.
        """
        if approved is not None and approved != self.fingerprint:
            raise PlanIsStale(
                f"The restore would do something else than the plan {approved} said; nothing was done",
                hint="Run `clodo backup restore` again and approve what it shows.",
            )

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "fingerprint": "",
            "snapshot": self.snapshot,
            "vault": self.vault,
            "taken_at": self.taken_at.isoformat(),
            "table": self.table,
            "prefix": self.prefix,
            "steps": [step.to_json() for step in self.steps],
            "seconds": round(sum(step.seconds for step in self.steps), 1),
            "requests": sum(step.requests for step in self.steps),
            "left": [{"archive": label, "why": why} for label, why in self.left],
        }

    def described(self) -> dict[str, Any]:
        """Return it for scripts, with its fingerprint."""
        return self.to_json() | {"fingerprint": self.fingerprint}
