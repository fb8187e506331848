"""How many wranglers may run at once on this machine: one a core, whichever process starts them."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clodo.errors import TryLater

_POLL_SECONDS = 0.02


class Slots:
    """
    A counting lock, held across threads and processes by locks on files; the kernel frees those of a dead process.

    Args:
        folder: Where the lock files are.

        count: How many at once; the number of cores by default. wrangler is bound by its CPU: more at once take longer
            in all.
    """

    def __init__(self, folder: Path, count: int | None = None) -> None:
        self._folder = folder
        self._count = count or cores()
        self._here = threading.BoundedSemaphore(self._count)

    @contextmanager
    def take(self, timeout_seconds: float) -> Iterator[None]:
        """
        Hold one slot.

        Raises:
            TryLater: None became free within *timeout_seconds*.
        """
        deadline = time.monotonic() + timeout_seconds
        with ExitStack() as held:
            if not self._here.acquire(timeout=timeout_seconds):
                raise self._all_taken(timeout_seconds)
            held.callback(self._here.release)
            self._folder.mkdir(parents=True, exist_ok=True)
            files = [held.enter_context((self._folder / f"slot-{index}").open("w")) for index in range(self._count)]
            while not any(_try_lock(file.fileno()) for file in files):
                # Other processes hold them all; the kernel tells nobody when one of several is let go.
                if time.monotonic() > deadline:
                    raise self._all_taken(timeout_seconds)
                time.sleep(_POLL_SECONDS)
            yield

    def _all_taken(self, timeout_seconds: float) -> TryLater:
        return TryLater(
            f"{self._count} wranglers are running on this machine, and none ended within {timeout_seconds:.0f} s",
            hint="Try again when they have ended.",
        )


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
