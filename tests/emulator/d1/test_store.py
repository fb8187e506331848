"""The databases of an account: made, found, written from many sides at once, killed, and found again."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from clodo.emulator.d1.engine import OutOfTime
from clodo.emulator.d1.limits import DEFAULT_LIMITS
from clodo.emulator.d1.registry import Database
from clodo.emulator.d1.store import Databases
from clodo.emulator.envelope import ApiError
from clodo.emulator.runtime.ports import BindingRefused, Statement, StatementFailed
from tests.emulator.d1.conftest import ACCOUNT, Clock, rows

ROOT = Path(__file__).parents[3]


async def test_a_database_is_found_by_id_and_by_name_in_its_account_only(databases: Databases, database: Database):
    """Each account sees its own databases; a missing one is a 404 with 7404."""
    assert databases.find(ACCOUNT, database.uuid) == databases.find(ACCOUNT, "shop") == database
    assert databases.exists(ACCOUNT, database.uuid)
    for account, name in ((ACCOUNT, "other"), ("b" * 32, "shop"), ("b" * 32, database.uuid)):
        with pytest.raises(ApiError) as refusal:
            databases.find(account, name)
        assert (refusal.value.status, refusal.value.code) == (404, 7404)


async def test_a_name_can_be_used_once_per_account(databases: Databases, database: Database):
    """The second database of a name is refused with 7502; another account may have it, and it is free when deleted."""
    with pytest.raises(ApiError) as refusal:
        databases.create(ACCOUNT, "shop")
    assert refusal.value.code == 7502

    databases.create("b" * 32, "shop")
    await databases.delete(database)
    assert databases.create(ACCOUNT, "shop").uuid != database.uuid


async def test_an_account_has_a_limited_number_of_databases(tmp_path: Path):
    """One more than allowed is refused with 7406."""
    databases = Databases(tmp_path, limits=replace(DEFAULT_LIMITS, databases_per_account=1))
    databases.create(ACCOUNT, "one")

    with pytest.raises(ApiError) as refusal:
        databases.create(ACCOUNT, "two")

    assert refusal.value.code == 7406
    await databases.close()


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path, clock: Clock):
    """Rows, settings, sizes, numbers of tables and the past survive closing and opening."""
    databases = Databases(tmp_path, now=clock)
    database = databases.create(ACCOUNT, "shop", location_hint="apac", jurisdiction="eu")
    await rows(databases, database, "CREATE TABLE t(a)")
    bookmark = await databases.bookmark(database)
    await rows(databases, database, "INSERT INTO t VALUES(zeroblob(50000))")
    databases.set_replication(database, "auto")
    size = databases.size(database)
    await databases.close()

    databases = Databases(tmp_path, now=clock)
    again = databases.find(ACCOUNT, "shop")

    assert (again.region, again.jurisdiction, again.replication, again.num_tables) == ("APAC", "eu", "auto", 1)
    assert databases.size(again) == size > 50_000
    assert await rows(databases, again, "SELECT length(a) FROM t") == [(50_000,)]
    await databases.restore(again, bookmark=bookmark)
    assert await rows(databases, again, "SELECT count(*) FROM t") == [(0,)]
    await databases.close()


async def test_a_deleted_database_leaves_nothing_behind(databases: Databases, database: Database):
    """Files and row are gone; asking it is a 404."""
    await rows(databases, database, "CREATE TABLE t(a)")

    await databases.delete(database)

    assert not databases.folder(database).exists()
    assert databases.all(ACCOUNT) == []
    with pytest.raises(BindingRefused) as refusal:
        await databases.run(ACCOUNT, database.uuid, [Statement("SELECT 1")])
    assert refusal.value.status == 404


async def test_half_made_and_half_deleted_databases_are_swept_away(tmp_path: Path):
    """A folder that no row names, as a kill leaves it, is removed at the next start."""
    databases = Databases(tmp_path)
    kept = databases.create(ACCOUNT, "kept")
    await databases.close()
    (tmp_path / "12345678-0000-4000-8000-000000000000").mkdir()
    (tmp_path / "12345678-0000-4000-8000-000000000000" / "00000000.building").write_bytes(b"half")

    databases = Databases(tmp_path)

    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [kept.uuid]
    await databases.close()


async def test_bindings_get_columns_rows_meta_and_a_bookmark(databases: Databases, database: Database):
    """A Worker's batch is answered statement by statement, in the binding's shape."""
    answers = await databases.run(
        ACCOUNT,
        database.uuid,
        [
            Statement("CREATE TABLE t(a, b)"),
            Statement("INSERT INTO t VALUES(?, ?)", [1, b"\x01"]),
            Statement("SELECT * FROM t"),
        ],
        bookmark="first-primary",
    )

    assert [answer["success"] for answer in answers.results] == [True, True, True]
    assert answers.results[2]["results"] == {"columns": ("a", "b"), "rows": [(1, b"\x01")]}
    assert {"duration", "changes", "last_row_id", "changed_db", "size_after", "rows_read", "rows_written"} <= set(
        answers.results[1]["meta"]
    )
    assert answers.bookmark == await databases.bookmark(database)


async def test_a_binding_gets_one_result_for_each_text(databases: Databases, database: Database):
    """Of a text with several statements the last one's result is given, with the bound values."""
    answers = await databases.run(
        ACCOUNT,
        database.uuid,
        [Statement("CREATE TABLE t(a); INSERT INTO t VALUES(1); SELECT a + ? FROM t", [5]), Statement("SELECT 2")],
    )

    assert [answer["results"]["rows"] for answer in answers.results] == [[(6,)], [(2,)]]


