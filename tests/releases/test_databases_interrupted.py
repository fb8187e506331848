"""`clodo database sync` and `create` on bad days: killed, interrupted, two at once, an API that fails at any call."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blocks import CloudflareAccount
from clodo.errors import ClodoError, Interrupted
from clodo.settings import child_environment
from clodo.workspace.editing import take_back_interrupted
from tests.fixtures.embedded_cloud import CloudAccount

from .numbered import HastyClock
from .tenants import FILES, Processes, Started, Tenants

NAMES = list(FILES)
KILLED = -signal.SIGKILL
INTERRUPTED = Interrupted.exit_code
LOCKED = 11

#: What happens to the call at which a process dies: it never arrives, its answer doesn't, or it arrives afterwards.
LOST: dict[str, dict[str, Any]] = {
    "never sent": {"action": "silence"},
    "carried out": {"action": "silence", "applied": True},
    "carried out late": {"action": "pass", "delay_seconds": 0.5},
}
FAULTS: list[dict[str, Any]] = [
    {"action": "answer", "status": 500},
    {"action": "answer", "status": 500, "applied": True},
    {"action": "answer", "status": 429, "code": 971, "retry_after": 1},
    {"action": "reset"},
    {"action": "reset", "applied": True},
    {"action": "malformed", "applied": True},
]
#: As many calls as an undisturbed run of two databases sends, and of two that are created.
SYNC_CALLS, CREATE_CALLS = 15, 6
SEED = random.SystemRandom().randrange(2**32)


def sampled(matrix: list[Any], count: int) -> list[Any]:
    """Return some of *matrix*; prints the seed that chose them."""
    print(f"seed {SEED}")  # noqa: T201
    return random.Random(SEED).sample(matrix, count)


@pytest.fixture
def tenants(account: CloudAccount, tmp_path: Path) -> Tenants:
    """An empty workspace."""
    return Tenants(account, tmp_path / "workspace")


@pytest.fixture
def fresh(account: CloudAccount, tmp_path: Path) -> Callable[[], Tenants]:
    """Makes one workspace after the other; the databases of the one before are gone."""
    numbers = itertools.count()

    def make() -> Tenants:
        tenants = Tenants(account, tmp_path / f"workspace-{next(numbers)}")
        for database_id in tenants.databases().values():
            account.result("DELETE", f"/d1/database/{database_id}")
        return tenants

    return make


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Starts processes that sync and create."""
    with Processes(tmp_path_factory.mktemp("processes")) as running:
        yield running


@contextmanager
def struck(tenants: Tenants, **fault: Any) -> Iterator[str]:
    """Let a call to D1 of this account go wrong."""
    armed = tenants.account.cloud.add_fault(f"{tenants.account.account_id}/d1/", **fault)
    try:
        yield armed
    finally:
        tenants.account.cloud.clear_faults(armed)


def wait_until_struck(tenants: Tenants, fault: str, process: Started, times: int = 1) -> bool:
    """Wait until so many calls went wrong; False when the process ended before."""
    deadline = time.monotonic() + 60
    while True:
        if any(rule["id"] == fault and rule["struck"] >= times for rule in tenants.account.cloud.faults()):
            return True
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, process.said
        time.sleep(0.01)


def kill_at(processes: Processes, tenants: Tenants, action: str, nth: int, lost: str) -> bool:
    """Kill a process at its nth call; False when it ended before."""
    with struck(tenants, nth=nth, **LOST[lost]) as fault, processes.doing(tenants, action) as process:
        if not wait_until_struck(tenants, fault, process):
            assert process.wait() == 0, process.said
            return False
        process.send(signal.SIGKILL)
        assert process.wait() == KILLED
    return True


# --- sync -------------------------------------------------------------------------------------------------------------


