"""Pruning vaults: snapshots that the rules let go, and parts that no manifest names any more."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from clodo.backups.manifest import Manifest
from clodo.backups.retention import Decision, Kept, Rules, decide
from clodo.backups.vault import Vault
from clodo.cloudflare.clock import Clock
from clodo.errors import LockHeld
from clodo.ledger import Ledger, Owner

LEFTOVERS_AFTER = timedelta(days=1)
"""After so long a part that no manifest names is collected: no backup takes a day from its first part to the end."""

VAULT_PATIENCE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Pruned:
    """
    What pruning a vault did, or would do.

    Attributes:
        decisions: Of each snapshot of the portfolio, newest first.

        parts: How many parts went that nobody names any more.

        bytes: Of them.
    """

    vault: str
    decisions: tuple[Decision, ...]
    parts: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "vault": self.vault,
            "snapshots": [
                {
                    "id": item.snapshot.id,
                    "created_at": item.snapshot.created_at.isoformat(),
                    "is_good": item.snapshot.is_good,
                    "stays": item.stays,
                    "reasons": list(item.reasons),
                }
                for item in self.decisions
            ],
            "parts": self.parts,
            "bytes": self.bytes,
        }


class Pruner:
    """
    Prunes vaults for one portfolio.

    Args:
        keep: The rules.

        trusted: Public keys of those whose snapshots count.

        actor: Who does this, for the audit trail.
    """

    def __init__(
        self,
        ledger: Ledger,
        portfolio: str,
        keep: Rules,
        *,
        trusted: Collection[str],
        actor: str,
        say: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._portfolio = portfolio
        self._keep = keep
        self._trusted = trusted
        self._actor = actor
        self._say = say
        self._clock = clock

    def prune(self, vault: Vault, *, dry_run: bool, reason: str) -> Pruned:
        """
        Delete the snapshots of the portfolio that the rules let go, and parts that nobody names any more.

        Raises:
            LockHeld: Somebody else prunes, or publishes for too long.
            SnapshotDamaged: A manifest can't be read, so that nobody knows which parts it needs; nothing was deleted.
            SnapshotNotTrusted: One of the portfolio is none of ours; nothing was deleted.
        """
        with ExitStack() as locks:
            if not dry_run:
                locks.enter_context(vault_to_oneself(self._ledger, vault, reason or "prune", self._clock))
            manifests = [vault.manifest(snapshot) for snapshot in vault.snapshots()]
            wrong = {item.id for item in self._ledger.snapshots.all(vault=vault.name) if item.found_wrong}
            ours = [item for item in manifests if item.portfolio == self._portfolio]
            for manifest in ours:
                # A forged one that counts as newest would let good ones go.
                manifest.raise_unless_trusted(self._trusted)
            held = {item.id for item in ours if self._is_held(item.id)}
            decisions = self._decide(ours, wrong, held)
            gone = {item.snapshot.id for item in decisions if not item.stays}
            if not dry_run:
                gone = {snapshot for snapshot in sorted(gone) if self._withdraw(vault, snapshot)}
            needed = _parts(item for item in manifests if item.id not in gone)
            released = _parts(item for item in manifests if item.id in gone)
            old = self._clock.now() - LEFTOVERS_AFTER
            unneeded = [
                part
                for part in vault.parts()
                if part.sha256 not in needed and (part.sha256 in released or part.stored_at < old)
            ]
            if not dry_run:
                for part in unneeded:
                    vault.delete_part(part.sha256)
                detail = {"snapshots": len(gone), "parts": len(unneeded)}
                self._ledger.audit.append(self._actor, "pruned", vault.name, detail)
        return Pruned(vault.name, tuple(decisions), len(unneeded), sum(part.size for part in unneeded))

    def _decide(self, manifests: Sequence[Manifest], wrong: Collection[str], held: Collection[str]) -> list[Decision]:
        """A part of the portfolio never stands for the whole, nor for another part: each has its own hours and days."""
        by_scope: dict[str, list[Kept]] = {}
        for item in manifests:
            scope = {name: item.selection.get(name) for name in ("is_whole", "targets", "tags", "kinds")}
            kept = Kept(item.id, item.created_at, item.is_good and item.id not in wrong)
            by_scope.setdefault("whole" if item.is_whole else json.dumps(scope), []).append(kept)
        decisions = [one for kept in by_scope.values() for one in decide(kept, self._keep, held=held)]
        return sorted(decisions, key=lambda one: (one.snapshot.created_at, one.snapshot.id), reverse=True)

    def _is_held(self, snapshot: str) -> bool:
        # Whoever was killed holds nothing, also before his lock expires.
        holding = self._ledger.locks.holding(f"snapshot/{snapshot}")
        return holding is not None and not holding.owner.is_gone()

    def _withdraw(self, vault: Vault, snapshot: str) -> bool:
        try:
            with self._ledger.locks.acquire(f"snapshot/{snapshot}", Owner.current("prune"), "prune"):
                # Forgotten first: what is killed in between is listed again, not reported as lost.
                self._ledger.snapshots.forget(snapshot, vault.name)
                vault.withdraw(snapshot)
        except LockHeld:
            # Somebody began to restore it since we looked.
            self._say(f"{snapshot} stays: somebody reads it")
            return False
        self._say(f"{snapshot} was deleted from the vault {vault.name}")
        return True


@contextmanager
def vault_to_oneself(ledger: Ledger, vault: Vault, reason: str, clock: Clock) -> Iterator[None]:
    """
    Hold a vault, as who publishes or prunes does, once nobody else holds it.

    Raises:
        LockHeld: Somebody held it for all of `VAULT_PATIENCE`.
    """
    gives_up_at = clock.monotonic() + VAULT_PATIENCE.total_seconds()
    while True:
        try:
            lock = ledger.locks.acquire(f"vault/{vault.name}", Owner.current(reason), reason)
            break
        except LockHeld:
            if clock.monotonic() > gives_up_at:
                raise
            clock.sleep(1.0)
    with lock:
        yield


def _parts(manifests: Iterable[Manifest]) -> set[str]:
    return {part.sha256 for manifest in manifests for archive in manifest.archives for part in archive.parts}
