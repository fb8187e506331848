"""R2 buckets out of archives: objects put back out of their packs, and compared by reading them again."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clodo.backups.documents import read_documents
from clodo.backups.r2.packs import read_pack
from clodo.backups.restoring.putting_back import Ruling, rule
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.r2 import StoredObject
from clodo.errors import SnapshotDamaged

Listed = tuple[Any, ...]
Packs = Mapping[str, Callable[[], Iterator[bytes]]]


@dataclass(slots=True)
class ObjectComparison:
    """How a bucket differs from an archive: *findings* is empty when it doesn't."""

    objects: int = 0
    findings: list[str] = field(default_factory=list)


def write_bucket(
    cloudflare: Cloudflare, bucket: str, index: Iterator[bytes], packs: Packs, *, only: Collection[str] | None = None
) -> int:
    """
    Put the objects of an archive into a bucket, but for those that are there as they should be; twice changes nothing.

    Holds one object in memory at a time.

    Args:
        only: These keys; all otherwise.

    Returns:
        How many were put.

    Raises:
        SnapshotDamaged: A pack has not what the index says.
        BucketNotFound: It isn't there.
    """
    there = {item.key: _compared(item) for item in cloudflare.r2.objects(bucket)}
    wanted = {
        (str(entry["pack"]), str(entry["member"])): entry
        for entry in entries_of(index)
        if (only is None or entry["key"] in only)
        and there.get(str(entry["key"])) != _compared(StoredObject.model_validate(entry))
    }
    count = 0
    for pack in sorted({pack for pack, _ in wanted}):
        if pack not in packs:
            raise SnapshotDamaged(f"The snapshot lacks the pack {pack} of the bucket {bucket}")
        for member, chunks in read_pack(packs[pack]()):
            entry = wanted.pop((pack, member), None)
            if entry is None:
                for _ in chunks:
                    pass
                continue
            content = b"".join(chunks)
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise SnapshotDamaged(f"The object {entry['key']!r} is not what was put into the pack {pack}")
            cloudflare.r2.put_object(bucket, StoredObject.model_validate(entry), content)
            count += 1
    if wanted:
        missing = next(iter(wanted.values()))["key"]
        raise SnapshotDamaged(f"The packs of the bucket {bucket} lack {len(wanted)} objects, one of them {missing!r}")
    return count


@dataclass(frozen=True, slots=True)
class Rulings:
    """
    What is to be done with the objects of a bucket, by their keys.

    Attributes:
        write: Those that a restore changed or removed.

        remove: Those that it brought.

        others: Those that somebody else wrote or removed since.
    """

    write: frozenset[str]
    remove: frozenset[str]
    others: frozenset[str]


def rule_on_bucket(cloudflare: Cloudflare, bucket: str, brought: Iterator[bytes], before: Iterator[bytes]) -> Rulings:
    """Say what of a bucket a restore did, as its list tells: content by etag, metadata, storage class."""
    old = _listed(before)
    try:
        ours = _listed(brought)
    except SnapshotDamaged:
        # A restore reads the index to its end before it writes anything.
        ours = old
    there = {item.key: _compared(item) for item in cloudflare.r2.objects(bucket)}
    found: dict[Ruling, set[str]] = {ruling: set() for ruling in Ruling}
    for key in there.keys() | ours.keys() | old.keys():
        item = there.get(key)
        found[rule(item, _once_put(ours.get(key), item), _once_put(old.get(key), item))].add(key)
    return Rulings(*(frozenset(found[ruling]) for ruling in (Ruling.WRITE, Ruling.REMOVE, Ruling.SOMEBODYS)))


def remove_objects(cloudflare: Cloudflare, bucket: str, keys: Iterable[str]) -> None:
    """Delete objects."""
    for key in sorted(keys):
        cloudflare.r2.delete_object(bucket, key)


def verify_bucket(cloudflare: Cloudflare, bucket: str, index: Iterator[bytes], scratch: Path) -> ObjectComparison:
    """Compare a bucket with an archive: each object's content and metadata, and that there are no others."""
    found = ObjectComparison()
    there = {item.key: item for item in cloudflare.r2.objects(bucket)}
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="object-", dir=scratch) as folder:
        file = Path(folder) / "object"
        for entry in entries_of(index):
            key = str(entry["key"])
            item, expected = there.pop(key, None), StoredObject.model_validate(entry)
            if item is None or cloudflare.r2.get_file(bucket, key, file) is None:
                found.findings.append(f"the object {key!r} is missing")
                continue
            with file.open("rb") as opened:
                sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
            if sha256 != entry["sha256"]:
                found.findings.append(f"the object {key!r} has another content")
            elif (item.http_metadata, item.custom_metadata) != (expected.http_metadata, expected.custom_metadata):
                found.findings.append(f"the object {key!r} has other metadata")
            found.objects += 1
    found.findings += [f"the object {key!r} is not in the archive" for key in there]
    return found


def delete_bucket(cloudflare: Cloudflare, bucket: str) -> None:
    """Delete a bucket with all that is in it."""
    remove_objects(cloudflare, bucket, [item.key for item in cloudflare.r2.objects(bucket)])
    cloudflare.r2.delete(bucket)


def entries_of(index: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Yield what an index says of each object; its hash is compared at the very end."""
    for what, value in read_documents(index):
        if what == "object":
            yield value
    for _ in index:
        pass


def _once_put(archived: Listed | None, there: Listed | None) -> Listed | None:
    """Return what is there, if it is what putting an object makes: one that came in parts gets another kind of etag."""
    if archived is None or there is None or "-" not in archived[0] or "-" in there[0]:
        return archived
    return there if archived[1:] == there[1:] else archived


def _listed(index: Iterator[bytes]) -> dict[str, Listed]:
    return {str(entry["key"]): _compared(StoredObject.model_validate(entry)) for entry in entries_of(index)}


def _compared(item: StoredObject) -> Listed:
    """Return what makes two objects the same; the etag is of the content."""
    return item.etag, item.size, item.http_metadata, item.custom_metadata, item.storage_class