def kill_a_sync(processes: Processes, tenants: Tenants, nth: int, lost: str) -> bool:
    """Kill a sync at its nth call: nothing is half-applied, and the next run applies the rest."""
    tenants.write("one", "two")
    ids = tenants.make()

    died = kill_at(processes, tenants, "sync", nth, lost)
    kept = {name: tenants.applied(database_id) for name, database_id in ids.items()}
    again = tenants.sync(clock=HastyClock().as_clock())

    assert all(found == NAMES[: len(found)] for found in kept.values())
    if lost == "never sent":
        applied = {item.target.partition("@")[2]: list(item.databases[0].applied) for item in again}
        assert applied == {name: NAMES[len(found) :] for name, found in kept.items()}
    assert [(item.target, item.is_synced) for item in again] == [("api@one", True), ("api@two", True)]
    assert [tenants.applied(database_id) for database_id in ids.values()] == [NAMES, NAMES]
    return died


def test_a_sync_that_is_killed_at_some_call_is_finished_by_the_next(processes, fresh):
    """Each file is there with its records or not at all, and the next run applies exactly what is missing."""
    for nth, lost in [(4, "carried out late"), *sampled([*itertools.product(range(1, SYNC_CALLS + 1), LOST)], 1)]:
        assert kill_a_sync(processes, fresh(), nth, lost)


@pytest.mark.exhaustive
@pytest.mark.timeout(300)
@pytest.mark.parametrize("lost", LOST)
def test_a_sync_killed_at_any_call(processes, fresh, lost):
    """The same at every call that a sync of two databases sends."""
    died = [kill_a_sync(processes, fresh(), nth, lost) for nth in range(1, SYNC_CALLS + 2)]

    assert died == [True] * SYNC_CALLS + [False]


def fail_a_sync(tenants: Tenants, fault: dict[str, Any], nth: int) -> None:
    """Sync with a fault at the nth call, and once more without."""
    tenants.write("one", "two")
    ids = tenants.make()

    with struck(tenants, nth=nth, **fault):
        first = tenants.sync(clock=HastyClock().as_clock())
    kept = {name: tenants.applied(database_id) for name, database_id in ids.items()}
    again = tenants.sync(clock=HastyClock().as_clock())

    for item in first:
        found = kept[item.target.partition("@")[2]]
        assert found == NAMES[: len(found)]
        assert not item.is_synced or found == NAMES
        if item.databases:
            assert list(item.databases[0].applied) == found
    assert all(item.is_synced for item in again)
    assert [tenants.applied(database_id) for database_id in ids.values()] == [NAMES, NAMES]


def test_a_fault_at_some_call_of_a_sync_leaves_whole_files(fresh):
    """What failed is told, what is told as applied is there, and the next run does the rest."""
    for fault, nth in sampled([*itertools.product(FAULTS, range(1, SYNC_CALLS + 1))], 1):
        fail_a_sync(fresh(), fault, nth)


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_every_fault_at_every_call_of_a_sync(fresh, fault):
    """The whole matrix of the test above."""
    for nth in range(1, SYNC_CALLS + 1):
        fail_a_sync(fresh(), fault, nth)


def test_services_that_share_a_database_take_turns(tenants):
    """One of them applies the files, and the others find them applied; none of them fails."""
    tenants.write("one", services=("api", "jobs", "web"))
    [database_id] = tenants.make().values()

    synced = tenants.sync()

    assert [item.error for item in synced] == [None, None, None]
    assert all(item.is_synced for item in synced)
    assert sorted(list(item.databases[0].applied) for item in synced) == [[], [], NAMES]
    assert tenants.applied(database_id) == NAMES


