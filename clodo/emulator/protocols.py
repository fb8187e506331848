"""What uvicorn lacks here: connections cut on purpose, bodies nobody asked for, old clients, and unmasked frames."""

from __future__ import annotations

import asyncio
import socket
import struct

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from clodo.emulator.faults import RESET
from clodo.emulator.gathering import GatheringTransport
from clodo.emulator.tails.frames import MaskedFrames

#: All headers of a request: https://developers.cloudflare.com/workers/platform/limits/#request-limits.
MAX_HEADER_BYTES = 128 * 1024
#: What stands between a header's name and its value, and behind that.
_BYTES_BETWEEN = len(b": \r\n")


class ResettableHttp(HttpToolsProtocol):
    """HTTP whose requests can be answered with a TCP reset, for fault injection, and whose answers go out in one go."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Write head and body of an answer together."""
        super().connection_made(GatheringTransport(transport, self.loop))

    _has_head = False
    _header_bytes = 0

    def on_message_begin(self) -> None:
        """Put the function that resets the connection where the application finds it."""
        super().on_message_begin()
        self._has_head = False
        self._header_bytes = 0
        self.scope["extensions"] = {RESET: self._reset}  # type: ignore[dict-item]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, but no trailer: whoever checked the headers has not seen it."""
        self._header_bytes += len(name) + len(value) + _BYTES_BETWEEN
        if self._header_bytes > MAX_HEADER_BYTES:
            # Becomes 400, and the connection's end.
            raise ValueError(f"more than {MAX_HEADER_BYTES} bytes of headers")
        if not self._has_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request."""
        self._has_head = True
        super().on_headers_complete()

    def _reset(self) -> None:
        # A linger time of zero makes close() send RST instead of FIN.
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class UninvitedBodies:
    """
    Ends the connection when a client waits for ``100 Continue`` and is answered at once instead.

    Whether it sends the body all the same is its own affair, so nobody knows what comes next on that connection:
    RFC 9110, 10.1.1.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not any(name == b"expect" for name, _ in scope["headers"]):
            await self._application(scope, receive, send)
            return
        is_invited = False

        async def receive_noting() -> Message:
            nonlocal is_invited
            is_invited = True
            return await receive()

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_invited:
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await self._application(scope, receive_noting, send_closing)


class WholeBodies:
    """Answers clients of HTTP/1.0, such as ApacheBench, with a length: uvicorn sends chunks where there is none."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["http_version"] != "1.0":
            await self._application(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def send_whole(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            if any(name == b"content-length" for name, _ in start["headers"]):
                await send(message)
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    headers = [(name, value) for name, value in start["headers"] if name != b"transfer-encoding"]
                    headers.append((b"content-length", str(len(body)).encode()))
                    await send({**start, "headers": headers})
                    await send({"type": "http.response.body", "body": bytes(body)})

        await self._application(scope, receive, send_whole)


class TolerantWebSocket(WebSocketsSansIOProtocol):
    """WebSockets whose clients may forget to mask their frames, and that can end without a goodbye."""

    _frames: MaskedFrames | None = None

    def handle_connect(self, event: Request) -> None:
        """Put the function that cuts the connection where the application finds it."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            # The application starts with the event loop's next turn.
            self.scope["extensions"][RESET] = self.transport.abort  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Pass the handshake on as it is, and every frame masked."""
        if self._frames is None:
            # The first call is the whole handshake, put together by the HTTP protocol that made way for this one.
            self._frames = MaskedFrames()
            super().data_received(data)
            return
        masked = self._frames.feed(data)
        if masked:
            super().data_received(masked)
