"""KV as Workers see it: values, metadata, expiry, listings and limits."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clodo.emulator.kv.limits import KvRefused
from clodo.emulator.kv.store import Namespace, Namespaces
from clodo.emulator.runtime.ports import BindingRefused, StoredValue
from tests.emulator.d1.conftest import Clock
from tests.emulator.kv.conftest import ACCOUNT

ROOT = Path(__file__).parents[3]


async def test_a_value_is_read_as_it_was_written(namespaces: Namespaces, namespace: Namespace):
    """Bytes, metadata and expiration come back; writing again replaces all of them; deleting removes them."""
    await namespaces.put(ACCOUNT, namespace.id, "a/b c", b"\x00\xff", metadata={"n": [1]}, expiration_ttl=60)
    first = await namespaces.get(ACCOUNT, namespace.id, "a/b c")
    await namespaces.put(ACCOUNT, namespace.id, "a/b c", b"")
    second = await namespaces.get(ACCOUNT, namespace.id, "a/b c")
    await namespaces.delete(ACCOUNT, namespace.id, "a/b c")
    await namespaces.delete(ACCOUNT, namespace.id, "never there")

    assert first == StoredValue(b"\x00\xff", {"n": [1]}, 1795176060)
    assert second == StoredValue(b"", None, None)
    assert await namespaces.get(ACCOUNT, namespace.id, "a/b c") is None


async def test_keys_really_expire(namespaces: Namespaces, namespace: Namespace, clock: Clock):
    """From the second it expires on, a key is in no answer any more, and its bytes leave the file."""
    await namespaces.put(ACCOUNT, namespace.id, "soon", b"x", expiration_ttl=60)
    await namespaces.put(ACCOUNT, namespace.id, "later", b"x", expiration=int(clock.seconds) + 90)
    await namespaces.put(ACCOUNT, namespace.id, "never", b"x")

    async def keys() -> list[str]:
        return [key.name for key in (await namespaces.list(ACCOUNT, namespace.id)).keys]

    clock.seconds += 59.9
    assert await keys() == ["later", "never", "soon"]
    clock.seconds += 0.1
    assert await keys() == ["later", "never"]
    assert await namespaces.get(ACCOUNT, namespace.id, "soon") is None
    assert await namespaces.get_many(ACCOUNT, namespace.id, ["soon", "later"]) == {
        "soon": None,
        "later": StoredValue(b"x", None, 1795176090),
    }
    clock.seconds += 30
    for number in range(600):
        await namespaces.put(ACCOUNT, namespace.id, f"k{number}", b"")
    await namespaces.put(ACCOUNT, namespace.id, "soon", b"again")
    assert await namespaces.get(ACCOUNT, namespace.id, "soon") == StoredValue(b"again", None, None)


async def test_a_time_to_live_wins_over_a_time(namespaces: Namespaces, namespace: Namespace, clock: Clock):
    """When both are given, expiration_ttl counts."""
    await namespaces.put(ACCOUNT, namespace.id, "k", b"", expiration=int(clock.seconds) + 9000, expiration_ttl=100)

    stored = await namespaces.get(ACCOUNT, namespace.id, "k")

    assert stored is not None
    assert stored.expiration == int(clock.seconds) + 100


@pytest.mark.parametrize(
    ("key", "value", "options", "status", "message"),
    [
        ("", b"", {}, 400, "Key names must not be empty"),
        (".", b"", {}, 400, "Illegal key name"),
        ("..", b"", {}, 400, "Illegal key name"),
        ("ü" * 257, b"", {}, 414, "UTF-8 encoded length of 514 exceeds key length limit of 512."),
        ("\ud800", b"", {}, 400, "Unicode"),
        ("k", bytes(26214401), {}, 413, "Value length of 26214401 exceeds limit of 26214400."),
        ("k", b"", {"metadata": "x" * 1023}, 413, "Metadata length of 1025 exceeds limit of 1024."),
        ("k", b"", {"expiration_ttl": 59}, 400, "Expiration TTL must be at least 60"),
        ("k", b"", {"expiration_ttl": -1}, 400, "Invalid expiration_ttl of -1"),
        ("k", b"", {"expiration": 1795176059}, 400, "at least 60 seconds in the future"),
    ],
)
async def test_limits_are_held(
    namespaces: Namespaces,
    namespace: Namespace,
    key: str,
    value: bytes,
    options: dict[str, Any],
    status: int,
    message: str,
):
    """What is over a limit is refused with KV's status and sentence, and nothing is written."""
    with pytest.raises(BindingRefused, match=message) as refusal:
        await namespaces.put(ACCOUNT, namespace.id, key, value, **options)

    assert refusal.value.status == status
    assert (await namespaces.list(ACCOUNT, namespace.id)).keys == []


async def test_what_is_at_a_limit_is_taken(namespaces: Namespaces, namespace: Namespace):
    """512 bytes of key, 25 MiB of value, 1024 bytes of metadata, 60 seconds."""
    key, value, metadata = "ü" * 256, bytes(25 * 1024 * 1024), "x" * 1022

    await namespaces.put(ACCOUNT, namespace.id, key, value, metadata=metadata, expiration_ttl=60)

    stored = await namespaces.get(ACCOUNT, namespace.id, key)
    assert stored is not None
    assert (len(stored.value), stored.metadata) == (len(value), metadata)


async def test_a_missing_namespace_is_a_404(namespaces: Namespaces, namespace: Namespace):
    """Every operation on a namespace that the account lacks is refused, also on another account's."""
    for account, name in ((ACCOUNT, "0" * 32), ("b" * 32, namespace.id)):
        for operation in (
            namespaces.get(account, name, "k"),
            namespaces.get_many(account, name, ["k"]),
            namespaces.put(account, name, "k", b""),
            namespaces.delete(account, name, "k"),
            namespaces.list(account, name),
        ):
            with pytest.raises(BindingRefused) as refusal:
                await operation
            assert refusal.value.status == 404


