"""What differs between two configurations, as values."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clodo.workspace.effective_values import Value

ABSENT = "(absent)"
FINGERPRINT = "fingerprint"


@dataclass(frozen=True, slots=True)
class Difference:
    """
    One path at which two configurations differ.

    Attributes:
        before, after: None where one of the two has no such value.
    """

    path: str
    before: Value | None
    after: Value | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; secret values are masked."""
        return {
            "path": self.path,
            "before": None if self.before is None else self.before.shown,
            "after": None if self.after is None else self.after.shown,
            "before_place": None if self.before is None else self.before.place,
            "after_place": None if self.after is None else self.after.place,
        }


def differences(
    before: Iterable[Value],
    after: Iterable[Value],
    *,
    fingerprint: Callable[[str], str] | None = None,
    only: Callable[[str], bool] = lambda path: True,
) -> tuple[Difference, ...]:
    """
    Return the paths at which *before* and *after* differ, sorted.

    Args:
        fingerprint: Keyed fingerprint of a secret value, to compare one with what `content_of` kept of another.

        only: Which paths count.
    """
    old = {value.path: value for value in before if only(value.path)}
    new = {value.path: value for value in after if only(value.path)}
    return tuple(
        Difference(path, old.get(path), new.get(path))
        for path in sorted({*old, *new})
        if not _is_same(old.get(path), new.get(path), fingerprint)
    )


def content_of(values: Iterable[Value], fingerprint: Callable[[str], str]) -> dict[str, Any]:
    """Return *values* as what may be kept: path to value, of a secret one only its keyed fingerprint."""
    return {
        value.path: {FINGERPRINT: fingerprint(str(value.value))} if value.is_secret else value.shown for value in values
    }


def values_of_content(content: Mapping[str, Any], place: str) -> tuple[Value, ...]:
    """Read what `content_of` wrote; *place* stands in for the lines of files that have changed since."""
    return tuple(
        Value(path, value, place, isinstance(value, Mapping) and set(value) == {FINGERPRINT})
        for path, value in sorted(content.items())
    )


def _is_same(one: Value | None, other: Value | None, fingerprint: Callable[[str], str] | None) -> bool:
    if one is None or other is None:
        return False
    first, second = _comparable(one, fingerprint), _comparable(other, fingerprint)
    if isinstance(first, str) and isinstance(second, str):
        return hmac.compare_digest(first.encode(), second.encode())
    return bool(first == second)


def _comparable(value: Value, fingerprint: Callable[[str], str] | None) -> Any:
    if not value.is_secret:
        return value.value
    if isinstance(value.value, Mapping):
        return value.value[FINGERPRINT]
    return fingerprint(str(value.value)) if fingerprint is not None else str(value.value)
