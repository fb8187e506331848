"""Unix sockets on which workerd talks to us: HTTP for the ASGI applications, Cap'n Proto for calls between Workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from clodo.emulator.gathering import GatheringTransport

#: workerd keeps its connections; closing idle ones under its hands would fail the next call.
KEEP_ALIVE_SECONDS = 24 * 3600
_CONNECT = b"CONNECT "

Tunnel = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]
"""Serves a connection that began with a CONNECT request, whose head is the third argument."""


class _FirstBytes(asyncio.Protocol):
    """Waits for a connection's first bytes and hands it to whoever speaks that protocol."""

    def __init__(
        self, http: Callable[[], asyncio.Protocol], tunnel: Callable[[asyncio.Transport, bytes], None]
    ) -> None:
        self._http = http
        self._tunnel = tunnel
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports don't inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received += data
        if self._received.startswith(_CONNECT):
            self._tunnel(self._transport, self._received)
        elif not _CONNECT.startswith(self._received):
            protocol = self._http()
            self._transport.set_protocol(protocol)
            # workerd wakes for each write, and a Worker may be waiting for nothing else than this answer.
            protocol.connection_made(GatheringTransport(self._transport, asyncio.get_running_loop()))
            protocol.data_received(self._received)


class Listener:
    """
    A listening Unix socket.

    Args:
        app: Serves HTTP and WebSockets.

        tunnel: Serves CONNECT; without one such connections are closed.
    """

    def __init__(self, app: ASGIApp, tunnel: Tunnel | None = None) -> None:
        self._config = uvicorn.Config(
            app,
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ws_max_size=2**27,
        )
        self._config.load()
        self._state = ServerState()
        self._tunnel = tunnel
        self._tunnels: set[asyncio.Task[None]] = set()
        self._server: asyncio.AbstractServer | None = None

    async def open(self, path: Path) -> None:
        """Listen at *path*."""
        loop = asyncio.get_running_loop()

        def http() -> asyncio.Protocol:
            protocol: asyncio.Protocol = self._config.http_protocol_class(  # type: ignore[call-arg]
                config=self._config, server_state=self._state, app_state={}, _loop=loop
            )
            return protocol

        self._server = await loop.create_unix_server(lambda: _FirstBytes(http, self._start_tunnel), path=str(path))

    def _start_tunnel(self, transport: asyncio.Transport, received: bytes) -> None:
        if self._tunnel is None:
            transport.close()
            return
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        reader.feed_data(received)
        task = loop.create_task(self._serve_tunnel(self._tunnel, reader, writer))
        self._tunnels.add(task)
        task.add_done_callback(self._tunnels.discard)

    @staticmethod
    async def _serve_tunnel(tunnel: Tunnel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            writer.close()
            return
        await tunnel(reader, writer, head)

    async def close(self) -> None:
        """Stop listening and close what is open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tunnels):
            task.cancel()
        await asyncio.gather(*self._tunnels, return_exceptions=True)
        for connection in list(self._state.connections):
            connection.shutdown()
        for task in list(self._state.tasks):
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)
