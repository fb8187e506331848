"""What waits in a queue is there after `kill -9`, and nothing of half a batch."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from clodo.emulator.clock import unix_milliseconds
from clodo.emulator.queues.messages import Messages

ROOT = Path(__file__).parents[3]


def test_nothing_that_was_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    """Of a sender killed again and again every acknowledged message is there, in whole batches, free to be taken."""
    file = tmp_path / "queues.db"
    sent = -1
    for kill in range(2):
        command = [sys.executable, "-m", "tests.emulator.queues.killed_producer", str(file), "q", str(sent + 1)]
        sender = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert sender.stdout is not None
        lines = [sender.stdout.readline() for _ in range(20 + kill * 17)]
        sender.kill()
        lines += sender.stdout.readlines()
        sender.wait()
        sender.stdout.close()
        sent = max(int(line) for line in lines if line.endswith("\n"))
        messages = Messages(file)
        taken = messages.take("q", 10_000, now_ms=unix_milliseconds() + 1000)
        bodies = Counter(int(message.body) for message in taken)
        messages.close()

        assert set(bodies.values()) == {2}, "half a batch is there"
        assert set(bodies) in (set(range(sent + 1)), set(range(sent + 2))), "a message is missing"
        sent = max(bodies)
