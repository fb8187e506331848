"""The tails that are open now; they don't outlive the process, as the real ones don't outlive an hour."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from clodo.emulator.clock import new_id
from clodo.emulator.envelope import ApiError, envelope, json_body
from clodo.emulator.runtime.runtime import Runtime
from clodo.emulator.tails.filters import INVALID_FILTER, Filters
from clodo.emulator.workers.publishing import Publisher
from clodo.emulator.workers.requests import account_of, script_name

#: The subprotocol that clients ask for and must get.
SUBPROTOCOL = "trace-v1"

#: Where the WebSockets are, on the API's own host.
SOCKET_PATH = "/__clodo/tails/"

LIFETIME = timedelta(hours=1)

#: Events that wait for a slow client; older ones are dropped beyond it.
MAX_WAITING = 1000

#: Tails of one Worker at a time, https://developers.cloudflare.com/workers/observability/logs/real-time-logs/
MAX_TAILS = 10

TAIL_NOT_FOUND = 10057
TOO_MANY_TAILS = 10057


@dataclass(slots=True)
class Tail:
    """An open tail; events go to each of its WebSockets."""

    id: str
    account_id: str
    script: str
    filters: Filters
    expires_at: datetime
    version_id: str | None = None
    queues: set[asyncio.Queue[str | None]] = field(default_factory=set)

    def is_about(self, event: Mapping[str, Any]) -> bool:
        """Say whether an event is of the version that is listened to."""
        return self.version_id is None or (event.get("scriptVersion") or {}).get("id") == self.version_id


class TailSessions:
    """
    Opens tails, feeds their WebSockets, closes them.

    Args:
        url: Returns the root of WebSockets, ``ws://127.0.0.1:PORT``.
    """

    def __init__(self, runtime: Runtime, publisher: Publisher, url: Callable[[], str]) -> None:
        self._runtime = runtime
        self._publisher = publisher
        self._url = url
        self._tails: dict[str, Tail] = {}

    def routes(self) -> list[Route]:
        """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

        async def create_tail(request: Request) -> Response:
            account_id, name = account_of(request), script_name(request)
            self._publisher.existing(account_id, name)
            return await self.create(request, account_id, name)

        async def list_tails(request: Request) -> Response:
            account_id, name = account_of(request), script_name(request)
            self._publisher.existing(account_id, name)
            self._expire()
            return envelope([self._answer(tail) for tail in self._of(account_id, name)])

        async def delete_tail(request: Request) -> Response:
            return self.delete(request, account_of(request), script_name(request))

        return [
            Route("/workers/scripts/{script}/tails", create_tail, methods=["POST"]),
            Route("/workers/scripts/{script}/tails", list_tails, methods=["GET"]),
            Route("/workers/scripts/{script}/tails/{tail_id}", delete_tail, methods=["DELETE"]),
        ]

    async def create(self, request: Request, account_id: str, script: str, version_id: str | None = None) -> Response:
        """
        Open the tail that a request describes and return the answer.

        Args:
            version_id: Whose events alone are wanted; None for all versions'.

        Raises:
            ApiError: The description is none, or there are too many tails.
        """
        body = await json_body(request, optional=True)
        if not isinstance(body or {}, dict):
            raise ApiError(400, INVALID_FILTER, "a tail is described by an object")
        filters = Filters((body or {}).get("filters") or [], random.random)
        self._expire()
        if len(self._of(account_id, script)) >= MAX_TAILS:
            raise ApiError(429, TOO_MANY_TAILS, f"This Worker has {MAX_TAILS} tails already.")
        tail = Tail(new_id(), account_id, script, filters, datetime.now(UTC) + LIFETIME, version_id)
        self._tails[tail.id] = tail
        return envelope(self._answer(tail))

    def delete(self, request: Request, account_id: str, script: str) -> Response:
        """
        End the tail that the path names and return the answer.

        Raises:
            ApiError: The Worker has no such tail.
        """
        tail = self._tails.get(request.path_params["tail_id"])
        if tail is None or (tail.account_id, tail.script) != (account_id, script):
            raise ApiError(404, TAIL_NOT_FOUND, "Tail not found.")
        self._close(tail)
        return envelope(None)

    async def serve(self, socket: WebSocket) -> None:
        """Send the events of the tail in the path until either side ends it."""
        self._expire()
        tail = self._tails.get(socket.url.path.removeprefix(SOCKET_PATH))
        if tail is None:
            await socket.close(code=1008)
            return
        offered = socket.scope.get("subprotocols") or []
        await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
        waiting: asyncio.Queue[str | None] = asyncio.Queue()

        def sink(event: Mapping[str, Any]) -> None:
            if not tail.is_about(event):
                return
            if tail.filters.passes(event) and waiting.qsize() < MAX_WAITING:
                waiting.put_nowait(json.dumps(event, ensure_ascii=False, default=str))

        tail.queues.add(waiting)
        listener = self._runtime.open_tail(tail.account_id, tail.script, sink)
        hearing = asyncio.create_task(_hear(socket, waiting))
        try:
            while (message := await waiting.get()) is not None:
                await socket.send_text(message)
        except WebSocketDisconnect:
            pass  # The client went away in mid-sentence: there is nobody left to tell.
        finally:
            hearing.cancel()
            self._runtime.close_tail(listener)
            tail.queues.discard(waiting)
            if socket.application_state is WebSocketState.CONNECTED:
                # A reader that hung up needs no goodbye.
                with contextlib.suppress(WebSocketDisconnect):
                    await socket.close()

    def listeners(self, account_id: str, script: str) -> int:
        """Return how many WebSockets are receiving the Worker's events now."""
        return sum(len(tail.queues) for tail in self._of(account_id, script))

    def close(self) -> None:
        """End every tail."""
        for tail in list(self._tails.values()):
            self._close(tail)

    def _close(self, tail: Tail) -> None:
        self._tails.pop(tail.id, None)
        for waiting in tail.queues:
            waiting.put_nowait(None)

    def _expire(self) -> None:
        moment = datetime.now(UTC)
        for tail in [tail for tail in self._tails.values() if tail.expires_at <= moment]:
            self._close(tail)

    def _of(self, account_id: str, script: str) -> list[Tail]:
        return [tail for tail in self._tails.values() if (tail.account_id, tail.script) == (account_id, script)]

    def _answer(self, tail: Tail) -> dict[str, Any]:
        expires_at = tail.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"id": tail.id, "url": f"{self._url()}{SOCKET_PATH}{tail.id}", "expires_at": expires_at}


async def _hear(socket: WebSocket, waiting: asyncio.Queue[str | None]) -> None:
    """Read what the client says (``{"debug":false}``) until it leaves."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
    waiting.put_nowait(None)
