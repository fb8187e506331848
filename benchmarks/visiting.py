"""Visitors that cost little: clients on kept connections, each asking again as soon as it is answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import uvloop


@dataclass(slots=True)
class Visits:
    """
    What some visitors saw.

    Attributes:
        answers: How often each status and body came; a broken connection is ``(0, reason)``.
    """

    seconds: float = 0.0
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """Answers in all, failed ones too."""
        return self.answers.total()

    @property
    def failed(self) -> int:
        """How many weren't 200."""
        return sum(count for (status, _), count in self.answers.items() if status != 200)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.count / self.seconds


async def visit(port: int, host: str, path: str, *, clients: int, until: asyncio.Event) -> Visits:
    """Let *clients* ask for *path* until *until* is set."""
    visits = Visits()
    began = time.perf_counter()
    await asyncio.gather(*(_visitor(port, host, path, until, visits.answers) for _ in range(clients)))
    visits.seconds = time.perf_counter() - began
    return visits


def visit_for(seconds: float, port: int, host: str, path: str = "/", *, clients: int) -> Visits:
    """Let *clients* ask for *path* for some seconds."""

    async def run() -> Visits:
        until = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, until.set)
        return await visit(port, host, path, clients=clients, until=until)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


async def _visitor(port: int, host: str, path: str, until: asyncio.Event, answers: Counter[tuple[int, str]]) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while not until.is_set():
        try:
            if streams is None:
                streams = await asyncio.open_connection("127.0.0.1", port)
            streams[1].write(request)
            answers[await _answer(streams[0])] += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            answers[0, type(error).__name__] += 1
            if streams is not None:
                streams[1].close()
            streams = None
    if streams is not None:
        streams[1].close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"transfer-encoding: chunked" in head:
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    else:
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        body = await reader.readexactly(int(length or 0))
    return int(head.split(b" ", 2)[1]), body.decode("utf-8", "replace")
