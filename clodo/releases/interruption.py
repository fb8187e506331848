"""A request to stop, seen by every thread that releases something."""

from __future__ import annotations

import os
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


PAUSE_SECONDS = 0.25
"""So often is looked, while waiting, whether somebody wants an end."""

GRACE_SECONDS = 2.0
"""What a process has, after a second Ctrl-C, to end by itself."""


class Interruption:
    """
    Set once by Ctrl-C or SIGTERM; each release looks before its next step and before each write.

    A second Ctrl-C makes it final: then nothing is put back either, and the next run does that.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._final = threading.Event()

    def request(self) -> None:
        """Ask every release to stop and undo."""
        self._event.set()

    def request_at_once(self) -> None:
        """Ask every release, and every undo, to stop where it is."""
        self._event.set()
        self._final.set()

    @property
    def is_final(self) -> bool:
        """Whether somebody wants an end at once."""
        return self._final.is_set()

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

    def raise_if_final(self) -> None:
        """
        Stop here if somebody wants an end at once.

        Raises:
            Interrupted: Somebody does.
        """
        if self._final.is_set():
            raise Interrupted("stopped at once on request")

    def sleeping(self, sleep: Callable[[float], None], *, undoing: bool) -> Callable[[float], None]:
        """
        Return *sleep* as something that ends early when somebody wants it to.

        Args:
            undoing: Whether what waits is wanted in an undo too, so that only a second Ctrl-C ends it.
        """

        def pause(seconds: float) -> None:
            left = seconds
            while left > 0:
                self.raise_if_final()
                if not undoing:
                    self.raise_if_requested()
                sleep(min(left, PAUSE_SECONDS))
                left -= PAUSE_SECONDS
            self.raise_if_final()

        return pause

    @contextmanager
    def on_signals(
        self, tell: Callable[[str], None] = lambda line: None, *, end: Callable[[int], object] = os._exit
    ) -> Iterator[None]:
        """
        Take Ctrl-C and SIGTERM as a request while inside; a second Ctrl-C ends at once.

        Outside the main thread, where Python handles no signals, it does nothing.

        Args:
            end: Ends the process when, after a second Ctrl-C, its threads still wait for something; what they leave is
                what a `kill -9` leaves, and the next run repairs that.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def asked(number: int, _frame: FrameType | None) -> None:
            _asked_by_signal.append(number)
            if self.is_requested and number == signal.SIGINT:
                self.request_at_once()
                last_resort = threading.Timer(GRACE_SECONDS, end, [Interrupted.exit_code])
                last_resort.daemon = True
                last_resort.start()
                raise KeyboardInterrupt
            tell("Stopping: what was begun is put back first. Ctrl-C again leaves that to the next run.")
            self.request()

        before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
