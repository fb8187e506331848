"""What a target needs, what is kept for it, and what its Worker has: compared by name and keyed fingerprint."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clodo.ledger.fingerprints import is_comparable


class Comparison(StrEnum):
    """How the Worker's secret stands to the one that is kept."""

    SAME = "same"
    STALE = "stale"
    MISSING = "missing"
    NOT_KEPT = "not kept"
    EXTRA = "extra"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Compared:
    """
    One secret of a target.

    Attributes:
        comparison: SAME: the last release brought the value that is kept. STALE: it brought another. MISSING: the
            Worker lacks it. NOT_KEPT: it is needed, and nobody keeps it. EXTRA: only the Worker has it. UNKNOWN: the
            Worker has one, and nothing tells which.

        twins: Targets of other environments that keep the same value.
    """

    name: str
    comparison: Comparison
    twins: tuple[str, ...] = ()

    @property
    def is_difference(self) -> bool:
        """Whether somebody should look at it."""
        return self.comparison is not Comparison.SAME or bool(self.twins)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {"name": self.name, "comparison": self.comparison.value, "same_as": list(self.twins)}


def compare(
    *,
    needed: Collection[str],
    kept: Mapping[str, str],
    on_worker: Collection[str],
    brought: Mapping[str, str],
    twins: Mapping[str, tuple[str, ...]],
) -> tuple[Compared, ...]:
    """
    Return how each secret stands, by name.

    Args:
        needed: Names that the service needs.

        kept: Name to fingerprint of what is kept.

        on_worker: Names that the live Worker has.

        brought: Name to fingerprint of what the last release brought, as far as it is known.

        twins: Name to the targets of other environments with the same value.
    """
    names = sorted({*needed, *kept, *on_worker})
    return tuple(Compared(name, _compare(name, kept, on_worker, brought), twins.get(name, ())) for name in names)


def _compare(name: str, kept: Mapping[str, str], on_worker: Collection[str], brought: Mapping[str, str]) -> Comparison:
    if name not in kept:
        return Comparison.EXTRA if name in on_worker else Comparison.NOT_KEPT
    if name not in on_worker:
        return Comparison.MISSING
    known = brought.get(name, "")
    if not known or not is_comparable(known, kept[name]):
        return Comparison.UNKNOWN
    return Comparison.SAME if known == kept[name] else Comparison.STALE
