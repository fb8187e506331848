"""Ctrl-C and SIGTERM in the middle of a release: it is undone first; a second Ctrl-C leaves that to the next run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import pytest
from pydantic import SecretStr

from blocks import CloudflareAccount
from clodo.errors import Interrupted
from clodo.ledger.releases import ReleaseState
from clodo.releases.interruption import Interruption
from clodo.releases.outcome import Ending
from clodo.settings import child_environment

from .stage import ORDERS, Stage
from .test_rollout import Fleet

NOTES = {"0001_orders.sql": ORDERS, "0002_notes.sql": "ALTER TABLE orders ADD COLUMN note TEXT;"}
INTERRUPTED = 130
# Longer than anybody would wait: a call that is held is only ever ended by a signal.
FOR_EVER = 600.0

# Where a release may be met: the call that is held up.
MOMENTS: dict[str, dict[str, Any]] = {
    "noting the way back": {"method": "GET", "path": r"/scripts/shop/schedules$"},
    "migrating": {"method": "POST", "path": r"/d1/database/[^/]+/query$", "body": "ADD COLUMN note"},
    "uploading": {"method": "POST", "path": r"/scripts/shop/versions$"},
    "rolling out": {"method": "POST", "path": r"/scripts/shop/deployments$"},
    "setting triggers": {"method": "PUT", "path": r"/scripts/shop/schedules$"},
    "verifying": {"method": "GET", "path": r"/scripts/shop/schedules$", "nth": 2},
}


class Running:
    """A release in a process of its own, whose lines are read as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self, seconds: float = 120) -> int:
        """Return the exit status."""
        return self.process.wait(timeout=seconds)

    @property
    def said(self) -> str:
        """All lines so far."""
        return "\n".join(self.lines)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())


@contextmanager
def running(words: list[str], given: str = "", **environment: str) -> Iterator[Running]:
    """Start a process; it is gone at the end."""
    process = subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**child_environment(without=("PREFECT_",)), **environment},
    )
    assert process.stdin is not None
    process.stdin.write(given)
    process.stdin.close()
    try:
        yield Running(process)
    finally:
        process.kill()
        process.wait()


@contextmanager
def releasing(stage: Stage) -> Iterator[Running]:
    """Release the shop in a process of its own."""
    told = {"keys": asdict(stage.keys), "folder": str(stage.folder), "signing_key": stage.shop.signing_key}
    with running(["-m", "tests.releases.interrupted"], json.dumps(told)) as process:
        yield process


def hold(stage: Stage, call: dict[str, Any], seconds: float = FOR_EVER) -> str:
    """Hold up a call of this account; return the fault's id."""
    path = f"{stage.account.account_id}.*{call['path']}"
    return stage.account.cloud.add_fault(**{**call, "path": path}, action="pass", delay_seconds=seconds)


def wait_until_held(stage: Stage, fault: str, process: Running) -> None:
    """Wait until the call came that is held up."""
    deadline = time.monotonic() + 120
    while not any(rule["id"] == fault and rule["struck"] for rule in stage.account.cloud.faults()):
        assert process.process.poll() is None, process.said
        assert time.monotonic() < deadline, process.said
        time.sleep(0.02)


@pytest.fixture
def live(stage: Stage) -> str:
    """A version that is live, and another one, with a migration and a schedule, that is to be released."""
    released = stage.release()
    stage.write(says="two", migrations=NOTES, crons=("5 * * * *",))
    assert released.version_id is not None
    return released.version_id


def test_what_was_begun_is_undone_and_the_status_is_130(stage, live):
    """The release notices at its next step or write, puts everything back, verified, and says so."""
    raise_unless_undone(stage, live, signal.SIGTERM, "setting triggers")


@pytest.mark.exhaustive
@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_it_is_undone_whenever_it_is_interrupted(stage, live, asked, moment):
    """The same in every step."""
    raise_unless_undone(stage, live, asked, moment)


def raise_unless_undone(stage: Stage, live: str, asked: signal.Signals, moment: str) -> None:
    """Interrupt a release at *moment* and look at what is left."""
    fault = hold(stage, MOMENTS[moment], seconds=1.5)
    try:
        with releasing(stage) as process:
            wait_until_held(stage, fault, process)
            process.process.send_signal(asked)
            status = process.wait()
    finally:
        stage.account.cloud.clear_faults(fault)

    assert status == INTERRUPTED, process.said
    assert "Stopping" in process.said
    assert "interrupted" in process.said
    assert "Traceback" not in process.said
    assert stage.live_version == live
    assert stage.crons == []
    assert stage.says() == "one"
    assert stage.releases()[0].state is ReleaseState.UNDONE
    stage.raise_if_unsettled()


@pytest.mark.parametrize("moment", ["rolling out", pytest.param("uploading", marks=pytest.mark.exhaustive)])
def test_a_second_ctrl_c_ends_at_once_and_the_next_run_repairs(stage, live, moment):
    """Nothing is waited for any more, not even for the undo; what was begun is found and undone by the next run."""
    fault = hold(stage, MOMENTS[moment])
    try:
        with releasing(stage) as process:
            wait_until_held(stage, fault, process)
            process.process.send_signal(signal.SIGINT)
            until_said(process, "Stopping")
            process.process.send_signal(signal.SIGINT)
            status = process.wait(20)
    finally:
        stage.account.cloud.clear_faults(fault)

    assert status == INTERRUPTED, process.said
    assert "Traceback" not in process.said
    assert stage.releases()[0].state is ReleaseState.RUNNING
    raise_unless_the_next_run_repairs(stage)


