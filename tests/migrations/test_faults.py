"""Bad days while a database is migrated: lost answers, refusals and kills; nothing is ever there half or twice."""

from __future__ import annotations

import contextlib
import itertools
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clodo.cloudflare.breaker import Breakers
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.clock import Clock
from clodo.errors import ClodoError
from clodo.migrations import apply, revert, status

BIG_ROWS = 12
FILES = {
    "0001_orders.sql": "CREATE TABLE orders (id INTEGER PRIMARY KEY, item); INSERT INTO orders (item) VALUES ('a');",
    # Too large for one request, so that it goes by import.
    "0002_big.sql": "CREATE TABLE big (x TEXT);\n" + f"INSERT INTO big VALUES ('{'x' * 95_000}');\n" * BIG_ROWS,
    "0003_more.sql": "INSERT INTO orders (item) VALUES ('b'); CREATE INDEX orders_by_item ON orders (item);",
}
DOWN = {"0003_more.down.sql": "DELETE FROM orders WHERE item = 'b'; DROP INDEX orders_by_item;"}
#: More than an undisturbed run sends, so that each of its requests is struck.
REQUESTS = 12
FAULTS = [
    {"action": "answer", "status": 500},
    {"action": "answer", "status": 500, "applied": True},
    {"action": "answer", "status": 429, "code": 971, "retry_after": 1},
    {"action": "reset"},
    {"action": "reset", "applied": True},
    {"action": "malformed", "applied": True},
]
ALL = [(fault, nth) for fault in FAULTS for nth in range(1, REQUESTS + 1)]
SAMPLE = random.Random(4).sample(ALL, 6)


@pytest.fixture
def cloudflare(account) -> Iterator[Cloudflare]:
    """A client of a fresh account that doesn't wait, and whose breaker is its own."""
    clock = Clock(sleep=lambda seconds: None)
    with Cloudflare(account.account_id, account.token, account.cloud.url, clock=clock, breakers=Breakers()) as client:
        yield client


def write_all(write):
    for name, text in {**FILES, **DOWN}.items():
        write(name, text)


def raise_unless_whole(cloudflare, database_id, names):
    """Fail unless exactly *names* are applied, each once and whole."""
    d1 = cloudflare.d1
    rows = d1.query(database_id, "SELECT name FROM d1_migrations ORDER BY id")[0].results if names else []
    assert [row["name"] for row in rows] == names
    tables = {row["name"] for row in d1.query(database_id, "SELECT name FROM sqlite_master")[0].results}
    assert ("orders" in tables, "big" in tables, "orders_by_item" in tables) == (
        "0001_orders.sql" in names,
        "0002_big.sql" in names,
        "0003_more.sql" in names,
    )
    if "0002_big.sql" in names:
        assert d1.query(database_id, "SELECT count(*) AS n FROM big")[0].results == [{"n": BIG_ROWS}]
    if names:
        expected = ["a", "b"] if "0003_more.sql" in names else ["a"]
        items = d1.query(database_id, "SELECT item FROM orders ORDER BY id")[0].results
        assert [row["item"] for row in items] == expected


def strike(cloudflare, account, folder, fault, nth):
    """Migrate with a fault at one request, then again without; at each end the database holds whole files."""
    database_id = cloudflare.d1.create("shop").uuid
    armed = account.cloud.add_fault(f"d1/database/{database_id}", nth=nth, **fault)
    done: list[str] = []
    with contextlib.suppress(ClodoError):
        apply(cloudflare.d1, database_id, folder, on_applied=lambda one: done.append(one.name), pause=lambda s: None)
    account.cloud.clear_faults(armed)

    applied = [row.name for row in status(cloudflare.d1, database_id, folder).applied]
    assert applied[: len(done)] == done, "what was reported is there"
    raise_unless_whole(cloudflare, database_id, applied)
    apply(cloudflare.d1, database_id, folder, pause=lambda s: None)
    raise_unless_whole(cloudflare, database_id, list(FILES))
    armed = account.cloud.add_fault(f"d1/database/{database_id}", nth=nth, **fault)
    with contextlib.suppress(ClodoError):
        revert(cloudflare.d1, database_id, folder, ["0003_more.sql"], pause=lambda s: None)
    account.cloud.clear_faults(armed)
    raise_unless_whole(
        cloudflare, database_id, [row.name for row in status(cloudflare.d1, database_id, folder).applied]
    )
    revert(cloudflare.d1, database_id, folder, ["0003_more.sql"], pause=lambda s: None)
    raise_unless_whole(cloudflare, database_id, list(FILES)[:2])


