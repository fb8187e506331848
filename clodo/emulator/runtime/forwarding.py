"""From ASGI to a workerd's socket and back: HTTP and WebSockets, streaming both ways."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import aiohttp
from aiohttp import ClientHandlerType, ClientMiddlewareType
from multidict import CIMultiDict
from starlette.types import Message, Receive, Scope, Send
from yarl import URL

Headers = list[tuple[bytes, bytes]]
RawHeaders = Iterable[tuple[bytes, bytes]]

#: Only between two neighbours on the way, never passed on (RFC 9110, 7.6.1); `expect` was answered by our server.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_WEBSOCKET_HEADERS = frozenset(
    {
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
    }
)
#: Key of ``scope["extensions"]`` under which a server may give a function that cuts the connection.
RESET = "clodo.reset"
#: Stand for "no code" and "no goodbye" in ASGI's messages; neither may be sent.
_NO_CODE, _NO_GOODBYE = 1005, 1006
#: How long a Worker may take to say goodbye to a client that did.
_GOODBYE_SECONDS = 10
_NOBODY_LISTENS = frozenset((errno.ECONNREFUSED, errno.ENOENT))
#: Stands for the one server behind a Unix socket.
ORIGIN = "http://worker"
#: kj's server closes a connection that was idle for 5 s; giving it up before avoids writing into one that is closing.
KEEP_ALIVE_SECONDS = 3.0
#: What may stand in no URL and workerd refuses there, as browsers write it.
_ENCODED = {ord(character): f"%{ord(character):02X}" for character in '"<>`'}
#: Cloudflare counts bytes, 128 KiB of them, and not fields.
_MAXIMUM_HEADERS = 2**14
#: What workerd writes for an exception; a Worker's own 500 always has other headers, `connection` is not its to set.
_EXCEPTION_BODY = b"Internal Server Error"


class Ending(StrEnum):
    """How a request ended, as far as the edge can see."""

    ANSWERED = "answered"
    THREW = "threw"
    BROKE_OFF = "broke off"
    CLIENT_LEFT = "client left"
    NEVER_SENT = "never sent"


@dataclass(slots=True)
class Outcome:
    """
    What became of a request.

    Attributes:
        status: Of the response that was begun; 0 if none was.

        started: Whether the client has got a response's head, so that no error page can be sent any more.

        size: Bytes of the body that were sent on.
    """

    ending: Ending
    status: int = 0
    started: bool = False
    size: int = 0


class Upstream:
    """
    A server that requests are passed to, with its pool of connections.

    Args:
        path: Its Unix socket; None for servers by address.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._open_session: aiohttp.ClientSession | None = None
        self._open_for_sockets: aiohttp.ClientSession | None = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._open_session is None:
            self._open_session = self._new_session()
        return self._open_session

    @property
    def _for_sockets(self) -> aiohttp.ClientSession:
        if self._open_for_sockets is None:
            self._open_for_sockets = self._new_session(_raise_if_refused)
        return self._open_for_sockets

    def _new_session(self, *middlewares: ClientMiddlewareType) -> aiohttp.ClientSession:
        connector: aiohttp.BaseConnector
        if self.path is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        else:
            connector = aiohttp.UnixConnector(str(self.path), limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        # aiohttp's client timeouts would end long streams; who waits too long is the caller's to say.
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("user-agent", "accept", "accept-encoding", "content-type"),
            read_bufsize=2**18,
            max_line_size=2**17,
            max_field_size=2**17,
            max_headers=_MAXIMUM_HEADERS,
            middlewares=middlewares,
        )
        # aiohttp would repeat a GET that broke off; a Worker must not run twice for one request.
        session._retry_connection = False
        return session

    async def close(self) -> None:
        """Close all connections."""
        for session in (self._open_session, self._open_for_sockets):
            if session is not None:
                await session.close()

    async def http(
        self, scope: Scope, receive: Receive, send: Send, headers: Headers, extra: Headers, *, origin: str = ORIGIN
    ) -> Outcome:
        """
        Send the request of *scope* on and its response back.

        Args:
            headers: To send instead of the scope's.

            extra: To add to the response.
        """
        sent = CIMultiDict((name.decode("latin-1"), _text(value)) for name, value in headers)
        has_body = "content-length" in sent or any(name == b"transfer-encoding" for name, _ in scope["headers"])
        body = _Body(receive)
        data = body.chunks() if has_body and sent.get("content-length") != "0" else None
        outcome = Outcome(Ending.ANSWERED)
        try:
            response = await self._session.request(
                scope["method"], target(scope, origin), headers=sent, data=data, allow_redirects=False
            )
        except aiohttp.ClientConnectorError as error:
            outcome.ending = Ending.NEVER_SENT if error.os_error.errno in _NOBODY_LISTENS else Ending.BROKE_OFF
            return outcome
        except (aiohttp.ClientError, ConnectionError):
            outcome.ending = Ending.CLIENT_LEFT if body.client_left else Ending.BROKE_OFF
            return outcome
        watcher: asyncio.Task[None] | None = None
        try:
            if await _is_exception(response):
                outcome.ending = Ending.THREW
                return outcome
            outcome.status = response.status
            answered = _answered(response.raw_headers, extra)
            start = {"type": "http.response.start", "status": response.status, "headers": answered}
            outcome.started = True
            await send(start)
            reader = response.content
            if not reader.is_eof() and (data is None or body.complete):
                # Nobody may ever read what a Worker streams: notice when the client leaves.
                watcher = asyncio.create_task(body.wait_for_client_to_leave(response))
            while True:
                chunk = await reader.readany()
                if not chunk and reader.at_eof():
                    break
                outcome.size += len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (aiohttp.ClientError, ConnectionError):
            outcome.ending = Ending.CLIENT_LEFT if body.client_left else Ending.BROKE_OFF
        finally:
            if watcher is not None:
                watcher.cancel()
            response.release() if outcome.ending is Ending.ANSWERED else response.close()
        return outcome

    async def websocket(
        self, scope: Scope, receive: Receive, send: Send, headers: Headers, extra: Headers, *, origin: str = ORIGIN
    ) -> Outcome:
        """Join the WebSocket of *scope*, whose connect message was received, with one to the Worker."""
        sent = CIMultiDict(
            (name.decode("latin-1"), _text(value)) for name, value in headers if name not in _WEBSOCKET_HEADERS
        )
        outcome = Outcome(Ending.ANSWERED)
        try:
            socket = await self._for_sockets.ws_connect(
                target(scope, origin),
                headers=sent,
                protocols=scope.get("subprotocols", ()),
                max_msg_size=0,
                autoping=True,
            )
        except _HandshakeRefused as refusal:
            outcome.status = refusal.status
            outcome.started = True
            answered = _answered(refusal.headers, extra)
            await refuse_websocket(scope, send, refusal.status, refusal.body, answered)
            return outcome
        except aiohttp.ClientConnectorError as error:
            outcome.ending = Ending.NEVER_SENT if error.os_error.errno in _NOBODY_LISTENS else Ending.BROKE_OFF
            return outcome
        except (aiohttp.ClientError, ConnectionError):
            outcome.ending = Ending.BROKE_OFF
            return outcome
        outcome.status = 101
        outcome.started = True
        answered = [
            (name, value)
            for name, value in _answered(socket._response.raw_headers, extra)
            if name not in _WEBSOCKET_HEADERS
        ]
        await send({"type": "websocket.accept", "subprotocol": socket.protocol, "headers": answered})
        inward = asyncio.create_task(_pass_inward(receive, socket))
        outward = asyncio.create_task(_pass_outward(scope, socket, send))
        done, pending = await asyncio.wait((inward, outward), return_when=asyncio.FIRST_COMPLETED)
        if inward in done and outward in pending:
            # The client said goodbye: the Worker may still answer before it closes, too.
            await asyncio.wait(pending, timeout=_GOODBYE_SECONDS)
        for task in pending:
            task.cancel()
        await asyncio.gather(inward, outward, return_exceptions=True)
        socket._response.close()
        return outcome


