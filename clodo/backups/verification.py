"""Proving a snapshot: its signature and hashes, that it opens, and that what it restores to is what was there."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyrage

from clodo.backups.archive import unseal
from clodo.backups.d1.script import read_script
from clodo.backups.d1.sqlite import compare, restore_to_file
from clodo.backups.documents import read_documents
from clodo.backups.kv.lines import read_lines
from clodo.backups.manifest import Archive, Kind
from clodo.backups.r2.packs import read_pack
from clodo.backups.vault import Vault
from clodo.errors import IdentityMissing, SnapshotDamaged

Identities = Sequence[pyrage.x25519.Identity]


class Level(StrEnum):
    """How deep a verification goes; each includes those before it."""

    HASHES = "hashes"
    OPEN = "open"
    RESTORE = "restore"


@dataclass(slots=True)
class Verification:
    """
    What a verification found.

    Attributes:
        archives, rows: How many were looked at; rows only with level restore.

        findings: What is wrong, a sentence each; empty when all is right.

        notes: What is worth knowing and not wrong.
    """

    snapshot: str
    vault: str
    level: Level
    archives: int = 0
    bytes: int = 0
    rows: int = 0
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Is it what was written?"""
        return not self.findings

    def raise_if_wrong(self) -> None:
        """
        Raise what was found.

        Raises:
            SnapshotDamaged: Anything is wrong.
        """
        if self.findings:
            more = f" (and {len(self.findings) - 1} more)" if len(self.findings) > 1 else ""
            raise SnapshotDamaged(
                f"{self.snapshot} in the vault {self.vault} is not what was written: {self.findings[0]}{more}",
                hint="Restore from another snapshot or vault; `clodo backup list` shows which were proven.",
            )

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "snapshot": self.snapshot,
            "vault": self.vault,
            "level": self.level.value,
            "is_good": self.is_good,
            "archives": self.archives,
            "bytes": self.bytes,
            "rows": self.rows,
            "findings": list(self.findings),
            "notes": list(self.notes),
        }


def verify(
    vault: Vault,
    snapshot: str,
    level: Level,
    *,
    trusted: Collection[str],
    identities: Identities,
    scratch: Path,
    say: Callable[[str], None] = lambda line: None,
) -> Verification:
    """
    Verify a snapshot, all of it even when something is wrong.

    Args:
        trusted: Public signing keys.

        identities: Private age keys; not needed for `Level.HASHES`.

        scratch: Folder where databases may be restored for the while.

    Raises:
        SnapshotNotFound: There is no manifest of this id.
        SnapshotNotTrusted: Nobody whom we trust signed it as it is.
        IdentityMissing: The level needs a private key, and none fits.
        VaultUnavailable: The vault can't be reached.
    """
    manifest = vault.manifest(snapshot)
    manifest.raise_unless_trusted(trusted)
    if level is not Level.HASHES and not identities:
        raise IdentityMissing(
            f"Verifying {level.value} needs the age identity of one of the snapshot's recipients",
            hint="Give --identity FILE, or verify hashes only.",
        )
    found = Verification(snapshot, vault.name, level)
    objects: dict[str, dict[str, str]] = {}
    for archive in manifest.archives:
        say(f"{archive.label}: verifying")
        found.archives += 1
        found.bytes += archive.size
        try:
            _verify_archive(vault, archive, found, identities, scratch, objects)
        except SnapshotDamaged as error:
            found.findings.append(
                error.message if error.message.startswith(archive.label) else f"{archive.label}: {error.message}"
            )
    return found


def open_archive(vault: Vault, archive: Archive, identities: Identities) -> Iterator[bytes]:
    """
    Yield what is in an archive; at its end everything was compared with the manifest.

    Raises:
        SnapshotDamaged: Its bytes are not what was written.
        IdentityMissing: None of *identities* opens it.
    """
    plain = hashlib.sha256()
    size = 0
    for chunk in unseal(vault.read_archive(archive), identities, what=archive.label):
        plain.update(chunk)
        size += len(chunk)
        yield chunk
    if (plain.hexdigest(), size) != (archive.plain_sha256, archive.plain_size):
        raise SnapshotDamaged(f"{archive.label}: what is in it is not what was put in")


def _verify_archive(
    vault: Vault,
    archive: Archive,
    found: Verification,
    identities: Identities,
    scratch: Path,
    objects: dict[str, dict[str, str]],
) -> None:
    if found.level is Level.HASHES:
        size = sum(len(chunk) for chunk in vault.read_archive(archive))
        if size != archive.size:
            raise SnapshotDamaged(f"it has {size:,} bytes instead of {archive.size:,}")
        return
    chunks = open_archive(vault, archive, identities)
    if archive.kind is Kind.D1:
        if found.level is Level.RESTORE:
            _restore_database(archive, chunks, found, scratch)
        else:
            _exhaust(read_script(chunks))
    elif archive.kind is Kind.KV:
        _read_keys(archive, chunks, found)
    elif archive.kind is Kind.R2 and "pack_of" in archive.facts:
        _read_pack(chunks, objects.get(archive.id, {}), found)
    elif archive.kind is Kind.R2:
        # The index comes before its packs: its id is how theirs begin.
        _read_index(archive, chunks, objects)
    else:
        _exhaust(read_documents(chunks))
    # The hash is compared at the end of the text, which a reader that has all it wants doesn't reach.
    _exhaust(chunks)


def _restore_database(archive: Archive, chunks: Iterator[bytes], found: Verification, scratch: Path) -> None:
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="verify-", dir=scratch) as folder:
        file = Path(folder) / "restored.sqlite3"
        restore_to_file(chunks, file)
        comparison = compare(file, archive.facts)
    found.rows += comparison.rows
    found.findings += [f"{archive.label}: {finding}" for finding in comparison.findings]
    found.notes += [f"{archive.label}: {note}" for note in comparison.notes]


def _read_keys(archive: Archive, chunks: Iterator[bytes], found: Verification) -> None:
    count = 0
    before = b""
    for pair in read_lines(chunks):
        name = pair.key.encode()
        if count and name <= before:
            raise SnapshotDamaged("its keys are not in order")
        before = name
        count += 1
    found.rows += count
    if count != archive.facts["keys"]:
        raise SnapshotDamaged(f"it has {count} keys instead of {archive.facts['keys']}")


def _read_index(archive: Archive, chunks: Iterator[bytes], objects: dict[str, dict[str, str]]) -> None:
    count = 0
    for _, value in read_documents(chunks):
        objects.setdefault(value["pack"], {})[value["member"]] = value["sha256"]
        count += 1
    if count != archive.facts["objects"] or sorted(objects) != list(archive.facts["packs"]):
        raise SnapshotDamaged(f"its index has {count} objects instead of {archive.facts['objects']}")


def _read_pack(chunks: Iterator[bytes], expected: dict[str, str], found: Verification) -> None:
    """Compare each object that the index names with what is in the pack."""
    left = dict(expected)
    for member, content in read_pack(chunks):
        digest = hashlib.sha256()
        for chunk in content:
            digest.update(chunk)
        if left.pop(member, digest.hexdigest()) != digest.hexdigest():
            raise SnapshotDamaged(f"its object {member} is not what was written")
        found.rows += 1
    if left:
        raise SnapshotDamaged(f"{len(left)} objects that the index names are not in it")


def _exhaust(items: Iterator[object]) -> None:
    for _ in items:
        pass
