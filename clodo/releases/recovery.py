"""Releases that were cut short: each is finished or undone by its journal, never both, never twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from clodo.cloudflare.budget import Lane
from clodo.errors import ClodoError, LedgerUnavailable, NoSpaceLeft, WorkerNotFound
from clodo.ledger.journal import Entry, Phase
from clodo.ledger.live import Live
from clodo.ledger.releases import Release as ReleaseRow
from clodo.ledger.releases import ReleaseState
from clodo.releases.interruption import Interruption
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.release import Verified, verified_from_json
from clodo.releases.site import Account, Site
from clodo.releases.steps import Finish, Step, detail_of, what_next
from clodo.releases.undo import Undoing, UndoReport
from clodo.workspace.targets import Target

if TYPE_CHECKING:
    from clodo.ledger.locks import Lock


def lock_name(account_id: str, worker: str) -> str:
    """Return the name of the lock on a Worker: whatever the workspace calls the target, there is one of it."""
    return f"worker/{account_id}/{worker}"


def interrupted_releases(site: Site, account_id: str, worker: str) -> tuple[ReleaseRow, ...]:
    """Return the releases of *worker* that are to be finished or undone, newest first; ask while holding its lock."""
    return tuple(site.ledger.releases.unfinished(account_id, worker))


def recover(site: Site, row: ReleaseRow, lock: Lock) -> Outcome:
    """
    Finish or undo one interrupted release whose lock we hold; its target may be gone from the workspace by now.

    Raises:
        BadConfiguration: Nobody knows the account it was made on any more.
    """
    account = account_of(site, row)
    entries = tuple(site.ledger.journal.entries(row.id))
    if isinstance(what_next(entries), Finish):
        return _finish(site, account, row, entries)
    report = undoing(site, account, row, lock).run()
    return close_undone(site, row, report, "interrupted")


def account_of(site: Site, row: ReleaseRow) -> Account:
    """Return the account that *row* was made on."""
    return site.account_with(row.account_id, Target.parse(row.target).environment)


def undoing(site: Site, account: Account, row: ReleaseRow, lock: Lock) -> Undoing:
    """Return what undoes *row* by its journal."""
    target = Target.parse(row.target)
    return Undoing(
        row.id,
        worker=row.worker,
        cloudflare=account.cloudflare.with_lane(Lane.UNDO),
        journal=site.ledger.journal,
        lock=_UndoFence(lock, site.interruption),
        tester=account.tester(row.worker, lane=Lane.UNDO),
        account_subdomain=account.subdomain,
        smoke_tests=site.workspace.portfolio.settings_of(target.service).smoke_tests,
    )


@dataclass(frozen=True, slots=True)
class _UndoFence:
    """An undo goes on when it is interrupted, unless somebody wants an end at once."""

    lock: Lock
    interruption: Interruption

    def check(self) -> None:
        self.interruption.raise_if_final()
        self.lock.check()


def close_undone(site: Site, row: ReleaseRow, report: UndoReport, why: str) -> Outcome:
    """Record that *row* was undone, or that undoing it is incomplete."""
    state = ReleaseState.UNDONE if report.is_complete else ReleaseState.FAILED
    if report.is_complete:
        try:
            _remember_again(site, row)
        except ClodoError as error:
            # The next run then finds another modified_on, looks closer, and sees that what is live is ours.
            site.log(f"{row.target}: undone; what is live could not be noted again: {error.message}")
    with site.ledger.at_once():
        site.ledger.releases.set_state(row.id, state)
        told = {"release": row.id, **report.to_json()}
        site.ledger.audit.append(site.actor, f"release-{state.value}", row.target, told)
    return Outcome(
        target=row.target,
        ending=Ending.UNDONE if report.is_complete else Ending.FAILED,
        release_id=row.id,
        message=f"{why}; {report.describe()}",
        exit_code=1,
    )


def close_failed(site: Site, row: ReleaseRow, report: UndoReport) -> None:
    """Record how undoing *row* ended; if that can't be written, leave it open, for the next run to look at again."""
    try:
        close_undone(site, row, report, "failed")
    except (NoSpaceLeft, LedgerUnavailable) as error:
        site.log(f"{row.target}: how release {row.id} ended could not be noted: {error.message}")


def _remember_again(site: Site, row: ReleaseRow) -> None:
    """
    Our own upload and undo moved the script's *modified_on*; note it, or the next run would blame somebody else.

    Only if nobody had touched the Worker before the release began, and what is live is what we remember. The list is
    read before the deployment, so that a change in between shows later.
    """
    remembered = site.ledger.live.get(row.target)
    if remembered is None:
        return
    cloudflare = account_of(site, row).cloudflare.with_lane(Lane.UNDO)
    script = next((item for item in cloudflare.scripts.list() if item.id == row.worker), None)
    if script is None:
        site.ledger.live.forget(row.target)
        return
    noted = detail_of(site.ledger.journal.entries(row.id), Step.NOTE_WAY_BACK, Phase.INTENT) or {}
    current = cloudflare.deployments.current(row.worker)
    if not noted.get("is_ours") or current is None or current.only_version != remembered.version_id:
        return
    site.ledger.live.put(
        replace(
            remembered,
            deployment_id=current.id,
            script_etag=script.etag or "",
            script_modified_on=script.modified_on.isoformat() if script.modified_on else "",
        )
    )


def close_live(
    site: Site, row: ReleaseRow, verified: Verified, inputs: dict[str, str], *, now: Callable[[], datetime]
) -> None:
    """Record that *row* is live and verified; saying so twice changes nothing."""
    live = Live(
        target=row.target,
        release_id=row.id,
        version_id=verified.version_id,
        deployment_id=verified.deployment_id,
        input_hash=inputs.get("input_hash", ""),
        content_sha256=verified.content_sha256,
        script_etag=verified.script_etag,
        script_modified_on=verified.script_modified_on,
        secrets_fingerprint=inputs.get("secrets_fingerprint", ""),
        migrations_digest=inputs.get("migrations_digest", ""),
        recorded_at=now(),
        triggers=verified.triggers.to_json(),
    )
    with site.ledger.at_once():
        site.ledger.live.put(live)
        site.ledger.releases.set_state(row.id, ReleaseState.LIVE)
        told = {"release": row.id, "version": verified.version_id}
        site.ledger.audit.append(site.actor, "release-live", row.target, told)


def inputs_of(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the hashes that a release noted when it began."""
    noted = detail_of(entries, Step.NOTE_WAY_BACK, Phase.INTENT) or {}
    return {str(name): str(value) for name, value in (noted.get("inputs") or {}).items()}


def _finish(site: Site, account: Account, row: ReleaseRow, entries: tuple[Entry, ...]) -> Outcome:
    """The new version was verified before the cut; if it still is live, only the record is missing."""
    noted = detail_of(entries, Step.VERIFY, Phase.DONE) or {}
    verified = verified_from_json(noted)
    try:
        current = account.cloudflare.deployments.current(row.worker)
    except WorkerNotFound:
        current = None
    if current is not None and current.id == verified.deployment_id:
        close_live(site, row, verified, inputs_of(entries), now=lambda: datetime.now(UTC))
        message = "had been verified before it was cut short; recorded now"
    else:
        # Somebody deployed since: what was verified was live, and what is live now is not ours to judge.
        close_live(
            site, row, replace(verified, script_etag="", script_modified_on=""), {}, now=lambda: datetime.now(UTC)
        )
        message = "had been verified before it was cut short; somebody deployed since"
    return Outcome(
        target=row.target, ending=Ending.LIVE, release_id=row.id, version_id=verified.version_id, message=message
    )
