"""
Putting back what a release changed, driven by its journal alone: the same after a failure and after a `kill -9`.

Every step looks before it writes, so that it can be repeated, and reads back what it wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clodo.errors import (
    ClodoError,
    Interrupted,
    LedgerUnavailable,
    LockLost,
    NoSpaceLeft,
    SmokeTestFailed,
    UndoIncomplete,
    VerificationFailed,
    WorkerNotFound,
)
from clodo.ledger.journal import Entry, Journal, Phase
from clodo.migrations import databases as migrations
from clodo.migrations.contents import Contents, holds_the_same
from clodo.migrations.files import find_migrations
from clodo.migrations.reverting import revert
from clodo.releases.addresses import addresses_of
from clodo.releases.observed import Observed, observe_triggers, set_triggers
from clodo.releases.release import Fence
from clodo.releases.smoke import Place, SmokeTester, Verdict, key_of, worst
from clodo.releases.steps import Step, Undo, detail_of, what_next
from clodo.releases.triggers import Triggers
from clodo.workspace.portfolio import SmokeTest

if TYPE_CHECKING:
    from clodo.cloudflare.client import Cloudflare


UNDOES = "Clodo undoes release"
"""How the message of a deployment begins that puts traffic back; a rollback then knows what was not good."""


@dataclass(frozen=True, slots=True)
class UndoReport:
    """
    What an undo did.

    Attributes:
        put_back: What was changed back, one phrase each, in order.

        kept: What was left on purpose, and why.

        failed: What could not be put back; empty when everything is as it was.
    """

    put_back: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether everything is as it was, apart from what was kept on purpose."""
        return not self.failed

    def describe(self) -> str:
        """Return what follows a semicolon."""
        parts = []
        if self.put_back:
            parts.append("put back: " + "; ".join(self.put_back))
        if self.kept:
            parts.append(("Kept: " if parts else "kept: ") + "; ".join(self.kept))
        if self.failed:
            parts.append("NOT put back: " + "; ".join(self.failed))
        return ". ".join(parts) if parts else "nothing had been changed"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object for journals and reports."""
        return {"put_back": list(self.put_back), "kept": list(self.kept), "failed": list(self.failed)}


class Undoing:
    """
    Undoes one release.

    Args:
        cloudflare: Client of the account; use the undo lane.

        worker: The Worker's name on the account.

        lock: On the target, looked at before each write.

        smoke_tests: Of the service; the version that comes back must pass those that it passed before.
    """

    def __init__(
        self,
        release_id: str,
        *,
        worker: str,
        cloudflare: Cloudflare,
        journal: Journal,
        lock: Fence,
        tester: SmokeTester,
        account_subdomain: str | None,
        smoke_tests: Sequence[SmokeTest] = (),
    ) -> None:
        self.id = release_id
        self._worker = worker
        self._cloudflare = cloudflare.with_guard(lock.check)
        self._journal = journal
        self._tester = tester
        self._account_subdomain = account_subdomain
        self._smoke_tests = smoke_tests
        self._put_back: list[str] = []
        self._kept: list[str] = []
        self._failed: list[str] = []
        self._entries: tuple[Entry, ...] = ()

    def run(self) -> UndoReport:
        """
        Put everything back that the journal says may have been changed, the latest first.

        A step that can't be put back doesn't keep the others from it, and nor does a ledger that can't be written: each
        step looks before it acts, so the next run, which finds no trace of this one, changes nothing a second time.

        Raises:
            LockLost: Somebody else took over, and will do it.

            Interrupted: Somebody wants an end at once; the next run goes on with it.
        """
        self._entries = tuple(self._journal.entries(self.id))
        todo = what_next(self._entries)
        if not isinstance(todo, Undo):
            raise UndoIncomplete(f"release {self.id} was verified: it is finished, not undone")
        for step in todo.steps:
            self._note(step, Phase.UNDO_INTENT)
            try:
                self._work(step)()
            except (Interrupted, LockLost):
                raise
            except ClodoError as error:
                self._failed.append(f"{step}: {error.message}")
                self._note(step, Phase.UNDO_FAILED, {"message": error.message})
            else:
                self._note(step, Phase.UNDONE)
        return UndoReport(tuple(self._put_back), tuple(self._kept), tuple(self._failed))

    def _note(self, step: Step, phase: Phase, detail: Mapping[str, Any] | None = None) -> None:
        try:
            self._journal.append(self.id, step, phase, detail or {})
        except (NoSpaceLeft, LedgerUnavailable) as error:
            self._keep(f"the release open in the ledger ({error.message}); the next run looks again")

    def _work(self, step: Step) -> Callable[[], None]:
        return {
            Step.SET_TRIGGERS: self._triggers_back,
            Step.ROLL_OUT: self._traffic_back,
            Step.SMOKE_TEST: self._share_back,
            Step.UPLOAD: self._upload_back,
            Step.MIGRATE: self._schema_back,
        }[step]

    def _keep(self, what: str) -> None:
        if what not in self._kept:
            self._kept.append(what)

    @property
    def _observed(self) -> Observed:
        noted = detail_of(self._entries, Step.NOTE_WAY_BACK, Phase.DONE)
        if noted is None:
            raise UndoIncomplete(f"the journal of release {self.id} does not say what was there before")
        return Observed.from_json(noted["observed"])

    # --- triggers -----------------------------------------------------------------------------------------------------

    def _triggers_back(self) -> None:
        intent = detail_of(self._entries, Step.SET_TRIGGERS, Phase.INTENT) or {}
        change = Triggers.from_json(intent["change"])
        before = self._observed.triggers
        zones = change.zone_ids | before.zone_ids
        try:
            now = observe_triggers(self._cloudflare, self._worker, change, zones)
        except WorkerNotFound:
            return
        back = before.way_back(change, now)
        if not back.is_empty:
            set_triggers(self._cloudflare, self._worker, now, back)
            now = observe_triggers(self._cloudflare, self._worker, change, zones)
            left = before.way_back(change, now)
            if not left.is_empty:
                raise VerificationFailed("Cloudflare still reports other " + "; ".join(left.describe()))
            self._put_back.append("; ".join(back.describe()))
        others = now.restricted_to(before.restricted_to(change).wanted_over(now))
        if not others.is_empty:
            self._kept.append("what somebody else set meanwhile: " + "; ".join(others.describe()))

    # --- traffic ------------------------------------------------------------------------------------------------------

    def _share_back(self) -> None:
        """Only a test at 0 % made a deployment; one at a preview URL changed nothing."""
        intent = detail_of(self._entries, Step.SMOKE_TEST, Phase.INTENT) or {}
        if intent.get("at_zero"):
            self._traffic_back()

    def _traffic_back(self) -> None:
        observed = self._observed
        if not observed.exists:
            return
        wanted = dict(observed.traffic)
        try:
            current = self._cloudflare.deployments.current(self._worker)
        except WorkerNotFound:
            self._keep(f"that somebody deleted the Worker {self._worker}")
            return
        shares = dict(current.shares) if current is not None else {}
        if shares == wanted:
            return
        ours = self._our_versions()
        if not ours & shares.keys():
            self._keep(f"the deployment that somebody else made meanwhile ({', '.join(shares) or 'none'})")
            return
        if not wanted:
            # Cloudflare has no way to take a Worker's only deployment away but to delete the Worker.
            raise VerificationFailed(f"nothing was deployed before, and {', '.join(shares)} can't be taken back")
        self._cloudflare.deployments.create(self._worker, wanted, message=f"{UNDOES} {self.id}", force=True)
        now = self._cloudflare.deployments.current(self._worker)
        if now is None or dict(now.shares) != wanted:
            raise VerificationFailed(f"Cloudflare does not report {', '.join(wanted)} as live again")
        self._check_what_came_back(observed)
        self._put_back.append(f"traffic to version {observed.live_version}")

    def _our_versions(self) -> frozenset[str]:
        """Versions of this release, from the journal and, for an upload whose answer was lost, by their tag."""
        found = {
            str(detail["version_id"])
            for detail in (
                detail_of(self._entries, Step.UPLOAD, Phase.DONE),
                detail_of(self._entries, Step.ROLL_OUT, Phase.INTENT),
                detail_of(self._entries, Step.SMOKE_TEST, Phase.INTENT),
            )
            if detail is not None and "version_id" in detail
        }
        if not found:
            found = {
                version.id
                for version in self._cloudflare.versions.list(self._worker, limit=10)
                if (version.tag or "").startswith(f"{self.id}.")
            }
        return frozenset(found)

    def _check_what_came_back(self, observed: Observed) -> None:
        """The version that is live again must pass, where users reach it, what it passed before the release."""
        verdict, reason = self._ask_live(observed)
        live = observed.live_version
        if verdict is Verdict.INCONCLUSIVE or (verdict is Verdict.FAILED and self._baseline):
            raise VerificationFailed(f"version {live} is live again, but its smoke test says: {reason}")
        if verdict is Verdict.FAILED:
            self._kept.append(
                f"version {live} is live as before, though it fails a smoke test of the new one ({reason})"
            )

    def _ask_live(self, observed: Observed) -> tuple[Verdict | None, str]:
        """
        Ask the version that was live before, where users reach it, what it passed then.

        Returns:
            The verdict and its reason; None when nobody can be asked, or nothing.
        """
        live = observed.live_version
        addresses = addresses_of(observed.triggers, self._worker, self._account_subdomain)
        if live is None or observed.is_split or not addresses:
            return None, ""
        tests = [test for test in self._smoke_tests if addresses[0].serves(test.path)]
        if self._baseline:
            tests = [test for test in tests if key_of(test) in self._baseline]
        results = self._tester.run(tests, Place(addresses[0].hostname, live)) if tests else ()
        return (worst(results), results[-1].reason) if results else (None, "")

    @property
    def _baseline(self) -> frozenset[str]:
        """The smoke tests that the version before passed when the release began; noted only if it was to migrate."""
        noted = detail_of(self._entries, Step.NOTE_WAY_BACK, Phase.DONE) or {}
        return frozenset(noted.get("baseline") or ())

    # --- versions and Workers -----------------------------------------------------------------------------------------

    def _upload_back(self) -> None:
        """An uploaded version without traffic harms nobody and stays; a Worker that this release made is removed."""
        if self._observed.exists:
            return
        try:
            versions = self._cloudflare.versions.list(self._worker, limit=10)
        except WorkerNotFound:
            return
        foreign = [version.id for version in versions if not (version.tag or "").startswith(f"{self.id}.")]
        if foreign:
            self._kept.append(f"the Worker {self._worker}, since somebody else uploaded to it ({foreign[0]})")
            return
        self._cloudflare.scripts.delete(self._worker, force=True)
        try:
            self._cloudflare.versions.list(self._worker, limit=1)
        except WorkerNotFound:
            self._put_back.append(f"removed the Worker {self._worker}")
            return
        raise VerificationFailed(f"Cloudflare still has the Worker {self._worker}")

    # --- databases ----------------------------------------------------------------------------------------------------

    def _schema_back(self) -> None:
        intent = detail_of(self._entries, Step.MIGRATE, Phase.INTENT) or {}
        done = detail_of(self._entries, Step.MIGRATE, Phase.DONE) or detail_of(
            self._entries, Step.MIGRATE, Phase.FAILED
        )
        marks = {name: item["bookmark"] for name, item in ((done or {}).get("applied") or {}).items()}
        for database in intent.get("databases", ()):
            self._one_schema_back(database, marks.get(database["name"]), str(intent.get("on_failure", "keep")))

    def _one_schema_back(self, database: Mapping[str, Any], last: str | None, policy: str) -> None:
        name, folder = str(database["name"]), Path(str(database["folder"]))
        status = migrations.status(
            self._cloudflare.d1, database["id"], folder, pattern=database["pattern"], table=database["table"]
        )
        applied = [row.name for row in status.applied if row.name in database["pending"] and row.release_id == self.id]
        if not applied:
            return
        names = ", ".join(applied)
        files = {migration.name: migration for migration in find_migrations(folder, database["pattern"])}
        if all(item in files and files[item].down is not None for item in applied):
            revert(
                self._cloudflare.d1,
                database["id"],
                folder,
                applied,
                pattern=database["pattern"],
                table=database["table"],
                pause=self._cloudflare.clock.sleep,
            )
            self._put_back.append(f"{name}: ran the down files of {names}")
            return
        works, why = self._live_works_on_it()
        if (policy == "time-travel" or works is False) and self._travel_back(database, last):
            self._put_back.append(f"{name}: went back in time to before {applied[0]}; nobody had written since")
        elif works is False:
            raise VerificationFailed(
                f"{name}: {why} on the schema of {names}, there is no down file, and nothing proves that going back in"
                " time would lose no row"
            )
        else:
            self._kept.append(f"{name}: the schema of {names}, {why}")

    def _live_works_on_it(self) -> tuple[bool | None, str]:
        """
        Say whether the version before works on the new schema: as was found then, or by asking now.

        Returns:
            True, False, or None when nothing tells; and the same in words.
        """
        observed = self._observed
        if not observed.exists:
            return None, "which no version used before"
        works = (True, "on which the live version works")
        failed = detail_of(self._entries, Step.CHECK_LIVE, Phase.FAILED) or {}
        if detail_of(self._entries, Step.CHECK_LIVE, Phase.DONE) is not None:
            return works
        if failed.get("error") == SmokeTestFailed.__name__:
            return False, "the live version fails"
        verdict, reason = self._ask_live(observed) if self._baseline else (None, "")
        if verdict is Verdict.PASSED:
            return works
        if verdict is Verdict.FAILED:
            return False, f"the live version fails ({reason})"
        if verdict is Verdict.INCONCLUSIVE:
            raise VerificationFailed(f"nothing proves that the live version works on the new schema ({reason})")
        return None, "and no smoke test tells whether the live version works on it"

    def _travel_back(self, database: Mapping[str, Any], last: str | None) -> bool:
        """
        Restore the bookmark from before our first statement, if that provably loses nothing.

        Nobody may have written after our last statement: the bookmark now must equal the one taken right after it. Nor
        between the bookmark and our first statement, or between our last one and its bookmark, which no bookmark tells:
        so every row of before must be there as it was, and no other. And the answer's *previous_bookmark* must confirm
        that nobody wrote while we looked; if it doesn't, go forward again.
        """
        d1, database_id = self._cloudflare.d1, str(database["id"])
        if last is None or d1.bookmark(database_id) != last:
            return False
        if not holds_the_same(d1, database_id, Contents.from_json(database)):
            return False
        restored = d1.restore(database_id, bookmark=database["bookmark"])
        if restored.previous_bookmark == last:
            return True
        d1.restore(database_id, bookmark=restored.previous_bookmark)
        return False
