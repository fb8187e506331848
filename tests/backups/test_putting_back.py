"""Whose an item is when a restore is taken back: decided from three states."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from clodo.backups.restoring.putting_back import Ruling, rule, side_by_side
from clodo.cloudflare.kv import Pair

STATES = some.sampled_from([None, "a", "b", "c"])
KEYS = some.lists(some.text(max_size=3), unique=True).map(lambda keys: sorted(keys, key=str.encode))


@given(STATES, STATES, STATES)
def test_nothing_is_touched_that_the_restore_did_not_bring_about(there, brought, before):
    """Only an item that is as the restore made it is changed, and then it is as before."""
    ruling = rule(there, brought, before)

    touched = ruling in (Ruling.WRITE, Ruling.REMOVE)
    assert touched == (there == brought != before)
    assert (ruling is Ruling.REMOVE) == (touched and before is None)
    assert (ruling is Ruling.LEAVE) == (there == before)


@given(KEYS, KEYS, KEYS)
def test_streams_are_read_side_by_side(one, two, three):
    """Each key comes once, in order, with what each stream has of it."""
    streams = [[Pair(key, b"") for key in keys] for keys in (one, two, three)]

    rows = list(side_by_side(*map(iter, streams)))

    assert [key for key, _ in rows] == sorted({*one, *two, *three}, key=str.encode)
    for key, row in rows:
        assert [item is not None for item in row] == [key in keys for keys in (one, two, three)]
        assert all(item is None or item.key == key for item in row)
