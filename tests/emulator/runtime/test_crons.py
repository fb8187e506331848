"""Cron expressions by Cloudflare's rules, and the clock that fires them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.emulator.runtime.crons import Cron, CronInvalid
from clodo.emulator.runtime.ports import WorkerdUnavailable
from clodo.emulator.runtime.schedules import MAX_LATE, ScheduleClock, Trigger

START = datetime(2026, 11, 20, 12, 30, 10, tzinfo=UTC)  # a Friday


@pytest.mark.parametrize(
    ("text", "following"),
    [
        ("* * * * *", "2026-11-20 12:31"),
        ("*/30 * * * *", "2026-11-20 13:00"),
        ("30 12 * * *", "2026-11-21 12:30"),
        ("0 15 1 * *", "2026-12-01 15:00"),
        ("0 17 * * sun", "2026-11-22 17:00"),
        ("0 17 * * 1", "2026-11-22 17:00"),
        ("10 7 * * mon-fri", "2026-11-23 07:10"),
        ("59 23 LW * *", "2026-11-30 23:59"),
        ("0 0 LW FEB *", "2027-02-26 00:00"),
        ("0 0 L * *", "2026-11-30 00:00"),
        ("0 0 L-3 * *", "2026-11-27 00:00"),
        ("0 0 L-1W * *", "2026-11-30 00:00"),
        ("0 0 28W * *", "2026-11-27 00:00"),
        ("0 0 22W * *", "2026-11-23 00:00"),
        ("0 0 1W 5 *", "2027-05-03 00:00"),
        ("0 0 31W 1 *", "2027-01-29 00:00"),
        ("0 0 * * L", "2026-11-21 00:00"),
        ("0 0 * * FRIL", "2026-11-27 00:00"),
        ("0 0 * * 2#1", "2026-12-07 00:00"),
        ("0 0 * * SUN#5", "2026-11-29 00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 0 13 * 6", "2026-11-27 00:00"),
        ("0 22-2/2 * * *", "2026-11-20 22:00"),
        ("0 0 * * FRI-MON", "2026-11-21 00:00"),
        ("5,10-12,*/30 13 * * *", "2026-11-20 13:00"),
        ("40/10 12 * * *", "2026-11-20 12:40"),
        ("0 0 31 2 *", None),
    ],
)
def test_the_next_time_is_the_one_that_cloudflare_takes(text: str, following: str | None) -> None:
    """Fields, names, ranges that wrap, steps, and Quartz's L, W and # mean what they mean at Cloudflare."""
    found = Cron.parse(text).next_after(START)

    assert (found and found.strftime("%Y-%m-%d %H:%M")) == following


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 0",
        "* * * * 8",
        "* * * JANUARY *",
        "*/0 * * * *",
        "*/61 * * * *",
        "1- * * * *",
        "1,,2 * * * *",
        "*,5 * * * *",
        "-1 * * * *",
        "* * W * *",
        "* * L-31 * *",
        "* * 32W * *",
        "* * * * 2#6",
        "* * * * 2#0",
        "* * * * #2",
        "* * ? * *",
        "@daily",
        "٣ * * * *",
        "* * * * FRYL",
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    """Wrong counts, numbers out of bounds and unknown words are refused."""
    with pytest.raises(CronInvalid):
        Cron.parse(text)


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> tuple[str, set[int]]:
    """Draw a field and, worked out from how it was made, the numbers that it allows."""
    texts, allowed = [], set()
    for _ in range(draw(st.integers(1, 3))):
        first, last = draw(st.integers(low, high)), draw(st.integers(low, high))
        step = draw(st.integers(1, high))
        around = [(first + offset - low) % (high - low + 1) + low for offset in range(high - low + 1)]
        up_to_last = around[: around.index(last) + 1]
        match draw(st.sampled_from(["one", "range", "range/step", "from/step", "*/step"])):
            case "one":
                texts.append(f"{first}")
                allowed.add(first)
            case "range":
                texts.append(f"{first}-{last}")
                allowed.update(up_to_last)
            case "range/step":
                texts.append(f"{first}-{last}/{step}")
                allowed.update(up_to_last[::step])
            case "from/step":
                texts.append(f"{first}/{step}")
                allowed.update(range(first, high + 1, step))
            case "*/step":
                texts.append(f"*/{step}")
                allowed.update(range(low, high + 1, step))
    return ",".join(texts), allowed


@settings(max_examples=60, deadline=None)
@given(
    minutes=fields(0, 59),
    hours=fields(0, 23),
    months=fields(1, 12),
    weekdays=fields(1, 7),
    moment=st.datetimes(datetime(2024, 1, 1), datetime(2031, 1, 1)),
    gap=st.integers(0, 10**9),
)
def test_a_schedule_is_what_its_fields_allow(
    minutes: tuple[str, set[int]],
    hours: tuple[str, set[int]],
    months: tuple[str, set[int]],
    weekdays: tuple[str, set[int]],
    moment: datetime,
    gap: int,
) -> None:
    """A minute matches when every field allows it; the next one matches, and none between now and then."""
    cron = Cron.parse(f"{minutes[0]} {hours[0]} * {months[0]} {weekdays[0]}")
    moment = moment.replace(tzinfo=UTC)

    def is_allowed(at: datetime) -> bool:
        return (
            at.minute in minutes[1]
            and at.hour in hours[1]
            and at.month in months[1]
            and at.isoweekday() % 7 + 1 in weekdays[1]
        )

    following = cron.next_after(moment)
    assert following is not None
    assert moment < following
    assert cron.matches(following)
    assert is_allowed(following)
    between = moment + timedelta(seconds=gap) % max(following - moment, timedelta(minutes=1))
    assert cron.matches(between) == is_allowed(between)
    if between.replace(second=0, microsecond=0) not in (moment.replace(second=0, microsecond=0), following):
        assert not is_allowed(between)


class Workers:
    """Stands for the Workers: writes down what it was told to run, on a clock of its own."""

    def __init__(self, *crons: str) -> None:
        self.now = START
        self.ran: list[tuple[str, str]] = []
        self.fails = False
        self.crons = list(crons)
        self.clock = ScheduleClock(
            lambda: [Trigger("account", "shop", cron) for cron in self.crons], self.fire, lambda: self.now
        )

    async def fire(self, account_id: str, script: str, cron: str, minute: datetime) -> Mapping[str, Any]:
        self.ran.append((cron, minute.strftime("%H:%M")))
        if self.fails:
            raise WorkerdUnavailable("not deployed")
        return {"outcome": "ok"}

    async def pass_time(self, **time: float) -> None:
        self.now += timedelta(**time)
        self.clock.fire_due()
        await self.clock.settled()


async def test_the_clock_fires_each_schedule_once_a_minute() -> None:
    """A schedule runs in each of its minutes, once, however often the clock looks, and also after a failure."""
    workers = Workers("*/2 * * * *", "33 * * * *", "nonsense of an older cloud")
    for _ in range(4):
        await workers.pass_time(seconds=10)
    early = list(workers.ran)
    workers.fails = True
    await workers.pass_time(seconds=80)
    await workers.pass_time(minutes=2)

    assert early == []
    assert workers.ran == [("*/2 * * * *", "12:32"), ("33 * * * *", "12:33"), ("*/2 * * * *", "12:34")]


async def test_a_long_sleep_is_not_made_up_for() -> None:
    """After hours of sleep only the last minutes are run."""
    workers = Workers("* * * * *")
    await workers.pass_time(hours=9)

    assert len(workers.ran) == MAX_LATE / timedelta(minutes=1)
    assert workers.ran[-1] == ("* * * * *", "21:30")