@pytest.mark.parametrize(("fault", "nth"), SAMPLE, ids=str)
def test_a_fault_at_any_request_leaves_whole_files(cloudflare, account, folder, write, fault, nth):
    """After a lost answer, a refusal or a cut connection each file is there whole or not at all, and never twice."""
    write_all(write)

    strike(cloudflare, account, folder, fault, nth)


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_every_fault_at_every_request(cloudflare, account, folder, write, fault):
    """The whole matrix of the test above."""
    write_all(write)

    for nth in range(1, REQUESTS + 1):
        strike(cloudflare, account, folder, fault, nth)
        for database in list(cloudflare.d1.list()):
            cloudflare.d1.delete(database.uuid)


def test_fewer_requests_are_sent_than_are_struck(cloudflare, account, folder, write):
    """The matrix reaches every request of an undisturbed run, and that goes by import once."""
    write_all(write)
    database_id = cloudflare.d1.create("shop").uuid

    apply(cloudflare.d1, database_id, folder)

    paths = [call.path for call in account.cloud.calls(account_id=account.account_id) if database_id in call.path]
    assert len(paths) < REQUESTS
    assert sum(path.endswith("/import") for path in paths) >= 2


PROGRAM = """
import os, sys
from pathlib import Path
from clodo.cloudflare.client import Cloudflare
from clodo.migrations import apply

account_id, url, database_id, folder = sys.argv[1:]
print("ready", flush=True)
with Cloudflare(account_id, os.environ["TOKEN"], url) as client:
    apply(client.d1, database_id, Path(folder), on_applied=lambda one: print(one.name, flush=True))
print("done", flush=True)
"""


@pytest.mark.exhaustive
def test_a_killed_migration_is_finished_by_the_next(cloudflare, account, tmp_path):
    """kill -9 at twenty moments, by when the process says what it did: no file is there half, or twice."""
    moments = itertools.product(range(5), (0.0, 0.005, 0.02, 0.08))
    for number, (lines, seconds) in enumerate(moments):
        folder = tmp_path / str(number)
        folder.mkdir()
        names = [f"{index:04}_t.sql" for index in range(1, 5)]
        for index, name in enumerate(names, start=1):
            (folder / name).write_text(f"CREATE TABLE t{index} (x);\nINSERT INTO t{index} VALUES ({index});")
        database_id = cloudflare.d1.create(f"shop-{number}").uuid
        said = run_and_kill(account, database_id, folder, lines, seconds)

        found = [row.name for row in status(cloudflare.d1, database_id, folder).applied]
        assert found[: len(said)] == said
        apply(cloudflare.d1, database_id, folder)
        for index in range(1, 5):
            rows = cloudflare.d1.query(database_id, f"SELECT x FROM t{index}")[0].results
            assert rows == [{"x": index}]
        assert [row.name for row in status(cloudflare.d1, database_id, folder).applied] == names


def run_and_kill(account, database_id: str, folder: Path, lines: int, seconds: float) -> list[str]:
    """Migrate in a process, kill it so long after so many lines, and return the names that it had said."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, account.account_id, account.cloud.url, database_id, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"TOKEN": account.token, "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)},
    )
    assert process.stdout is not None
    said = [process.stdout.readline().strip() for _ in range(lines + 1)]
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    return [line for line in (*said, *rest) if line.endswith(".sql")]
