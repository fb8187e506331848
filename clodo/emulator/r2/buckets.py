"""The buckets of every account."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import apsw

from clodo.emulator.clock import new_id
from clodo.emulator.r2.errors import (
    BUCKET_EXISTS,
    BUCKET_NOT_EMPTY,
    INVALID_ARGUMENT,
    NO_SUCH_BUCKET,
    R2Refused,
)
from clodo.emulator.r2.limits import JURISDICTIONS, LOCATIONS, check_bucket_name, check_storage_class
from clodo.emulator.r2.records import Bucket
from clodo.emulator.r2.shelf import Shelf, as_json


class Usage(NamedTuple):
    """
    What a bucket holds of one storage class.

    Attributes:
        payload: Bytes of objects.

        metadata: Bytes of keys and metadata.

        uploads: Multipart uploads that are under way (counted for the bucket's own class).
    """

    objects: int
    payload: int
    metadata: int
    uploads: int


class Buckets:
    """The buckets of every account; asked at each request, so kept in memory too."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._known: dict[tuple[str, str, str], Bucket] = {}
        self._public: dict[str, Bucket] = {}
        for *columns, settings in shelf.connection.execute(
            "SELECT account_id, name, jurisdiction, id, number, created_on, location, storage_class, settings"
            " FROM buckets"
        ):
            self._note(replace(Bucket(*columns), settings=json.loads(settings)))

    def exists(self, account_id: str, name: str, jurisdiction: str | None = None) -> bool:
        """Say whether the account has this bucket, in any jurisdiction if None."""
        wanted = JURISDICTIONS if jurisdiction is None else (jurisdiction,)
        return any((account_id, one, name) in self._known for one in wanted)

    def find(self, account_id: str, name: str, jurisdiction: str = "default") -> Bucket:
        """
        Return a bucket.

        Raises:
            R2Refused: 404, 10006.
        """
        found = self._known.get((account_id, jurisdiction, name))
        if found is None:
            raise R2Refused(NO_SUCH_BUCKET)
        return found

    def of_account(self, account_id: str, jurisdiction: str = "default") -> list[Bucket]:
        """Return the account's buckets by name."""
        found = [
            bucket for (owner, where, _), bucket in self._known.items() if (owner, where) == (account_id, jurisdiction)
        ]
        return sorted(found, key=lambda bucket: bucket.name)

    def all(self) -> list[Bucket]:
        """Return the buckets of all accounts."""
        return list(self._known.values())

    def public_at(self, host: str) -> Bucket | None:
        """Return the bucket that anybody may read at this hostname."""
        return self._public.get(host)

    async def create(
        self,
        account_id: str,
        name: str,
        *,
        jurisdiction: str = "default",
        location: str | None = None,
        storage_class: str = "Standard",
    ) -> Bucket:
        """
        Make an empty bucket.

        Args:
            location: A hint; taken as said, since there is but one place.

        Raises:
            R2Refused: The name can't be one or is taken, or another argument is unknown.
        """
        check_bucket_name(name)
        check_storage_class(storage_class)
        where = (location or "weur").lower()
        if where not in LOCATIONS:
            raise R2Refused(INVALID_ARGUMENT.saying(f"The location hint {where[:40]!r} is not valid."))
        if jurisdiction not in JURISDICTIONS:
            raise R2Refused(INVALID_ARGUMENT.saying(f"The jurisdiction {jurisdiction[:40]!r} is not valid."))
        created_on = datetime.fromtimestamp(self._shelf.now(), UTC).isoformat(timespec="milliseconds")
        made = Bucket(
            account_id, name, jurisdiction, new_id(), 0, created_on.replace("+00:00", "Z"), where, storage_class
        )

        def insert() -> int:
            try:
                self._shelf.connection.execute(
                    "INSERT INTO buckets(account_id, name, jurisdiction, id, created_on, location, storage_class,"
                    " settings) VALUES(?, ?, ?, ?, ?, ?, ?, '{}')",
                    (account_id, name, jurisdiction, made.id, made.created_on, where, storage_class),
                )
            except apsw.ConstraintError as error:
                raise R2Refused(BUCKET_EXISTS) from error
            return self._shelf.connection.last_insert_rowid()

        number = await self._shelf.call(insert)
        return self._note(replace(made, number=number))

    async def set_storage_class(self, bucket: Bucket, storage_class: str) -> Bucket:
        """
        Change the class of objects that don't name one.

        Raises:
            R2Refused: There is no such class.
        """
        check_storage_class(storage_class)
        await self._shelf.call(
            lambda: self._shelf.connection.execute(
                "UPDATE buckets SET storage_class = ? WHERE number = ?", (storage_class, bucket.number)
            )
        )
        return self._note(replace(self._current(bucket), storage_class=storage_class))

    async def set_settings(self, bucket: Bucket, changed: Mapping[str, Any]) -> Bucket:
        """Change some of a bucket's settings; None takes one away."""
        return await self.change_settings(bucket, lambda known: changed)

    async def change_settings(self, bucket: Bucket, decide: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Bucket:
        """
        Change some of a bucket's settings by what they are; None takes one away.

        Args:
            decide: Given the settings, returns those that change; nobody else changes any in between.

        Raises:
            R2Refused: The bucket is gone, or *decide* refuses.
        """

        def change() -> dict[str, Any]:
            # Read again: somebody else may have changed others since the bucket was found.
            connection = self._shelf.connection
            row = connection.execute("SELECT settings FROM buckets WHERE number = ?", (bucket.number,)).fetchone()
            if row is None:
                raise R2Refused(NO_SUCH_BUCKET)
            known = json.loads(row[0])
            merged = {kind: value for kind, value in {**known, **decide(known)}.items() if value is not None}
            connection.execute("UPDATE buckets SET settings = ? WHERE number = ?", (as_json(merged), bucket.number))
            return merged

        merged = await self._shelf.call(change)
        return self._note(replace(self._current(bucket), settings=merged))

    async def delete(self, bucket: Bucket) -> None:
        """
        Remove an empty bucket.

        Raises:
            R2Refused: 409, 10008: it has objects, or multipart uploads that are under way.
        """

        def delete() -> None:
            connection = self._shelf.connection
            for table in ("objects", "uploads"):
                if connection.execute(f"SELECT 1 FROM {table} WHERE bucket = ? LIMIT 1", (bucket.number,)).fetchone():  # noqa: S608
                    raise R2Refused(BUCKET_NOT_EMPTY)
            connection.execute("DELETE FROM buckets WHERE number = ?", (bucket.number,))

        await self._shelf.call(delete)
        self._forget(bucket)

    async def usage(self, bucket: Bucket) -> dict[str, Usage]:
        """Return what the bucket holds, by storage class."""

        def count() -> dict[str, Usage]:
            connection = self._shelf.connection
            (uploads,) = connection.execute(
                "SELECT count(*) FROM uploads WHERE bucket = ?", (bucket.number,)
            ).fetchone() or (0,)
            rows = connection.execute(
                "SELECT storage_class, count(*), sum(size), sum(length(key) + length(http) + length(custom))"
                " FROM objects WHERE bucket = ? GROUP BY storage_class",
                (bucket.number,),
            )
            found = {name: Usage(objects, payload, metadata, 0) for name, objects, payload, metadata in rows}
            own = found.get(bucket.storage_class, Usage(0, 0, 0, 0))
            found[bucket.storage_class] = own._replace(uploads=uploads)
            return found

        return await self._shelf.call(count)

    def _current(self, bucket: Bucket) -> Bucket:
        return self.find(bucket.account_id, bucket.name, bucket.jurisdiction)

    def _note(self, bucket: Bucket) -> Bucket:
        self._forget(bucket)
        self._known[bucket.account_id, bucket.jurisdiction, bucket.name] = bucket
        self._public.update(dict.fromkeys(hostnames_of(bucket), bucket))
        return bucket

    def _forget(self, bucket: Bucket) -> None:
        known = self._known.pop((bucket.account_id, bucket.jurisdiction, bucket.name), None)
        for hostname in hostnames_of(known) if known else ():
            self._public.pop(hostname, None)


def dev_hostname(bucket: Bucket) -> str:
    """Return the bucket's hostname below r2.dev."""
    return f"pub-{bucket.id}.r2.dev"


def hostnames_of(bucket: Bucket) -> list[str]:
    """Return the hostnames at which anybody may read the bucket."""
    domains: Mapping[str, Mapping[str, Any]] = bucket.settings.get("domains", {})
    own = [name for name, domain in domains.items() if domain["enabled"]]
    return [*own, dev_hostname(bucket)] if bucket.settings.get("is_public") else own