async def test_a_binding_hears_why_a_statement_failed(databases: Databases, database: Database):
    """The error is D1's sentence; nothing of the batch stays."""
    with pytest.raises(StatementFailed, match="no such table: nope: SQLITE_ERROR"):
        await databases.run(ACCOUNT, database.uuid, [Statement("CREATE TABLE t(a)"), Statement("SELECT * FROM nope")])

    assert await rows(databases, database, "SELECT name FROM sqlite_schema WHERE name = 't'") == []


async def test_many_writers_lose_no_update(databases: Databases, database: Database):
    """Sixteen tasks counting up in transactions of two statements never meet in the middle."""
    await rows(databases, database, "CREATE TABLE t(n); INSERT INTO t VALUES(0)")
    seen: list[int] = []

    async def count_up() -> None:
        for _ in range(25):
            results, _ = await databases.query(
                database, [Statement("UPDATE t SET n = n + 1"), Statement("SELECT n FROM t")]
            )
            seen.append(results[1].rows[0][0])

    await asyncio.gather(*(count_up() for _ in range(16)))

    assert sorted(seen) == list(range(1, 401))


async def test_a_long_query_holds_up_neither_the_event_loop_nor_another_database(small: Databases):
    """While one database computes, the loop runs and another database answers; then the query is cut off."""
    slow, quick = small.create(ACCOUNT, "slow"), small.create(ACCOUNT, "quick")
    await rows(small, quick, "SELECT 1")
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"

    task = asyncio.create_task(rows(small, slow, endless))
    answered = 0
    while not task.done():
        assert await rows(small, quick, "SELECT 1") == [(1,)]
        answered += 1

    with pytest.raises(OutOfTime):
        await task
    assert answered > 20
    assert await rows(small, slow, "SELECT 1") == [(1,)]


async def test_a_caller_who_gives_up_leaves_no_harm(databases: Databases, database: Database):
    """A cancelled wait lets the transaction finish, and the next call is served."""
    await rows(databases, database, "CREATE TABLE t(a)")
    task = asyncio.create_task(rows(databases, database, "INSERT INTO t VALUES(1)"))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    assert await rows(databases, database, "SELECT * FROM t") == [(1,)]


