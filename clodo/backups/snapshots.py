"""Taking a snapshot: each resource captured or known to be unchanged, stored in every vault, then published."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clodo.backups.archive import Sealed, recipient
from clodo.backups.manifest import Archive, Exactness, Kind, Manifest, Missing
from clodo.backups.resources import Resource
from clodo.backups.signing import Signer
from clodo.backups.vault import Vault
from clodo.cloudflare.clock import SYSTEM_CLOCK, Clock
from clodo.errors import (
    BadConfiguration,
    BadUsage,
    ClodoError,
    Interrupted,
    NoSpaceLeft,
    NotAuthorised,
    NotFound,
    SnapshotDamaged,
    VaultUnavailable,
)
from clodo.ledger.identifiers import new_identifier

WORKERS = 4
PARENTS_LOOKED_AT = 20
_TOOLS = ("clodo", "apsw", "pyrage", "zstandard", "obstore", "cryptography")


@dataclass(frozen=True, slots=True)
class Order:
    """
    What a snapshot is taken of, and for whom.

    Attributes:
        portfolio: Whose it is.

        recipients: Public age keys.

        selection: What was asked for, for the manifest.
    """

    portfolio: str
    resources: Sequence[Resource]
    recipients: tuple[str, ...]
    missing: tuple[Missing, ...] = ()
    selection: Mapping[str, Any] = field(default_factory=dict)


class SnapshotTaker:
    """
    Takes snapshots into *vaults*.

    Args:
        vaults: Each gets every part, and then the manifest.

        trusted: Public signing keys; archives of earlier snapshots are used only if one of them signed.

        work: Folder for archives on their way; what a killed run finished there is used by the next.

        say: Gets a line for each step.
    """

    def __init__(
        self,
        vaults: Sequence[Vault],
        signer: Signer,
        *,
        trusted: Collection[str],
        work: Path,
        say: Callable[[str], None] = lambda line: None,
        clock: Clock = SYSTEM_CLOCK,
        workers: int = WORKERS,
    ) -> None:
        self._vaults = tuple(vaults)
        self._signer = signer
        self._trusted = trusted
        self._work = work
        self._say = say
        self._clock = clock
        self._workers = workers
        self._lock = threading.Lock()

    def take(self, order: Order) -> Manifest:
        """
        Capture what *order* names and store it; nothing is published yet.

        Returns:
            The signed manifest, for `publish`. What could not be read is in its `missing`.

        Raises:
            BadConfiguration: There is nobody to seal it for.
            VaultUnavailable: A vault doesn't take the parts.
        """
        if not order.recipients:
            raise BadConfiguration(
                "Nobody could open a backup: [backups] of portfolio.toml names no recipients",
                hint="Run `clodo backup key --write identity.txt` and put the public key it shows there.",
            )
        began = self._clock.monotonic()
        created_at = self._now()
        snapshot = new_identifier("s", now=created_at)
        known = self._known(order)
        self._work.mkdir(mode=0o700, parents=True, exist_ok=True)

        def one(resource: Resource) -> list[Archive] | Missing:
            return self._one(snapshot, resource, order.recipients, known)

        with ThreadPoolExecutor(self._workers, thread_name_prefix="backup") as pool:
            outcomes = list(pool.map(one, order.resources))
        archives = sorted(
            (archive for item in outcomes if not isinstance(item, Missing) for archive in item),
            key=lambda archive: archive.key,
        )
        missing = [*order.missing, *(item for item in outcomes if isinstance(item, Missing))]
        missing += [
            Missing(archive.kind, f"{archive.name}.{item['name']}", item["why"])
            for archive in archives
            for item in archive.facts.get("left_out", ())
        ]
        return Manifest(
            id=snapshot,
            portfolio=order.portfolio,
            created_at=created_at,
            seconds=round(self._clock.monotonic() - began, 3),
            archives=tuple(archives),
            missing=tuple(missing),
            parents=tuple(sorted({archive.captured_in for archive in archives} - {snapshot})),
            tools=_tools(),
            recipients=order.recipients,
            selection=dict(order.selection),
        ).signed(self._signer)

    def publish(self, manifest: Manifest) -> None:
        """
        Make the snapshot exist in every vault, and forget what was kept for another try.

        Raises:
            SnapshotDamaged: A part is missing in a vault.
        """
        for vault in self._vaults:
            vault.publish(manifest)
            self._tell(f"published {manifest.id} in the vault {vault.name}")
        for archive in manifest.archives:
            shutil.rmtree(self._folder(archive.key), ignore_errors=True)

    def _known(self, order: Order) -> dict[tuple[str, str, str], Archive]:
        """Return the newest trusted archive of each resource, sealed for the same recipients."""
        wanted = {(item.kind.value, item.account_id, item.id) for item in order.resources}
        known: dict[tuple[str, str, str], Archive] = {}
        vault = self._vaults[0]
        for snapshot in list(reversed(vault.snapshots()))[:PARENTS_LOOKED_AT]:
            if wanted <= known.keys():
                break
            try:
                manifest = vault.manifest(snapshot)
                manifest.raise_unless_trusted(self._trusted)
            except (SnapshotDamaged, NotFound) as error:
                # It was pruned meanwhile, or is not to be trusted: then it is no help, and `verify` will say why.
                self._tell(f"{snapshot} is not used: {error.message}")
                continue
            if set(manifest.recipients) != set(order.recipients):
                continue
            for archive in manifest.archives:
                known.setdefault(archive.key, archive)
        return known

    def _one(
        self,
        snapshot: str,
        resource: Resource,
        recipients: tuple[str, ...],
        known: Mapping[tuple[str, str, str], Archive],
    ) -> list[Archive] | Missing:
        """Return the resource's archive, then those of its packs."""
        key = (resource.kind.value, resource.account_id, resource.id)
        label = f"{resource.kind.value}/{resource.name}"
        earlier = self._earlier(resource, known)
        before = earlier.pop(resource.id, None)
        try:
            packs = list(before.facts.get("packs", ())) if before is not None else []
            if before is not None and earlier.keys() >= set(packs) and resource.is_unchanged_since(before):
                self._tell(f"{label}: unchanged since {before.captured_in}")
                same = [before, *(earlier[pack] for pack in packs)]
                return [replace(item, targets=resource.targets) for item in same]
            work = self._finished(snapshot, resource, recipients)
            if work is None:
                work = self._capture(snapshot, resource, recipients, earlier.keys())
        except (BadUsage, NotAuthorised, Interrupted, NoSpaceLeft, VaultUnavailable):
            # No other resource would fare better.
            raise
        except ClodoError as error:
            self._tell(f"{label}: not backed up: {error.message}")
            return Missing(resource.kind, resource.name, error.message)
        kept = [replace(earlier[pack], targets=resource.targets) for pack in work.kept]
        (archive, file), *fresh = work.archives
        if before is not None and before.plain_sha256 == archive.plain_sha256:
            self._tell(f"{label}: the same as in {before.captured_in}")
            archive = replace(
                archive,
                parts=before.parts,
                sha256=before.sha256,
                size=before.size,
                plain_size=before.plain_size,
                captured_in=before.captured_in,
            )
        else:
            archive = self._store(archive, self._folder(key) / file)
        return [archive, *kept, *(self._store(pack, self._folder(key) / file) for pack, file in fresh)]

    def _earlier(self, resource: Resource, known: Mapping[tuple[str, str, str], Archive]) -> dict[str, Archive]:
        """Return the archives of the resource and its packs that are still in every vault, by id."""
        return {
            archive.id: archive
            for archive in known.values()
            if (archive.kind, archive.account_id) == (resource.kind, resource.account_id)
            and (archive.id == resource.id or archive.facts.get("pack_of") == resource.id)
            and self._is_everywhere(archive)
        }

    def _capture(self, snapshot: str, resource: Resource, recipients: tuple[str, ...], kept: Collection[str]) -> _Work:
        label = f"{resource.kind.value}/{resource.name}"
        self._tell(f"{label}: reading")
        folder = self._folder((resource.kind.value, resource.account_id, resource.id))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        began, captured_at = self._clock.monotonic(), self._now()
        captured = resource.capture(folder / "archive.age", [recipient(text) for text in recipients], kept)
        seconds = round(self._clock.monotonic() - began, 3)

        def archive_of(ident: str, name: str, sealed: Sealed, requests: int, facts: Mapping[str, Any]) -> Archive:
            return Archive(
                kind=resource.kind,
                account_id=resource.account_id,
                id=ident,
                name=name,
                parts=(),
                sha256=sealed.sha256,
                size=sealed.size,
                plain_sha256=sealed.plain_sha256,
                plain_size=sealed.plain_size,
                captured_in=snapshot,
                captured_at=captured_at,
                seconds=seconds,
                requests=requests,
                exactness=captured.exactness,
                targets=resource.targets,
                facts=facts,
            )

        whole = archive_of(resource.id, resource.name, captured.sealed, captured.requests, captured.facts)
        packs = [(archive_of(pack.id, pack.id, pack.sealed, 0, pack.facts), pack.file.name) for pack in captured.packs]
        work = _Work(((whole, "archive.age"), *packs), captured.kept)
        work.write(folder, recipients)
        size = captured.sealed.plain_size + sum(pack.sealed.plain_size for pack in captured.packs)
        self._tell(f"{label}: read {size:,} bytes in {captured.requests} requests")
        return work

    def _finished(self, snapshot: str, resource: Resource, recipients: tuple[str, ...]) -> _Work | None:
        """Return what a killed run had finished reading, if nothing changed since."""
        folder = self._folder((resource.kind.value, resource.account_id, resource.id))
        work = _Work.read(folder, recipients)
        # What needs packs of earlier snapshots is read again: they may be gone by now.
        if work is None or work.kept or not resource.is_unchanged_since(work.archives[0][0]):
            return None
        self._tell(f"{resource.kind.value}/{resource.name}: a run before this one had read it")
        return _Work(
            tuple(
                (replace(archive, captured_in=snapshot, targets=resource.targets), file)
                for archive, file in work.archives
            )
        )

    def _store(self, archive: Archive, file: Path) -> Archive:
        for vault in self._vaults:
            parts = vault.store_archive(file)
            self._tell(f"{archive.label}: stored {archive.size:,} bytes in the vault {vault.name}")
        return replace(archive, parts=parts)

    def _is_everywhere(self, archive: Archive) -> bool:
        return all(vault.size_of(part) == part.size for vault in self._vaults for part in archive.parts)

    def _folder(self, key: Iterable[str]) -> Path:
        return self._work / hashlib.sha256("\0".join(key).encode()).hexdigest()[:32]

    def _now(self) -> datetime:
        # A manifest keeps milliseconds.
        moment = self._clock.now()
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def _tell(self, line: str) -> None:
        with self._lock:
            self._say(line)


