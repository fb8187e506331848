"""Lifecycle rules carried out: what expires, what moves, what is given up, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.emulator.r2 import objects
from clodo.emulator.r2.lifecycles import Lifecycles, Swept, due_until
from clodo.emulator.r2.records import Bucket, Description
from clodo.emulator.r2.store import Storage

DAY = 86_400


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """When it is."""
    return Clock()


@pytest.fixture
async def storage(tmp_path: Path, clock: Clock) -> AsyncIterator[Storage]:
    """An empty storage."""
    made = Storage(tmp_path, now=clock)
    yield made
    await made.close()


@pytest.fixture
async def bucket(storage: Storage) -> Bucket:
    """An empty bucket."""
    return await storage.buckets.create("account", "things")


def rule(prefix: str = "", *, enabled: bool = True, **transitions: Any) -> dict[str, Any]:
    return {"id": "r", "enabled": enabled, "conditions": {"prefix": prefix}, **transitions}


def after(days: float) -> dict[str, Any]:
    return {"condition": {"type": "Age", "maxAge": int(days * DAY)}}


async def write(storage: Storage, bucket: Bucket, *keys: str) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"content"

    for key in keys:
        await storage.receive(bucket, key, content(), Description())


async def keys_of(storage: Storage, bucket: Bucket) -> list[str]:
    return [found.key for found in (await storage.objects.page(bucket)).objects]


def files_of(folder: Path) -> int:
    return sum(file.is_file() for file in (folder / "files").rglob("*"))


async def test_objects_expire_by_age_and_prefix(storage: Storage, bucket: Bucket, clock: Clock, tmp_path: Path) -> None:
    """What is as old as the rule says is gone with its bytes; what is younger, or elsewhere, stays."""
    await write(storage, bucket, "logs/1", "logs/2", "kept")
    clock.seconds += 3 * DAY
    await write(storage, bucket, "logs/3")
    await storage.buckets.set_settings(bucket, {"lifecycle": [rule("logs/", deleteObjectsTransition=after(7))]})

    early = await Lifecycles(storage).sweep(clock.seconds + 4 * DAY - 1)
    clock.seconds += 4 * DAY
    due = await Lifecycles(storage).sweep()

    assert (early, due) == (Swept(), Swept(expired=2))
    assert await keys_of(storage, bucket) == ["kept", "logs/3"]
    assert files_of(tmp_path) == 2


async def test_locks_win_over_lifecycles(storage: Storage, bucket: Bucket, clock: Clock) -> None:
    """An object that a lock holds doesn't expire before the lock ends; its neighbours do."""
    await write(storage, bucket, "a", "held/b")
    lock = {"id": "l", "enabled": True, "prefix": "held/", "condition": {"type": "Age", "maxAgeSeconds": 9 * DAY}}
    settings = {"lifecycle": [rule(deleteObjectsTransition=after(1))], "lock": [lock]}
    await storage.buckets.set_settings(bucket, settings)

    clock.seconds += 2 * DAY
    first = await Lifecycles(storage).sweep()
    left = await keys_of(storage, bucket)
    clock.seconds += 8 * DAY
    second = await Lifecycles(storage).sweep()

    assert (first.expired, left, second.expired) == (1, ["held/b"], 1)


async def test_rules_that_are_off_or_later_do_nothing(storage: Storage, bucket: Bucket, clock: Clock) -> None:
    """A disabled rule and one for a later date leave everything; on that date all goes."""
    await write(storage, bucket, "a")
    date = {"condition": {"type": "Date", "date": "2027-03-01T00:00:00Z"}}
    rules = [rule(enabled=False, deleteObjectsTransition=after(0)), rule(deleteObjectsTransition=date)]
    await storage.buckets.set_settings(bucket, {"lifecycle": rules})
    clock.seconds += DAY

    before, on_the_day = 1_803_859_199, 1_803_859_200

    assert await Lifecycles(storage).sweep(before) == Swept()
    assert await Lifecycles(storage).sweep(on_the_day) == Swept(expired=1)


async def test_uploads_are_given_up_after_seven_days(
    storage: Storage, bucket: Bucket, clock: Clock, tmp_path: Path
) -> None:
    """Every new bucket has the rule: an upload that nobody completes is aborted, and its parts are deleted."""
    upload = await storage.uploads.create(bucket, "big", Description())

    async def content() -> AsyncIterator[bytes]:
        yield b"part"

    await storage.receive_part(bucket, "big", upload.id, 1, content())
    clock.seconds += 7 * DAY - 1
    early = await Lifecycles(storage).sweep()
    clock.seconds += 1
    due = await Lifecycles(storage).sweep()

    assert (early.aborted, due.aborted, files_of(tmp_path)) == (0, 1, 0)
    assert await storage.uploads.of_bucket(bucket) == []


async def test_objects_move_to_the_colder_class_once(storage: Storage, bucket: Bucket, clock: Clock) -> None:
    """What is old enough gets the class Infrequent Access, keeps its content, and isn't moved again."""
    await write(storage, bucket, "a")
    colder = {**after(30), "storageClass": "InfrequentAccess"}
    await storage.buckets.set_settings(bucket, {"lifecycle": [rule(storageClassTransitions=[colder])]})
    clock.seconds += 30 * DAY

    first, second = await Lifecycles(storage).sweep(), await Lifecycles(storage).sweep()

    assert (first.moved, second.moved) == (1, 0)
    assert (await storage.objects.head(bucket, "a")).storage_class == "InfrequentAccess"


async def test_more_than_a_batch_expires(storage: Storage, bucket: Bucket) -> None:
    """Many objects go batch by batch, none is left out, also where a lock holds a whole batch."""
    connection = storage.objects._shelf.connection

    def insert() -> None:
        row = "INSERT INTO objects VALUES(?, ?, 'v', 0, 'e', 0, '{}', '{}', '{}', 'Standard', '[]', NULL)"
        connection.executemany(row, [(bucket.number, f"{n:05}".encode()) for n in range(2 * objects.BATCH + 5)])

    await storage.objects._shelf.call(insert)
    lock = {"id": "l", "enabled": True, "prefix": "00", "condition": {"type": "Indefinite"}}
    settings = {"lifecycle": [rule(deleteObjectsTransition=after(1))], "lock": [lock]}
    await storage.buckets.set_settings(bucket, settings)

    swept = await Lifecycles(storage).sweep()

    assert swept.expired == 2 * objects.BATCH + 5 - 1000
    assert len(await keys_of(storage, bucket)) == 1000


async def test_rounds_go_on_by_themselves(storage: Storage, bucket: Bucket, clock: Clock) -> None:
    """Nobody has to ask: the next round finds what has become due."""
    await write(storage, bucket, "a")
    await storage.buckets.set_settings(bucket, {"lifecycle": [rule(deleteObjectsTransition=after(1))]})
    rounds = asyncio.create_task(Lifecycles(storage, every=timedelta(milliseconds=5)).run())

    clock.seconds += DAY
    async with asyncio.timeout(10):
        while await keys_of(storage, bucket):
            await asyncio.sleep(0.005)

    rounds.cancel()


@given(st.integers(0, 4 * 10**9), st.integers(0, 10**8), st.integers(0, 10**8))
def test_what_is_due_stays_due(now: int, age: int, later: int) -> None:
    """Waiting longer never makes less due, and nothing is due before its age."""
    condition = {"type": "Age", "maxAge": age}

    until, then = due_until(condition, now), due_until(condition, now + later)

    assert until is not None
    assert then is not None
    assert until == (now - age) * 1000
    assert then >= until
