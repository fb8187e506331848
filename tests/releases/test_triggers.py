"""Triggers as values: what differs, and the way back from it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clodo.releases.triggers import Consumer, Domain, Route, Triggers

zones = st.sampled_from(["zone-a", "zone-b"])
patterns = st.sampled_from(["a.example/*", "b.example/*", "c.example/x"])
routes = st.sets(st.builds(Route, patterns, zones)).map(sorted).map(tuple)
domains = st.sets(st.builds(Domain, st.sampled_from(["a.example", "b.example"]), zones)).map(sorted).map(tuple)
schedules = st.sets(st.sampled_from(["0 * * * *", "5 4 * * *"])).map(sorted).map(tuple)
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
    max_leaves=4,
)
settings = st.dictionaries(st.sampled_from(["observability", "logpush", "tail_consumers"]), values)
consumers = st.dictionaries(st.sampled_from(["orders", "mails"]), st.integers(0, 2)).map(
    lambda retries: tuple(sorted(Consumer(queue, max_retries=count) for queue, count in retries.items()))
)

wishes = st.builds(
    Triggers,
    st.none() | routes,
    st.none() | domains,
    st.none() | schedules,
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    settings,
    st.none() | consumers,
)
observations = st.builds(Triggers, routes, domains, schedules, st.booleans(), st.booleans(), settings, consumers)
PARTS = ("routes", "domains", "schedules", "workers_dev", "previews", "consumers")


def applied(change: Triggers, to: Triggers) -> Triggers:
    """What Cloudflare reports once *change* was written: None touches nothing; a setting of None is taken away."""
    kept: dict[str, Any] = {**to.settings, **change.settings}
    return Triggers(
        **{part: getattr(to, part) if getattr(change, part) is None else getattr(change, part) for part in PARTS},
        settings={name: value for name, value in kept.items() if value is not None},
    )


@given(wishes, observations)
def test_writing_what_differs_leaves_nothing_to_write(wanted, observed):
    """Once the difference is written, the wish no longer differs from what is observed."""
    change = wanted.wanted_over(observed)

    assert wanted.wanted_over(applied(change, observed)).is_empty


@given(wishes, observations)
def test_the_way_back_restores_what_was_touched_and_touches_nothing_else(wanted, observed):
    """A change and then its way back end where they began."""
    observed = applied(Triggers(), observed)
    change = wanted.wanted_over(observed)

    back = observed.restricted_to(change)

    assert applied(back, applied(change, observed)) == observed
    for part in PARTS:
        assert (getattr(back, part) is None) == (getattr(change, part) is None)
    assert back.settings.keys() == change.settings.keys()


@given(wishes, observations)
def test_a_change_is_taken_back_wherever_it_was_cut_off(wanted, before):
    """Written whole, in part or not at all: the way back from what is there ends where it began."""
    before = applied(Triggers(), before)
    change = wanted.wanted_over(before)
    whole = applied(change, before)
    in_part = replace(
        whole,
        routes=tuple(sorted({*(whole.routes or ()), *(before.routes or ())})),
        domains=before.domains,
        workers_dev=before.workers_dev,
    )

    for now in (whole, in_part, before):
        assert applied(before.way_back(change, now), now) == before
    assert before.way_back(change, before).is_empty


@given(wishes, observations, routes, schedules)
def test_the_way_back_keeps_what_somebody_else_added(wanted, before, more_routes, more_schedules):
    """Routes and schedules that neither the change nor what was before knows are left where they are."""
    change = wanted.wanted_over(before)
    whole = applied(change, before)
    strange_routes = set(more_routes) - {*(whole.routes or ()), *(before.routes or ())}
    strange_schedules = set(more_schedules) - {*(whole.schedules or ()), *(before.schedules or ())}
    now = replace(
        whole,
        routes=tuple(sorted({*(whole.routes or ()), *strange_routes})),
        schedules=tuple(sorted({*(whole.schedules or ()), *strange_schedules})),
    )

    after = applied(before.way_back(change, now), now)

    assert set(after.routes or ()) == {*(before.routes or ()), *strange_routes}
    assert set(after.schedules or ()) == {*(before.schedules or ()), *strange_schedules}


def test_a_queue_that_somebody_else_took_over_is_left_alone():
    """Only a consumer that still is as the change made it is put back; a queue never ends with two."""
    before = Triggers(consumers=(Consumer("mails"), Consumer("orders")))
    change = Triggers(consumers=(Consumer("mails", max_retries=1), Consumer("orders", max_retries=1)))
    now = Triggers(consumers=(Consumer("mails", max_retries=9), Consumer("orders", max_retries=1)))

    back = before.way_back(change, now)

    assert back.consumers == (Consumer("mails", max_retries=9), Consumer("orders"))


def test_a_setting_that_somebody_else_changed_is_left_alone():
    """Only a setting that still is as the change made it is taken back."""
    before = Triggers(settings={"logpush": False, "observability": {"enabled": False}})
    change = Triggers(settings={"logpush": True, "observability": {"enabled": True}})
    now = Triggers(settings={"logpush": True, "observability": {"enabled": True, "head_sampling_rate": 1}})
    theirs = Triggers(settings={"logpush": True, "observability": {"enabled": False, "head_sampling_rate": 0.1}})

    assert before.way_back(change, now) == before
    assert before.way_back(change, theirs) == Triggers(settings={"logpush": False})


@given(observations)
def test_what_is_wished_for_already_is_no_change(observed):
    """Wishing for exactly what is there asks for nothing, and nor does wishing for nothing."""
    assert observed.wanted_over(observed).is_empty
    assert Triggers().wanted_over(observed).is_empty


@given(wishes)
def test_triggers_come_back_from_json_as_they_were(triggers):
    """The journal's form of triggers, through real JSON, gives the same value."""
    assert Triggers.from_json(json.loads(json.dumps(triggers.to_json()))) == triggers


@given(wishes)
def test_every_wish_is_described(triggers):
    """There is one phrase for each part that is wished for, and none for the others."""
    wished = [part for part in PARTS if getattr(triggers, part) is not None]

    assert len(triggers.describe()) == len(wished) + len(triggers.settings)
    assert bool(triggers.describe()) != triggers.is_empty


def test_settings_that_cloudflare_filled_up_agree():
    """An object agrees when all that was wished for is in it, at any depth; lists agree item by item."""
    wish = Triggers(settings={"observability": {"enabled": True, "logs": {"enabled": True}}})
    filled = {"enabled": True, "head_sampling_rate": 1, "logs": {"enabled": True, "invocation_logs": True}}
    consumers = Triggers(settings={"tail_consumers": [{"service": "logs"}]})

    assert wish.wanted_over(Triggers(settings={"observability": filled})).is_empty
    assert not wish.wanted_over(Triggers(settings={"observability": {**filled, "enabled": False}})).is_empty
    assert consumers.wanted_over(Triggers(settings={"tail_consumers": [{"service": "logs", "x": 1}]})).is_empty
    assert not consumers.wanted_over(Triggers(settings={"tail_consumers": []})).is_empty
