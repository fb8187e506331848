"""Cron expressions as Cron Triggers read them: five fields in UTC, with Quartz's L, W and #."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from clodo.errors import BadUsage

_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), start=1)}
#: A fifth Friday in February comes every 28 years, or 40 across a year like 2100 that leaps no day.
_MAX_YEARS = 41

_ITEM = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?\Z", re.ASCII)
_LAST = re.compile(r"L(?:-(?P<offset>\d+))?(?P<weekday>W)?\Z", re.ASCII)
_NEAREST = re.compile(r"(?P<day>\d+)W\Z", re.ASCII)
_NTH = re.compile(r"(?P<day>\w+)(?:#(?P<nth>\d+)|(?P<last>L))\Z", re.ASCII)

Days = Callable[[int, int], set[int]]
"""Returns the days of a month, given year and month, that a field allows."""


class CronInvalid(BadUsage):
    """Not a cron expression that Cloudflare takes."""


@dataclass(frozen=True, slots=True)
class Cron:
    """
    A schedule.

    Attributes:
        days, weekdays: None for ``*``. With both, a day that either allows is a day of the schedule.

    Source:
        https://developers.cloudflare.com/workers/configuration/cron-triggers/ and the behaviour of
        https://github.com/cloudflare/saffron, Cloudflare's own parser: weekdays count from 1, Sunday; ranges may wrap.
    """

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    days: Days | None
    weekdays: Days | None

    @classmethod
    def parse(cls, text: str) -> Cron:
        """
        Read *text*.

        Raises:
            CronInvalid: It is none; the message says which field.
        """
        fields = text.split(" ")
        fields = [field for field in fields if field]
        if len(fields) != 5 or not text.isascii():
            raise CronInvalid(f"{text[:100]!r} has {len(fields)} fields, not 5")
        minutes, hours, days, months, weekdays = fields
        return cls(
            " ".join(fields),
            _numbers(minutes, "minute", 0, 59),
            _numbers(hours, "hour", 0, 23),
            _numbers(months, "month", 1, 12, _MONTHS),
            _days_of_month(days),
            _days_of_week(weekdays),
        )

    def matches(self, moment: datetime) -> bool:
        """Say whether the minute of *moment* is one of the schedule."""
        moment = moment.astimezone(UTC)
        return (
            moment.minute in self.minutes
            and moment.hour in self.hours
            and moment.month in self.months
            and moment.day in self._days(moment.year, moment.month)
        )

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first minute of the schedule after that of *moment*; None if there never is one."""
        start = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        year, month = start.year, start.month
        for _ in range(_MAX_YEARS * 12):
            if month in self.months:
                for day in sorted(self._days(year, month)):
                    for hour in sorted(self.hours):
                        for minute in sorted(self.minutes):
                            found = datetime(year, month, day, hour, minute, tzinfo=UTC)
                            if found >= start:
                                return found
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        return None

    def _days(self, year: int, month: int) -> set[int]:
        if self.days is None and self.weekdays is None:
            return set(range(1, _length(year, month) + 1))
        found: set[int] = set()
        for rule in (self.days, self.weekdays):
            if rule is not None:
                found |= rule(year, month)
        return found


def _numbers(field: str, what: str, low: int, high: int, names: Mapping[str, int] | None = None) -> frozenset[int]:
    """Return what a field of values, ranges and steps allows."""
    found: set[int] = set()
    items = field.split(",")
    for item in items:
        read = _ITEM.match(item)
        if read is None or (read["first"] == "*" and (read["last"] or (not read["step"] and len(items) > 1))):
            raise CronInvalid(f"{item[:100]!r} is no {what}")
        first = low if read["first"] == "*" else _number(read["first"], what, low, high, names)
        if read["last"]:
            last = _number(read["last"], what, low, high, names)
        else:
            last = high if read["step"] or read["first"] == "*" else first
        step = _number(read["step"], f"step of {what}s", 1, high) if read["step"] else 1
        # FRI-MON goes around the end.
        span = range(first, last + 1) if first <= last else [*range(first, high + 1), *range(low, last + 1)]
        found.update(span[::step])
    return frozenset(found)


def _number(text: str, what: str, low: int, high: int, names: Mapping[str, int] | None = None) -> int:
    if names is not None and text.upper() in names:
        return names[text.upper()]
    if not text.isdigit() or not low <= int(text[:9]) <= high:
        raise CronInvalid(f"{text[:100]!r} is no {what}: {low} to {high}")
    return int(text)


def _days_of_month(field: str) -> Days | None:
    if field == "*":
        return None
    if (read := _LAST.match(field)) is not None:
        offset = _number(read["offset"], "offset", 1, 30) if read["offset"] else 0
        if read["weekday"]:
            return lambda year, month: _nearest_weekday(year, month, _length(year, month) - offset)
        return lambda year, month: {day for day in (_length(year, month) - offset,) if day > 0}
    if (read := _NEAREST.match(field)) is not None:
        wanted = _number(read["day"], "day of the month", 1, 31)
        return lambda year, month: _nearest_weekday(year, month, wanted)
    numbers = _numbers(field, "day of the month", 1, 31)
    return lambda year, month: {day for day in numbers if day <= _length(year, month)}


def _days_of_week(field: str) -> Days | None:
    if field == "*":
        return None
    if field == "L":
        return _on_weekdays(frozenset((7,)))
    if (read := _NTH.match(field)) is not None:
        wanted = _number(read["day"], "day of the week", 1, 7, _WEEKDAYS)
        if read["last"]:
            return lambda year, month: {max(_on_weekdays(frozenset((wanted,)))(year, month))}
        nth = _number(read["nth"], "week of the month", 1, 5)
        return lambda year, month: {
            day for day in _on_weekdays(frozenset((wanted,)))(year, month) if (day - 1) // 7 + 1 == nth
        }
    return _on_weekdays(_numbers(field, "day of the week", 1, 7, _WEEKDAYS))


def _on_weekdays(numbers: frozenset[int]) -> Days:
    return lambda year, month: {
        day for day in range(1, _length(year, month) + 1) if date(year, month, day).isoweekday() % 7 + 1 in numbers
    }


def _nearest_weekday(year: int, month: int, day: int) -> set[int]:
    """Return the Monday to Friday that is nearest to *day* in the same month; nothing if the month has no such day."""
    length = _length(year, month)
    if not 1 <= day <= length:
        return set()
    weekday = date(year, month, day).weekday()
    if weekday == calendar.SATURDAY:
        return {day - 1 if day > 1 else day + 2}
    if weekday == calendar.SUNDAY:
        return {day + 1 if day < length else day - 2}
    return {day}


def _length(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]
