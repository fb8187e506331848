"""A request to stop, seen by every thread that releases something."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from clodo.errors import Interrupted

_asked_by_signal: list[int] = []


def times_asked() -> int:
    """Return how often a signal has asked the releases of this process to stop, since it began."""
    return len(_asked_by_signal)


class Interruption:
    """Set once by Ctrl-C or SIGTERM; each release looks before its next step and before each write."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def request(self) -> None:
        """Ask every release to stop and undo."""
        self._event.set()

    @property
    def is_requested(self) -> bool:
        """Whether somebody asked."""
        return self._event.is_set()

    def raise_if_requested(self) -> None:
        """
        Stop here if somebody asked.

        Raises:
            Interrupted: Somebody did.
        """
        if self._event.is_set():
            raise Interrupted("stopped on request")

    @contextmanager
    def on_signals(self, tell: Callable[[str], None] = lambda line: None) -> Iterator[None]:
        """
        Take Ctrl-C and SIGTERM as a request while inside; a second Ctrl-C ends at once, as it would without us.

        Outside the main thread, where Python handles no signals, it does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def asked(number: int, _frame: FrameType | None) -> None:
            _asked_by_signal.append(number)
            if self.is_requested and number == signal.SIGINT:
                raise KeyboardInterrupt
            tell("Stopping: what was begun is put back first. Ctrl-C again leaves that to the next run.")
            self.request()

        before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
