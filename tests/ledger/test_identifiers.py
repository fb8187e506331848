"""Release ids."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as some

from clodo.ledger import new_release_id
from clodo.ledger.clocks import from_text, to_text

MOMENTS = some.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(3000, 1, 1), timezones=some.just(UTC))


@given(MOMENTS, some.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=9999)))
def test_release_ids_sort_by_time(moment, later_by):
    """An id made a millisecond or more later is the greater text, whatever the randomness."""
    earlier = new_release_id(now=moment, random=lambda size: b"\xff" * size)
    later = new_release_id(now=moment + later_by, random=lambda size: b"\x00" * size)

    assert earlier < later


def test_a_release_id_fits_into_a_tag_with_a_hash():
    """Id, dot and SHA-256 in hex stay under the 100 bytes that a version's tag may have, and ids differ."""
    ids = {new_release_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert {len(f"{identifier}.{'0' * 64}".encode()) for identifier in ids} == {92}


@given(MOMENTS)
def test_moments_survive_being_written(moment):
    """A moment is read back to the microsecond."""
    assert from_text(to_text(moment)) == moment


@given(MOMENTS, MOMENTS)
def test_written_moments_sort_as_moments(one, other):
    """Comparing texts is comparing times."""
    assert (to_text(one) < to_text(other)) == (one < other)