@dataclass(frozen=True, slots=True)
class _Work:
    """
    Archives that were read and not stored yet, with the names of their files; the resource's own comes first.

    Attributes:
        kept: Ids of packs of earlier snapshots that it needs.
    """

    archives: tuple[tuple[Archive, str], ...]
    kept: tuple[str, ...] = ()

    def write(self, folder: Path, recipients: Sequence[str]) -> None:
        """Note in *folder* that reading is finished."""
        entry = {
            "archives": [{"archive": archive.to_json(), "file": file} for archive, file in self.archives],
            "kept": list(self.kept),
            "recipients": sorted(recipients),
        }
        fresh = folder / "entry.json.new"
        fresh.write_text(json.dumps(entry), encoding="utf-8")
        fresh.replace(folder / "entry.json")

    @classmethod
    def read(cls, folder: Path, recipients: Sequence[str]) -> _Work | None:
        """Return what is finished in *folder*; None when nothing is, or when it is sealed for others."""
        try:
            entry = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
            archives = tuple((Archive.from_json(item["archive"]), str(item["file"])) for item in entry["archives"])
            is_whole = all((folder / file).stat().st_size == archive.size for archive, file in archives)
            is_for_the_same = entry["recipients"] == sorted(recipients)
            return cls(archives, tuple(entry["kept"])) if archives and is_whole and is_for_the_same else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def summary(manifest: Manifest) -> str:
    """Return one line that says what a snapshot is."""
    counts = {kind: sum(1 for archive in manifest.archives if archive.kind is kind) for kind in Kind}
    held = ", ".join(f"{count} {kind.value}" for kind, count in counts.items() if count) or "nothing"
    state = "good" if manifest.is_good else "not good: " + what_is_wrong(manifest)
    return f"{manifest.id}: {held}; {manifest.own_size:,} new bytes of {manifest.size:,}; {state}"


def what_is_wrong(manifest: Manifest) -> str:
    """Say what keeps a snapshot from being a good one."""
    fuzzy = [archive.label for archive in manifest.archives if archive.exactness is Exactness.FUZZY]
    wrong = [f"{item.kind.value}/{item.name} is missing ({item.why})" for item in manifest.missing]
    return "; ".join([*wrong, *(f"{label} was written to while it was read" for label in fuzzy)])


def _tools() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
