"""Which snapshots stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.backups.retention import Kept, decide
from clodo.workspace.backup_settings import Keep

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
NONE = {"last": 0, "hourly": 0, "daily": 0, "weekly": 0, "monthly": 0, "yearly": 0}
COUNTS = st.integers(0, 5)
RULES = st.builds(Keep, last=COUNTS, hourly=COUNTS, daily=COUNTS, weekly=COUNTS, monthly=COUNTS, yearly=COUNTS)
SNAPSHOTS = st.lists(
    st.tuples(st.integers(0, 3 * 365 * 24), st.booleans()), max_size=40, unique_by=lambda item: item[0]
).map(
    lambda items: [Kept(f"s{hour:06}", BEGINNING + timedelta(hours=hour), is_good) for hour, is_good in sorted(items)]
)


def kept(decisions):
    return {item.snapshot.id for item in decisions if item.stays}


def every(step, count, **differences):
    return [
        Kept(f"s{number:03}", BEGINNING + step * number, **({"is_good": True} | differences)) for number in range(count)
    ]


def test_the_newest_of_each_day_stays_and_its_other_ones_go():
    """Six a day for four days, two days kept: the last of each of the two newest days."""
    snapshots = every(timedelta(hours=4), 24)

    decisions = decide(snapshots, Keep(**NONE | {"daily": 2}))

    assert kept(decisions) == {"s023", "s017"}
    assert decisions[0].reasons == ("daily", "newest good one")


def test_only_periods_with_a_snapshot_count():
    """A month without backups shortens nothing: seven days are seven days that have one."""
    old = every(timedelta(days=1), 10)
    new = [Kept("new", BEGINNING + timedelta(days=90), True)]

    assert kept(decide(old + new, Keep(**NONE | {"daily": 4}))) == {"new", "s009", "s008", "s007"}


def test_weeks_months_and_years_are_counted_apart():
    """Each rule keeps its own; one snapshot may be kept for several reasons."""
    snapshots = every(timedelta(days=1), 800)

    decisions = decide(snapshots, Keep(**NONE | {"weekly": 2, "monthly": 3, "yearly": 2}))

    dates = {item.snapshot.created_at.date().isoformat() for item in decisions if item.stays}
    assert dates == {"2028-03-10", "2028-03-05", "2028-02-29", "2028-01-31", "2027-12-31"}


def test_a_good_snapshot_of_a_day_goes_before_a_later_one_that_is_not():
    """A degraded evening run doesn't push out the good one of the morning."""
    morning = Kept("morning", BEGINNING, True)
    evening = Kept("evening", BEGINNING + timedelta(hours=10), False)

    assert kept(decide([morning, evening], Keep(**NONE | {"daily": 1}))) == {"morning"}


@settings(max_examples=50)
@given(SNAPSHOTS, RULES, st.data())
def test_nothing_that_is_needed_ever_goes(snapshots, rules, data):
    """Whatever the rules: the newest good one and those held stay; without a good one, the newest."""
    held = set(data.draw(st.lists(st.sampled_from([item.id for item in snapshots] or ["none"]))))

    decisions = decide(snapshots, rules, held=held)

    stays = kept(decisions)
    good = [item.id for item in snapshots if item.is_good]
    assert [item.snapshot for item in decisions] == snapshots[::-1]
    assert not snapshots or stays
    assert not good or good[-1] in stays
    assert held & {item.id for item in snapshots} <= stays
    assert {item.id for item in snapshots[len(snapshots) - rules.last :]} <= stays or rules.last > len(snapshots)


@settings(max_examples=50)
@given(SNAPSHOTS, RULES)
def test_pruning_twice_is_pruning_once(snapshots, rules):
    """What stays stays when the same rules are asked again about what is left."""
    stays = kept(decide(snapshots, rules))

    again = decide([item for item in snapshots if item.id in stays], rules)

    assert kept(again) == stays


@settings(max_examples=50)
@given(SNAPSHOTS, RULES, RULES)
def test_more_generous_rules_keep_more(snapshots, rules, more):
    """Raising every count lets nothing go that stayed before."""
    generous = Keep(**{name: getattr(rules, name) + getattr(more, name) for name in NONE})

    assert kept(decide(snapshots, rules)) <= kept(decide(snapshots, generous))
