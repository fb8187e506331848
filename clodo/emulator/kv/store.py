"""All KV namespaces of the embedded cloud."""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from clodo.emulator.analytics.store import Size
from clodo.emulator.d1.jobs import JobThread
from clodo.emulator.envelope import NO_SPACE_LEFT
from clodo.emulator.kv.limits import (
    INVALID_CURSOR,
    INVALID_LIMIT,
    MAX_BULK_GET,
    MAX_LIST,
    MAX_NAMESPACES,
    NAMESPACE_EXISTS,
    NAMESPACE_NOT_FOUND,
    TOO_MANY_KEYS,
    TOO_MANY_NAMESPACES,
    KvRefused,
    check_value,
    expires_at,
    key_bytes,
    metadata_text,
)
from clodo.emulator.runtime.ports import BindingRefused, KeyPage, StoredKey, StoredValue

if TYPE_CHECKING:
    from clodo.emulator.analytics.recorder import Recorder

#: Expired pairs are removed from the file after so many writes; they are not seen any more from the second on.
_WRITES_BETWEEN_PURGES = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS namespaces(
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, account_id TEXT NOT NULL, title TEXT NOT NULL,
    jurisdiction TEXT, UNIQUE(account_id, title)
);
CREATE TABLE IF NOT EXISTS pairs(
    namespace INTEGER NOT NULL, key BLOB NOT NULL, expiration INTEGER, metadata TEXT, value BLOB NOT NULL,
    PRIMARY KEY(namespace, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pairs_that_expire ON pairs(expiration) WHERE expiration IS NOT NULL;
"""


@dataclass(frozen=True, slots=True)
class Namespace:
    """
    What the account knows of a namespace.

    Attributes:
        id: 32 hex digits.

        number: The file's own name for it.
    """

    id: str
    account_id: str
    title: str
    jurisdiction: str | None
    number: int


class Pair(NamedTuple):
    """
    What to write.

    Attributes:
        metadata: Any JSON value; None for none.

        expiration: Unix seconds.

        expiration_ttl: Seconds from now; wins over `expiration`.
    """

    key: str
    value: bytes
    metadata: Any = None
    expiration: int | None = None
    expiration_ttl: int | None = None


@dataclass(slots=True)
class _Counted:
    """What an operation came to."""

    status: int = 200
    size: int = 0


class Namespaces:
    """
    The KV namespaces in one file; the back end of the API and of Workers' bindings.

    Args:
        directory: Made when it is not there; holds ``kv.sqlite``.

        now: Seconds since 1970: what expiry goes by.
    """

    def __init__(self, directory: Path, *, now: Callable[[], float] = time.time) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = directory / "kv.sqlite"
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._now = now
        #: Told about every operation, when somebody counts them.
        self.recorder: Recorder | None = None
        self._connection = apsw.Connection(str(path), statementcachesize=100)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-16384"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(_SCHEMA)
        self._writes = 0
        # Asked at each read and write, so kept in memory.
        self._namespaces: dict[tuple[str, str], Namespace] = {
            (namespace.account_id, namespace.id): namespace for namespace in self._all()
        }
        self._thread = JobThread("kv")

    async def close(self) -> None:
        """Finish what runs and close the file."""
        await self._thread.call(self._connection.close)
        self._thread.stop()

    # --- namespaces ---------------------------------------------------------------------------------------------------

    def all(self, account_id: str) -> list[Namespace]:
        """Return the account's namespaces, by id."""
        found = [namespace for (owner, _), namespace in self._namespaces.items() if owner == account_id]
        return sorted(found, key=lambda namespace: namespace.id)

    def exists(self, account_id: str, namespace_id: str) -> bool:
        """Tell whether the account has a namespace with this id."""
        return (account_id, namespace_id) in self._namespaces

    def find(self, account_id: str, namespace_id: str) -> Namespace:
        """
        Return the account's namespace with this id.

        Raises:
            KvRefused: 404 with 10013: there is none.
        """
        namespace = self._namespaces.get((account_id, namespace_id))
        if namespace is None:
            raise KvRefused(404, NAMESPACE_NOT_FOUND, "namespace not found")
        return namespace

    async def create(self, account_id: str, title: str, *, jurisdiction: str | None = None) -> Namespace:
        """
        Make an empty namespace.

        Raises:
            KvRefused: The account has one with this title (10014), or too many (10018).
        """
        if len(self.all(account_id)) >= MAX_NAMESPACES:
            raise KvRefused(403, TOO_MANY_NAMESPACES, "too many namespaces in this account")
        namespace_id = secrets.token_hex(16)

        def insert() -> int:
            with _full_disk_named(), _duplicates():
                self._connection.execute(
                    "INSERT INTO namespaces(id, account_id, title, jurisdiction) VALUES(?, ?, ?, ?)",
                    (namespace_id, account_id, title, jurisdiction),
                )
            return self._connection.last_insert_rowid()

        number = await self._thread.call(insert)
        namespace = Namespace(namespace_id, account_id, title, jurisdiction, number)
        self._namespaces[account_id, namespace_id] = namespace
        return namespace

    async def rename(self, namespace: Namespace, title: str) -> Namespace:
        """
        Give a namespace another title.

        Raises:
            KvRefused: The account has one with this title.
        """

        def update() -> None:
            with _full_disk_named(), _duplicates():
                self._connection.execute("UPDATE namespaces SET title = ? WHERE number = ?", (title, namespace.number))

        await self._thread.call(update)
        renamed = Namespace(namespace.id, namespace.account_id, title, namespace.jurisdiction, namespace.number)
        self._namespaces[namespace.account_id, namespace.id] = renamed
        return renamed

    async def remove(self, namespace: Namespace) -> None:
        """Remove a namespace and all its pairs."""
        self._namespaces.pop((namespace.account_id, namespace.id), None)

        def delete() -> None:
            with self._connection:
                self._connection.execute("DELETE FROM namespaces WHERE number = ?", (namespace.number,))
                self._connection.execute("DELETE FROM pairs WHERE namespace = ?", (namespace.number,))

        await self._thread.call(delete)

    # --- pairs --------------------------------------------------------------------------------------------------------

    async def read(self, namespace: Namespace, keys: Sequence[str]) -> dict[str, StoredValue | None]:
        """
        Return the values of some keys, None for those that have none.

        Raises:
            KvRefused: A key is too long.
        """
        encoded = {key: key_bytes(key) for key in keys}
        now = int(self._now())

        def select() -> dict[str, StoredValue | None]:
            found: dict[str, StoredValue | None] = {}
            for key, name in encoded.items():
                row = self._connection.execute(
                    "SELECT value, metadata, expiration FROM pairs WHERE namespace = ? AND key = ?"
                    " AND (expiration IS NULL OR expiration > ?)",
                    (namespace.number, name, now),
                ).fetchone()
                found[key] = None if row is None else StoredValue(row[0], _metadata(row[1]), row[2])
            return found

        with self._counted(namespace, "read", len(encoded)) as counted:
            values = await self._thread.call(select)
            counted.size = sum(len(stored.value) for stored in values.values() if stored is not None)
            if all(stored is None for stored in values.values()):
                counted.status = 404
        return values

    async def write(self, namespace: Namespace, pairs: Iterable[Pair]) -> None:
        """
        Set some keys, all or none.

        Raises:
            KvRefused: A key or value is too large, or expires too soon.
        """
        now = self._now()
        rows = []
        for pair in pairs:
            check_value(len(pair.value))
            expiration = expires_at(now, pair.expiration, pair.expiration_ttl)
            rows.append((namespace.number, key_bytes(pair.key), expiration, metadata_text(pair.metadata), pair.value))

        def insert() -> None:
            with _full_disk_named(), self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO pairs VALUES(?, ?, ?, ?, ?)", rows)
            self._purge(len(rows), int(now))

        with self._counted(namespace, "write", len(rows)) as counted:
            await self._thread.call(insert)
            counted.size = sum(len(row[4]) for row in rows)

    async def erase(self, namespace: Namespace, keys: Iterable[str]) -> None:
        """
        Remove some keys; those that are not there don't matter.

        Raises:
            KvRefused: A key is too long.
        """
        rows = [(namespace.number, key_bytes(key)) for key in keys]

        def delete() -> None:
            with _full_disk_named(), self._connection:
                self._connection.executemany("DELETE FROM pairs WHERE namespace = ? AND key = ?", rows)

        with self._counted(namespace, "delete", len(rows)):
            await self._thread.call(delete)

    async def page(self, namespace: Namespace, prefix: str, limit: int, cursor: str | None) -> KeyPage:
        """
        Return a page of keys in their byte order.

        Raises:
            KvRefused: The cursor is none of ours.
        """
        start = prefix.encode("utf-8", "replace")
        after = _read_cursor(cursor) if cursor else None
        end = _end_of(start)
        now = int(self._now())

        def select() -> list[tuple[bytes, str | None, int | None]]:
            return list(
                self._connection.execute(
                    "SELECT key, metadata, expiration FROM pairs WHERE namespace = ? AND key >= ?"
                    " AND (? IS NULL OR key > ?) AND (? IS NULL OR key < ?)"
                    " AND (expiration IS NULL OR expiration > ?) ORDER BY key LIMIT ?",
                    (namespace.number, max(start, after or b""), after, after, end, end, now, limit + 1),
                )
            )

        with self._counted(namespace, "list", 1):
            rows = await self._thread.call(select)
        keys = [StoredKey(key.decode(), _metadata(metadata), expiration) for key, metadata, expiration in rows[:limit]]
        return KeyPage(keys, _write_cursor(rows[limit - 1][0]) if len(rows) > limit else None)

    # --- the bindings' back end ---------------------------------------------------------------------------------------

    async def get(self, account_id: str, namespace_id: str, key: str) -> StoredValue | None:
        """Return the value of *key*; None if it has none or it has expired."""
        with _bindings():
            return (await self.read(self.find(account_id, namespace_id), [key]))[key]

    async def get_many(
        self, account_id: str, namespace_id: str, keys: Sequence[str]
    ) -> Mapping[str, StoredValue | None]:
        """Return the values of up to 100 keys."""
        with _bindings():
            if len(keys) > MAX_BULK_GET:
                raise KvRefused(400, TOO_MANY_KEYS, f"You can request a maximum of {MAX_BULK_GET} keys")
            return await self.read(self.find(account_id, namespace_id), keys)

    async def put(
        self,
        account_id: str,
        namespace_id: str,
        key: str,
        value: bytes,
        *,
        metadata: Any = None,
        expiration: int | None = None,
        expiration_ttl: int | None = None,
    ) -> None:
        """Set *key*; *expiration* is in Unix seconds, *expiration_ttl* in seconds from now."""
        with _bindings():
            pair = Pair(key, value, metadata, expiration, expiration_ttl)
            await self.write(self.find(account_id, namespace_id), [pair])

    async def delete(self, account_id: str, namespace_id: str, key: str) -> None:
        """Remove *key*; no error if it isn't there."""
        with _bindings():
            await self.erase(self.find(account_id, namespace_id), [key])

    async def list(
        self,
        account_id: str,
        namespace_id: str,
        *,
        prefix: str = "",
        limit: int = MAX_LIST,
        cursor: str | None = None,
    ) -> KeyPage:
        """Return one page of the keys that start with *prefix*."""
        with _bindings():
            if limit < 1:
                raise KvRefused(
                    400,
                    INVALID_LIMIT,
                    f"Invalid key_count_limit of {limit}. Please specify an integer greater than 0.",
                )
            if limit > MAX_LIST:
                raise KvRefused(
                    400,
                    INVALID_LIMIT,
                    f"Invalid key_count_limit of {limit}. Please specify an integer less than {MAX_LIST}.",
                )
            return await self.page(self.find(account_id, namespace_id), prefix, limit, cursor)

    # --- figures ------------------------------------------------------------------------------------------------------

    async def sizes(self) -> Sequence[Size]:
        """Return how many keys and bytes each namespace has now."""
        now = self._now()

        def select() -> dict[int, tuple[int, int]]:
            return {
                number: (keys, size)
                for number, keys, size in self._connection.execute(
                    "SELECT namespace, count(*), sum(length(key) + length(value) + coalesce(length(metadata), 0))"
                    " FROM pairs WHERE expiration IS NULL OR expiration > ? GROUP BY namespace",
                    (int(now),),
                )
            }

        held = await self._thread.call(select)
        found = []
        for namespace in self._namespaces.values():
            keys, size = held.get(namespace.number, (0, 0))
            found.append(Size(namespace.account_id, int(now * 1000), "kv", namespace.id, size, keys))
        return found

    @contextmanager
    def _counted(self, namespace: Namespace, action: str, requests: int) -> Iterator[_Counted]:
        """Tell the recorder about an operation on *requests* keys, when it has succeeded."""
        began = time.perf_counter()
        counted = _Counted()
        yield counted
        if self.recorder is not None:
            self.recorder.key_operation(
                namespace.account_id,
                namespace.id,
                action,
                status=counted.status,
                requests=requests,
                size=counted.size,
                seconds=time.perf_counter() - began,
            )

    # --- inside -------------------------------------------------------------------------------------------------------

    def _all(self) -> Iterator[Namespace]:
        for number, name, account_id, title, jurisdiction in self._connection.execute(
            "SELECT number, id, account_id, title, jurisdiction FROM namespaces"
        ):
            yield Namespace(name, account_id, title, jurisdiction, number)

    def _purge(self, writes: int, now: int) -> None:
        self._writes += writes
        if self._writes >= _WRITES_BETWEEN_PURGES:
            self._writes = 0
            self._connection.execute("DELETE FROM pairs WHERE expiration IS NOT NULL AND expiration <= ?", (now,))


@contextmanager
def _bindings() -> Iterator[None]:
    """Rename KV's refusals for Workers."""
    try:
        yield
    except KvRefused as error:
        raise BindingRefused(error.status, error.message) from error


@contextmanager
def _full_disk_named() -> Iterator[None]:
    try:
        yield
    except apsw.FullError as error:
        raise KvRefused(507, NO_SPACE_LEFT, "The disk of the embedded cloud is full; nothing was changed.") from error


@contextmanager
def _duplicates() -> Iterator[None]:
    try:
        yield
    except apsw.ConstraintError as error:
        message = "a namespace with this account ID and title already exists"
        raise KvRefused(400, NAMESPACE_EXISTS, message) from error


def _metadata(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _end_of(prefix: bytes) -> bytes | None:
    """Return the first bytes after everything that begins with *prefix*; None if there are none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


def _write_cursor(key: bytes) -> str:
    return base64.urlsafe_b64encode(b"k1" + key).decode().rstrip("=")


def _read_cursor(cursor: str) -> bytes:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise KvRefused(400, INVALID_CURSOR, "invalid list keys cursor") from error
    if text[:2] != b"k1":
        raise KvRefused(400, INVALID_CURSOR, "invalid list keys cursor")
    return text[2:]
