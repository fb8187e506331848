"""Restores of a workspace: planned, locked, journaled, carried out, verified; undone when they fail."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from clodo.backups.backups import Backups
from clodo.backups.manifest import Exactness, Kind, Manifest
from clodo.backups.restoring.carrying_out import carry_out, put_back
from clodo.backups.restoring.journal import Journal
from clodo.backups.restoring.merging import MERGEABLE
from clodo.backups.restoring.plan import Plan, Step, Way, Wish
from clodo.backups.restoring.planning import Accounts, draw_journey, draw_plan
from clodo.backups.restoring.sources import Source, source_of
from clodo.backups.restoring.work import Work
from clodo.backups.vault import Vault
from clodo.cloudflare.budget import Lane
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.clock import SYSTEM_CLOCK, Clock
from clodo.errors import (
    ClodoError,
    LockLost,
    NotAuthorised,
    Refused,
    SnapshotDamaged,
    SnapshotNotFound,
    UndoIncomplete,
    VaultUnavailable,
)
from clodo.ledger import Ledger, Lock, Owner
from clodo.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class RestoredResource:
    """
    A resource that came back and was verified.

    Attributes:
        id: Its id now.

        items: Rows or keys that were compared.

        expired: Keys that were left out, since their time is over.

        bookmark_before: Where Time Travel goes to undo it; None for new ones.

        notes: What is still otherwise than in the snapshot, and how it comes back.
    """

    kind: str
    way: str
    source: str
    source_id: str
    name: str
    id: str
    account_id: str
    items: int
    expired: int
    seconds: float
    bookmark_before: str | None
    targets: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return found | {"targets": list(self.targets), "notes": list(self.notes)}


@dataclass(frozen=True, slots=True)
class Restored:
    """
    A restore that is done and verified.

    Attributes:
        safety: The snapshot of what was overwritten; None when nothing was.
    """

    snapshot: str
    vault: str
    resources: tuple[RestoredResource, ...]
    safety: str | None
    seconds: float
    was_resumed: bool

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "snapshot": self.snapshot,
            "vault": self.vault,
            "resources": [item.to_json() for item in self.resources],
            "safety": self.safety,
            "seconds": self.seconds,
            "was_resumed": self.was_resumed,
        }


class Restorer:
    """
    Restores snapshots of one workspace.

    Args:
        actor: Who does this, for the audit trail.

        check: Called before each write; raises when somebody asked to stop.
    """

    def __init__(
        self,
        workspace: Workspace,
        ledger: Ledger,
        backups: Backups,
        accounts: Accounts,
        *,
        actor: str,
        say: Callable[[str], None] = lambda line: None,
        check: Callable[[], None] = lambda: None,
        clock: Clock = SYSTEM_CLOCK,
        lane: Lane = Lane.RELEASE,
    ) -> None:
        self._workspace = workspace
        self._ledger = ledger
        self._backups = backups
        self._accounts = accounts
        self._actor = actor
        self._say = say
        self._check = check
        self._clock = clock
        self._lane = lane
        self._folder = workspace.state_dir / "backups" / "restores"

    def plan(self, wish: Wish) -> Plan:
        """
        Say what a restore would do; one that was interrupted goes on with its own plan.

        Raises:
            NotFound, BadUsage, Refused: As `clodo.backups.restoring.planning.draw_plan`.
            SnapshotNotTrusted: Nobody whom we trust signed the snapshot as it is.
        """
        wish = self._resolved(wish)
        interrupted = Journal.find(self._folder, wish)
        return interrupted.plan if interrupted is not None else self._draw(wish)

    def restore(self, wish: Wish, *, approved: str | None = None, reason: str = "") -> Restored:
        """
        Restore what *wish* says, and compare it with the manifest; when that fails, the target is as before.

        Args:
            approved: Fingerprint of the plan that somebody saw; any plan when None.

        Raises:
            PlanIsStale: It would do something else by now; nothing was done.
            SnapshotDamaged, IdentityMissing: The snapshot can't be used; nothing was left behind.
            UndoIncomplete: It failed, and something could not be put back; the message says what.
            LockHeld: Somebody restores or prunes this snapshot, or releases what would be overwritten.
        """
        wish = self._resolved(wish)
        began = self._clock.monotonic()
        with ExitStack() as exits:
            # While it is held, pruning leaves the snapshot alone.
            name = f"snapshot/{wish.snapshot}" if wish.snapshot is not None else f"travel/{self._backups.portfolio}"
            lock = exits.enter_context(
                self._ledger.locks.acquire(name, Owner.current(reason or "restore"), reason or "restore")
            )
            journal = Journal.find(self._folder, wish)
            was_resumed = journal is not None
            plan = journal.plan if journal is not None else self._draw(wish)
            plan.raise_if_stale(approved)
            for name in self._locks_of(plan):
                exits.enter_context(self._ledger.locks.acquire(name, Owner.current("restore in place"), reason))
            work = self._work(wish, plan, lock)
            if journal is None:
                for step in plan.steps:
                    if step.way is not Way.TRAVEL:
                        # Whoever has the wrong key finds out before anything is made.
                        next(work.source(step).chunks(), None)
                journal = Journal.begin(self._folder, wish, plan, self._clock.now())
            else:
                self._say(f"going on with the restore that was begun at {journal.begun_at}")
            safety = self._carry_out(plan, journal, work, reason)
        restored = Restored(
            plan.snapshot,
            plan.vault,
            tuple(self._resource(step, journal) for step in plan.steps),
            safety,
            round(self._clock.monotonic() - began, 3),
            was_resumed,
        )
        detail = {"resources": [f"{item.kind}/{item.name}" for item in restored.resources][:50], "safety": safety}
        self._ledger.audit.append(self._actor, "restored", plan.snapshot or plan.taken_at.isoformat(), detail)
        return restored

    def _locks_of(self, plan: Plan) -> list[str]:
        """Return the locks of releases that might migrate what is overwritten, or make the same Worker, meanwhile."""
        held = [step for step in plan.steps if step.way is not Way.CREATE or step.kind is Kind.WORKER]
        named = {target for step in held for target in step.targets}
        return sorted({self._accounts.lock_of(item) for item in self._workspace.targets if str(item) in named})

    def _carry_out(self, plan: Plan, journal: Journal, work: Work, reason: str) -> str | None:
        begun: list[Step] = []
        try:
            safety = self._safety(plan, journal, reason)
            for step in plan.steps:
                begun.append(step)
                carry_out(step, journal, work)
        except BaseException as error:
            if isinstance(error, LockLost):
                # Whoever took it over goes on with our journal.
                raise
            self._put_back(begun, journal, work, error)
            raise
        journal.end()
        return safety

    def _put_back(self, begun: list[Step], journal: Journal, work: Work, cause: BaseException) -> None:
        undoing = work.undoing()
        left: list[str] = []
        for step in reversed(begun):
            try:
                problem = put_back(step, journal, undoing)
                if not problem:
                    # Whoever goes on after an undo that left something else does this step anew.
                    journal.forget(step)
            except ClodoError as error:
                problem = error.message
            if problem:
                left.append(f"{step.kind.value}/{step.name}: {problem}")
        if left:
            what = cause.message if isinstance(cause, ClodoError) else type(cause).__name__
            raise UndoIncomplete(
                f"The restore failed ({what}), and this is not as it was before: {'; '.join(left)}",
                hint="Run the same command again: it goes on from here. Or see docs/backups.md.",
            ) from cause
        journal.end()
        self._say("the restore failed; everything that it did was taken back")

    def _resolved(self, wish: Wish) -> Wish:
        if wish.at is not None:
            if wish.snapshot is not None:
                raise Refused("A moment is asked for and a snapshot too", hint="Give --at or a snapshot.")
            return wish
        return replace(wish, snapshot=self._backups.find(wish.snapshot), vault=self._backups.vault(wish.vault).name)

    def _draw(self, wish: Wish) -> Plan:
        if wish.at is not None:
            return draw_journey(self._workspace, wish, wish.at, self._accounts)
        manifest = self._backups.manifest(str(wish.snapshot), vault=wish.vault)
        vault, identities = self._backups.vault(wish.vault), self._backups.identities
        return draw_plan(
            manifest,
            str(wish.vault),
            wish,
            self._accounts,
            lambda archive: source_of(vault, manifest, archive, identities),
        )

    def _work(self, wish: Wish, plan: Plan, lock: Lock) -> Work:
        manifest = self._backups.manifest(plan.snapshot, vault=plan.vault) if plan.snapshot else None

        def guard() -> None:
            lock.check()
            self._check()

        def client(step: Step) -> Cloudflare:
            cloudflare = self._accounts.called(wish.account) if wish.account else self._accounts.client(step.account_id)
            return cloudflare.with_lane(self._lane).with_guard(guard)

        held: dict[str, Source] = {}

        def of_snapshot(step: Step, place: Vault, kept: Manifest) -> Source:
            archive = next(item for item in kept.archives if (item.kind, item.id) == (step.kind, step.source_id))
            return source_of(place, kept, archive, self._backups.identities)

        def source(step: Step) -> Source:
            assert manifest is not None
            found = of_snapshot(step, self._backups.vault(plan.vault), manifest)
            # What was merged is taken back by what was read: a vault that fails meanwhile is no hindrance.
            return held.setdefault(step.key, found.held()) if step.kind in MERGEABLE else found

        def undo_source(step: Step) -> Source:
            return of_snapshot(step, *self._from_any_vault(str(plan.snapshot)))

        def safety_source(step: Step, snapshot: str) -> Source:
            place, kept = self._from_any_vault(snapshot)
            archive = kept.find(step.kind, step.account_id, str(step.there_id))
            assert archive is not None
            return source_of(place, kept, archive, self._backups.identities)

        return Work(
            client=client,
            source=source,
            undo_source=undo_source,
            safety_source=safety_source,
            scratch=self._workspace.state_dir / "backups" / "scratch",
            table=plan.table,
            prefix=plan.prefix,
            say=self._say,
            clock=self._clock,
        )

    def _from_any_vault(self, snapshot: str) -> tuple[Vault, Manifest]:
        """Return the first vault that can be read now, with the manifest."""
        *others, last = self._backups.vaults
        for place in others:
            try:
                return place, self._backups.manifest(snapshot, vault=place.name)
            except (VaultUnavailable, NotAuthorised, SnapshotNotFound, SnapshotDamaged) as error:
                self._say(f"{error.message}; looking into the next one")
        return last, self._backups.manifest(snapshot, vault=last.name)

    def _safety(self, plan: Plan, journal: Journal, reason: str) -> str | None:
        """Take a snapshot of what is overwritten, once."""
        over = [step for step in plan.steps if step.way is not Way.CREATE]
        if not over:
            return None
        noted = journal.of(over[0]).get("safety")
        if noted:
            return str(noted)
        self._say("taking a snapshot of what will be overwritten")
        targets = sorted({target for step in over for target in step.targets})
        manifest = self._backups.create(
            self._accounts.account_of,
            targets=targets,
            kinds={step.kind for step in over},
            reason=reason or "before a restore in place",
        )
        for step in over:
            archive = manifest.find(step.kind, step.account_id, str(step.there_id))
            if archive is None or archive.exactness is Exactness.FUZZY:
                raise Refused(
                    f"{step.kind.value}/{step.name} was not overwritten: the safety snapshot {manifest.id}"
                    f" {'has it only in pieces of different moments' if archive else 'does not have it'}",
                    hint="Restore into a new resource instead: leave --in-place away.",
                )
        for step in over:
            journal.note(step, safety=manifest.id)
        return manifest.id

    def _resource(self, step: Step, journal: Journal) -> RestoredResource:
        noted = journal.of(step)
        return RestoredResource(
            kind=step.kind.value,
            way=step.way.value,
            source=step.source,
            source_id=step.source_id,
            name=step.name,
            id=str(noted["id"]),
            account_id=step.account_id,
            items=int(noted["items"]),
            expired=int(noted.get("expired", 0)),
            seconds=float(noted["seconds"]),
            bookmark_before=noted.get("before") if step.kind is Kind.D1 else None,
            targets=step.targets,
            notes=tuple(noted.get("notes", ())),
        )
