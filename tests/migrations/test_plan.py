"""Folder against database."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clodo.errors import Refused
from clodo.migrations import AppliedRow, Migration, MigrationStatus, Problem


def migration(name, *, sha256="aa", is_contract=False):
    number = int(name[:4]) if name[:4].isdigit() else None
    return Migration(name, Path("migrations") / name, number, "SELECT 1;", sha256, is_contract)


def row(name, sha256=None):
    return AppliedRow(name, "2026-11-20 12:00:00", sha256)


def problems(found, applied):
    return [(finding.name, finding.problem) for finding in MigrationStatus.between(found, applied).findings]


def test_what_is_not_applied_is_pending():
    """Pending is found without applied, in order; contract migrations stand apart."""
    found = [migration("0001_a.sql"), migration("0002_b.sql"), migration("0003_c.sql", is_contract=True)]

    status = MigrationStatus.between(found, [row("0001_a.sql", "aa")])

    assert status.pending == tuple(found[1:])
    assert status.pending_expand == (found[1],)
    assert status.pending_contract == (found[2],)
    assert status.findings == ()
    assert not status.is_up_to_date
    status.raise_if_unsafe()


def test_an_edited_file_is_named():
    """A file whose checksum differs from what Clodo applied is named; one that wrangler applied can't be told."""
    found = [migration("0001_a.sql", sha256="bb"), migration("0002_b.sql", sha256="bb")]

    assert problems(found, [row("0001_a.sql", "aa"), row("0002_b.sql")]) == [("0001_a.sql", Problem.EDITED)]


def test_a_missing_file_is_named():
    """What was applied and has no file any more is named."""
    assert problems([], [row("0001_a.sql", "aa")]) == [("0001_a.sql", Problem.MISSING)]


def test_a_late_comer_is_named():
    """A pending file before an applied one is out of order, a contract migration held back is not."""
    found = [migration("0001_a.sql"), migration("0002_b.sql", is_contract=True), migration("0003_c.sql")]

    assert problems(found, [row("0003_c.sql", "aa")]) == [("0001_a.sql", Problem.OUT_OF_ORDER)]


def test_a_number_given_twice_is_named_while_pending():
    """Two files of one number are refused while one is pending; once both are applied it is history."""
    found = [migration("0001_a.sql"), migration("0001_b.sql")]

    assert problems(found, []) == [("0001_a.sql", Problem.DUPLICATE), ("0001_b.sql", Problem.DUPLICATE)]
    assert problems(found, [row("0001_a.sql")]) == [("0001_b.sql", Problem.DUPLICATE)]
    assert problems(found, [row("0001_a.sql"), row("0001_b.sql")]) == []


def test_files_in_one_folder_of_a_number_are_no_duplicates():
    """The number belongs to the folder where migrations are folders."""
    found = [migration("0001_a/1.sql"), migration("0001_a/2.sql"), migration("0001_b/1.sql")]

    assert problems(found[:2], []) == []
    assert len(problems(found, [])) == 3


def test_a_down_file_that_wrangler_applied_is_named():
    """wrangler takes every *.sql for a migration; that it ran a way back is said in so many words."""
    found = [migration("0001_a.sql")]

    assert problems(found, [row("0001_a.down.sql"), row("0001_a.sql")]) == [
        ("0001_a.down.sql", Problem.DOWN_FILE_APPLIED)
    ]


def test_a_refusal_names_every_problem_that_nobody_accepted():
    """All problems stand in one message; accepting a name takes its problems away."""
    status = MigrationStatus.between([migration("0001_a.sql"), migration("0002_b.sql")], [row("0002_b.sql", "bb")])

    with pytest.raises(Refused, match=r"0002_b\.sql was edited.*; .*0001_a\.sql is pending"):
        status.raise_if_unsafe()
    with pytest.raises(Refused) as caught:
        status.raise_if_unsafe(["0001_a.sql"])
    assert "0001_a" not in caught.value.message
    status.raise_if_unsafe(["0001_a.sql", "0002_b.sql"])


NAMES = [f"{number:04}_{letter}.sql" for number in range(1, 6) for letter in "ab"]


@given(
    some.dictionaries(some.sampled_from(NAMES), some.tuples(some.sampled_from(["aa", "bb"]), some.booleans())),
    some.dictionaries(some.sampled_from(NAMES), some.sampled_from(["aa", "bb", None])),
)
def test_plans_are_whole_and_honest(files, rows):
    """Every file is applied or pending and never both; no finding means that applying just appends to the history."""
    found = [migration(name, sha256=files[name][0], is_contract=files[name][1]) for name in sorted(files)]
    applied = [row(name, sha256) for name, sha256 in sorted(rows.items())]

    status = MigrationStatus.between(found, applied)

    pending = {one.name for one in status.pending}
    assert pending == set(files) - set(rows)
    assert [one.name for one in status.pending] == sorted(pending)
    assert set(status.pending_expand) | set(status.pending_contract) == set(status.pending)
    if not status.findings:
        assert set(rows) <= set(files)
        assert all(rows[name] in (None, files[name][0]) for name in rows)
        assert all(one.name > max(rows, default="") for one in status.pending_expand)
        numbers = [one.number for one in status.pending]
        assert len(numbers) == len(set(numbers))
    named = {finding.name for finding in status.findings}
    status.raise_if_unsafe(named)
