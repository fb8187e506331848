"""Child processes: whole groups end, and none is bound to the thread that asked for it."""

from __future__ import annotations

import os
import queue
import select
import signal
import sys
import threading
from pathlib import Path

import pytest

from clodo.wrangler.process import Child

PYTHON = sys.executable
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def test_lines_of_both_streams_arrive_and_the_status_is_returned(tmp_path: Path) -> None:
    """Output comes line by line, without line ends, however it is encoded."""
    out: list[str] = []
    err: list[str] = []
    code = r"import sys; sys.stdout.buffer.write(b'a\r\nb\xff\nc'); sys.stderr.write('d\n'); sys.exit(3)"

    with Child([PYTHON, "-c", code], cwd=tmp_path, on_stdout=out.append, on_stderr=err.append) as child:
        status = child.wait(30)

    assert status == 3
    assert out == ["a", "b\N{REPLACEMENT CHARACTER}", "c"]
    assert err == ["d"]


@pytest.mark.skipif(sys.platform != "linux", reason="pidfd is Linux's")
def test_leaving_the_block_ends_grandchildren_too(tmp_path: Path) -> None:
    """A grandchild doesn't outlive the block; its group is ended as a whole."""
    lines: queue.Queue[str] = queue.Queue()
    with Child([PYTHON, "-c", FAMILY], cwd=tmp_path, on_stdout=lines.put, on_stderr=lines.put) as child:
        grandchild = int(lines.get(timeout=30))
        its_end = os.pidfd_open(grandchild)
        assert os.getpgid(grandchild) == child.pid
        assert child.wait(0.01) is None

    assert select.select([its_end], [], [], 30)[0]
    os.close(its_end)


def test_one_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """After the grace period SIGKILL ends what doesn't listen."""
    lines: queue.Queue[str] = queue.Queue()
    arguments = [PYTHON, "-c", STUBBORN]
    with Child(arguments, cwd=tmp_path, on_stdout=lines.put, on_stderr=lines.put, grace_seconds=0.2) as child:
        lines.get(timeout=30)

    assert child.wait(0) == -signal.SIGKILL


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """The kernel's bond to a parent is to its thread; ours is to one that lives as long as the process."""
    reading, writing = os.pipe()
    lines: queue.Queue[str] = queue.Queue()
    started: list[Child] = []
    echo = "import sys\nprint('ready', flush=True)\nprint(sys.stdin.readline())"

    def start() -> None:
        arguments = [PYTHON, "-c", echo]
        started.append(Child(arguments, cwd=tmp_path, stdin=reading, on_stdout=lines.put, on_stderr=lines.put))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    with started[0] as child:
        os.close(reading)
        assert lines.get(timeout=30) == "ready"
        os.write(writing, b"still here\n")
        os.close(writing)

        assert lines.get(timeout=30) == "still here"
        assert child.wait(30) == 0
