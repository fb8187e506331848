"""R2's storage: what survives, what is refused without a trace, and what a listing gives."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.emulator.r2.conditions import Conditions, EtagMatch, from_headers
from clodo.emulator.r2.errors import R2Refused
from clodo.emulator.r2.records import Bucket, Description
from clodo.emulator.r2.s3.headers import description_of
from clodo.emulator.r2.store import Storage

WRITER = Path(__file__).with_name("killed_writer.py")


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    """An empty storage."""
    made = Storage(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def bucket(storage: Storage) -> Bucket:
    """An empty bucket."""
    return await storage.buckets.create("account", "things")


def files(folder: Path) -> list[Path]:
    """Return the files that hold bytes of objects."""
    return [file for file in (folder / "files").rglob("*") if file.is_file()]


async def content(storage: Storage, bucket: Bucket, key: str) -> bytes:
    opened = await storage.objects.open(bucket, key)
    try:
        return b"".join([chunk async for chunk in opened.read()])
    finally:
        opened.close()


async def test_what_is_overwritten_leaves_no_file(storage: Storage, bucket: Bucket, tmp_path: Path) -> None:
    """One file stays of a key that was written twice; none of an object that was deleted or refused."""
    await storage.receive(bucket, "k", body(b"one"), Description())
    await storage.receive(bucket, "k", body(b"two"), Description())
    assert [file.read_bytes() for file in files(tmp_path)] == [b"two"]

    with pytest.raises(R2Refused):
        await storage.receive(
            bucket, "k", body(b"three"), Description(), conditions=Conditions(matches=(EtagMatch("other"),))
        )
    with pytest.raises(R2Refused):
        await storage.receive(bucket, "k", body(b"three"), Description(), told=lambda: {"md5": "00"})
    assert [file.read_bytes() for file in files(tmp_path)] == [b"two"]

    await storage.objects.delete(bucket, ["k"])

    assert files(tmp_path) == []


async def test_a_reader_keeps_what_it_reads(storage: Storage, bucket: Bucket, tmp_path: Path) -> None:
    """An object that is deleted while it is read is read to its end, and then its file goes."""
    await storage.receive(bucket, "k", body(b"a" * 700_000), Description())
    opened = await storage.objects.open(bucket, "k")
    reading = opened.read()
    first = await anext(reading)

    await storage.objects.delete(bucket, ["k"])
    rest = b"".join([chunk async for chunk in reading])
    opened.close()
    with pytest.raises(R2Refused, match="key does not exist"):
        await storage.objects.head(bucket, "k")

    assert first + rest == b"a" * 700_000
    assert files(tmp_path) == []


async def test_of_many_creators_one_wins(storage: Storage, bucket: Bucket) -> None:
    """Writers that create the same key at the same time: one is acknowledged and its bytes are there."""
    nothing_there = Conditions(differs=(EtagMatch(None),))

    async def create(number: int) -> int | None:
        try:
            await storage.receive(bucket, "k", body(str(number).encode()), Description(), conditions=nothing_there)
        except R2Refused:
            return None
        return number

    winners = [
        number for number in await asyncio.gather(*(create(number) for number in range(8))) if number is not None
    ]

    assert len(winners) == 1
    assert await content(storage, bucket, "k") == str(winners[0]).encode()


async def test_leftovers_are_collected_at_the_start(tmp_path: Path) -> None:
    """Drafts and files that no row names are deleted; parts of uploads that are under way stay."""
    before = Storage(tmp_path)
    bucket = await before.buckets.create("account", "things")
    upload = await before.uploads.create(bucket, "k", Description())
    await before.receive_part(bucket, "k", upload.id, 1, body(b"part"))
    await before.close()
    for leftover in ("drafts/0123", "kept/01/0123"):
        (tmp_path / "files" / leftover).parent.mkdir(exist_ok=True)
        (tmp_path / "files" / leftover).write_bytes(b"left over")

    after = Storage(tmp_path)
    kept = [file.read_bytes() for file in files(tmp_path)]
    _, parts = await after.uploads.parts(after.buckets.find("account", "things"), "k", upload.id)
    await after.close()

    assert kept == [b"part"]
    assert [part.size for part in parts] == [4]


async def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """After kill -9 in the middle of writes every acknowledged object is there, whole, and nothing else."""
    process = subprocess.Popen([sys.executable, str(WRITER), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(30)]
    process.kill()
    acknowledged += [int(line) for line in process.stdout if line.strip()]
    process.wait()

    storage = Storage(tmp_path)
    bucket = storage.buckets.find("account", "things")
    page = await storage.objects.page(bucket)
    found = {one.key: await content(storage, bucket, one.key) for one in page.objects}
    await storage.close()

    newest = {f"key-{number % 7}": number for number in acknowledged}
    assert set(found) >= set(newest)
    for key, value in found.items():
        number = next(
            number for number in range(2000) if f"key-{number % 7}" == key and str(number).encode() * 1_000_000 == value
        )
        # Writers of one key may overtake each other by two rounds; an object is never older than that.
        assert number >= newest.get(key, 0) - 21
    assert len(files(tmp_path)) == len(found)


def test_a_full_disk_is_told_and_nothing_is_torn(tmp_path: Path) -> None:
    """Where no file can grow, an upload is 507, the old object stays, and there is no litter."""
    script = f"""
