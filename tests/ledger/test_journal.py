"""The journal in the ledger and in a file."""

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clodo.errors import BadUsage, LedgerUnavailable, NoSpaceLeft, ReleaseNotFound
from clodo.ledger import FileJournal, Phase, ReleaseKind, ReleaseState

from .processes import append_steps, run_together, run_until_killed, write_lines


@pytest.fixture
def file_journal(tmp_path, clock):
    return FileJournal(tmp_path / "direct" / "journal.jsonl", clock=clock)


def test_entries_come_back_in_the_order_they_were_written(ledger, new_release):
    """A release's entries are read whole and in order, those of another release are not among them."""
    release, other = new_release(), new_release()
    for one in (release, other):
        ledger.releases.create(one)

    written = [
        ledger.journal.append(release.id, "upload", Phase.INTENT, {"tag": "é\x00\n", "numbers": [1, 2.5, None]}),
        ledger.journal.append(release.id, "upload", Phase.DONE, {"version_id": "v"}),
    ]
    ledger.journal.append(other.id, "upload", Phase.INTENT)
    written.append(ledger.journal.append(release.id, "roll out", Phase.FAILED))

    assert ledger.journal.entries(release.id) == written
    assert ledger.journal.entries("r0gone") == []


def test_steps_of_an_unknown_release_are_refused(ledger):
    """A step needs its release."""
    with pytest.raises(ReleaseNotFound, match="r0gone"):
        ledger.journal.append("r0gone", "upload", Phase.INTENT)


@pytest.mark.parametrize("detail", [{"x": "a" * 20_000}, {"x": float("nan")}, {"x": {1, 2}}, {"x": "\ud800"}])
def test_a_detail_is_small_json(ledger, new_release, detail):
    """What is large, no number or no JSON is refused, and nothing is written."""
    release = new_release()
    ledger.releases.create(release)

    with pytest.raises(BadUsage, match="detail of step upload"):
        ledger.journal.append(release.id, "upload", Phase.INTENT, detail)

    assert ledger.journal.entries(release.id) == []


def test_what_was_appended_survives_a_kill(ledger, place, new_release):
    """Entries that were acknowledged are there after their writer was killed."""
    release = new_release()
    ledger.releases.create(release)

    run_until_killed(append_steps, place, release.id, 5)

    assert [entry.step for entry in ledger.journal.entries(release.id)] == [f"step {number}" for number in range(5)]


def test_a_file_keeps_a_journal(file_journal, new_release, clock):
    """A file gives back what was appended, in order, and only its owner may read it."""
    release = new_release(kind=ReleaseKind.ROLLBACK)
    file_journal.record_release(release)

    written = [
        file_journal.append(release.id, "traffic", Phase.INTENT, {"to": "v1"}),
        file_journal.append(release.id, "traffic", Phase.DONE),
    ]
    file_journal.record_state(release.id, ReleaseState.LIVE)

    again = FileJournal(file_journal.path)
    assert again.entries(release.id) == written
    assert again.entries("r0other") == []
    [ended] = again.releases()
    assert (ended.id, ended.state, ended.finished_at) == (release.id, ReleaseState.LIVE, clock())
    assert stat.S_IMODE(file_journal.path.stat().st_mode) == 0o600


def test_a_missing_file_is_an_empty_journal(file_journal):
    """Nothing was written yet, so there is nothing to read."""
    assert file_journal.entries("r0") == []
    assert file_journal.releases() == []


@given(cut=some.integers(min_value=1, max_value=10_000), count=some.integers(min_value=1, max_value=4))
def test_a_torn_last_line_is_passed_over_and_then_removed(tmp_path_factory, cut, count):
    """A file that was cut off anywhere gives the whole lines before, and goes on after the next append."""
    journal = FileJournal(tmp_path_factory.mktemp("torn") / "journal.jsonl")
    written = [journal.append("r0", f"step {number}", Phase.INTENT, {"x": "é" * 50}) for number in range(count)]
    content = journal.path.read_bytes()
    cut = cut % len(content)
    journal.path.write_bytes(content[:cut])
    whole = written[: content[:cut].count(b"\n")]

    assert journal.entries("r0") == whole
    written_later = journal.append("r0", "later", Phase.DONE)

    assert journal.entries("r0") == [*whole, written_later]
    assert all(json.loads(line) for line in journal.path.read_text().splitlines())


def test_a_damaged_line_is_named(file_journal):
    """Damage before the last line is no torn write, and is said with file and line."""
    file_journal.append("r0", "one", Phase.INTENT)
    file_journal.path.write_bytes(b"{torn\n" + file_journal.path.read_bytes())

    with pytest.raises(LedgerUnavailable, match=r"journal.jsonl:1: damaged"):
        file_journal.entries("r0")


def test_a_full_disk_stops_a_file_journal():
    """A disk without room is said as such; the device that is always full plays it."""
    if not Path("/dev/full").exists():
        pytest.fail("this system has no /dev/full to play a full disk")

    with pytest.raises(NoSpaceLeft, match="/dev/full"):
        FileJournal(Path("/dev/full")).append("r0", "one", Phase.INTENT)


def test_a_file_journal_in_an_impossible_place_says_so(tmp_path):
    """A path below a file can't be written."""
    (tmp_path / "file").write_text("")

    with pytest.raises(LedgerUnavailable, match="journal"):
        FileJournal(tmp_path / "file" / "journal.jsonl").append("r0", "one", Phase.INTENT)


def test_processes_may_share_a_file_journal(file_journal):
    """Lines of several processes never mix."""
    run_together(3, write_lines, file_journal.path, 30)

    for number in range(3):
        assert [entry.step for entry in file_journal.entries(f"r{number}")] == [str(step) for step in range(30)]


def test_a_file_journal_is_imported_once(ledger, file_journal, new_release, clock):
    """A direct rollback's release and steps come into the ledger; importing again changes nothing."""
    release = new_release(kind=ReleaseKind.ROLLBACK)
    file_journal.record_release(release)
    written = [
        file_journal.append(release.id, "traffic", Phase.INTENT),
        file_journal.append(release.id, "traffic", Phase.DONE),
    ]

    assert ledger.import_file_journal(file_journal) == 2
    assert ledger.releases.open_releases() == [release]
    file_journal.record_state(release.id, ReleaseState.LIVE)
    assert ledger.import_file_journal(file_journal) == 0

    assert ledger.journal.entries(release.id) == written
    assert ledger.releases.get(release.id).state is ReleaseState.LIVE
    assert ledger.releases.get(release.id).finished_at == clock()
    assert ledger.releases.open_releases() == []


def test_a_file_journal_about_nothing_known_is_refused_whole(ledger, file_journal, new_release):
    """Steps of a release that nobody recorded are refused, and nothing else of the file is taken in."""
    release = new_release()
    file_journal.record_release(release)
    file_journal.append("r0stranger", "traffic", Phase.INTENT)

    with pytest.raises(ReleaseNotFound, match="r0stranger"):
        ledger.import_file_journal(file_journal)

    assert ledger.releases.list() == []
    assert file_journal.path.exists()
