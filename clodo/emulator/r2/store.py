"""All of R2's storage in one hand: what the API, the S3 endpoint and the bindings share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from clodo.emulator.analytics.recorder import Recorder
from clodo.emulator.analytics.store import Size
from clodo.emulator.r2.buckets import Buckets
from clodo.emulator.r2.checksums import raise_if_different
from clodo.emulator.r2.conditions import NO_CONDITIONS, Conditions
from clodo.emulator.r2.counting import bucket_name
from clodo.emulator.r2.customer_keys import CustomerKey, raise_if_other_uploads
from clodo.emulator.r2.errors import ENTITY_TOO_LARGE, R2Refused
from clodo.emulator.r2.files import Draft
from clodo.emulator.r2.limits import MAX_PART_BYTES, MAX_SINGLE_BYTES, check_custom_metadata, key_bytes
from clodo.emulator.r2.objects import Objects
from clodo.emulator.r2.records import Bucket, Change, Description, Part, StoredObject
from clodo.emulator.r2.shelf import Shelf
from clodo.emulator.r2.uploads import Uploads, check_part_number

#: Told only once the last byte is there, as trailers are.
Checksums = Callable[[], Mapping[str, str]]


class Storage:
    """
    Buckets, objects and uploads in one folder.

    Args:
        directory: Made when it is not there; what a crash left behind in it is deleted.

        now: Seconds since 1970.
    """

    def __init__(self, directory: Path, *, now: Callable[[], float] = time.time) -> None:
        self._shelf = Shelf(directory, now=now)
        self.now = now
        self.buckets = Buckets(self._shelf)
        self.objects = Objects(self._shelf)
        self.uploads = Uploads(self._shelf, self.objects)

    def count_with(self, recorder: Recorder) -> None:
        """Tell *recorder* about every operation from now on."""
        self._shelf.recorder = recorder

    def tell_with(self, listener: Callable[[Sequence[Change]], Awaitable[None]]) -> None:
        """Tell *listener* about every change of objects from now on."""
        self._shelf.listener = listener

    async def sizes(self) -> list[Size]:
        """Return what each bucket holds now."""
        at = int(self.now() * 1000)
        return [
            Size(
                bucket.account_id,
                at,
                "r2",
                bucket_name(bucket),
                usage.payload,
                usage.objects,
                usage.metadata,
                usage.uploads,
            )
            for bucket in self.buckets.all()
            for usage in (await self.buckets.usage(bucket)).values()
        ]

    async def close(self) -> None:
        """Finish what runs and close the file."""
        await self._shelf.close()

    async def receive(
        self,
        bucket: Bucket,
        key: str,
        body: AsyncIterable[bytes],
        description: Description,
        *,
        algorithms: Iterable[str] = (),
        told: Checksums = dict,
        conditions: Conditions = NO_CONDITIONS,
        limit: int = MAX_SINGLE_BYTES,
        secret: CustomerKey | None = None,
        copied_from: tuple[str, str] | None = None,
    ) -> StoredObject:
        """
        Write an object from a stream; it is there wholly or not at all.

        Args:
            algorithms: Checksums to sum up and to keep, besides MD5.

            told: What the sender says the checksums are, in hex.

            secret: The bytes are encrypted with it.

            copied_from: Name of the bucket and key of the object whose bytes they are.

        Raises:
            R2Refused: A limit is passed, a checksum differs, a condition doesn't hold, or the disk is full.
        """
        key_bytes(key)
        check_custom_metadata(description.custom)
        wanted = tuple(algorithms)
        async with self._received(body, wanted, told, limit, secret) as (draft, sums):
            segments = await draft.keep()
            kept = {name: sums[name] for name in ("md5", *wanted)}
            return await self.objects.put(
                bucket,
                key,
                segments,
                kept,
                description,
                conditions=conditions,
                key_md5=None if secret is None else secret.md5,
                copied_from=copied_from,
            )

    async def receive_part(
        self,
        bucket: Bucket,
        key: str,
        upload_id: str,
        number: int,
        body: AsyncIterable[bytes],
        *,
        algorithms: Iterable[str] = (),
        told: Checksums = dict,
        limit: int = MAX_PART_BYTES,
        secret: CustomerKey | None = None,
    ) -> Part:
        """
        Write a part of an upload from a stream.

        Raises:
            R2Refused: There is no such upload, it has another secret, a limit is passed, a checksum differs, or the
                disk is full.
        """
        check_part_number(number)
        upload = await self.uploads.find(bucket, key, upload_id)
        raise_if_other_uploads(upload.key_md5, secret)
        wanted = {*algorithms, *((upload.algorithm,) if upload.algorithm else ())}
        async with self._received(body, wanted, told, limit, secret) as (draft, sums):
            segments = await draft.keep()
            kept = {name: sums[name] for name in wanted}
            return await self.uploads.put_part(bucket, key, upload_id, number, segments, sums["md5"], kept)

    @asynccontextmanager
    async def _received(
        self,
        body: AsyncIterable[bytes],
        algorithms: Iterable[str],
        told: Checksums,
        limit: int,
        secret: CustomerKey | None,
    ) -> AsyncIterator[tuple[Draft, dict[str, str]]]:
        async with self._shelf.files.draft(algorithms, secret) as draft:
            async for chunk in body:
                if draft.size + len(chunk) > limit:
                    raise R2Refused(ENTITY_TOO_LARGE)
                await draft.write(chunk)
            sums = await draft.sums()
            for name, value in told().items():
                raise_if_different(name, value, sums[name])
            yield draft, sums