import asyncio, resource, signal
from pathlib import Path
from clodo.emulator.r2.errors import R2Refused
from clodo.emulator.r2.records import Description
from clodo.emulator.r2.store import Storage

async def body(*pieces):
    for piece in pieces:
        yield piece

async def main():
    storage = Storage(Path({str(tmp_path)!r}))
    bucket = await storage.buckets.create("account", "things")
    await storage.receive(bucket, "k", body(b"old"), Description())
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    try:
        await storage.receive(bucket, "k", body(*[b"x" * 100_000] * 30), Description())
    except R2Refused as error:
        print(error.refusal.status, error.refusal.name)
    opened = await storage.objects.open(bucket, "k")
    print(b"".join([chunk async for chunk in opened.read()]).decode())
    opened.close()
    await storage.close()

asyncio.run(main())
"""

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.split("\n")[:2] == ["507 InsufficientStorage", "old"]
    assert [file.read_bytes() for file in files(tmp_path)] == [b"old"]


KEYS = st.text(alphabet="ab/\u00fc\U0001f600", min_size=1, max_size=6)


@settings(max_examples=12, deadline=None)
@given(
    keys=st.sets(KEYS, max_size=12),
    prefix=st.text(alphabet="ab/", max_size=2),
    delimiter=st.sampled_from(["", "/", "ab", "\u00fc"]),
    limit=st.integers(1, 4),
)
def test_pages_add_up_to_the_listing(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str], prefix: str, delimiter: str, limit: int
) -> None:
    """Whatever the keys and the size of pages: together they give each key or its prefix once, in byte order."""
    expected: list[str] = []
    for key in sorted(keys, key=str.encode):
        if key.startswith(prefix):
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            entry = prefix + head + found if found else key
            if entry not in expected:
                expected.append(entry)

    async def listed() -> list[str]:
        storage = Storage(tmp_path_factory.mktemp("r2"))
        bucket = await storage.buckets.create("account", "things")
        for key in keys:
            await storage.objects.put(bucket, key, (), {"md5": "0" * 32}, Description())
        entries: list[str] = []
        after: bytes | None = b""
        while after is not None:
            page = await storage.objects.page(
                bucket, prefix=prefix.encode(), delimiter=delimiter.encode(), after=after, limit=limit
            )
            entries += sorted([*(one.key for one in page.objects), *page.prefixes], key=str.encode)
            after = page.next_after
        await storage.close()
        return entries

    assert asyncio.run(listed()) == expected


async def test_settings_of_one_bucket_do_not_undo_each_other(storage: Storage, bucket: Bucket) -> None:
    """Changes made at the same time, each to another setting, are all kept."""
    changes = [storage.buckets.set_settings(bucket, {f"kind {number}": number}) for number in range(5)]

    await asyncio.gather(*changes, storage.buckets.set_storage_class(bucket, "InfrequentAccess"))

    kept = storage.buckets.find("account", "things")
    assert kept.settings == {f"kind {number}": number for number in range(5)}
    assert kept.storage_class == "InfrequentAccess"


@pytest.mark.parametrize("date", ["yesterday", "Mon, 01 Jan 2001 00:00:00 +99999999999999999999"])
def test_dates_that_are_none_are_no_condition(date: str) -> None:
    """A date that can't be read is ignored, as HTTP says, also where its zone is too far away."""
    assert from_headers({"if-modified-since": date, "if-unmodified-since": date}) == from_headers({})
    assert description_of({"expires": date}).http == {}
