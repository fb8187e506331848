"""Real processes for the tests: forked from one that has imported the ledger already, started at the same moment."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from clodo.cloudflare.budget import Lane
from clodo.errors import BudgetExhausted, LockHeld
from clodo.ledger import FileJournal, Ledger, Owner, Phase
from clodo.ledger.fingerprints import load_key

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["alembic.command", "alembic.ddl.impl", "psycopg", __name__])


def run_together(count: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Run *work* in *count* processes at once; give what each returned, in no particular order."""
    start, results = PROCESSES.Barrier(count), PROCESSES.SimpleQueue()
    processes = [
        PROCESSES.Process(target=_work, args=(start, results, work, number, arguments)) for number in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * count
    return [results.get() for _ in processes]


def run_until_killed(work: Callable[..., Any], *arguments: Any) -> None:
    """Run *work* in a process that then kills itself with SIGKILL."""
    process = PROCESSES.Process(target=_work_and_die, args=(work, arguments))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def _work(start: Any, results: Any, work: Callable[..., Any], number: int, arguments: tuple[Any, ...]) -> None:
    start.wait(60)
    results.put(work(number, *arguments))


def _work_and_die(work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    _kept = work(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)


def open_and_write(number: int, place: str) -> None:
    """Open a ledger and write one audit row."""
    with Ledger.open(place) as ledger:
        ledger.audit.append(f"racer {number}", "open", "ledger")


def make_key(number: int, workspace: Path) -> str:
    """Return the workspace's fingerprint key."""
    return load_key(workspace).hex()


def write_lines(number: int, path: Path, count: int) -> None:
    """Append *count* entries to a file journal."""
    for step in range(count):
        FileJournal(path).append(f"r{number}", str(step), Phase.INTENT)


def append_steps(place: str, release_id: str, count: int) -> Ledger:
    """Append *count* entries to the ledger's journal."""
    ledger = Ledger.open(place)
    for step in range(count):
        ledger.journal.append(release_id, f"step {step}", Phase.INTENT)
    return ledger


def take_lock(place: str) -> Ledger:
    """Take the lock `x` and keep it."""
    ledger = Ledger.open(place)
    ledger.locks.acquire("x", Owner.current("die"), "to die")
    return ledger


def count_under_lock(number: int, place: str, rounds: int, counter: Path) -> list[int]:
    """Add one to a file *rounds* times, each time under the lock `race`; two who held it at once would lose counts."""
    fencing = []
    with Ledger.open(place) as ledger:
        while len(fencing) < rounds:
            try:
                lock = ledger.locks.acquire("race", Owner.current("race"), "race", renew=False)
            except LockHeld:
                continue
            count = int(counter.read_text())
            lock.check()
            counter.write_text(str(count + 1))
            fencing.append(lock.fencing)
            lock.release()
    return fencing


def take_all_requests(number: int, place: str) -> int:
    """Take requests of the release lane until there are none; say how many."""
    taken = 0
    with Ledger.open(place) as ledger:
        budget = ledger.budget("mia")
        try:
            while True:
                budget.take(Lane.RELEASE, deadline=timedelta(0))
                taken += 1
        except BudgetExhausted:
            return taken
