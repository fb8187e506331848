"""A process that sends messages and says so, until somebody kills it. Not a test; `test_messages` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

from clodo.emulator.clock import unix_milliseconds
from clodo.emulator.queues.messages import Messages
from clodo.emulator.runtime.ports import QueueMessage


def main(file: Path, queue_id: str, number: int) -> None:
    """Send pairs of messages, take and acknowledge some, and print each number once it is acknowledged to us."""
    messages = Messages(file)
    while True:
        pair = [QueueMessage(str(number).encode(), "text"), QueueMessage(str(number).encode(), "text")]
        messages.add(queue_id, pair, now_ms=unix_milliseconds())
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        messages.take(queue_id, 1, now_ms=unix_milliseconds())
        number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
