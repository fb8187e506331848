"""Multipart uploads: parts that become an object when their uploader says which."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from clodo.emulator.r2.checksums import raise_if_different
from clodo.emulator.r2.conditions import NO_CONDITIONS, Conditions
from clodo.emulator.r2.counting import counted
from clodo.emulator.r2.errors import (
    ENTITY_TOO_LARGE,
    ENTITY_TOO_SMALL,
    INVALID_ARGUMENT,
    INVALID_PART,
    NO_SUCH_BUCKET,
    NO_SUCH_UPLOAD,
    PRECONDITION_FAILED,
    REPEATED_PARTS,
    UNEVEN_PARTS,
    R2Refused,
)
from clodo.emulator.r2.limits import (
    MAX_OBJECT_BYTES,
    MAX_PARTS,
    MIN_PART_BYTES,
    check_custom_metadata,
    check_storage_class,
    key_bytes,
)
from clodo.emulator.r2.locks import raise_if_locked
from clodo.emulator.r2.objects import Objects
from clodo.emulator.r2.part_checksums import checksum_of
from clodo.emulator.r2.records import Bucket, Change, Description, Part, Segment, StoredObject, Upload, new_version
from clodo.emulator.r2.shelf import Shelf, as_json, end_of, read_segments


class NamedPart(NamedTuple):
    """
    A part as it is named when an upload is completed.

    Attributes:
        checksums: Name to hex digits.
    """

    number: int
    etag: str
    checksums: Mapping[str, str] = MappingProxyType({})


def check_part_number(number: int) -> int:
    """
    Return the number of a part.

    Raises:
        R2Refused: It isn't between 1 and 10,000.
    """
    if not 1 <= number <= MAX_PARTS:
        raise R2Refused(
            INVALID_ARGUMENT.saying(f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive.")
        )
    return number


def chosen_parts(named: Sequence[NamedPart], uploaded: Mapping[int, Part]) -> list[Part]:
    """
    Return the parts that an object will be made of, in the order of their numbers, however they are named.

    Raises:
        R2Refused: One is named twice (10048), none is named or one isn't there (10025), one that isn't the last is
            below 5 MiB (10011) or of another size than the first (10048).
    """
    in_order = sorted(named, key=lambda part: part.number)
    if not in_order:
        raise R2Refused(INVALID_PART)
    if any(earlier.number == later.number for earlier, later in pairwise(in_order)):
        raise R2Refused(REPEATED_PARTS)
    parts = []
    for number, etag, checksums in in_order:
        found = uploaded.get(number)
        if found is None or found.etag != etag:
            raise R2Refused(INVALID_PART)
        if any(found.checksums.get(name, value) != value for name, value in checksums.items()):
            raise R2Refused(INVALID_PART)
        parts.append(found)
    if any(part.size < MIN_PART_BYTES for part in parts[:-1]):
        raise R2Refused(ENTITY_TOO_SMALL)
    if any(part.size != parts[0].size for part in parts[:-1]) or parts[-1].size > parts[0].size:
        raise R2Refused(UNEVEN_PARTS)
    if sum(part.size for part in parts) > MAX_OBJECT_BYTES:
        raise R2Refused(ENTITY_TOO_LARGE)
    return parts


def etag_of(parts: Sequence[Part]) -> str:
    """Return the tag of an object made of parts: the MD5 of their MD5s, and how many there are."""
    together = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{hashlib.md5(together, usedforsecurity=False).hexdigest()}-{len(parts)}"


class Uploads:
    """The multipart uploads of all buckets."""

    def __init__(self, shelf: Shelf, objects: Objects) -> None:
        self._shelf = shelf
        self._objects = objects

    @counted("CreateMultipartUpload")
    async def create(
        self,
        bucket: Bucket,
        key: str,
        description: Description,
        *,
        key_md5: str | None = None,
        algorithm: str | None = None,
    ) -> Upload:
        """
        Begin an upload.

        Args:
            key_md5: Of the customer's key that its parts will be encrypted with.

            algorithm: The checksum that the object will have.

        Raises:
            R2Refused: The key or the metadata can't be.
        """
        name = key_bytes(key)
        check_custom_metadata(description.custom)
        storage_class = check_storage_class(description.storage_class or bucket.storage_class)
        made = Upload(secrets.token_urlsafe(96), key, int(self._shelf.now() * 1000), description, key_md5, algorithm)

        def insert() -> None:
            connection = self._shelf.connection
            if connection.execute("SELECT 1 FROM buckets WHERE number = ?", (bucket.number,)).fetchone() is None:
                raise R2Refused(NO_SUCH_BUCKET)
            http, custom = as_json(dict(description.http)), as_json(dict(description.custom))
            connection.execute(
                "INSERT INTO uploads VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (made.id, bucket.number, name, made.created, http, custom, storage_class, key_md5, algorithm),
            )

        await self._shelf.call(insert)
        return made

    async def find(self, bucket: Bucket, key: str, upload_id: str) -> Upload:
        """
        Return an upload that is under way.

        Raises:
            R2Refused: 10024: there is none.
        """
        name = key_bytes(key)
        return await self._shelf.call(lambda: self._find(bucket, name, upload_id))

    @counted("UploadPart")
    async def put_part(
        self,
        bucket: Bucket,
        key: str,
        upload_id: str,
        number: int,
        segments: Sequence[Segment],
        etag: str,
        checksums: Mapping[str, str],
    ) -> Part:
        """
        Make kept bytes a part, over the one that had its number; they are deleted if they can't be.

        Args:
            etag: MD5 in hex.

        Raises:
            R2Refused: 10024: the upload isn't there (any more).
        """
        part = Part(
            check_part_number(number),
            etag,
            sum(segment.size for segment in segments),
            int(self._shelf.now() * 1000),
            tuple(segments),
            checksums,
        )
        name = key_bytes(key)

        def write() -> tuple[Part, Sequence[Segment]]:
            self._find(bucket, name, upload_id)
            connection = self._shelf.connection
            before = connection.execute(
                "SELECT segments FROM parts WHERE upload = ? AND number = ?", (upload_id, number)
            ).fetchone()
            connection.execute(
                "INSERT OR REPLACE INTO parts VALUES(?, ?, ?, ?, ?, ?, ?)",
                (
                    upload_id,
                    number,
                    etag,
                    part.size,
                    part.uploaded,
                    as_json(part.segments),
                    as_json(dict(part.checksums)),
                ),
            )
            return part, read_segments(before[0]) if before else ()

        try:
            return await self._shelf.change(write)
        except R2Refused:
            self._shelf.files.delete(segments)
            raise

    @counted("CompleteMultipartUpload")
    async def complete(
        self,
        bucket: Bucket,
        key: str,
        upload_id: str,
        named: Sequence[NamedPart],
        *,
        conditions: Conditions = NO_CONDITIONS,
        told: Mapping[str, str] | None = None,
    ) -> StoredObject:
        """
        Make the named parts an object and forget the others; no byte is copied.

        Args:
            told: What the sender says the checksum of the whole is, by algorithm, in hex.

        Raises:
            R2Refused: The upload isn't there, the parts can't be an object or sum up to something else, or a
                condition doesn't hold: then the upload is gone, as R2's release notes of 2023-08-11 say.
        """
        name = key_bytes(key)

        def write() -> tuple[StoredObject | None, Sequence[Segment]]:
            upload = self._find(bucket, name, upload_id)
            uploaded = {part.number: part for part in self._parts(upload_id)}
            parts = chosen_parts(named, uploaded)
            checksums = {upload.algorithm: checksum_of(upload.algorithm, parts)} if upload.algorithm else {}
            for algorithm, value in (told or {}).items():
                if algorithm in checksums:
                    raise_if_different(algorithm, value, checksums[algorithm])
            before = self._objects.find(bucket, name)
            if not conditions.hold(before):
                self._shelf.connection.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
                return None, [segment for part in uploaded.values() for segment in part.segments]
            raise_if_locked(bucket.settings.get("lock", ()), before, self._shelf.now())
            segments = tuple(segment for part in parts for segment in part.segments)
            made = StoredObject(
                key=key,
                version=new_version(),
                size=sum(part.size for part in parts),
                etag=etag_of(parts),
                uploaded=int(self._shelf.now() * 1000),
                http=upload.description.http,
                custom=upload.description.custom,
                checksums=checksums,
                storage_class=upload.description.storage_class or bucket.storage_class,
                segments=segments,
                key_md5=upload.key_md5,
            )
            self._objects.insert(bucket, made)
            self._shelf.connection.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
            kept = {part.number for part in parts}
            unused = [segment for part in uploaded.values() if part.number not in kept for segment in part.segments]
            return made, [*unused, *(before.segments if before else ())]

        made = await self._shelf.change(write)
        if made is None:
            raise R2Refused(PRECONDITION_FAILED)
        await self._shelf.announce([Change(bucket, "CompleteMultipartUpload", key, made.size, made.etag)])
        return made

    @counted("AbortMultipartUpload")
    async def abort(self, bucket: Bucket, key: str, upload_id: str) -> None:
        """
        Forget an upload and its parts.

        Raises:
            R2Refused: 10024: there is none.
        """
        name = key_bytes(key)

        def delete() -> tuple[None, Sequence[Segment]]:
            self._find(bucket, name, upload_id)
            parts = self._parts(upload_id)
            self._shelf.connection.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
            return None, [segment for part in parts for segment in part.segments]

        await self._shelf.change(delete)

    async def expire(self, bucket: Bucket, prefix: bytes, until: int) -> int:
        """
        Abort what a lifecycle rule gives up; return how many uploads.

        Args:
            until: Last moment of their beginning, in milliseconds since 1970.
        """
        end = end_of(prefix)

        def delete() -> tuple[int, Sequence[Segment]]:
            connection = self._shelf.connection
            rows = connection.execute(
                "SELECT id FROM uploads WHERE bucket = ? AND key >= ? AND (? IS NULL OR key < ?) AND created <= ?",
                (bucket.number, prefix, end, end, until),
            )
            due = [upload_id for (upload_id,) in rows]
            unused = [segment for upload_id in due for part in self._parts(upload_id) for segment in part.segments]
            connection.executemany("DELETE FROM uploads WHERE id = ?", [(upload_id,) for upload_id in due])
            return len(due), unused

        return await self._shelf.change(delete)

    @counted("ListParts")
    async def parts(self, bucket: Bucket, key: str, upload_id: str) -> tuple[Upload, list[Part]]:
        """
        Return an upload and its parts by number.

        Raises:
            R2Refused: 10024: there is none.
        """
        name = key_bytes(key)
        return await self._shelf.call(lambda: (self._find(bucket, name, upload_id), self._parts(upload_id)))

    @counted("ListMultipartUploads")
    async def of_bucket(self, bucket: Bucket, prefix: bytes = b"") -> list[Upload]:
        """Return the uploads that are under way, by key and id."""
        end = end_of(prefix)

        def select() -> list[Upload]:
            rows = self._shelf.connection.execute(
                "SELECT id, key, created, http, custom, storage_class, key_md5, algorithm FROM uploads"
                " WHERE bucket = ? AND key >= ? AND (? IS NULL OR key < ?) ORDER BY key, id",
                (bucket.number, prefix, end, end),
            )
            return [_upload(row) for row in rows]

        return await self._shelf.call(select)

    def _find(self, bucket: Bucket, name: bytes, upload_id: str) -> Upload:
        row = self._shelf.connection.execute(
            "SELECT id, key, created, http, custom, storage_class, key_md5, algorithm FROM uploads"
            " WHERE id = ? AND bucket = ? AND key = ?",
            (upload_id, bucket.number, name),
        ).fetchone()
        if row is None:
            raise R2Refused(NO_SUCH_UPLOAD)
        return _upload(row)

    def _parts(self, upload_id: str) -> list[Part]:
        rows = self._shelf.connection.execute(
            "SELECT number, etag, size, uploaded, segments, checksums FROM parts WHERE upload = ? ORDER BY number",
            (upload_id,),
        )
        return [
            Part(number, etag, size, uploaded, read_segments(segments), json.loads(checksums or "{}"))
            for number, etag, size, uploaded, segments, checksums in rows
        ]


def _upload(row: tuple[Any, ...]) -> Upload:
    upload_id, key, created, http, custom, storage_class, key_md5, algorithm = row
    description = Description(json.loads(http), json.loads(custom), storage_class)
    return Upload(upload_id, key.decode(), created, description, key_md5, algorithm)
