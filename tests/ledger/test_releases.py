"""Releases."""

from datetime import timedelta

import pytest

from clodo.errors import AmbiguousName, Refused, ReleaseNotFound
from clodo.ledger import ReleaseKind, ReleaseState


def test_a_release_is_read_back_as_it_was_written(ledger, new_release):
    """What is created is what `get` returns, and creating it again changes nothing."""
    release = new_release(kind=ReleaseKind.FIRST, reason="Grüße; '--\n")

    ledger.releases.create(release)
    ledger.releases.create(release)

    assert ledger.releases.get(release.id) == release
    assert ledger.releases.list() == [release]


def test_releases_are_listed_newest_first_and_by_target(ledger, new_release, clock):
    """The list is newest first, limited, and of one target when asked."""
    made = []
    for target in ("api@production", "web@production", "api@production"):
        clock.advance(timedelta(seconds=1))
        made.append(new_release(target=target))
        ledger.releases.create(made[-1])

    assert ledger.releases.list() == made[::-1]
    assert ledger.releases.list(limit=1) == [made[2]]
    assert ledger.releases.list("api@production") == [made[2], made[0]]
    assert ledger.releases.list("nobody@nowhere") == []


@pytest.mark.parametrize("state", [state for state in ReleaseState if state.is_terminal])
def test_a_release_that_ended_is_no_longer_open(ledger, new_release, clock, state):
    """Every state but running closes a release and notes when; saying it twice changes nothing."""
    release = new_release()
    ledger.releases.create(release)
    assert ledger.releases.open_releases() == [release]
    clock.advance(timedelta(minutes=2))

    ledger.releases.set_state(release.id, state)
    ended_at = clock()
    clock.advance(timedelta(minutes=2))
    ledger.releases.set_state(release.id, state)

    assert ledger.releases.open_releases() == []
    assert ledger.releases.get(release.id).state is state
    assert ledger.releases.get(release.id).finished_at == ended_at


def test_an_ended_release_keeps_its_end(ledger, new_release):
    """A live release can't become undone, but a failed one may still be finished."""
    live, failed = new_release(), new_release()
    for release, state in ((live, ReleaseState.LIVE), (failed, ReleaseState.FAILED)):
        ledger.releases.create(release)
        ledger.releases.set_state(release.id, state)

    with pytest.raises(Refused, match="ended live"):
        ledger.releases.set_state(live.id, ReleaseState.UNDONE)
    ledger.releases.set_state(failed.id, ReleaseState.UNDONE)

    assert ledger.releases.get(live.id).state is ReleaseState.LIVE
    assert ledger.releases.get(failed.id).state is ReleaseState.UNDONE


def test_a_release_is_found_by_the_beginning_of_its_id(ledger, new_release):
    """A beginning that fits one release finds it; one that fits several or none says so."""
    first, second = new_release(id="r0aaa1"), new_release(id="r0aaa2")
    ledger.releases.create(first)
    ledger.releases.create(second)

    assert ledger.releases.find("r0aaa2") == second
    with pytest.raises(AmbiguousName, match="2 releases begin so"):
        ledger.releases.find("r0aaa")
    with pytest.raises(ReleaseNotFound):
        ledger.releases.find("r%")


def test_an_unknown_release_is_named(ledger):
    """Asking for or changing a release that isn't there names its id."""
    with pytest.raises(ReleaseNotFound, match="r0gone"):
        ledger.releases.get("r0gone")
    with pytest.raises(ReleaseNotFound, match="r0gone"):
        ledger.releases.set_state("r0gone", ReleaseState.LIVE)


def test_what_was_not_wholly_undone_is_unfinished_until_a_later_release_is_live(ledger, new_release, clock):
    """Open releases and those whose undo failed are listed newest first; what a live one replaced is left alone."""
    made = {}
    for state in (ReleaseState.FAILED, ReleaseState.LIVE, ReleaseState.FAILED, ReleaseState.UNDONE):
        clock.advance(timedelta(seconds=1))
        release = new_release(worker="api")
        ledger.releases.create(release)
        ledger.releases.set_state(release.id, state)
        made[len(made)] = release.id
    clock.advance(timedelta(seconds=1))
    running = new_release(worker="api")
    elsewhere = new_release(worker="web")
    ledger.releases.create(running)
    ledger.releases.create(elsewhere)

    unfinished = [release.id for release in ledger.releases.unfinished(running.account_id, "api")]
    workers = ledger.releases.unfinished_workers()
    ledger.releases.set_state(running.id, ReleaseState.LIVE)
    after_it_went_live = ledger.releases.unfinished(running.account_id, "api")

    assert unfinished == [running.id, made[2]]
    assert workers == [(running.account_id, "api"), (elsewhere.account_id, "web")]
    assert after_it_went_live == []
    assert ledger.releases.unfinished_workers() == [(elsewhere.account_id, "web")]


def test_an_open_release_is_unfinished_even_below_a_live_one(ledger, new_release, clock):
    """A release whose process died is finished or undone, whatever went live without knowing of it."""
    running = new_release(worker="api")
    ledger.releases.create(running)
    clock.advance(timedelta(seconds=1))
    later = new_release(worker="api")
    ledger.releases.create(later)
    ledger.releases.set_state(later.id, ReleaseState.LIVE)

    assert [release.id for release in ledger.releases.unfinished(running.account_id, "api")] == [running.id]


def test_what_is_written_at_once_is_there_whole_or_not_at_all(ledger, new_release):
    """An end and its row of the audit trail belong together: when the block fails, neither is there."""
    release = new_release()
    ledger.releases.create(release)

    def end() -> None:
        with ledger.at_once():
            ledger.releases.set_state(release.id, ReleaseState.LIVE)
            ledger.audit.append("mia", "release-live", release.target, {"release": release.id})
            raise InterruptedError

    with pytest.raises(InterruptedError):
        end()
    open_then, rows_then = ledger.releases.open_releases(), ledger.audit.list()
    with ledger.at_once():
        ledger.releases.set_state(release.id, ReleaseState.LIVE)
        ledger.audit.append("mia", "release-live", release.target)

    assert (open_then, rows_then) == ([release], [])
    assert ledger.releases.get(release.id).state is ReleaseState.LIVE
    assert [row.action for row in ledger.audit.list()] == ["release-live"]
    assert ledger.audit.verify() is None


def test_a_release_that_was_not_wholly_undone_is_unfinished(ledger, new_release, clock):
    """Open and incompletely undone releases of every Worker are listed, until a later one is live."""
    open_one, failed = new_release(worker="api"), new_release(worker="web")
    for release in (open_one, failed):
        ledger.releases.create(release)
    ledger.releases.set_state(failed.id, ReleaseState.FAILED)
    unfinished_then = {release.id for release in ledger.releases.all_unfinished()}
    clock.advance(timedelta(seconds=1))
    later = new_release(worker="web")
    ledger.releases.create(later)
    ledger.releases.set_state(later.id, ReleaseState.LIVE)

    assert unfinished_then == {open_one.id, failed.id}
    assert [release.id for release in ledger.releases.all_unfinished()] == [open_one.id]
