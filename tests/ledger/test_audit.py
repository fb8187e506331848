"""The audit trail."""

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from clodo.errors import BadUsage
from clodo.ledger import Ledger

ADD_A_ROW = """
INSERT INTO clodo_audit SELECT 6, at, actor, action, subject, detail, hash, hash FROM clodo_audit WHERE sequence = 5
"""


def fill(ledger, count=5):
    return [ledger.audit.append("mia", "deploy", f"api-{number}", {"n": number}) for number in range(1, count + 1)]


def test_an_untouched_trail_is_whole(ledger):
    """Rows are numbered without gaps, chained, listed newest first, and verify."""
    assert ledger.audit.verify() is None

    rows = fill(ledger)

    assert [row.sequence for row in rows] == [1, 2, 3, 4, 5]
    assert [row.previous_hash for row in rows[1:]] == [row.hash for row in rows[:-1]]
    assert ledger.audit.list() == rows[::-1]
    assert ledger.audit.list(subject="api-2") == [rows[1]]
    assert ledger.audit.verify() is None


@pytest.mark.parametrize(
    ("tampering", "sequence", "problem"),
    [
        ("UPDATE clodo_audit SET actor = 'eve' WHERE sequence = 3", 3, "changed"),
        ("UPDATE clodo_audit SET detail = '{}' WHERE sequence = 1", 1, "changed"),
        ("UPDATE clodo_audit SET at = 'yesterday' WHERE sequence = 2", 2, "changed"),
        ("UPDATE clodo_audit SET hash = previous_hash WHERE sequence = 5", 5, "changed"),
        ("UPDATE clodo_audit SET previous_hash = hash WHERE sequence = 4", 4, "follow"),
        ("DELETE FROM clodo_audit WHERE sequence = 3", 3, "gone"),
        ("DELETE FROM clodo_audit WHERE sequence = 1", 1, "gone"),
        ("DELETE FROM clodo_audit WHERE sequence = 5", 5, "gone"),
        ("DELETE FROM clodo_audit WHERE sequence > 2", 3, "gone"),
        ("DELETE FROM clodo_audit", 1, "gone"),
        ("UPDATE clodo_audit SET sequence = 9 WHERE sequence = 5", 9, "foreign"),
        (ADD_A_ROW, 6, "foreign"),
        ("UPDATE clodo_audit_head SET hash = 'x'", 5, "ends"),
        ("DELETE FROM clodo_audit_head", 0, "head"),
    ],
)  # fmt: skip
def test_tampering_is_found_at_its_first_row(ledger, query, tampering, sequence, problem):
    """A row that was changed, removed or added behind the ledger's back is named."""
    fill(ledger)
    query(tampering)

    broken = ledger.audit.verify()

    assert broken is not None
    assert broken.sequence == sequence
    assert problem in broken.problem


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=some.tuples(*[some.text(some.characters(exclude_characters="\x00", exclude_categories=["Cs"]))] * 3),
    detail=some.dictionaries(
        some.text(some.characters(exclude_categories=["Cs"])),
        some.recursive(
            some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False)
            | some.text(some.characters(exclude_categories=["Cs"])),
            some.lists,
            max_leaves=5,
        ),
        max_size=4,
    ),
)  # fmt: skip
def test_any_words_and_details_verify(ledger, words, detail):
    """Whatever the words and the JSON, the row reads back as written and the chain holds."""
    row = ledger.audit.append(*words, detail)

    assert ledger.audit.list(limit=1) == [row]
    assert row.detail == detail
    assert ledger.audit.verify() is None


def test_writers_at_once_make_one_chain(place):
    """Rows that several connections append at the same moment stand in one unbroken chain."""
    with Ledger.open(place) as one, Ledger.open(place) as other:
        threads = [threading.Thread(target=fill, args=(ledger, 10)) for ledger in (one, other, one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert one.audit.verify() is None
        assert [row.sequence for row in one.audit.list()] == list(range(40, 0, -1))


def test_a_detail_that_is_too_large_is_refused(ledger):
    """The trail keeps no content."""
    with pytest.raises(BadUsage, match="16,384"):
        ledger.audit.append("mia", "deploy", "api", {"x": "y" * 17_000})
