"""Reconciling: what was left half-way anywhere in the workspace is finished or undone."""

from __future__ import annotations

from collections.abc import Iterable

from clodo.errors import ClodoError, LockHeld, UndoIncomplete
from clodo.ledger.journal import FileJournal
from clodo.ledger.owners import Owner
from clodo.ledger.releases import Release as ReleaseRow
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.recovery import interrupted_releases, lock_name, recover
from clodo.releases.site import Site

DIRECT_FOLDER = "direct"
"""Below the workspace's ``.clodo``: journals of rollbacks that had no ledger."""


def reconcile_releases(site: Site) -> tuple[Outcome, ...]:
    """
    Take in the journals of direct rollbacks, then finish or undo every unfinished release whose process is gone.

    Returns:
        How each ended: those that somebody still works on as skipped, those that could not be put back as failed.
    """
    for file in sorted((site.workspace.state_dir / DIRECT_FOLDER).glob("*.jsonl")):
        site.ledger.import_file_journal(FileJournal(file))
        file.rename(file.with_suffix(".imported"))
    outcomes: list[Outcome] = []
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
                    outcomes.append(_failed(row, error))
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


def _failed(row: ReleaseRow, error: ClodoError) -> Outcome:
    return Outcome(
        target=row.target,
        ending=Ending.FAILED,
        release_id=row.id,
        message=f"could not be put back: {error.message}",
        hint=error.hint,
        exit_code=error.exit_code,
    )
