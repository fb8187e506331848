"""Short reads are answered at once; whatever else, and whatever takes long, is left to the database's thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from clodo.emulator.d1.engine import is_plain_read
from clodo.emulator.d1.jobs import JobThread
from clodo.emulator.d1.registry import Database
from clodo.emulator.d1.store import Databases
from clodo.emulator.runtime.ports import Statement
from tests.emulator.d1.conftest import rows

LONG = (
    "SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600000)"
    " SELECT i FROM n)"
)


@pytest.mark.parametrize(
    ("sql", "is_plain"),
    [
        ("SELECT 1", True),
        ("  select 1 ; ", True),
        ("SELECT 1; DELETE FROM t", False),
        ("DELETE FROM t", False),
        ("WITH x AS (SELECT 1) SELECT * FROM x", False),
        ("PRAGMA foreign_keys = off", False),
        ("", False),
    ],
)
def test_only_a_single_select_is_a_plain_read(sql: str, is_plain: bool) -> None:
    """One SELECT is; several statements, writes and everything else wait for the thread."""
    assert is_plain_read(Statement(sql)) is is_plain


async def test_a_read_that_takes_long_lets_others_go_on(databases: Databases, database: Database) -> None:
    """The event loop turns while a long read runs, and its answer is right."""
    await rows(databases, database, "SELECT 1")
    turns = 0
    query = asyncio.create_task(rows(databases, database, LONG))
    while not query.done():
        turns += 1
        await asyncio.sleep(0)

    assert query.result() == [(600000,)]
    assert turns > 20


async def test_a_read_sees_the_write_before_it(databases: Databases, database: Database) -> None:
    """Reads that come while a write is queued wait for it, in order."""
    await rows(databases, database, "CREATE TABLE t(n)")
    writes = [asyncio.create_task(rows(databases, database, "INSERT INTO t VALUES(1)")) for _ in range(5)]
    await asyncio.sleep(0)
    seen = await rows(databases, database, "SELECT count(*) FROM t")
    await asyncio.gather(*writes)

    assert seen == [(5,)]


async def test_nothing_is_lent_while_a_job_runs() -> None:
    """The caller may do a job itself only when the thread has none, queued or running."""
    thread = JobThread("test")
    go = threading.Event()
    with thread.borrowed() as before:
        pass
    running = asyncio.create_task(thread.call(go.wait))
    await asyncio.sleep(0)
    with thread.borrowed() as meanwhile:
        pass
    go.set()
    await running
    async with asyncio.timeout(10):
        # The thread tells of the end of a job just before it is free.
        while True:
            with thread.borrowed() as after:
                pass
            if after:
                break
            await asyncio.sleep(0)
    thread.stop()

    assert (before, meanwhile) == (True, False)