async def test_databases_used_long_ago_are_closed_and_opened_again(tmp_path: Path, clock: Clock):
    """No more databases are held open than allowed; a closed one answers as before."""
    databases = Databases(tmp_path, now=clock, limits=replace(DEFAULT_LIMITS, open_databases=3))
    made = [databases.create(ACCOUNT, f"d{number}") for number in range(8)]
    for number, database in enumerate(made):
        await rows(databases, database, f"CREATE TABLE t(a); INSERT INTO t VALUES({number})")

    bookmarks = [await databases.bookmark(database) for database in made]
    found = [await rows(databases, database, "SELECT a FROM t") for database in made]

    assert found == [[(number,)] for number in range(8)]
    assert [await databases.bookmark(database) for database in made] == bookmarks
    await databases.close()


async def test_many_calls_at_once_over_more_databases_than_may_be_open(tmp_path: Path):
    """A database in use is not closed under its callers."""
    databases = Databases(tmp_path, limits=replace(DEFAULT_LIMITS, open_databases=2))
    made = [databases.create(ACCOUNT, f"d{number}") for number in range(6)]
    for database in made:
        await rows(databases, database, "CREATE TABLE t(n); INSERT INTO t VALUES(0)")

    await asyncio.gather(*(rows(databases, database, "UPDATE t SET n = n + 1") for _ in range(20) for database in made))

    assert [await rows(databases, database, "SELECT n FROM t") for database in made] == [[(20,)]] * 6
    await databases.close()


async def _kill_and_check(folder: Path, kind: str, rounds: int, seed: int) -> int:
    databases = Databases(folder)
    database = databases.create(ACCOUNT, "shop")
    await rows(databases, database, "CREATE TABLE t(n INTEGER PRIMARY KEY, pad)")
    await databases.close()
    moments = random.Random(seed)
    acknowledged: dict[int, str] = {}
    for _ in range(rounds):
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.emulator.d1.killed_writer", str(folder), ACCOUNT, kind],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]
        deadline = time.monotonic() + moments.uniform(0.0, 0.25)
        while time.monotonic() < deadline:
            lines.append(writer.stdout.readline())
        writer.kill()
        lines.extend(writer.stdout.readlines())
        writer.wait()
        writer.stdout.close()
        for line in lines:
            if line.endswith("\n"):
                number, bookmark = line.split()
                acknowledged[int(number)] = bookmark
        databases = Databases(folder)
        database = databases.find(ACCOUNT, "shop")
        there = await rows(databases, database, "SELECT n, length(pad) FROM t ORDER BY n")
        assert [number for number, _ in there] == list(range(len(there))), "a row in between is missing"
        assert max(acknowledged) < len(there) <= max(acknowledged) + 2, "an acknowledged row is missing"
        assert all(length == number % 7 * 1000 for number, length in there)
        await databases.close()
    databases = Databases(folder, limits=replace(DEFAULT_LIMITS, restores=10**9))
    for number in moments.sample(sorted(acknowledged), min(12, len(acknowledged))):
        await databases.restore(databases.find(ACCOUNT, "shop"), bookmark=acknowledged[number])
        assert await rows(databases, database, "SELECT count(*), max(n) FROM t") == [(number + 1, number)]
    await databases.close()
    return len(acknowledged)


@pytest.mark.parametrize("kind", ["writes", pytest.param("restores", marks=pytest.mark.exhaustive)])
async def test_a_kill_loses_no_acknowledged_row(tmp_path: Path, kind: str):
    """A writing process is killed with SIGKILL again and again; each acknowledged row and bookmark is still there."""
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")  # noqa: T201 - shown when it fails

    assert await _kill_and_check(tmp_path, kind, 4, seed) > 20


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["writes", "restores"])
async def test_many_kills_lose_no_acknowledged_row(tmp_path: Path, kind: str, seed: int):
    """The same, many more times."""
    assert await _kill_and_check(tmp_path, kind, 15, seed) > 100