def test_of_two_syncs_at_once_one_applies_each_file(processes, tenants):
    """The second is told who holds the lock, or finds nothing left to do; no file is there twice."""
    tenants.write("one", "two")
    ids = tenants.make()
    with (
        struck(tenants, action="pass", delay_seconds=0.5, body="CREATE TABLE orders", times=2) as fault,
        processes.doing(tenants, "sync") as first,
    ):
        assert wait_until_struck(tenants, fault, first, times=2)
        second = tenants.sync()
        status = first.wait()

    assert status == 0, first.said
    assert [item.error.exit_code for item in second if item.error is not None] == [LOCKED, LOCKED]
    assert [tenants.applied(database_id) for database_id in ids.values()] == [NAMES, NAMES]
    assert all(item.is_synced for item in tenants.sync())


def test_ctrl_c_ends_a_sync_after_the_file_that_is_being_sent(processes, tenants):
    """No further file is sent, to no database; the status is 130, and the next run does the rest."""
    tenants.write("one", "two")
    ids = tenants.make()
    with (
        struck(tenants, action="pass", delay_seconds=0.7, body="CREATE TABLE orders", times=2) as fault,
        processes.doing(tenants, "sync") as process,
    ):
        assert wait_until_struck(tenants, fault, process, times=2)
        process.send(signal.SIGINT)
        status = process.wait()
    kept = [tenants.applied(database_id) for database_id in ids.values()]

    assert status == INTERRUPTED, process.said
    assert "Stopping" in process.said
    assert "api@one (interrupted), api@two (interrupted)" in process.said
    assert "what was applied stays" in process.said
    assert "Traceback" not in process.said
    assert kept == [NAMES[:1], NAMES[:1]]
    assert all(item.is_synced for item in tenants.sync())


@pytest.mark.exhaustive
def test_a_second_ctrl_c_ends_a_sync_at_once(processes, tenants):
    """Nothing is waited for any more; what is being sent is there whole or not at all."""
    tenants.write("one", "two")
    ids = tenants.make()
    with (
        struck(tenants, action="silence", body="ADD COLUMN note", times=2) as fault,
        processes.doing(tenants, "sync") as process,
    ):
        assert wait_until_struck(tenants, fault, process, times=2)
        process.send(signal.SIGINT)
        process.until_said("Stopping")
        process.send(signal.SIGINT)
        status = process.wait(20)

    assert status == INTERRUPTED, process.said
    assert "Traceback" not in process.said
    assert [tenants.applied(database_id) for database_id in ids.values()] == [NAMES[:1], NAMES[:1]]
    assert all(item.is_synced for item in tenants.sync())


# --- create -----------------------------------------------------------------------------------------------------------

BINDINGS = ("DB", "LOG")


def raise_unless_created_by_the_next_run(tenants: Tenants, before: str) -> None:
    """Fail unless the config is whole, each id in it leads to its database, and the next run completes it."""
    names = [tenants.database("one", binding) for binding in BINDINGS]
    kept, config = tenants.databases(), tenants.config
    written = [f'database_id = "{kept[name]}"\n' for name in names if name in kept and kept[name] in config]
    without = config
    for line in written:
        without = without.replace(line, "", 1)
    assert without == before, "the config is what it was, but for ids of databases that are there"

    take_back_interrupted(tenants.folder / ".clodo")
    made = tenants.create(clock=HastyClock().as_clock())

    found = tenants.databases()
    assert sorted(found) == sorted(names)
    assert {name: found[name] for name in kept} == kept
    assert [(item.database, item.database_id) for item in made] == [(name, found[name]) for name in names]
    assert all(item.was_adopted for item in made if item.database in kept)
    assert [tenants.config.count(f'database_id = "{found[name]}"\n') for name in names] == [1, 1]
    assert all(item.was_adopted and not item.diff for item in tenants.create())
    assert not list(tenants.folder.rglob("*.clodo-new"))


def kill_a_creation(processes: Processes, tenants: Tenants, nth: int, lost: str) -> bool:
    """Kill a creation of two databases at its nth call."""
    tenants.write("one", bindings=BINDINGS)
    before = tenants.config

    died = kill_at(processes, tenants, "create", nth, lost)

    raise_unless_created_by_the_next_run(tenants, before)
    return died


