"""
The vault: where snapshots live, a folder or a bucket.

Parts lie under their own SHA-256 and are never overwritten. A snapshot exists once its manifest does, which is written
last and in one piece, so that whatever dies half-way leaves parts that nobody names, and nothing else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore import exceptions as store_errors
from obstore.store import LocalStore, MemoryStore, from_url

from clodo.backups.manifest import Archive, Manifest, Part
from clodo.errors import (
    BadConfiguration,
    ClodoError,
    Failed,
    NotAuthorised,
    SnapshotDamaged,
    SnapshotNotFound,
    VaultUnavailable,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PART_BYTES = 8 * 1024 * 1024
SCHEMES = ("file", "s3", "gs", "az", "azure", "abfss", "memory")
_SNAPSHOTS = "snapshots"
_OBJECTS = "objects"
_MANIFEST = "manifest.json"

# Which of obstore's errors says what; the first that fits counts.
_RENAMED: tuple[tuple[type[Exception], type[ClodoError], str], ...] = (
    (store_errors.PermissionDeniedError, NotAuthorised, "refuses access"),
    (store_errors.UnauthenticatedError, NotAuthorised, "refuses the credentials"),
    (store_errors.UnknownConfigurationKeyError, BadConfiguration, "does not know one of its options"),
    (store_errors.InvalidPathError, BadConfiguration, "has an impossible path"),
    (store_errors.NotSupportedError, Failed, "can't do what is needed"),
    (store_errors.BaseError, VaultUnavailable, "can't be reached, or does not do what it is asked"),
)

_REFUSED = re.compile(r"\bstatus: 40[13]\b")
"""How obstore's text says that a list was refused, which is no error of a kind of its own."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part as the vault lists it."""

    sha256: str
    size: int
    stored_at: datetime


