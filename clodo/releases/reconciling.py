"""Reconciling: what was left half-way anywhere in the workspace is finished or undone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from clodo.errors import ClodoError, LockHeld, UndoIncomplete
from clodo.ledger.journal import FileJournal, Journal, Phase
from clodo.ledger.owners import Owner
from clodo.ledger.releases import Release as ReleaseRow
from clodo.ledger.releases import ReleaseState
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.recovery import close_live, interrupted_releases, lock_name, recover
from clodo.releases.release import verified_from_json
from clodo.releases.rollback import MARK, at_work_on
from clodo.releases.site import Site
from clodo.releases.steps import Step, detail_of

DIRECT_FOLDER = "direct"
"""Below the workspace's ``.clodo``: journals of rollbacks that had no ledger."""


def reconcile_releases(site: Site) -> tuple[Outcome, ...]:
    """
    Take in the journals of direct rollbacks, then finish or undo every unfinished release whose process is gone.

    Returns:
        How each ended: those that somebody still works on as skipped, those that could not be put back as failed.
    """
    outcomes: list[Outcome] = []
    for file in sorted((site.workspace.state_dir / DIRECT_FOLDER).glob("*.jsonl")):
        try:
            outcomes.extend(_take_in(site, file))
        except ClodoError as error:
            # A damaged file must not keep anything else from being put back.
            outcomes.append(_failed(file.stem, file.stem, error))
    for account_id, worker in site.ledger.releases.unfinished_workers():
        try:
            lock = site.ledger.locks.acquire(
                lock_name(account_id, worker), Owner.current(f"reconcile {worker}"), "reconcile"
            )
        except LockHeld as held:
            outcomes.extend(
                Outcome(target=row.target, ending=Ending.SKIPPED, release_id=row.id, message=held.message)
                for row in site.ledger.releases.unfinished(account_id, worker)
            )
            continue
        with lock:
            # Whoever held the lock may have ended it between our list and our lock.
            for row in interrupted_releases(site, account_id, worker):
                try:
                    outcomes.append(recover(site, row, lock))
                except ClodoError as error:
                    # One that can't be reached must not keep the others from being put back.
                    outcomes.append(_failed(row.target, row.id, error))
                    break
    return tuple(outcomes)


def raise_unless_reconciled(outcomes: Iterable[Outcome]) -> None:
    """
    Say so when something is still half-way.

    Raises:
        UndoIncomplete: Something could not be put back.
    """
    left = [outcome for outcome in outcomes if outcome.ending is Ending.FAILED]
    if left:
        raise UndoIncomplete(
            "; ".join(f"{outcome.target}: release {outcome.release_id} {outcome.message}" for outcome in left),
            release_id=left[0].release_id,
            hint=left[0].hint or f"Look at `clodo release show {left[0].release_id}`; `clodo reconcile` tries again.",
        )


def _take_in(site: Site, file: Path) -> Iterator[Outcome]:
    """Take the journal of a direct rollback into the ledger, unless its process is still at it."""
    with at_work_on(file) as is_ours:
        if not is_ours:
            message = f"{file}: a process still works on it"
            yield Outcome(target=file.stem, ending=Ending.SKIPPED, release_id=file.stem, message=message)
            return
        journal = FileJournal(file)
        site.ledger.import_file_journal(journal)
        for row in journal.releases():
            if row.state is ReleaseState.LIVE:
                _remember(site, row, journal)
                message = "went back without the ledger, which knows of it now"
                yield Outcome(target=row.target, ending=Ending.LIVE, release_id=row.id, message=message)
        if file.exists():
            file.rename(file.with_suffix(".imported"))
        file.with_suffix(MARK).unlink(missing_ok=True)


def _remember(site: Site, row: ReleaseRow, journal: Journal) -> None:
    """Note what a direct rollback made live; not what the workspace says, so that the next release sees that."""
    noted = detail_of(journal.entries(row.id), Step.VERIFY, Phase.DONE)
    remembered = site.ledger.live.get(row.target)
    is_news = remembered is None or remembered.recorded_at < (row.finished_at or row.created_at)
    if noted is not None and is_news:
        close_live(site, row, verified_from_json(noted), {}, now=lambda: row.finished_at or row.created_at)


def _failed(target: str, release_id: str, error: ClodoError) -> Outcome:
    return Outcome(
        target=target,
        ending=Ending.FAILED,
        release_id=release_id,
        message=f"could not be put back: {error.message}",
        hint=error.hint,
        exit_code=error.exit_code,
    )