def test_a_creation_that_is_killed_at_some_call_is_finished_by_the_next(processes, fresh):
    """A database that was made right before is adopted, not made twice; the config is the old one or the new one."""
    for nth, lost in [(2, "carried out"), *sampled([*itertools.product(range(1, CREATE_CALLS + 1), LOST)], 1)]:
        assert kill_a_creation(processes, fresh(), nth, lost)


@pytest.mark.exhaustive
@pytest.mark.parametrize("lost", LOST)
def test_a_creation_killed_at_any_call(processes, fresh, lost):
    """The same at every call that a creation of two databases sends."""
    died = [kill_a_creation(processes, fresh(), nth, lost) for nth in range(1, CREATE_CALLS + 2)]

    assert died == [True] * CREATE_CALLS + [False]


def kill_a_creation_at_a_step(processes: Processes, tenants: Tenants, nth: int) -> bool:
    """Kill a creation right before it opens, renames or removes a file of the workspace for the nth time."""
    tenants.write("one", bindings=BINDINGS)
    before = tenants.config

    with processes.doing(tenants, "create", dies_before=nth) as process:
        status = process.wait()

    assert status in (0, KILLED), process.said
    raise_unless_created_by_the_next_run(tenants, before)
    return status == KILLED


def test_a_creation_that_is_killed_while_it_writes_is_finished_by_the_next(processes, fresh):
    """Right after the config was written, and before that is forgotten: the next run takes it back, and adopts."""
    assert kill_a_creation_at_a_step(processes, fresh(), 6)


@pytest.mark.exhaustive
def test_a_creation_killed_at_any_step_of_writing(processes, fresh):
    """The same before every file that is opened for writing, renamed or removed."""
    died = list(itertools.takewhile(bool, (kill_a_creation_at_a_step(processes, fresh(), nth) for nth in range(1, 60))))

    assert 8 <= len(died) < 59


def fail_a_creation(tenants: Tenants, fault: dict[str, Any], nth: int) -> None:
    """Create with a fault at the nth call, and once more without."""
    tenants.write("one", bindings=BINDINGS)
    before = tenants.config

    with struck(tenants, nth=nth, **fault):
        try:
            tenants.create(clock=HastyClock().as_clock())
        except ClodoError:
            assert tenants.config.count("database_id") < len(BINDINGS)

    raise_unless_created_by_the_next_run(tenants, before)


def test_a_fault_at_some_call_of_a_creation_makes_nothing_twice(fresh):
    """A lost answer, a refusal or a cut connection: each database is there once, and in the config."""
    for fault, nth in sampled([*itertools.product(FAULTS, range(1, CREATE_CALLS + 1))], 1):
        fail_a_creation(fresh(), fault, nth)


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_every_fault_at_every_call_of_a_creation(fresh, fault):
    """The whole matrix of the test above."""
    for nth in range(1, CREATE_CALLS + 1):
        fail_a_creation(fresh(), fault, nth)


def test_a_database_that_somebody_else_makes_meanwhile_is_adopted(processes, tenants):
    """It was not there when it was looked for, and is when it is made: it is the one that the binding means."""
    tenants.write("one")
    with (
        struck(tenants, action="pass", delay_seconds=0.5, method="POST", body="db-one") as fault,
        processes.doing(tenants, "create") as process,
    ):
        assert wait_until_struck(tenants, fault, process)
        theirs = tenants.account.result("POST", "/d1/database", json={"name": "db-one"})["uuid"]
        status = process.wait()

    assert status == 0, process.said
    assert "found db-one" in process.said
    assert f'database_id = "{theirs}"' in tenants.config


