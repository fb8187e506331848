"""
Commands on a real terminal: a pty of the standard library, because a pipe is no terminal and nothing would be asked.

One process runs several commands, one after the other, so that Prefect is imported once.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

RUN = """\
import fcntl, json, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from clodo.cli.main import main
for words in json.loads(sys.argv[1]):
    status = main(words)
    print(f"<ended {status}>", flush=True)
"""
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]|\x1b\][^\x07]*\x07")
CTRL_C, DOWN, SPACE, ENTER = "\x03", "\x1b[B", " ", "\r"


class Terminal:
    """
    A terminal in which commands run.

    Args:
        commands: The words of each.

        patience: Seconds for which an expected text may take.
    """

    def __init__(self, commands: Sequence[Sequence[str]], *, prefect: str, patience: float = 60) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 220, 0, 0))
        environment = {
            **os.environ,
            "PREFECT_API_URL": prefect,
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "TERM": "xterm",
            "NO_COLOR": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUN, json.dumps([list(words) for words in commands])],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=environment,
        )
        os.close(slave)
        self._patience = patience
        self._raw = b""
        self._read_to = 0

    @property
    def screen(self) -> str:
        """Everything that was shown, escape sequences left out."""
        return _ESCAPES.sub(b"", self._raw).decode("utf-8", errors="replace")

    def expect(self, text: str) -> str:
        """Wait until *text* is shown after what was expected before; return what was shown in between."""
        deadline = time.monotonic() + self._patience
        while True:
            screen = self.screen
            at = screen.find(text, self._read_to)
            if at >= 0:
                between, self._read_to = screen[self._read_to : at], at + len(text)
                return between
            assert time.monotonic() < deadline, f"{text!r} was not shown; the screen ends:\n{screen[-2000:]}"
            ready, _, _ = select.select([self._master], [], [], 1.0)
            if ready:
                try:
                    part = os.read(self._master, 65536)
                except OSError:
                    part = b""
                assert part, f"ended without {text!r}; the screen ends:\n{screen[-2000:]}"
                self._raw += part

    def answer(self, question: str, keys: str) -> None:
        """Wait for a question and type *keys*."""
        self.expect(question)
        self.type(keys)

    def type(self, keys: str) -> None:
        """Type *keys*."""
        os.write(self._master, keys.encode())

    def expect_end(self) -> int:
        """Wait until the command ends; return its exit status."""
        self.expect("<ended ")
        self.expect(">")
        return int(self.screen[: self._read_to - 1].rpartition("<ended ")[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            try:
                self._process.wait(timeout=5 if kind is None else 0.1)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        os.close(self._master)