def test_a_second_ctrl_c_ends_an_undo_at_once_and_the_next_run_repairs(stage, live):
    """An undo that takes too long for somebody is ended in its middle, and finished by the next run."""
    # The first call puts the new version live; the second, of the undo, is held up.
    first = hold(stage, MOMENTS["rolling out"], seconds=1.5)
    second = hold(stage, {**MOMENTS["rolling out"], "nth": 2})
    try:
        with releasing(stage) as process:
            wait_until_held(stage, first, process)
            process.process.send_signal(signal.SIGINT)
            wait_until_held(stage, second, process)
            process.process.send_signal(signal.SIGINT)
            status = process.wait(20)
    finally:
        stage.account.cloud.clear_faults(first)
        stage.account.cloud.clear_faults(second)

    assert status == INTERRUPTED, process.said
    assert "Traceback" not in process.said
    raise_unless_the_next_run_repairs(stage)


def until_said(process: Running, text: str) -> None:
    """Wait until the process said *text*."""
    deadline = time.monotonic() + 30
    while text not in process.said:
        assert time.monotonic() < deadline, process.said
        time.sleep(0.02)


def raise_unless_the_next_run_repairs(stage: Stage) -> None:
    """Release again, and fail unless that undoes what is half-way and goes on to the new version."""
    released = stage.release()
    assert released.ending is Ending.LIVE
    assert "interrupted" in released.message
    assert [row.state for row in stage.releases()][:2] == [ReleaseState.LIVE, ReleaseState.UNDONE]
    assert stage.says() == "two"
    assert stage.crons == ["5 * * * *"]
    stage.raise_if_unsettled()


@pytest.mark.exhaustive
@pytest.mark.timeout(400)
def test_a_second_ctrl_c_ends_a_portfolio_at_once_too(account, toolchain, tmp_path, prefect_server):
    """Releases in threads of the real command are ended as well, and `clodo reconcile` puts back what they did."""
    block = f"test-{account.account_id[:12]}"
    CloudflareAccount(
        account_id=account.account_id,
        api_token=SecretStr(account.token),
        base_url=account.cloud.url,
        edge_url=account.cloud.edge_url,
    ).save(block, overwrite=True)
    fleet = Fleet(account, toolchain, tmp_path / "fleet")
    fleet.write({"a": [], "b": []}, more=f'\n[environments.production]\naccount = "{block}"\n')
    fleet.roll_out()
    for name in fleet.needs:
        fleet.change(name, "two")
    fault = account.cloud.add_fault(
        f"{account.account_id}.*/deployments$", method="POST", action="pass", delay_seconds=FOR_EVER, times=None
    )
    words = ["-m", "clodo.cli", "-w", str(fleet.folder)]
    try:
        with running([*words, "portfolio", "deploy"], PREFECT_API_URL=prefect_server) as process:
            deadline = time.monotonic() + 180
            while not any(rule["struck"] == 2 for rule in account.cloud.faults()):
                assert process.process.poll() is None, process.said
                assert time.monotonic() < deadline, process.said
                time.sleep(0.05)
            process.process.send_signal(signal.SIGINT)
            until_said(process, "Stopping")
            process.process.send_signal(signal.SIGINT)
            status = process.wait(30)
    finally:
        account.cloud.clear_faults(fault)
    with running([*words, "reconcile"], PREFECT_API_URL=prefect_server) as repair:
        repaired = repair.wait(180)

    assert status == INTERRUPTED, process.said
    assert "Traceback" not in process.said
    assert repaired == 0, repair.said
    assert {name: fleet.says(name) for name in fleet.needs} == {"a": "one", "b": "one"}


# --- the request itself -----------------------------------------------------------------------------------------------


def test_waiting_ends_when_somebody_asks():
    """A wait of a release ends with the first request, one of an undo only with the second."""
    interruption = Interruption()
    slept: list[float] = []
    releasing_, undoing = (interruption.sleeping(slept.append, undoing=undoing) for undoing in (False, True))
    releasing_(0.6)
    assert sum(slept) == pytest.approx(0.6)

    interruption.request()
    with pytest.raises(Interrupted):
        releasing_(60)
    undoing(1)
    interruption.request_at_once()
    with pytest.raises(Interrupted):
        undoing(60)
    assert interruption.is_requested
    assert interruption.is_final
    assert sum(slept) == pytest.approx(1.6)


def test_handlers_are_put_back():
    """After a release Ctrl-C does again what it did before; a second one had ended whoever still waited."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    interruption = Interruption()
    said: list[str] = []
    ended: Future[int] = Future()

    with interruption.on_signals(said.append, end=ended.set_result):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interruption.is_requested
        assert not interruption.is_final
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interruption.is_final

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert len(said) == 2
    assert ended.result(timeout=30) == INTERRUPTED


def test_other_threads_leave_signals_alone():
    """Only the main thread handles signals; elsewhere nothing is changed, and nothing fails."""
    seen: list[Any] = []

    def elsewhere() -> None:
        with Interruption().on_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()

    assert seen == [signal.getsignal(signal.SIGINT)]
