"""No more wranglers at once than there are cores, whoever starts them."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clodo.errors import TryLater
from clodo.wrangler.slots import Slots, cores

HOLD = """
import sys
from pathlib import Path
from clodo.wrangler.slots import Slots
with Slots(Path(sys.argv[1]), 2).take(10):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_threads_of_one_process_share_the_slots(tmp_path: Path) -> None:
    """With two slots, two of eight are inside at a time, and all get their turn."""
    slots, inside, most = Slots(tmp_path, 2), 0, 0
    lock, two_are_in = threading.Lock(), threading.Barrier(2)

    def work(_: int) -> None:
        nonlocal inside, most
        with slots.take(30):
            with lock:
                inside += 1
                most = max(most, inside)
            two_are_in.wait(30)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert most == 2


def test_processes_share_the_slots_and_the_dead_give_theirs_back(tmp_path: Path) -> None:
    """Another process's slots are taken; killing it frees them."""
    others = [
        subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for other in others:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
        with pytest.raises(TryLater, match="2 wranglers are running"), Slots(tmp_path, 2).take(0.1):
            pass
        others[0].kill()
        others[0].wait()

        with Slots(tmp_path, 2).take(10):
            pass
    finally:
        for other in others:
            other.kill()
            other.communicate()


def test_there_is_one_slot_a_core(tmp_path: Path) -> None:
    """Without a number, as many as this process may use cores."""
    slots = Slots(tmp_path)
    with slots.take(1):
        assert len(list(tmp_path.iterdir())) == cores()