def cut(scope: Scope) -> bool:
    """Close the client's connection without another word; say whether the server lets us."""
    reset = scope.get("extensions", {}).get(RESET)
    if reset is None:
        return False
    reset()
    return True


class _HandshakeRefused(Exception):
    """A Worker answered a WebSocket's handshake with an ordinary response."""

    def __init__(self, status: int, headers: RawHeaders, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


async def _raise_if_refused(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    # aiohttp's own error has no body.
    response = await handler(request)
    if response.status != 101:
        raise _HandshakeRefused(response.status, response.raw_headers, await response.read())
    return response


def _answered(raw: RawHeaders, extra: Headers) -> Headers:
    """Return a Worker's headers and those of the edge: what it says itself, a Worker can't; its server dates it."""
    dropped = HOP_BY_HOP | {name for name, _ in extra} | ({b"date"} if extra else set())
    return [*((name.lower(), value) for name, value in raw if name.lower() not in dropped), *extra]


async def refuse_websocket(
    scope: Scope, send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer a WebSocket handshake with an HTTP response, or close it where the server can't."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1011})
        return
    await send({"type": "websocket.http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


def _text(value: bytes) -> str:
    """Read a header's value so that aiohttp, which writes UTF-8, sends the same bytes if they are that."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def target(scope: Scope, origin: str = ORIGIN) -> URL:
    """Return the URL of *scope* with its path and query as the client wrote them, in characters that workerd takes."""
    path = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string", b"")
    text = (path + b"?" + query if query else path).decode("latin-1").translate(_ENCODED)
    return URL(origin + (text if text.startswith("/") else "/"), encoded=True)


@dataclass(slots=True)
class _Body:
    """A request's body as it arrives, and whether its sender is still there."""

    receive: Receive
    client_left: bool = False
    complete: bool = field(default=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        while not self.complete:
            message: Message = await self.receive()
            if message["type"] == "http.disconnect":
                self.client_left = True
                raise aiohttp.ClientConnectionError("the client left")
            self.complete = not message.get("more_body", False)
            if chunk := message.get("body"):
                yield chunk

    async def wait_for_client_to_leave(self, response: aiohttp.ClientResponse) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            continue
        self.client_left = True
        response.close()


async def _is_exception(response: aiohttp.ClientResponse) -> bool:
    if response.status != 500 or "content-type" in response.headers or "connection" not in response.headers:
        return False
    if response.headers.get("content-length") != str(len(_EXCEPTION_BODY)):
        return False
    return response.method == "HEAD" or await response.read() == _EXCEPTION_BODY


async def _pass_inward(receive: Receive, socket: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            code, reason = message.get("code") or _NO_CODE, message.get("reason")
            if code == _NO_GOODBYE or (code == _NO_CODE and reason is None):
                # uvicorn says 1005 of a lost connection, too, but then without a reason.
                socket._response.close()
            else:
                frame = b"" if code == _NO_CODE else code.to_bytes(2, "big") + (reason or "").encode()
                await socket.send_frame(frame, aiohttp.WSMsgType.CLOSE)
            return
        if (text := message.get("text")) is not None:
            await socket.send_str(text)
        elif (data := message.get("bytes")) is not None:
            await socket.send_bytes(data)


async def _pass_outward(scope: Scope, socket: aiohttp.ClientWebSocketResponse, send: Send) -> None:
    while (message := await socket.receive()).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
        kind = "text" if message.type is aiohttp.WSMsgType.TEXT else "bytes"
        await send({"type": "websocket.send", kind: message.data})
    if message.type is aiohttp.WSMsgType.CLOSE:
        # ASGI has no goodbye without a code.
        await send({"type": "websocket.close", "code": message.data or 1000, "reason": message.extra or ""})
    elif not cut(scope):
        # The Worker threw or is gone: clients come back after anything but 1000.
        await send({"type": "websocket.close", "code": 1011, "reason": ""})
