"""Which snapshots stay: the newest, and the newest of each hour, day, week, month and year; a pure function."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class Rules(Protocol):
    """How many stay of each kind."""

    @property
    def last(self) -> int:
        """The newest."""
        ...

    @property
    def hourly(self) -> int:
        """Newest of an hour."""
        ...

    @property
    def daily(self) -> int:
        """Newest of a day."""
        ...

    @property
    def weekly(self) -> int:
        """Newest of a week, from Monday."""
        ...

    @property
    def monthly(self) -> int:
        """Newest of a month."""
        ...

    @property
    def yearly(self) -> int:
        """Newest of a year."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """
    A snapshot as retention sees it.

    Attributes:
        created_at: UTC.

        is_good: Whole, and not found wrong since.
    """

    id: str
    created_at: datetime
    is_good: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a snapshot stays, and why: the reasons are empty for one that goes."""

    snapshot: Kept
    reasons: tuple[str, ...]

    @property
    def stays(self) -> bool:
        """Does it stay?"""
        return bool(self.reasons)


# As restic counts: only periods that have a snapshot count, so that a week without backups shortens nothing.
_PERIODS: tuple[tuple[str, Callable[[datetime], tuple[int, ...]]], ...] = (
    ("hourly", lambda moment: (moment.year, moment.month, moment.day, moment.hour)),
    ("daily", lambda moment: (moment.year, moment.month, moment.day)),
    ("weekly", lambda moment: tuple(moment.isocalendar()[:2])),
    ("monthly", lambda moment: (moment.year, moment.month)),
    ("yearly", lambda moment: (moment.year,)),
)


def decide(snapshots: Iterable[Kept], rules: Rules, *, held: Collection[str] = ()) -> list[Decision]:
    """
    Decide which of one portfolio's snapshots stay, newest first.

    Good ones count for the rules before others do: of an hour that has a good one, the newest good one stays. The
    newest good one always stays, and so do those that are *held* by a restore or a lock.
    """
    ordered = sorted(snapshots, key=lambda item: (item.created_at, item.id), reverse=True)
    reasons: dict[str, list[str]] = {item.id: [] for item in ordered}
    for item in ordered[: rules.last]:
        reasons[item.id].append("last")
    for name, period_of in _PERIODS:
        chosen: dict[tuple[int, ...], Kept] = {}
        for item in ordered:
            period = period_of(item.created_at)
            if period not in chosen or (item.is_good and not chosen[period].is_good):
                chosen[period] = item
        for period in sorted(chosen, reverse=True)[: getattr(rules, name)]:
            reasons[chosen[period].id].append(name)
    newest_good = next((item for item in ordered if item.is_good), None)
    if newest_good is not None:
        reasons[newest_good.id].append("newest good one")
    elif ordered:
        # None is good: then the newest is the best there is.
        reasons[ordered[0].id].append("newest, and none is good")
    for item in ordered:
        if item.id in held:
            reasons[item.id].append("held")
    return [Decision(item, tuple(reasons[item.id])) for item in ordered]
