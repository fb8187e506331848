"""
A small HTTP server for the calls of bindings, which are whole and many: a general one takes longer than the query.

Whatever streams, such as R2's objects and calls of other Workers, goes through `listening.Listener` instead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from pathlib import Path
from typing import cast

import httptools
import structlog

from clodo.emulator.runtime.bindings.calls import Answer, Call, Replies

logger = structlog.get_logger(__name__)

_FAILED = Answer(500, b"the embedded cloud failed\n", ((b"content-type", b"text/plain"),))
_MALFORMED = Answer(400, b"not HTTP as bindings speak it\n", ((b"content-type", b"text/plain"),))


class BindingServer:
    """
    A listening Unix socket.

    Args:
        replies: Answers the calls; those of one connection one after the other.
    """

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._connections: set[_Connection] = set()
        self._server: asyncio.AbstractServer | None = None

    async def open(self, path: Path) -> None:
        """Listen at *path*."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: _Connection(self._replies, self._connections), path=str(path)
        )

    async def close(self) -> None:
        """Stop listening, break off what is being answered, and close what is open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await asyncio.gather(*(connection.end() for connection in list(self._connections)))


class _Connection(asyncio.Protocol):
    """One connection of a workerd process."""

    def __init__(self, replies: Replies, connections: set[_Connection]) -> None:
        self._replies = replies
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        #: Calls in line, and whether the connection stays; answers that need no call wait for their turn, too.
        self._waiting: deque[tuple[Call | Answer, bool]] = deque()
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []

    # --- what the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports don't inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The call was taken like any other; there is no other protocol to go on in.
            pass
        except httptools.HttpParserError:
            if self._transport is not None and not self._transport.is_closing():
                self._transport.pause_reading()
            self._take(_MALFORMED, keep_alive=False)

    def connection_lost(self, exc: Exception | None) -> None:
        # What is being answered goes on: a database's change isn't undone because nobody hears of it.
        self._transport = None
        self._forget_if_done()

    async def end(self) -> None:
        """Close it, and wait until nothing is answered any more."""
        if self._transport is not None:
            self._transport.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- what the parser tells

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body = b"", [], []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("ascii")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self._take(Call(method, self._target, self._headers, body), keep_alive=keep_alive)

    # --- answering

    def _take(self, call: Call | Answer, *, keep_alive: bool) -> None:
        if self._task is not None:
            self._waiting.append((call, keep_alive))
        else:
            self._answer(call, keep_alive)

    def _answer(self, call: Call | Answer, keep_alive: bool) -> None:
        if isinstance(call, Answer):
            self._write(call, keep_alive=keep_alive)
            return
        try:
            answer = self._replies(call)
        except Exception:
            logger.exception("a binding's call failed", target=call.target)
            answer = _FAILED
        if isinstance(answer, Answer):
            self._write(answer, keep_alive=keep_alive)
        else:
            self._task = asyncio.get_running_loop().create_task(self._answer_later(call, answer, keep_alive))

    async def _answer_later(self, call: Call, awaited: Awaitable[Answer], keep_alive: bool) -> None:
        try:
            answer = await awaited
        except Exception:
            logger.exception("a binding's call failed", target=call.target)
            answer = _FAILED
        self._write(answer, keep_alive=keep_alive)
        self._task = None
        while self._waiting and self._task is None:
            self._answer(*self._waiting.popleft())
        self._forget_if_done()

    def _forget_if_done(self) -> None:
        if self._transport is None and self._task is None:
            self._connections.discard(self)

    def _write(self, answer: Answer, *, keep_alive: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(answer.encoded())
        if not keep_alive:
            self._transport.close()