class Vault:
    """
    One place for snapshots. Safe to share between threads.

    Attributes:
        name: What people call it, for messages and the ledger.
    """

    def __init__(self, name: str, store: ObjectStore) -> None:
        self.name = name
        self._store = store

    @classmethod
    def open(cls, name: str, url: str, options: Mapping[str, str] | None = None) -> Vault:
        """
        Open the place at *url*: a folder's path, ``s3://bucket/prefix``, ``gs://…``, ``az://…``, ``memory://``.

        Args:
            options: obstore's, such as ``access_key_id``, ``secret_access_key``, ``endpoint``, ``region``.

        Raises:
            BadConfiguration: The URL or an option is none.
        """
        scheme = urlsplit(url).scheme
        try:
            if scheme in ("", "file"):
                folder = Path(urlsplit(url).path if scheme else url).expanduser()
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                return cls(name, LocalStore(folder, automatic_cleanup=True))
            if scheme == "memory":
                return cls(name, MemoryStore())
            if scheme not in SCHEMES:
                raise BadConfiguration(f'vault {name}: "{scheme}" is no scheme for a vault', hint=_known_schemes())
            settings: dict[str, Any] = dict(options or {})
            # Plain HTTP carries signatures, not keys; only the embedded cloud on this machine speaks it.
            client = {"allow_http": True} if settings.get("endpoint", "").startswith("http://127.0.0.1") else {}
            # Its overloads tell the stores' options apart; here they come from the operator, and obstore checks them.
            opened: Any = from_url
            return cls(name, opened(url, config=settings, client_options=client))
        except OSError as error:
            raise BadConfiguration(f"vault {name}: {url}: {error.strerror}") from error
        except (store_errors.BaseError, ValueError, TypeError) as error:
            raise BadConfiguration(f"vault {name}: {scheme}: its URL or options can't be used") from error

    def __repr__(self) -> str:
        return f"Vault({self.name!r})"

    # ── Snapshots ──

    def snapshots(self) -> list[str]:
        """Return the ids of all snapshots, oldest first."""
        with self._errors():
            paths = [str(item["path"]) for batch in obstore.list(self._store, f"{_SNAPSHOTS}/") for item in batch]
        return sorted(path.split("/")[1] for path in paths if path.endswith(f"/{_MANIFEST}"))

    def exists(self, snapshot: str) -> bool:
        """Is there a manifest of this id?"""
        return self._size(_manifest_path(snapshot)) is not None

    def manifest(self, snapshot: str) -> Manifest:
        """
        Read a manifest; its signature is not looked at.

        Raises:
            SnapshotNotFound: There is none of this id.
            SnapshotDamaged: It can't be read, or is another one's.
        """
        with self._errors():
            try:
                content = bytes(obstore.get(self._store, _manifest_path(snapshot)).bytes())
            except (store_errors.NotFoundError, FileNotFoundError) as error:
                raise SnapshotNotFound(
                    f"The vault {self.name} has no snapshot {snapshot}", hint="`clodo backup list` shows what there is."
                ) from error
        return Manifest.from_bytes(content, expected_id=snapshot)

    def publish(self, manifest: Manifest) -> None:
        """
        Write the manifest, after which the snapshot exists; publishing the same one again changes nothing.

        Raises:
            SnapshotDamaged: A part of it is missing here, or another manifest has its id.
        """
        missing = [part for archive in manifest.archives for part in archive.parts if self.size_of(part) != part.size]
        if missing:
            raise SnapshotDamaged(
                f"{len(missing)} parts of {manifest.id} are not in the vault {self.name}, so it was not published",
                hint="Run the backup again.",
            )
        content = manifest.to_bytes()
        with self._errors():
            try:
                obstore.put(self._store, _manifest_path(manifest.id), content, mode="create", use_multipart=False)
            except (store_errors.AlreadyExistsError, store_errors.PreconditionError, FileExistsError) as error:
                if self.manifest(manifest.id).to_bytes() != content:
                    raise SnapshotDamaged(
                        f"The vault {self.name} has another snapshot {manifest.id}; it was left as it is"
                    ) from error

    def withdraw(self, snapshot: str) -> None:
        """Delete a manifest, after which the snapshot no longer exists; its parts stay until nobody names them."""
        self._delete(_manifest_path(snapshot))

    # ── Parts ──

    def store_archive(self, file: Path) -> tuple[Part, ...]:
        """
        Store a file in parts of 8 MiB; those that are there already are not sent again.

        Returns:
            Its parts, in order.
        """
        parts: list[Part] = []
        with file.open("rb") as source:
            while chunk := source.read(PART_BYTES):
                part = Part(hashlib.sha256(chunk).hexdigest(), len(chunk))
                self._store_part(part, chunk)
                parts.append(part)
        return tuple(parts)

    def size_of(self, part: Part) -> int | None:
        """Return how large the part is in the vault; None when it isn't there."""
        return self._size(_part_path(part.sha256))

    def read_archive(self, archive: Archive) -> Iterator[bytes]:
        """
        Yield the bytes of an archive's age file, each part checked against its SHA-256 before it is given out.

        Raises:
            SnapshotDamaged: A part is missing, too short, or not what was written.
        """
        whole = hashlib.sha256()
        for number, part in enumerate(archive.parts, start=1):
            content = self._read_part(part, f"{archive.label}, part {number} of {len(archive.parts)}")
            whole.update(content)
            yield content
            # Otherwise it would be held until the next part is here.
            del content
        if whole.hexdigest() != archive.sha256:
            raise SnapshotDamaged(f"{archive.label}: its parts are whole, but not in the order they were written in")

    def parts(self) -> Iterator[StoredPart]:
        """Yield every part that is stored, also those that no manifest names."""
        with self._errors():
            for batch in obstore.list(self._store, f"{_OBJECTS}/"):
                for item in batch:
                    moment = item["last_modified"].astimezone(UTC)
                    yield StoredPart(str(item["path"]).rpartition("/")[2], int(item["size"]), moment)

    def delete_part(self, sha256: str) -> None:
        """Delete a part; deleting one that isn't there changes nothing."""
        self._delete(_part_path(sha256))

    def _store_part(self, part: Part, content: bytes) -> None:
        stored = self.size_of(part)
        if stored == part.size:
            return
        if stored is not None:
            raise SnapshotDamaged(
                f"The vault {self.name} has a part {part.sha256} of {stored} bytes instead of {part.size}",
                hint="Something else wrote there. `clodo backup verify` says which snapshots it spoils.",
            )
        with self._errors():
            try:
                obstore.put(self._store, _part_path(part.sha256), content, mode="create", use_multipart=False)
            except (store_errors.AlreadyExistsError, store_errors.PreconditionError, FileExistsError):
                # Somebody else stored the same bytes meanwhile.
                return

    def _read_part(self, part: Part, what: str) -> bytes:
        with self._errors():
            try:
                content = bytes(obstore.get(self._store, _part_path(part.sha256)).bytes())
            except (store_errors.NotFoundError, FileNotFoundError) as error:
                raise SnapshotDamaged(f"{what} is not in the vault {self.name}") from error
        if len(content) != part.size or hashlib.sha256(content).hexdigest() != part.sha256:
            raise SnapshotDamaged(f"{what} is not what was written: its SHA-256 is another one")
        return content

    def _size(self, path: str) -> int | None:
        with self._errors():
            try:
                return int(obstore.head(self._store, path)["size"])
            except (store_errors.NotFoundError, FileNotFoundError):
                return None

    def _delete(self, path: str) -> None:
        with self._errors():
            try:
                obstore.delete(self._store, path)
            except (store_errors.NotFoundError, FileNotFoundError):
                return

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (store_errors.BaseError, OSError) as error:
            is_refused = isinstance(error, store_errors.GenericError) and _REFUSED.search(str(error)) is not None
            for kind, ours, what in _RENAMED:
                if isinstance(error, kind) or (is_refused and ours is NotAuthorised):
                    raise ours(f"The vault {self.name} {what} ({type(error).__name__})") from error
            raise VaultUnavailable(f"The vault {self.name} can't be used ({type(error).__name__})") from error


def _manifest_path(snapshot: str) -> str:
    return f"{_SNAPSHOTS}/{snapshot}/{_MANIFEST}"


def _part_path(sha256: str) -> str:
    return f"{_OBJECTS}/{sha256[:2]}/{sha256}"


def _known_schemes() -> str:
    return "Known are a folder's path, s3://, gs://, az:// and memory://."
