"""Objects: written whole, read in pieces, listed in the byte order of their keys."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from clodo.emulator.r2.conditions import NO_CONDITIONS, Conditions
from clodo.emulator.r2.counting import counted
from clodo.emulator.r2.customer_keys import CustomerKey, raise_if_unreadable
from clodo.emulator.r2.errors import NO_SUCH_BUCKET, NO_SUCH_KEY, PRECONDITION_FAILED, R2Refused
from clodo.emulator.r2.limits import check_custom_metadata, check_storage_class, key_bytes
from clodo.emulator.r2.locks import is_locked, raise_if_locked
from clodo.emulator.r2.ranges import Span
from clodo.emulator.r2.records import Bucket, Change, Description, ObjectPage, Segment, StoredObject, new_version
from clodo.emulator.r2.shelf import Shelf, as_json, end_of, read_segments

#: Objects that a lifecycle rule removes in one transaction.
BATCH = 1000

_COLUMNS = "key, version, size, etag, uploaded, http, custom, checksums, storage_class, segments, key_md5"


class OpenObject:
    """
    An object whose bytes can be read; to be closed, read or not.

    Attributes:
        object: What it is.

        place: Name of its bucket, and its key.
    """

    def __init__(self, shelf: Shelf, bucket: Bucket, found: StoredObject, key: CustomerKey | None = None) -> None:
        self.object = found
        self.place = (bucket.name, found.key)
        self._shelf = shelf
        self._key = key
        self._is_open = True

    async def read(self, span: Span | None = None) -> AsyncIterator[bytes]:
        """Give the bytes of *span*, or all."""
        wanted = span or Span(0, self.object.size)
        async for chunk in self._shelf.files.read(self.object.segments, wanted, self._key):
            yield chunk

    def close(self) -> None:
        """Let the files go; safe to repeat."""
        if self._is_open:
            self._is_open = False
            self._shelf.release(self.object.segments)


class Objects:
    """The objects of all buckets."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    @counted("HeadObject")
    async def head(self, bucket: Bucket, key: str) -> StoredObject:
        """
        Return what is known of an object.

        Raises:
            R2Refused: There is none with this key (10007), or the key can't be one (10020).
        """
        name = key_bytes(key)
        found = await self._shelf.call(lambda: self.find(bucket, name))
        if found is None:
            raise R2Refused(NO_SUCH_KEY)
        return found

    @counted("GetObject")
    async def open(self, bucket: Bucket, key: str, *, secret: CustomerKey | None = None) -> OpenObject:
        """
        Open an object for reading: what is written after doesn't touch it.

        Args:
            secret: What it is encrypted with.

        Raises:
            R2Refused: There is none with this key (10007), the key can't be one (10020), or the secret isn't the
                object's.
        """
        name = key_bytes(key)

        def hold() -> StoredObject:
            found = self.find(bucket, name)
            if found is None:
                raise R2Refused(NO_SUCH_KEY)
            raise_if_unreadable(found.key_md5, secret)
            self._shelf.hold(found.segments)
            return found

        return OpenObject(self._shelf, bucket, await self._shelf.call(hold), secret)

    @counted("PutObject")
    async def put(
        self,
        bucket: Bucket,
        key: str,
        segments: Sequence[Segment],
        checksums: dict[str, str],
        description: Description,
        *,
        conditions: Conditions = NO_CONDITIONS,
        etag: str | None = None,
        key_md5: str | None = None,
        copied_from: tuple[str, str] | None = None,
    ) -> StoredObject:
        """
        Make kept bytes an object; they are deleted if it can't be.

        Args:
            checksums: In hex, ``md5`` among them unless *etag* is given.

            key_md5: Of the customer's key that the bytes are encrypted with.

            copied_from: Name of the bucket and key of the object whose bytes they are.

        Raises:
            R2Refused: A condition doesn't hold (10031), the bucket is gone, or a limit is passed.
        """
        try:
            check_custom_metadata(description.custom)
            made = StoredObject(
                key=key,
                version=new_version(),
                size=sum(segment.size for segment in segments),
                etag=etag or checksums["md5"],
                uploaded=int(self._shelf.now() * 1000),
                http=description.http,
                custom=description.custom,
                checksums=checksums,
                storage_class=check_storage_class(description.storage_class or bucket.storage_class),
                segments=tuple(segments),
                key_md5=key_md5,
            )
            name = key_bytes(key)

            def write() -> tuple[None, Sequence[Segment]]:
                before = self.find(bucket, name)
                if not conditions.hold(before):
                    raise R2Refused(PRECONDITION_FAILED)
                raise_if_locked(bucket.settings.get("lock", ()), before, self._shelf.now())
                self.insert(bucket, made)
                return None, before.segments if before else ()

            await self._shelf.change(write)
        except R2Refused:
            self._shelf.files.delete(segments)
            raise
        action = "PutObject" if copied_from is None else "CopyObject"
        await self._shelf.announce([Change(bucket, action, key, made.size, made.etag, copied_from)])
        return made

    async def copy(
        self,
        source: OpenObject,
        bucket: Bucket,
        key: str,
        description: Description,
        *,
        conditions: Conditions = NO_CONDITIONS,
    ) -> StoredObject:
        """
        Make an object of the bytes of another one that isn't encrypted with a customer's key.

        Raises:
            R2Refused: As in `put`.
        """
        found = source.object
        segments = await self._shelf.call(lambda: self._shelf.files.copied(found.segments))
        return await self.put(
            bucket,
            key,
            segments,
            dict(found.checksums),
            description,
            conditions=conditions,
            etag=found.etag,
            copied_from=source.place,
        )

    @counted("DeleteObjects")
    async def delete(self, bucket: Bucket, keys: Sequence[str]) -> list[StoredObject]:
        """
        Remove objects, all or none; return those that were there.

        Raises:
            R2Refused: A key can't be one.
        """
        names = [key_bytes(key) for key in keys]

        def delete() -> tuple[list[StoredObject], Sequence[Segment]]:
            gone = []
            for name in names:
                found = self.find(bucket, name)
                if found is not None:
                    raise_if_locked(bucket.settings.get("lock", ()), found, self._shelf.now())
                    self._shelf.connection.execute(
                        "DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket.number, name)
                    )
                    gone.append(found)
            return gone, [segment for found in gone for segment in found.segments]

        gone = await self._shelf.change(delete)
        await self._shelf.announce([Change(bucket, "DeleteObject", found.key) for found in gone])
        return gone

    async def expire(self, bucket: Bucket, prefix: bytes, until: int) -> int:
        """
        Remove what a lifecycle rule lets expire, but not what a lock holds; return how many objects.

        Args:
            until: Last moment of their upload, in milliseconds since 1970.
        """

        def delete(after: bytes) -> Callable[[], tuple[tuple[list[str], bytes | None], Sequence[Segment]]]:
            def job() -> tuple[tuple[list[str], bytes | None], Sequence[Segment]]:
                rows = self._uploaded(bucket, prefix, until, after)
                locks = self._locks(bucket)
                due = [found for found in map(_object, rows) if not is_locked(locks, found, self._shelf.now())]
                self._shelf.connection.executemany(
                    "DELETE FROM objects WHERE bucket = ? AND key = ?",
                    [(bucket.number, found.key.encode()) for found in due],
                )
                last: bytes | None = rows[-1][0] if len(rows) == BATCH else None
                return ([found.key for found in due], last), [segment for found in due for segment in found.segments]

            return job

        count = 0
        more: bytes | None = b""
        while more is not None:
            gone, more = await self._shelf.change(delete(more))
            await self._shelf.announce([Change(bucket, "LifecycleDeletion", key) for key in gone])
            count += len(gone)
        return count

    async def move(self, bucket: Bucket, prefix: bytes, until: int, storage_class: str) -> int:
        """
        Give another storage class to what was uploaded *until* then; return how many objects.

        Args:
            until: In milliseconds since 1970.
        """
        end = end_of(prefix)

        def update() -> int:
            self._shelf.connection.execute(
                "UPDATE objects SET storage_class = ? WHERE bucket = ? AND key >= ? AND (? IS NULL OR key < ?)"
                " AND uploaded <= ? AND storage_class != ?",
                (storage_class, bucket.number, prefix, end, end, until, storage_class),
            )
            return self._shelf.connection.changes()

        return await self._shelf.call(update)

    @counted("ListObjects")
    async def page(
        self, bucket: Bucket, *, prefix: bytes = b"", delimiter: bytes = b"", after: bytes = b"", limit: int = 1000
    ) -> ObjectPage:
        """
        Return a page of objects, and of prefixes up to the delimiter, together not more than *limit*.

        Args:
            after: Keys up to and including this one are left out; so are prefixes that begin like it, if it is one.
        """
        return await self._shelf.call(lambda: self._page(bucket, prefix, delimiter, after, limit))

    # --- inside of jobs -----------------------------------------------------------------------------------------------

    def find(self, bucket: Bucket, name: bytes) -> StoredObject | None:
        """Return an object, inside of a job."""
        row = self._shelf.connection.execute(
            f"SELECT {_COLUMNS} FROM objects WHERE bucket = ? AND key = ?",  # noqa: S608
            (bucket.number, name),
        ).fetchone()
        return None if row is None else _object(row)

    def insert(self, bucket: Bucket, made: StoredObject) -> None:
        """Write an object's row over the one that is there, inside of a job."""
        connection = self._shelf.connection
        if connection.execute("SELECT 1 FROM buckets WHERE number = ?", (bucket.number,)).fetchone() is None:
            raise R2Refused(NO_SUCH_BUCKET)
        connection.execute(
            "INSERT OR REPLACE INTO objects VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                bucket.number,
                made.key.encode(),
                made.version,
                made.size,
                made.etag,
                made.uploaded,
                as_json(dict(made.http)),
                as_json(dict(made.custom)),
                as_json(dict(made.checksums)),
                made.storage_class,
                as_json(made.segments),
                made.key_md5,
            ),
        )

    def _page(self, bucket: Bucket, prefix: bytes, delimiter: bytes, after: bytes, limit: int) -> ObjectPage:
        objects: list[StoredObject] = []
        prefixes: list[str] = []
        end = end_of(prefix)
        last: bytes | None = None
        # First key that may come, and whether it itself may.
        start, inclusive = (prefix, True) if after < prefix else (after, False)
        if delimiter and after > prefix and after.startswith(prefix) and after.endswith(delimiter):
            # `after` is a prefix that was given: all that is rolled up in it was given with it.
            rolled = prefix + after[len(prefix) :].partition(delimiter)[0] + delimiter
            if rolled == after:
                beyond = end_of(after)
                if beyond is None:
                    return ObjectPage((), ())
                start, inclusive = beyond, True
        while True:
            want = limit - len(objects) - len(prefixes) + 1
            rows = self._rows(bucket, start, inclusive, end, want)
            jumped = False
            for row in rows:
                key: bytes = row[0]
                if len(objects) + len(prefixes) >= limit:
                    return ObjectPage(tuple(objects), tuple(prefixes), last)
                cut = key.find(delimiter, len(prefix)) if delimiter else -1
                if cut < 0:
                    objects.append(_object(row))
                    last = start = key
                    inclusive = False
                    continue
                last = key[: cut + len(delimiter)]
                prefixes.append(last.decode("utf-8", "replace"))
                beyond = end_of(last)
                if beyond is None:
                    return ObjectPage(tuple(objects), tuple(prefixes))
                start, inclusive, jumped = beyond, True, True
                break
            if not jumped and len(rows) < want:
                return ObjectPage(tuple(objects), tuple(prefixes))

    def _uploaded(self, bucket: Bucket, prefix: bytes, until: int, after: bytes) -> list[tuple[Any, ...]]:
        end = end_of(prefix)
        return list(
            self._shelf.connection.execute(
                f"SELECT {_COLUMNS} FROM objects WHERE bucket = ? AND key >= ? AND key > ?"  # noqa: S608
                " AND (? IS NULL OR key < ?) AND uploaded <= ? ORDER BY key LIMIT ?",
                (bucket.number, prefix, after, end, end, until, BATCH),
            )
        )

    def _locks(self, bucket: Bucket) -> Sequence[Mapping[str, Any]]:
        # As they are now: one may have been put since the bucket was found.
        row = self._shelf.connection.execute(
            "SELECT settings FROM buckets WHERE number = ?", (bucket.number,)
        ).fetchone()
        locks: Sequence[Mapping[str, Any]] = json.loads(row[0]).get("lock", ()) if row else ()
        return locks

    def _rows(
        self, bucket: Bucket, start: bytes, inclusive: bool, end: bytes | None, want: int
    ) -> list[tuple[Any, ...]]:
        comparison = ">=" if inclusive else ">"
        return list(
            self._shelf.connection.execute(
                f"SELECT {_COLUMNS} FROM objects WHERE bucket = ? AND key {comparison} ?"  # noqa: S608
                " AND (? IS NULL OR key < ?) ORDER BY key LIMIT ?",
                (bucket.number, start, end, end, want),
            )
        )


def _object(row: tuple[Any, ...]) -> StoredObject:
    key, version, size, etag, uploaded, http, custom, checksums, storage_class, segments, key_md5 = row
    return StoredObject(
        key=key.decode(),
        version=version,
        size=size,
        etag=etag,
        uploaded=uploaded,
        http=json.loads(http),
        custom=json.loads(custom),
        checksums=json.loads(checksums),
        storage_class=storage_class,
        segments=read_segments(segments),
        key_md5=key_md5,
    )
