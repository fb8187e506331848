"""The manifest of a snapshot: what is in it, where its bytes are, and what proves that they are the right ones."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from clodo.backups.signing import Signer, raise_unless_signed
from clodo.errors import SnapshotDamaged, SnapshotNotTrusted

FORMAT = "clodo-snapshot/1"


class Kind(StrEnum):
    """What an archive holds."""

    D1 = "d1"
    KV = "kv"
    R2 = "r2"
    DNS = "dns"
    WORKER = "worker"


class Exactness(StrEnum):
    """Whether an archive shows one moment."""

    EXACT = "exact"
    PER_KEY = "per-key"
    """Each key's value is one that it had while it was read; the service offers no more."""
    FUZZY = "fuzzy"
    """It was written to while it was read, each time that it was read."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of an archive, which lies in the vault under its own SHA-256."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Archive:
    """
    One resource in a snapshot.

    Attributes:
        kind: What it is.

        account_id: Where it was.

        id: Cloudflare's; a Worker's name, a bucket's name.

        name: What people call it.

        targets: Those whose bindings name it.

        parts: Their bytes, one after the other, are the age file.

        sha256, size: Of the age file.

        plain_sha256, plain_size: Of what is in it.

        captured_in: The snapshot that read it; an earlier one if nothing changed since.

        captured_at: When reading began, UTC.

        seconds: How long it took.

        requests: How many requests of the API it took.

        exactness: Whether it shows one moment.

        facts: What else is known, by kind; see docs/backups.md.
    """

    kind: Kind
    account_id: str
    id: str
    name: str
    parts: tuple[Part, ...]
    sha256: str
    size: int
    plain_sha256: str
    plain_size: int
    captured_in: str
    captured_at: datetime
    seconds: float
    requests: int
    exactness: Exactness
    targets: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it apart from the others: kind, account, id."""
        return self.kind.value, self.account_id, self.id

    @property
    def label(self) -> str:
        """What a person calls it: ``d1/shop``."""
        return f"{self.kind.value}/{self.name}"

    def to_json(self) -> dict[str, Any]:
        """Return it as the manifest has it."""
        found = asdict(self)
        return found | {
            "captured_at": _to_text(self.captured_at),
            "parts": [asdict(part) for part in self.parts],
            "targets": list(self.targets),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Archive:
        """Read it from a manifest."""
        return cls(
            **{
                **found,
                "kind": Kind(found["kind"]),
                "exactness": Exactness(found["exactness"]),
                "captured_at": datetime.fromisoformat(found["captured_at"]),
                "parts": tuple(Part(str(part["sha256"]), int(part["size"])) for part in found["parts"]),
                "targets": tuple(found["targets"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that should be in the snapshot and is not, with the reason."""

    kind: Kind
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    A snapshot.

    Attributes:
        id: Sorts by time.

        portfolio: Whose it is.

        created_at: When it was begun, UTC.

        seconds: How long it took.

        parents: Snapshots whose archives it uses, oldest first.

        missing: What could not be backed up; then the snapshot is not a good one.

        tools: Name to version of what made it.

        recipients: Public age keys whose owners can open it.

        signer, signature: Whose signature; over everything else.
    """

    id: str
    portfolio: str
    created_at: datetime
    seconds: float
    archives: tuple[Archive, ...]
    missing: tuple[Missing, ...] = ()
    parents: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    recipients: tuple[str, ...] = ()
    selection: Mapping[str, Any] = field(default_factory=dict)
    signer: str = ""
    signature: str = ""

    @property
    def exactness(self) -> Exactness:
        """FUZZY when one of its archives is; else EXACT."""
        is_fuzzy = any(archive.exactness is Exactness.FUZZY for archive in self.archives)
        return Exactness.FUZZY if is_fuzzy else Exactness.EXACT

    @property
    def is_good(self) -> bool:
        """Is everything in it, each database as it was at one moment?"""
        return not self.missing and self.exactness is Exactness.EXACT

    @property
    def is_whole(self) -> bool:
        """Was everything of the portfolio asked for? What is overwritten by a restore, for instance, is only a part."""
        return bool(self.selection.get("is_whole"))

    @property
    def size(self) -> int:
        """Bytes of all its archives, those of its parents included."""
        return sum(archive.size for archive in self.archives)

    @property
    def own_size(self) -> int:
        """Bytes of the archives that it brought itself."""
        return sum(archive.size for archive in self.archives if archive.captured_in == self.id)

    def find(self, kind: Kind, account_id: str, resource: str) -> Archive | None:
        """Return the archive of a resource, by its id."""
        return next((item for item in self.archives if item.key == (kind.value, account_id, resource)), None)

    def signed(self, signer: Signer) -> Manifest:
        """Return it with a signature."""
        named = replace(self, signer=signer.public_key, signature="")
        return replace(named, signature=signer.sign(named.signed_content()))

    def signed_content(self) -> bytes:
        """Return what the signature is over: everything but itself, as canonical JSON."""
        content = self.to_json()
        content["signature"] = {"signer": self.signer}
        return _canonical(content)

    def raise_unless_trusted(self, trusted: Collection[str]) -> None:
        """
        Check the signature.

        Raises:
            SnapshotNotTrusted: It is wrong, or that of nobody who is *trusted*.
        """
        what = f"The manifest of {self.id}"
        raise_unless_signed(self.signed_content(), self.signature, self.signer, trusted, what=what)

    def to_bytes(self) -> bytes:
        """Return the file, JSON for people too."""
        content = self.to_json()
        return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes, *, expected_id: str) -> Manifest:
        """
        Read a manifest's file.

        Raises:
            SnapshotDamaged: It is none, or that of another snapshot.
            SnapshotNotTrusted: It holds anything that the signature doesn't cover, a blank even.
        """
        try:
            found = json.loads(content)
            if found["format"] != FORMAT:
                raise SnapshotDamaged(
                    f"The manifest of {expected_id} has the format {found['format']!r}, not {FORMAT}",
                    hint="A newer Clodo wrote it; read it with that one.",
                )
            manifest = cls(
                id=str(found["id"]),
                portfolio=str(found["portfolio"]),
                created_at=datetime.fromisoformat(found["created_at"]),
                seconds=float(found["seconds"]),
                archives=tuple(Archive.from_json(item) for item in found["archives"]),
                missing=tuple(Missing(Kind(item["kind"]), item["name"], item["why"]) for item in found["missing"]),
                parents=tuple(found["parents"]),
                tools=dict(found["tools"]),
                recipients=tuple(found["recipients"]),
                selection=dict(found["selection"]),
                signer=str(found["signature"]["signer"]),
                signature=str(found["signature"]["value"]),
            )
            is_as_written = manifest.to_bytes() == content
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SnapshotDamaged(f"The manifest of {expected_id} can't be read") from error
        if not is_as_written:
            # A field, a blank or an order that the signature doesn't cover.
            raise SnapshotNotTrusted(f"The manifest of {expected_id} is not byte for byte as it is written")
        if manifest.id != expected_id:
            raise SnapshotNotTrusted(f"The manifest under {expected_id} is that of {manifest.id}: it was swapped")
        return manifest

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "format": FORMAT,
            "id": self.id,
            "portfolio": self.portfolio,
            "created_at": _to_text(self.created_at),
            "seconds": self.seconds,
            "exactness": self.exactness.value,
            "archives": [archive.to_json() for archive in self.archives],
            "missing": [asdict(item) for item in self.missing],
            "parents": list(self.parents),
            "tools": dict(self.tools),
            "recipients": list(self.recipients),
            "selection": dict(self.selection),
            "signature": {"algorithm": "ed25519", "signer": self.signer, "value": self.signature},
        }


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _to_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
