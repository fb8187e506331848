"""Drills: the newest good snapshot restored into scratch resources, compared with its manifest, measured, removed."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from clodo.backups.backups import Backups, Listed
from clodo.backups.manifest import Archive, Kind, Manifest
from clodo.backups.restoring.carrying_out import carry_out, put_back
from clodo.backups.restoring.journal import Journal
from clodo.backups.restoring.plan import Plan, Step, Wish
from clodo.backups.restoring.planning import Accounts, draw_plan
from clodo.backups.restoring.sources import Source, source_of
from clodo.backups.restoring.work import Work
from clodo.cloudflare.budget import Lane
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.clock import SYSTEM_CLOCK, Clock
from clodo.errors import ApiRefused, ClodoError, SnapshotDamaged, SnapshotNotFound, VerificationFailed
from clodo.ledger import DrillRecord, Ledger, Owner, new_identifier
from clodo.workspace.workspace import Workspace

DRILLED = (Kind.D1, Kind.KV)
"""Buckets would cost two requests an object each time; `verify --level restore` reads them on this machine."""

_PROBLEM_CHARACTERS = 2_000


class Driller:
    """
    Drills the backups of one workspace.

    Args:
        block: Block of the account that holds the scratch resources; those that the snapshot was taken of by default.

        check: Called before each write; raises when somebody asked to stop.
    """

    def __init__(
        self,
        workspace: Workspace,
        ledger: Ledger,
        backups: Backups,
        accounts: Accounts,
        *,
        block: str | None = None,
        say: Callable[[str], None] = lambda line: None,
        check: Callable[[], None] = lambda: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._ledger = ledger
        self._backups = backups
        self._accounts = accounts
        self._block = block
        self._say = say
        self._check = check
        self._clock = clock
        self._folder = workspace.state_dir / "backups"

    def drill(self, snapshot: str | None = None, *, vault: str | None = None) -> DrillRecord:
        """
        Restore a snapshot into scratch resources, compare it with its manifest, and remove them.

        It never looks at the live resources, which have moved on. What a killed drill left is removed first. How it
        went is in the ledger, also when it failed; `raise_unless_good` raises that.

        Args:
            snapshot: The newest good one by default.

        Raises:
            SnapshotNotFound: There is none to drill.
            LockHeld: Another drill of this portfolio runs.
            TryLater, IdentityMissing, …: What says nothing about the snapshot.
        """
        place = self._backups.vault(vault).name
        began_at, began = self._clock.now(), self._clock.monotonic()
        with self._ledger.locks.acquire(f"drill/{self._backups.portfolio}", Owner.current("drill"), "drill") as lock:

            def guard() -> None:
                lock.check()
                self._check()

            chosen = self._backups.find(snapshot) if snapshot is not None else self._newest_good(place)
            self._say(f"drilling {chosen} of the vault {place}")
            items, problem = 0, None
            created_at = next(
                item.record.created_at
                for item in self._backups.all(of_all=True)
                if (item.record.id, item.record.vault) == (chosen, place)
            )
            try:
                # Whoever removed a row and computed all hashes anew is found here: nobody we trust signed it.
                manifest = self._backups.manifest(chosen, vault=place)
                items = self._restore(manifest, place, guard)
            except (SnapshotDamaged, VerificationFailed) as error:
                problem = error.message[:_PROBLEM_CHARACTERS]
                self._ledger.snapshots.failed(chosen, place, problem)
            except ApiRefused as error:
                # It did not come back; whether the snapshot is to blame, the message tells a person.
                problem = error.message[:_PROBLEM_CHARACTERS]
            record = DrillRecord(
                id=new_identifier("d", now=began_at),
                portfolio=self._backups.portfolio,
                snapshot=chosen,
                vault=place,
                at=began_at,
                is_good=problem is None,
                rto_seconds=round(self._clock.monotonic() - began, 3),
                rpo_seconds=max(0.0, round((began_at - created_at) / timedelta(seconds=1), 3)),
                items=items,
                problem=problem,
            )
            self._ledger.drills.add(record)
            return record

    def _newest_good(self, vault: str) -> str:
        good = [item.record.id for item in self._backups.all() if self._may_drill(item, vault)]
        if not good:
            raise SnapshotNotFound(
                f"The vault {vault} has no good snapshot of {self._backups.portfolio} to drill",
                hint="Take one: `clodo backup create`.",
            )
        return good[-1]

    def _may_drill(self, item: Listed, vault: str) -> bool:
        return item.is_good and item.record.is_whole and item.record.vault == vault

    def _restore(self, manifest: Manifest, vault: str, guard: Callable[[], None]) -> int:
        archives = {(item.kind, item.id): item for item in manifest.archives if item.kind in DRILLED}
        wish = Wish(snapshot=manifest.id, vault=vault, account=self._block)
        place = self._backups.vault(vault)

        def opened(archive: Archive) -> Source:
            return source_of(place, manifest, archive, self._backups.identities)

        drawn = draw_plan(manifest, vault, wish, self._accounts, opened)
        number = secrets.token_hex(3)
        steps = tuple(
            replace(step, name=f"{self._prefix}{number}-{index}")
            for index, step in enumerate(drawn.steps, start=1)
            if step.kind in DRILLED
        )
        plan = Plan(manifest.id, vault, manifest.created_at, steps)

        def client(step: Step) -> Cloudflare:
            return self._client(step.account_id).with_lane(Lane.BACKUP).with_guard(guard)

        def source(step: Step) -> Source:
            return opened(archives[step.kind, step.source_id])

        work = Work(
            client=client,
            source=source,
            undo_source=source,
            safety_source=lambda step, snapshot: source(step),
            scratch=self._folder / "scratch",
            table=None,
            prefix=None,
            say=self._say,
            clock=self._clock,
        )
        self._collect(work, steps)
        journal = Journal.begin(self._folder / "drills", wish, plan, self._clock.now())
        try:
            for step in steps:
                carry_out(step, journal, work)
        finally:
            self._remove(steps, journal, work)
        return sum(int(journal.of(step)["items"]) for step in steps)

    def _remove(self, steps: tuple[Step, ...], journal: Journal, work: Work) -> None:
        undoing = work.undoing()
        for step in steps:
            try:
                put_back(step, journal, undoing)
            except ClodoError as error:
                # It says nothing about the snapshot, and the next drill collects it.
                self._say(f"{step.kind.value}/{step.name} stays for now: {error.message}")
        journal.end()

    def _collect(self, work: Work, steps: tuple[Step, ...]) -> None:
        """Remove what killed drills left; while we hold the lock no other one of this portfolio runs."""
        ours = re.compile(re.escape(self._prefix) + r"[0-9a-f]{6}-\d+")
        for account in sorted({step.account_id for step in steps}):
            cloudflare = work.client(next(step for step in steps if step.account_id == account))
            for database in list(cloudflare.d1.list(name=self._prefix)):
                if ours.fullmatch(database.name):
                    cloudflare.d1.delete(database.uuid)
                    self._say(f"removed d1/{database.name}, which a drill before this one left")
            for namespace in list(cloudflare.kv.list()):
                if ours.fullmatch(namespace.title):
                    cloudflare.kv.delete(namespace.id)
                    self._say(f"removed kv/{namespace.title}, which a drill before this one left")

    @property
    def _prefix(self) -> str:
        """What the names of this portfolio's scratch resources begin with."""
        return f"clodo-drill-{hashlib.sha256(self._backups.portfolio.encode()).hexdigest()[:8]}-"

    def _client(self, account_id: str) -> Cloudflare:
        return self._accounts.called(self._block) if self._block else self._accounts.client(account_id)


def raise_unless_good(record: DrillRecord) -> None:
    """
    Raise what a drill found.

    Raises:
        SnapshotDamaged: The snapshot does not restore to what its manifest says.
    """
    if not record.is_good:
        raise SnapshotDamaged(
            f"The drill of {record.snapshot} in the vault {record.vault} failed: {record.problem}",
            hint="Restore from another snapshot or vault; take a new one, and drill it.",
        )
