"""Reconciling: what was left half-way anywhere in the workspace is finished or undone."""

from __future__ import annotations

from clodo.errors import LockHeld
from clodo.ledger.journal import FileJournal
from clodo.ledger.owners import Owner
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.recovery import interrupted_releases, lock_name, recover
from clodo.releases.site import Site

DIRECT_FOLDER = "direct"
"""Below the workspace's ``.clodo``: journals of rollbacks that had no ledger."""


def reconcile_releases(site: Site) -> tuple[Outcome, ...]:
    """
    Take in the journals of direct rollbacks, then finish or undo every open release whose process is gone.

    Returns:
        How each ended, those that somebody still works on as skipped.

    Raises:
        UndoIncomplete: Something could not be put back.
    """
    for file in sorted((site.workspace.state_dir / DIRECT_FOLDER).glob("*.jsonl")):
        site.ledger.import_file_journal(FileJournal(file))
        file.rename(file.with_suffix(".imported"))
    outcomes: list[Outcome] = []
    for row in site.ledger.releases.open_releases():
        try:
            lock = site.ledger.locks.acquire(
                lock_name(row.account_id, row.worker), Owner.current(f"reconcile {row.target}"), "reconcile"
            )
        except LockHeld as held:
            outcomes.append(Outcome(target=row.target, ending=Ending.SKIPPED, release_id=row.id, message=held.message))
            continue
        with lock:
            # Whoever held the lock may have ended it between our list and our lock.
            for still_open in interrupted_releases(site, row.account_id, row.worker):
                outcomes.append(recover(site, still_open, lock))
    return tuple(outcomes)
