"""Writes objects and tells of each one that was acknowledged, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from clodo.emulator.r2.records import Description
from clodo.emulator.r2.store import Storage


async def body(number: int) -> AsyncIterator[bytes]:
    """Give what object *number* must be: so many times its number."""
    for _ in range(20):
        yield str(number).encode() * 50_000
        await asyncio.sleep(0)


async def write(folder: Path) -> None:
    """Write objects for ever, each over one that is there, some at the same time."""
    storage = Storage(folder)
    bucket = await storage.buckets.create("account", "things")

    async def writer(first: int) -> None:
        for number in range(first, 1_000_000, 3):
            await storage.receive(bucket, f"key-{number % 7}", body(number), Description())
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()

    await asyncio.gather(*(writer(first) for first in range(3)))


asyncio.run(write(Path(sys.argv[1])))
