"""Capturing a bucket: its objects are listed, and those that no pack holds yet are read into new packs."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clodo.backups.archive import Sealed, seal
from clodo.backups.documents import to_line
from clodo.backups.manifest import Archive, Exactness, Kind
from clodo.backups.r2.memory import Memory, Packed
from clodo.backups.resources import Captured, Pack, Recipients
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.r2 import OBJECTS_PER_PAGE, StoredObject

PACK_BYTES = 64 * 1024 * 1024
PACK_OBJECTS = 5_000
_BLOCK = tarfile.BLOCKSIZE
_CHUNK_BYTES = 1 << 18


@dataclass(slots=True)
class BucketResource:
    """
    An R2 bucket.

    Attributes:
        cloudflare: A view in the backup lane.

        memory: Where it is remembered which object lies in which pack.
    """

    cloudflare: Cloudflare
    id: str
    memory: Memory
    targets: tuple[str, ...] = ()
    kind: Kind = Kind.R2
    _requests: int = 0
    _listed: list[StoredObject] | None = None
    _packed: dict[str, Packed] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name is its id."""
        return self.id

    @property
    def account_id(self) -> str:
        """Where it is."""
        return self.cloudflare.account_id

    def is_unchanged_since(self, archive: Archive) -> bool:
        """Compare the list of objects: keys, etags, sizes, metadata."""
        self._listed = list(self.cloudflare.r2.objects(self.id))
        return archive.facts.get("listing_sha256") == _listing_sha256(self._listed)

    def capture(self, target: Path, recipients: Recipients, kept: Collection[str] = ()) -> Captured:
        """Read the objects that are in none of the packs *kept*, and write an index of all."""
        listed = self._listed if self._listed is not None else list(self.cloudflare.r2.objects(self.id))
        self._listed = None
        self._requests = max(1, -(-len(listed) // OBJECTS_PER_PAGE))
        known = self.memory.load(kept)
        self._packed = {
            item.key: packed for item in listed if (packed := known.get((item.key, item.etag, item.size))) is not None
        }
        fresh = [item for item in listed if item.key not in self._packed]
        packs = [
            self._pack(number, objects, target, recipients) for number, objects in enumerate(_in_packs(fresh), start=1)
        ]
        index = [to_line("object", self._entry(item)) for item in listed if item.key in self._packed]
        used = {packed.pack for packed in self._packed.values()}
        facts = {
            "objects": len(index),
            "vanished": len(listed) - len(index),
            "bytes": sum(packed.size for packed in self._packed.values()),
            "listing_sha256": _listing_sha256(listed),
            "packs": sorted(used),
        }
        sealed = seal(index, target, recipients)
        self.memory.save(self._packed.values())
        held = tuple(pack for pack in packs if pack.id in used)
        return Captured(sealed, Exactness.PER_KEY, self._requests, facts, held, tuple(sorted(used & set(kept))))

    def _entry(self, item: StoredObject) -> dict[str, object]:
        packed = self._packed[item.key]
        described = item.model_dump(mode="json", exclude_none=True)
        return described | {
            "etag": packed.etag,
            "size": packed.size,
            "pack": packed.pack,
            "member": packed.member,
            "sha256": packed.sha256,
        }

    def _pack(self, number: int, objects: Sequence[StoredObject], target: Path, recipients: Recipients) -> Pack:
        file = target.with_name(f"pack-{number}.age")
        # The name has to be known before the content is: it is what was to be read, and when.
        ident = hashlib.sha256("\n".join(f"{item.key}\0{item.etag}" for item in objects).encode()).hexdigest()[:32]
        held: list[Packed] = []
        sealed: Sealed = seal(self._tar(f"{self.id}/{ident}", objects, held, file), file, recipients)
        self._packed.update({packed.key: packed for packed in held})
        return Pack(f"{self.id}/{ident}", file, sealed, {"pack_of": self.id, "objects": len(held)})

    def _tar(self, pack: str, objects: Sequence[StoredObject], held: list[Packed], file: Path) -> Iterator[bytes]:
        content = file.with_suffix(".object")
        try:
            for number, item in enumerate(objects, start=1):
                self._requests += 1
                size = self.cloudflare.r2.get_file(self.id, item.key, content)
                if size is None:
                    # Deleted since it was listed.
                    continue
                info = tarfile.TarInfo(f"{number:08}")
                info.size = size
                yield info.tobuf(tarfile.PAX_FORMAT)
                sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
                with content.open("rb") as source:
                    while chunk := source.read(_CHUNK_BYTES):
                        sha256.update(chunk)
                        md5.update(chunk)
                        yield chunk
                yield b"\0" * (-size % _BLOCK)
                is_whole = "-" in item.etag or md5.hexdigest() == item.etag
                # What was written to since it was listed gets the etag of what was read.
                etag = item.etag if is_whole and size == item.size else md5.hexdigest()
                held.append(Packed(item.key, etag, size, pack, info.name, sha256.hexdigest()))
            yield b"\0" * (2 * _BLOCK)
        finally:
            content.unlink(missing_ok=True)


def _in_packs(objects: Sequence[StoredObject]) -> Iterator[list[StoredObject]]:
    pack: list[StoredObject] = []
    size = 0
    for item in objects:
        if pack and (size + item.size > PACK_BYTES or len(pack) >= PACK_OBJECTS):
            yield pack
            pack, size = [], 0
        pack.append(item)
        size += item.size
    if pack:
        yield pack


def _listing_sha256(objects: Sequence[StoredObject]) -> str:
    lines = [json.dumps(item.model_dump(mode="json"), sort_keys=True) for item in objects]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
