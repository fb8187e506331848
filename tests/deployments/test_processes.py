"""Background processes: known by more than their number, and ended with all that they started."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from clodo.settings import child_environment
from deployments.processes import BackgroundProcess, start_of, wait_until


def start(script: str, folder: Path) -> BackgroundProcess:
    words = [sys.executable, "-c", textwrap.dedent(script)]
    return BackgroundProcess.start(words, environment=child_environment(), folder=folder, log=folder / "log")


def wait_for_line(file: Path) -> str:
    assert wait_until(lambda: file.exists() and file.read_text().endswith("\n"), seconds=20, alive=lambda: True)
    return file.read_text().strip()


def test_a_process_is_known_again_from_what_was_written_down(tmp_path):
    """What as_json gave finds the same process in another process's place, and says when it has gone."""
    process = start("import sys; sys.stdin.close(); import signal; signal.pause()", tmp_path)

    again = BackgroundProcess.from_json(process.as_json())

    assert again == process
    assert again.is_running
    assert again.stop() is True
    assert not again.is_running
    assert again.stop() is False


def test_a_number_that_was_given_to_another_process_is_not_stopped(tmp_path):
    """A process with the recorded id but another start is left alone."""
    process = start("import signal; signal.pause()", tmp_path)
    impostor = replace(process, started="earlier", mark="another")

    assert not impostor.is_running
    assert impostor.stop() is False
    assert process.is_running

    process.stop()


def test_descendants_in_sessions_of_their_own_end_too(tmp_path):
    """A grandchild that left the process group, as Prefect's flow runs do, ends with the rest."""
    process = start(
        """
        import pathlib, subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
        pathlib.Path("child").write_text(f"{child.pid}\\n")
        child.wait()
        """,
        tmp_path,
    )
    child = int(wait_for_line(tmp_path / "child"))

    process.stop()

    assert start_of(child) is None


@pytest.mark.skipif(not Path("/proc").exists(), reason="orphans can be told only where /proc is")
def test_an_orphan_of_a_killed_process_is_ended(tmp_path):
    """When the process itself was killed, what it left behind still ends."""
    process = start(
        """
        import os, pathlib, signal, subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
        pathlib.Path("child").write_text(f"{child.pid}\\n")
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
    )
    child = int(wait_for_line(tmp_path / "child"))
    assert wait_until(lambda: not process.is_running, seconds=20, alive=lambda: True)
    assert start_of(child) is not None

    assert process.stop() is True

    assert start_of(child) is None


def test_a_process_that_will_not_listen_is_killed(tmp_path):
    """After the patience is over, SIGTERM is not the last word."""
    process = start(
        """
        import pathlib, signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pathlib.Path("deaf").write_text("yes\\n")
        signal.pause()
        """,
        tmp_path,
    )
    wait_for_line(tmp_path / "deaf")

    assert process.stop(patience=0.2) is True

    assert not process.is_running


def test_the_log_is_for_its_owner_and_tells_the_last_lines(tmp_path):
    """Output goes to a file of mode 0600, of which the end can be quoted."""
    process = start("for number in range(30): print('line', number)", tmp_path)
    assert wait_until(lambda: not process.is_running, seconds=20, alive=lambda: True)

    assert process.last_lines(2) == "line 28\nline 29"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