async def test_a_removed_namespace_takes_its_pairs_along(namespaces: Namespaces, namespace: Namespace):
    """A namespace of the same title made afterwards is empty."""
    await namespaces.put(ACCOUNT, namespace.id, "k", b"x")

    await namespaces.remove(namespace)
    again = await namespaces.create(ACCOUNT, "cache")

    assert again.id != namespace.id
    assert (await namespaces.list(ACCOUNT, again.id)).keys == []


async def test_namespaces_and_pairs_survive_a_restart(tmp_path: Path, clock: Clock):
    """Closing and opening changes nothing; a name stays taken."""
    store = Namespaces(tmp_path, now=clock)
    made = await store.create(ACCOUNT, "cache", jurisdiction="eu")
    await store.rename(made, "renamed")
    await store.put(ACCOUNT, made.id, "k", b"x", metadata=[1])
    await store.close()

    store = Namespaces(tmp_path, now=clock)

    assert [(found.id, found.title, found.jurisdiction) for found in store.all(ACCOUNT)] == [(made.id, "renamed", "eu")]
    assert await store.get(ACCOUNT, made.id, "k") == StoredValue(b"x", [1], None)
    with pytest.raises(KvRefused, match="already exists"):
        await store.create(ACCOUNT, "renamed")
    await store.create(ACCOUNT, "cache")
    await store.close()


_KEYS = st.text(st.sampled_from("aáb\U0001f600/\x7f\x00 %"), min_size=1, max_size=4).filter(
    lambda key: key not in (".", "..")
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.sets(_KEYS, max_size=25), prefix=st.one_of(st.just(""), _KEYS), limit=st.integers(1, 7))
async def test_pages_put_together_are_the_keys_in_byte_order(
    namespaces: Namespaces, keys: set[str], prefix: str, limit: int
):
    """Following the cursor gives each key with the prefix once, ordered by its UTF-8 bytes."""
    namespace = await namespaces.create(ACCOUNT, f"n{len(namespaces.all(ACCOUNT))}")
    for key in keys:
        await namespaces.put(ACCOUNT, namespace.id, key, b"")

    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await namespaces.list(ACCOUNT, namespace.id, prefix=prefix, limit=limit, cursor=cursor)
        found += [key.name for key in page.keys]
        assert len(page.keys) <= limit
        cursor = page.cursor
        if cursor is None:
            break

    assert found == sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
    await namespaces.remove(namespace)


async def test_a_cursor_survives_changes_in_between(namespaces: Namespaces, namespace: Namespace):
    """A listing goes on behind the last key seen, whatever was written or deleted meanwhile."""
    for number in range(20):
        await namespaces.put(ACCOUNT, namespace.id, f"k{number:02}", b"")
    page = await namespaces.list(ACCOUNT, namespace.id, limit=10)

    await namespaces.delete(ACCOUNT, namespace.id, "k09")
    await namespaces.put(ACCOUNT, namespace.id, "k095", b"")
    rest = await namespaces.list(ACCOUNT, namespace.id, limit=100, cursor=page.cursor)

    assert [key.name for key in rest.keys] == ["k095", *(f"k{number}" for number in range(10, 20))]


@pytest.mark.parametrize(
    "options", [{"limit": 0}, {"limit": 1001}, {"cursor": "x"}, {"cursor": "ü"}, {"cursor": "AAAA"}]
)
async def test_listings_that_make_no_sense_are_refused(
    namespaces: Namespaces, namespace: Namespace, options: dict[str, Any]
):
    """Limits out of bounds and cursors from nowhere are 400s."""
    with pytest.raises(BindingRefused) as refusal:
        await namespaces.list(ACCOUNT, namespace.id, **options)

    assert refusal.value.status == 400


async def test_many_writers_at_once(namespaces: Namespaces, namespace: Namespace):
    """Sixteen tasks writing and reading at once each find what they wrote."""

    async def write(number: int) -> None:
        for round_ in range(20):
            await namespaces.put(ACCOUNT, namespace.id, f"{number}", b"%d" % round_)
            stored = await namespaces.get(ACCOUNT, namespace.id, f"{number}")
            assert stored is not None
            assert stored.value == b"%d" % round_

    await asyncio.gather(*(write(number) for number in range(16)))

    assert len((await namespaces.list(ACCOUNT, namespace.id)).keys) == 16


_WRITER = """
import asyncio, sys
from pathlib import Path
from clodo.emulator.kv.store import Namespaces

async def main():
    store = Namespaces(Path(sys.argv[1]))
    namespace = store.all("a" * 32)[0]
    number = int(sys.argv[2])
    while True:
        await store.put("a" * 32, namespace.id, f"{number:08}", b"x" * (number % 3000))
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
        number += 1

asyncio.run(main())
"""


async def test_a_kill_loses_no_acknowledged_value(tmp_path: Path):
    """A writing process is killed with SIGKILL; every value it acknowledged is there."""
    store = Namespaces(tmp_path)
    namespace = await store.create(ACCOUNT, "cache")
    await store.close()
    acknowledged = -1
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), str(acknowledged + 1)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(50)]
        writer.kill()
        lines += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        acknowledged = max(int(line) for line in lines if line.endswith("\n"))

        store = Namespaces(tmp_path)
        for number in range(acknowledged + 1):
            stored = await store.get(ACCOUNT, namespace.id, f"{number:08}")
            assert stored is not None
            assert len(stored.value) == number % 3000
        await store.close()
