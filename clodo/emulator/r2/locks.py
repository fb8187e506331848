"""Bucket locks: objects that may be neither overwritten nor deleted for a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from clodo.emulator.r2.errors import OBJECT_LOCKED, R2Refused
from clodo.emulator.r2.records import StoredObject


def raise_if_locked(rules: Sequence[Mapping[str, Any]], found: StoredObject | None, now: float) -> None:
    """
    Refuse to touch an object that a rule holds.

    Args:
        rules: As they are put through the API: prefix, enabled, and a condition by age, by date, or for ever.

        now: Seconds since 1970.

    Raises:
        R2Refused: 403, 10069.

    Source:
        https://developers.cloudflare.com/r2/buckets/bucket-locks/
    """
    if found is not None and is_locked(rules, found, now):
        raise R2Refused(OBJECT_LOCKED)


def is_locked(rules: Sequence[Mapping[str, Any]], found: StoredObject, now: float) -> bool:
    """Say whether a rule holds an object at this moment."""
    return any(
        rule.get("enabled") and found.key.startswith(rule.get("prefix") or "") and _holds(rule, found, now)
        for rule in rules
    )


def _holds(rule: Mapping[str, Any], found: StoredObject, now: float) -> bool:
    condition = rule["condition"]
    match condition["type"]:
        case "Age":
            return bool(now < found.uploaded / 1000 + condition["maxAgeSeconds"])
        case "Date":
            until = datetime.fromisoformat(condition["date"])
            return now < (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp()
        case _:
            return True