def test_ctrl_c_ends_a_creation_after_the_database_that_is_being_made(processes, tenants):
    """Its id is in the config, the next one is not begun, and the status is 130."""
    tenants.write("one", bindings=BINDINGS)
    with (
        struck(tenants, action="pass", delay_seconds=0.5, method="POST") as fault,
        processes.doing(tenants, "create") as process,
    ):
        assert wait_until_struck(tenants, fault, process)
        process.send(signal.SIGINT)
        status = process.wait()

    assert status == INTERRUPTED, process.said
    assert "Traceback" not in process.said
    assert list(tenants.databases()) == ["db-one"]
    assert f'database_id = "{tenants.databases()["db-one"]}"' in tenants.config
    assert [item.was_adopted for item in tenants.create()] == [True, False]


# --- the commands themselves ------------------------------------------------------------------------------------------


@contextmanager
def commanding(tenants: Tenants, prefect: str, *words: str) -> Iterator[Started]:
    """Run a real command, which finds the account in a block."""
    log = tenants.folder / "command.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "clodo.cli", "-w", str(tenants.folder), "database", *words],
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env={**child_environment(without=("PREFECT_",)), "PREFECT_API_URL": prefect},
        )
    try:
        yield Started(process.pid, log, process.poll)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def block(account: CloudAccount) -> str:
    """A block with the account."""
    name = f"test-{account.account_id[:12]}"
    CloudflareAccount(
        account_id=account.account_id,
        api_token=account.token,
        base_url=account.cloud.url,
        edge_url=account.cloud.edge_url,
    ).save(name, overwrite=True)
    return name


@pytest.mark.exhaustive
@pytest.mark.timeout(200)
def test_the_commands_are_killed_and_run_again(tenants, block, prefect_server):
    """`clodo database create` and `sync`, killed in their middle, complete when they are typed again, and say so."""
    tenants.write("one", "two", more=f'account = "{block}"')
    with (
        struck(tenants, method="POST", **LOST["carried out"]) as fault,
        commanding(tenants, prefect_server, "create", "api@one") as process,
    ):
        assert wait_until_struck(tenants, fault, process)
        process.send(signal.SIGKILL)
        process.wait()
    with commanding(tenants, prefect_server, "create", "api@one") as created:
        statuses, said = [created.wait()], created.said
    tenants.account.result("POST", "/d1/database", json={"name": "db-two"})
    with (
        struck(tenants, body="ADD COLUMN note", times=2, **LOST["never sent"]) as fault,
        commanding(tenants, prefect_server, "sync") as process,
    ):
        assert wait_until_struck(tenants, fault, process, times=2)
        process.send(signal.SIGKILL)
        process.wait()
    kept = [tenants.applied(database_id) for database_id in tenants.databases().values()]
    with commanding(tenants, prefect_server, "sync") as synced:
        statuses.append(synced.wait())

    assert statuses == [0, 0], said + synced.said
    assert "applied 0002_notes.sql to db-one" in synced.said
    assert "applied 0001_orders.sql" not in synced.said
    assert kept == [NAMES[:1], NAMES[:1]]
    assert [tenants.applied(database_id) for database_id in tenants.databases().values()] == [NAMES, NAMES]


@pytest.mark.exhaustive
@pytest.mark.timeout(200)
def test_ctrl_c_ends_the_command_with_130(tenants, block, prefect_server):
    """`clodo database sync`, interrupted, says what is left, without a traceback."""
    tenants.write("one", "two", more=f'account = "{block}"')
    ids = tenants.make()
    with (
        struck(tenants, action="pass", delay_seconds=1.0, body="CREATE TABLE orders", times=2) as fault,
        commanding(tenants, prefect_server, "sync") as process,
    ):
        assert wait_until_struck(tenants, fault, process, times=2)
        process.send(signal.SIGINT)
        status = process.wait()

    assert status == INTERRUPTED, process.said
    assert "api@one (interrupted), api@two (interrupted)" in process.said
    assert "Traceback" not in process.said
    assert [tenants.applied(database_id) for database_id in ids.values()] == [NAMES[:1], NAMES[:1]]
