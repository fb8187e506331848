"""
Where the Workers' own requests arrive: bindings, calls of other Workers, fetch() to the outside, and tail events.

Who calls is read from headers that workerd itself puts on each request of a process (and takes off whatever the Worker
wrote there), together with a secret that only processes of this runtime were told.
"""

from __future__ import annotations

import hmac
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope, Send

from clodo.emulator.runtime import pages
from clodo.emulator.runtime.bindings import (
    Answer,
    header,
    read_body,
    refuse_r2,
    serve_d1,
    serve_events,
    serve_kv,
    serve_queue,
)
from clodo.emulator.runtime.configuration import CALLER_HEADER, SECRET_HEADER
from clodo.emulator.runtime.forwarding import Upstream
from clodo.emulator.runtime.passing import binding_headers, new_ray, pass_to_version, send_page
from clodo.emulator.runtime.ports import (
    BindingRefused,
    BucketBackend,
    DatabaseBackend,
    EventBackend,
    NamespaceBackend,
    QueueBackend,
)
from clodo.emulator.runtime.router import host_of, route
from clodo.emulator.runtime.traffic import choose_version

if TYPE_CHECKING:
    from clodo.emulator.runtime.runtime import Runtime

_SECRET_HEADER = SECRET_HEADER.encode()
_CALLER_HEADER = CALLER_HEADER.encode()
_LOOPBACK = frozenset(("127.0.0.1", "localhost", "[::1]", "::1"))


@lru_cache(maxsize=4096)
def read_caller(value: bytes) -> dict[str, Any]:
    """Return the identity in a caller header: ``{account, script, version, index, kind, id?, callee?}``."""
    caller: dict[str, Any] = json.loads(value)
    return caller


class Doors:
    """The ASGI application behind all sockets that workerd processes connect to."""

    def __init__(
        self,
        runtime: Runtime,
        databases: DatabaseBackend | None,
        namespaces: NamespaceBackend | None,
        buckets: BucketBackend | None,
        queues: QueueBackend | None,
        events: EventBackend | None,
        secret: str,
    ) -> None:
        self._runtime = runtime
        self._databases = databases
        self._namespaces = namespaces
        self._buckets = buckets
        self._queues = queues
        self._events = events
        self._secret = secret.encode()
        self._outside = Upstream(None)

    async def close(self) -> None:
        """Close the connections to servers on this machine."""
        await self._outside.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of a Worker."""
        if scope["type"] not in ("http", "websocket"):
            return
        if not hmac.compare_digest(header(scope, _SECRET_HEADER) or b"", self._secret):
            await send_page(scope, send, pages.Page(403, b"not for you\n", b"text/plain"), [])
            return
        caller = read_caller(header(scope, _CALLER_HEADER) or b"{}")
        if self._runtime.recorder is not None and caller["kind"] != "tail":
            self._runtime.recorder.subrequest(caller["version"])
        match caller["kind"]:
            case "outbound":
                await self._fetch_outside(scope, receive, send)
            case "service":
                await self._call_worker(caller, scope, receive, send)
            case "r2" if self._buckets is not None and scope["type"] == "http":
                jurisdiction, _, name = caller["id"].partition("/")
                await self._buckets.serve(caller["account"], jurisdiction, name, scope, receive, send)
            case _ if scope["type"] == "websocket":
                await send_page(scope, send, pages.Page(400, b"no WebSockets here\n", b"text/plain"), [])
            case _:
                try:
                    answer = await self._serve(caller, scope, receive)
                except BindingRefused as error:
                    answer = Answer(error.status, error.message.encode())
                await answer.send(send)

    async def _serve(self, caller: dict[str, Any], scope: Scope, receive: Receive) -> Answer:
        account_id: str = caller["account"]
        match caller["kind"]:
            case "d1":
                return await serve_d1(self._databases, account_id, caller["id"], scope, await read_body(receive))
            case "kv":
                return await serve_kv(self._namespaces, account_id, caller["id"], scope, receive)
            case "queue":
                return await serve_queue(self._queues, account_id, caller["id"], scope, await read_body(receive))
            case "events":
                return await serve_events(self._events, account_id, caller["id"], await read_body(receive))
            case "r2":
                return refuse_r2(caller["id"])
            case "tail":
                told = json.loads(await read_body(receive))
                self._runtime.deliver_tail(account_id, caller["script"], told["version"], told["events"])
                return Answer()
            case kind:
                return Answer(501, f"nobody serves {kind}".encode())

    async def _call_worker(self, caller: dict[str, Any], scope: Scope, receive: Receive, send: Send) -> None:
        account_id, script, entrypoint = caller["callee"]
        runtime = self._runtime
        traffic = runtime.directory.live_traffic(account_id, script)
        ray = new_ray()
        if not traffic:
            body = f"The Worker {script}, which {caller['script']} is bound to, is not deployed\n".encode()
            await send_page(scope, send, pages.Page(503, body, b"text/plain; charset=UTF-8"), [])
            return
        version_id = choose_version(
            traffic, script, scope["headers"], runtime.random, ignore_overrides=runtime.ignore_overrides
        )
        await pass_to_version(
            runtime,
            scope,
            receive,
            send,
            account_id=account_id,
            script=script,
            version_id=version_id,
            entrypoint=entrypoint,
            headers=binding_headers(scope),
            extra=[],
            host=host_of(scope),
            ray=ray,
        )

    async def _fetch_outside(self, scope: Scope, receive: Receive, send: Send) -> None:
        runtime = self._runtime
        host = host_of(scope)
        if host in _LOOPBACK and runtime.config.allow_loopback:
            if scope["type"] == "websocket":
                await receive()  # websocket.connect
            origin = "http://" + (header(scope, b"host") or b"127.0.0.1").decode("latin-1")
            serve = self._outside.websocket if scope["type"] == "websocket" else self._outside.http
            outcome = await serve(scope, receive, send, binding_headers(scope), [], origin=origin)
            if outcome.started:
                return
            body = f"Nothing answers at {origin}\n"
        elif await route(runtime, runtime.directory, scope, receive, send):
            return
        else:
            body = (
                f"The embedded cloud has no Internet: fetch to {host} was refused. "
                "Only hostnames of its own Workers can be reached.\n"
            )
        await send_page(scope, send, pages.Page(530, body.encode(), b"text/plain; charset=UTF-8"), [])
