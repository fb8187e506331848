"""`clodo demo` as a person runs it: a process of its own, everything started by it, everything stopped by it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from clodo.cli.demo.checks import CLAIMS
from clodo.cli.main import main
from clodo.settings import child_environment
from deployments.processes import wait_until

MARK = "CLODO_TEST_MARK"


@dataclass
class Demo:
    """A demo that runs in *folder*."""

    folder: Path
    process: subprocess.Popen[str]
    mark: str
    said: list[str] = field(default_factory=list)

    def hear(self, words: str) -> None:
        """Wait until the demo has said *words*."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return
        raise AssertionError(f"the demo ended without saying {words!r}:\n" + "".join(self.said))

    def end(self, *, status: int) -> str:
        """Wait for the end, and return what it printed on standard output."""
        printed, said = self.process.communicate(timeout=170)
        self.said.append(said)
        assert self.process.returncode == status, self.narration
        assert "Traceback" not in self.narration
        return printed

    @property
    def narration(self) -> str:
        """What it has said so far."""
        return "".join(self.said)

    def leftovers(self) -> list[str]:
        """Return the command lines of processes that it started, or that they started, and that still run."""
        needle, found = f"{MARK}={self.mark}".encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if needle in (entry / "environ").read_bytes() or self.folder == (entry / "cwd").readlink():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found


def worker_count() -> int:
    """Return how many processes run tests now."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


Start = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path, toolchain: Any) -> Iterator[Start]:
    """Start demos, and end what a failed test left."""
    started: list[Demo] = []

    def start(*words: str) -> Demo:
        folder, mark = tmp_path / "workspace", uuid.uuid4().hex
        process = subprocess.Popen(
            [sys.executable, "-m", "clodo.cli", "demo", "--workspace", str(folder), *words],
            env={**child_environment(without=("PREFECT_",)), MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(Demo(folder, process, mark))
        return started[-1]

    yield start
    for demo in started:
        if demo.process.poll() is None:
            demo.process.terminate()
            demo.process.communicate(timeout=60)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, capsys):
    """The demo writes into no folder that holds anything, and ends with 4."""
    (tmp_path / "mine.txt").write_text("precious")

    assert main(["demo", "--workspace", str(tmp_path)]) == 4

    assert f"{tmp_path} is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.exhaustive
@pytest.mark.timeout(400)
def test_all_claims_hold_and_nothing_is_left_running(start):
    """A whole demo ends with 0, a JSON document that lists every claim, all of it stopped, in less than 90 s."""
    began = time.monotonic()

    demo = start("--json")
    document = json.loads(demo.end(status=0))

    # Alone on two cores; beside another worker's tests it has half of them.
    assert time.monotonic() - began < (90 if worker_count() == 1 else 180)
    assert document["ok"] is True
    assert [(check["name"], check["ok"]) for check in document["checks"]] == [(name, True) for name in CLAIMS]
    assert document["ui_url"].startswith("http://127.0.0.1:")
    assert demo.leftovers() == []
    # The story is ours; what wrangler prints is in the runs' logs.
    assert "Act 3" in demo.narration
    assert "putting back what this release changed" in demo.narration
    assert "Total Upload" not in demo.narration


@pytest.mark.exhaustive
@pytest.mark.timeout(400)
def test_a_claim_that_is_false_makes_the_status_one(start):
    """When visits fail during the third act, that line is false, the others are true, and the status is 1."""
    demo = start("--json")
    demo.hear("Act 3")
    state = json.loads((demo.folder / ".clodo" / "emulator" / "emulator.json").read_text())
    with httpx.Client(
        base_url=state["edge_url"], headers={"Authorization": f"Bearer {state['token']}"}, trust_env=False
    ) as cloud:
        web = {"account_id": state["account_id"], "script": "web"}
        assert cloud.put("/__clodo/disturbances", json={**web, "error_rate": 1.0}).is_success
        demo.hear("uploaded version")
        assert cloud.delete("/__clodo/disturbances", params=web).is_success

    document = json.loads(demo.end(status=1))

    assert document["ok"] is False
    false = [check for check in document["checks"] if not check["ok"]]
    assert [check["name"] for check in false] == ["no visit failed during any release"]
    assert "answered 500" in false[0]["detail"]
    assert demo.leftovers() == []


@pytest.mark.exhaustive
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("Starting: starting the Prefect server", signal.SIGINT),
        ("auth@production: applied 0001_members.sql", signal.SIGINT),
        ("Act 2", signal.SIGTERM),
        ("Act 3", signal.SIGHUP),
        ("d1/demo-auth: comparing", signal.SIGINT),
    ],
)
def test_an_interrupted_demo_stops_everything_it_started(start, words, number):
    """Ctrl-C, SIGTERM and a closed terminal end the demo with 130, and no process of it is left, whenever they come."""
    demo = start("--keep")
    demo.hear(words)

    demo.process.send_signal(number)
    demo.end(status=130)

    assert "Interrupted" in demo.narration
    assert demo.leftovers() == []


@pytest.mark.exhaustive
@pytest.mark.timeout(400)
def test_what_is_kept_goes_on_until_it_is_taken_down(start, capsys):
    """With --keep cloud and UI answer after the demo's end; `clodo down` stops all of it."""
    demo = start("--keep", "--json")
    document = json.loads(demo.end(status=0))

    running = demo.leftovers()
    ui = httpx.get(document["ui_url"], trust_env=False)
    down = main(["down", "--workspace", str(demo.folder)])

    assert running
    assert ui.status_code == 200
    assert f"clodo down --workspace {demo.folder}" in demo.narration
    assert down == 0
    assert wait_until(lambda: demo.leftovers() == [], seconds=10, alive=lambda: True), demo.leftovers()
