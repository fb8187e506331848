"""The backups of a workspace: taken, listed, verified and pruned, under the ledger's locks and with its index."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clodo.backups.d1.exporting import MayExport
from clodo.backups.manifest import Exactness, Kind, Manifest
from clodo.backups.pruning import Pruned, Pruner, vault_to_oneself
from clodo.backups.selection import AccountView, Selected, choose_targets, select_resources
from clodo.backups.signing import Signer
from clodo.backups.snapshots import Order, SnapshotTaker, what_is_wrong
from clodo.backups.vault import Vault
from clodo.backups.verification import Identities, Level, Verification, verify
from clodo.cloudflare.clock import SYSTEM_CLOCK, Clock
from clodo.errors import (
    BackupTooOld,
    BadUsage,
    NotFound,
    PartlyDone,
    Refused,
    SnapshotDamaged,
    SnapshotNotFound,
)
from clodo.ledger import Ledger, Lock, Owner, SnapshotRecord
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace

_FOUND_WRONG_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Listed:
    """
    A snapshot as a list shows it.

    Attributes:
        record: What the ledger knows of it.

        is_lost: The ledger knows it, and the vault has no manifest.
    """

    record: SnapshotRecord
    is_lost: bool = False

    @property
    def is_good(self) -> bool:
        """Is it whole, there, and not found wrong since?"""
        return self.record.is_good and not self.is_lost and not self.record.found_wrong


class Backups:
    """
    The backups of one workspace.

    Args:
        vaults: Each gets every snapshot; the first is read where one is enough.

        identities: Private age keys, where this machine has some.

        actor: Who does this, for the audit trail.

        say: Gets lines for a person.
    """

    def __init__(
        self,
        workspace: Workspace,
        ledger: Ledger,
        vaults: Sequence[Vault],
        *,
        actor: str,
        identities: Identities = (),
        say: Callable[[str], None] = lambda line: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._workspace = workspace
        self._ledger = ledger
        self.vaults = tuple(vaults)
        self._identities = tuple(identities)
        self._actor = actor
        self._say = say
        self._clock = clock
        self.settings = workspace.portfolio.backups
        self._state = workspace.state_dir
        self._signer = Signer.load(self._state)

    @property
    def identities(self) -> Identities:
        """Private age keys, where this machine has some."""
        return self._identities

    @property
    def portfolio(self) -> str:
        """Whose they are."""
        return self._workspace.portfolio.name

    @property
    def trusted(self) -> frozenset[str]:
        """Public keys of those whose snapshots count."""
        return frozenset(self.settings.signers or (self._signer.public_key,))

    # ── Taking ──

    def create(
        self,
        account_of: Callable[[Target], AccountView],
        *,
        targets: Sequence[str] = (),
        tags: Collection[str] = (),
        kinds: Collection[Kind] | None = None,
        reason: str = "",
        export: bool = False,
    ) -> Manifest:
        """
        Take a snapshot of what the bindings of the chosen targets name, and publish it in every vault.

        Args:
            export: Read databases by Cloudflare's export, which makes them unavailable, as long as the window is open.

        Returns:
            Its manifest. It may not be a good one: see `raise_unless_good`.

        Raises:
            Refused: Databases may not be exported at this time.
            NotFound: Nothing is named by any binding.
            LockHeld: Another backup of this portfolio runs.
            PartlyDone: Nothing at all could be read, so nothing was published.
        """
        may_export = self._window() if export else None
        chosen = choose_targets(self._workspace, targets, tags)
        kinds = frozenset(kinds if kinds is not None else (Kind(name) for name in self.settings.include))
        with self._lock(f"backup/{self.portfolio}", reason or "back up"):
            selected = select_resources(
                self._workspace, chosen, account_of, kinds, may_export=may_export, say=self._say
            )
            manifest = self._take(selected, targets, tags, kinds)
            self._audit("backed-up", manifest.id, {"good": manifest.is_good, "bytes": manifest.own_size})
        return manifest

    def raise_unless_good(self, manifest: Manifest) -> None:
        """
        Raise what keeps a published snapshot from being a good one.

        Raises:
            PartlyDone: Something is missing, or was written to while it was read.
        """
        if not manifest.is_good:
            raise PartlyDone(
                f"{manifest.id} was published, but {what_is_wrong(manifest)}",
                hint="Run it again when less is written, or see docs/backups.md.",
            )

    def raise_if_too_old(self, now: datetime) -> None:
        """
        Raise an alarm when the newest good snapshot is older than the portfolio's objective.

        A portfolio that names no recipients has no backups, and no objective either.

        Raises:
            BackupTooOld: It is, or there is none.
        """
        if not self.settings.recipients:
            self._say("This portfolio has no backups: [backups] of portfolio.toml names no recipients.")
            return
        good = [item.record for item in self.all() if item.is_good and item.record.is_whole]
        newest = max((record.created_at for record in good), default=None)
        if newest is None or now - newest > self.settings.objective:
            hours = "none" if newest is None else f"{(now - newest).total_seconds() / 3600:.1f} hours old"
            raise BackupTooOld(
                f"{self.portfolio}: the newest good snapshot is {hours};"
                f" it may be {self.settings.objective_hours:g} hours old",
                hint="Run `clodo backup create`, and look at why the scheduled runs failed.",
            )

    def _window(self) -> MayExport:
        """Return what says whether databases may be exported; refuse when they may not now."""
        window = self.settings.export
        if window is None:
            raise Refused(
                "Databases may not be exported: portfolio.toml has no [backups.export]",
                hint='An export makes a database unavailable. Say when that may be: window = "02:00-03:00".',
            )
        if not window.includes(self._clock.now()):
            raise Refused(
                f"Databases may be exported in the window {window.window} ({window.time_zone}) only",
                hint="Without --export they are read while they go on answering.",
            )
        return lambda: window.includes(self._clock.now())

    def _take(
        self, selected: Selected, targets: Sequence[str], tags: Collection[str], kinds: Collection[Kind]
    ) -> Manifest:
        if not selected.resources and not selected.missing:
            raise NotFound(
                "There is nothing to back up: no binding of the chosen targets names anything",
                hint="Databases, namespaces and buckets are found through the wrangler configs.",
            )
        taker = SnapshotTaker(
            self.vaults,
            self._signer,
            trusted=self.trusted,
            work=self._state / "backups" / "work",
            say=self._say,
            clock=self._clock,
        )
        selection = {
            "targets": sorted(targets),
            "tags": sorted(tags),
            "kinds": sorted(kind.value for kind in kinds),
            "is_whole": not targets and not tags and {Kind(name) for name in self.settings.include} <= set(kinds),
        }
        if selected.not_deployed:
            selection["not_deployed"] = list(selected.not_deployed)
        order = Order(
            self.portfolio,
            selected.resources,
            self.settings.recipients,
            tuple(selected.missing),
            selection,
        )
        manifest = taker.take(order)
        if not manifest.archives:
            raise PartlyDone(f"Nothing could be backed up, so nothing was published: {what_is_wrong(manifest)}")
        # Whoever prunes has the vault to himself: a part that is there when we publish stays.
        with ExitStack() as locks:
            for vault in sorted(self.vaults, key=lambda vault: vault.name):
                locks.enter_context(vault_to_oneself(self._ledger, vault, f"publish {manifest.id}", self._clock))
            taker.publish(manifest)
        for vault in self.vaults:
            self._ledger.snapshots.add(record_of(manifest, vault.name))
        return manifest

    # ── Looking ──

    def all(self, *, of_all: bool = False) -> list[Listed]:
        """
        Return the snapshots of this portfolio, oldest first, one entry a vault.

        What is in a vault and unknown to the ledger is remembered; what the ledger knows and a vault lacks is lost.

        Args:
            of_all: Those of other portfolios in the same vaults too.
        """
        found: list[Listed] = []
        for vault in self.vaults:
            there = vault.snapshots()
            known = {record.id: record for record in self._ledger.snapshots.all(vault=vault.name)}
            for snapshot in there:
                if snapshot not in known:
                    try:
                        known[snapshot] = record_of(vault.manifest(snapshot), vault.name)
                        self._ledger.snapshots.add(known[snapshot])
                    except SnapshotNotFound:
                        # A folder without a manifest: somebody else's, or it was pruned this moment.
                        continue
                    except SnapshotDamaged as error:
                        self._say(f"{snapshot} in the vault {vault.name}: {error.message}")
            found += [Listed(record, is_lost=record.id not in there) for record in known.values()]
        wanted = [item for item in found if of_all or item.record.portfolio == self.portfolio]
        return sorted(wanted, key=lambda item: (item.record.id, item.record.vault))

    def find(self, text: str | None) -> str:
        """
        Return the id of a snapshot: *text*, or the only one that begins so, or the newest of the whole portfolio.

        Raises:
            SnapshotNotFound: There is none.
            BadUsage: More than one begins so.
        """
        ids = sorted({item.record.id for item in self.all()})
        if text is None:
            if not ids:
                raise SnapshotNotFound(f"{self.portfolio} has no snapshot", hint="Take one: `clodo backup create`.")
            whole = [item.record.id for item in self.all() if item.record.is_whole]
            return max(whole, default=ids[-1])
        found = [item for item in ids if item.startswith(text)]
        if text in ids or not found:
            # An unknown one may be in a vault all the same; whoever reads it will tell.
            return text
        if len(found) > 1:
            raise BadUsage(f"{len(found)} snapshots begin with {text}", hint="Write some more of the id.")
        return found[0]

    def vault(self, name: str | None) -> Vault:
        """
        Return the vault called *name*, the first one by default.

        Raises:
            BadUsage: There is none of that name.
        """
        for vault in self.vaults:
            if name is None or vault.name == name:
                return vault
        names = ", ".join(vault.name for vault in self.vaults)
        raise BadUsage(f'no vault of this portfolio is called "{name}"', hint=f"There are: {names}.")

    def manifest(self, snapshot: str, *, vault: str | None = None) -> Manifest:
        """
        Return the manifest of a snapshot, if somebody we trust signed it.

        Raises:
            SnapshotNotFound: There is none; the message says so when the ledger knows it, since then it was lost.
            SnapshotNotTrusted: Nobody whom we trust signed it as it is.
        """
        place = self.vault(vault)
        try:
            manifest = place.manifest(snapshot)
        except SnapshotNotFound as error:
            self._raise_if_lost(snapshot, place, error)
            raise
        manifest.raise_unless_trusted(self.trusted)
        return manifest

    # ── Proving ──

    def verify(self, snapshot: str, level: Level, *, vault: str | None = None) -> Verification:
        """
        Verify a snapshot in one vault, and remember how it went.

        Returns:
            What was found; `Verification.raise_if_wrong` raises it.

        Raises:
            SnapshotNotFound, SnapshotNotTrusted, IdentityMissing, VaultUnavailable: As
                `clodo.backups.verification.verify`.
        """
        place = self.vault(vault)
        try:
            found = verify(
                place,
                snapshot,
                level,
                trusted=self.trusted,
                identities=self._identities,
                scratch=self._state / "backups",
                say=self._say,
            )
        except SnapshotDamaged as error:
            self._ledger.snapshots.failed(snapshot, place.name, error.message[:_FOUND_WRONG_CHARACTERS])
            raise
        except SnapshotNotFound as error:
            self._raise_if_lost(snapshot, place, error)
            raise
        if found.is_good:
            self._ledger.snapshots.add(record_of(place.manifest(snapshot), place.name))
            self._ledger.snapshots.verified(snapshot, place.name, self._clock.now(), level.value)
        else:
            what = "; ".join(found.findings)[:_FOUND_WRONG_CHARACTERS]
            self._ledger.snapshots.failed(snapshot, place.name, what)
        self._audit("verified", snapshot, {"vault": place.name, "level": level.value, "good": found.is_good})
        return found

    # ── Pruning ──

    def prune(self, *, dry_run: bool = False, reason: str = "") -> list[Pruned]:
        """
        Delete the snapshots that the rules of [backups.keep] let go, and parts that nobody names any more.

        Raises:
            LockHeld: Somebody else prunes, or publishes for too long.
            SnapshotDamaged: A manifest can't be read, so that nobody knows which parts it needs; nothing was deleted.
        """
        pruner = Pruner(
            self._ledger,
            self.portfolio,
            self.settings.keep,
            trusted=self.trusted,
            actor=self._actor,
            say=self._say,
            clock=self._clock,
        )
        return [pruner.prune(vault, dry_run=dry_run, reason=reason) for vault in self.vaults]

    # ── How it is done ──

    def _raise_if_lost(self, snapshot: str, vault: Vault, error: SnapshotNotFound) -> None:
        if any(record.id == snapshot for record in self._ledger.snapshots.all(vault=vault.name)):
            self._ledger.snapshots.failed(snapshot, vault.name, "its manifest is lost")
            raise SnapshotDamaged(
                f"{snapshot} was in the vault {vault.name} and its manifest is lost",
                hint="Somebody deleted it, and not by `clodo backup prune`. Look for it in the other vaults.",
            ) from error

    def _lock(self, name: str, reason: str) -> Lock:
        return self._ledger.locks.acquire(name, Owner.current(reason), reason)

    def _audit(self, action: str, subject: str, detail: dict[str, object]) -> None:
        self._ledger.audit.append(self._actor, action, subject, detail)


def record_of(manifest: Manifest, vault: str) -> SnapshotRecord:
    """Return what the ledger remembers of a snapshot."""
    return SnapshotRecord(
        id=manifest.id,
        vault=vault,
        portfolio=manifest.portfolio,
        created_at=manifest.created_at,
        seconds=manifest.seconds,
        is_good=manifest.is_good,
        is_whole=manifest.is_whole,
        exactness=Exactness(manifest.exactness).value,
        size=manifest.size,
        own_size=manifest.own_size,
        archives=len(manifest.archives),
        missing=len(manifest.missing),
    )


def local_vault(state: Path) -> Vault:
    """Return the vault of a workspace that names none: a folder."""
    return Vault.open("local", str(state / "vault"))
