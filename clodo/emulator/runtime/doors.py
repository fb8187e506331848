"""
Where the Workers' own requests arrive: calls of other Workers, R2's binding, the Cache API, and fetch() to the outside.

What the other bindings ask is whole and small, and arrives at `bindings.server`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope, Send

from clodo.emulator.runtime import callers, pages
from clodo.emulator.runtime.caching import Cache
from clodo.emulator.runtime.forwarding import Upstream
from clodo.emulator.runtime.passing import binding_headers, new_ray, outside_headers, pass_to_version, send_page
from clodo.emulator.runtime.ports import BucketBackend
from clodo.emulator.runtime.router import host_of, route
from clodo.emulator.runtime.traffic import choose_version

if TYPE_CHECKING:
    from clodo.emulator.runtime.runtime import Runtime

_LOOPBACK = frozenset(("127.0.0.1", "localhost", "[::1]", "::1"))
#: R2's "internal error"; the binding shows it with the message.
_R2_NOT_SERVED = 10001


class Doors:
    """The ASGI application behind all sockets that workerd processes connect to for what streams."""

    def __init__(self, runtime: Runtime, buckets: BucketBackend | None, cache: Cache, secret: str) -> None:
        self._runtime = runtime
        self._buckets = buckets
        self._secret = secret.encode()
        self._outside = Upstream(None)
        self._cache = cache

    async def close(self) -> None:
        """Close the connections to servers on this machine."""
        await self._outside.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of a Worker."""
        if scope["type"] not in ("http", "websocket"):
            return
        if not callers.is_ours(self._secret, _header(scope, callers.SECRET)):
            await send_page(scope, send, pages.Page(403, b"not for you\n", b"text/plain"), [])
            return
        caller = callers.read_caller(_header(scope, callers.CALLER))
        self._runtime.count_subrequest(caller["version"])
        match caller["kind"]:
            case "outbound":
                await self._fetch_outside(scope, receive, send)
            case "service":
                await self._call_worker(caller, scope, receive, send)
            case _ if scope["type"] == "websocket":
                await send_page(scope, send, pages.Page(400, b"no WebSockets here\n", b"text/plain"), [])
            case "cache":
                await self._cache.serve(caller["account"], scope, receive, send)
            case "r2" if self._buckets is not None:
                jurisdiction, _, name = caller["id"].partition("/")
                await self._buckets.serve(caller["account"], jurisdiction, name, scope, receive, send)
            case "r2":
                refused = [(b"cf-r2-error", _refusal(caller["id"]))]
                await send_page(scope, send, pages.Page(501, b"", b"text/plain"), refused)
            case kind:
                await send_page(scope, send, pages.Page(501, f"nobody serves {kind}".encode(), b"text/plain"), [])

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
            origin = "http://" + (_header(scope, b"host") or b"127.0.0.1").decode("latin-1")
            serve = self._outside.websocket if scope["type"] == "websocket" else self._outside.http
            outcome = await serve(scope, receive, send, outside_headers(scope), [], origin=origin)
            if outcome.started:
                return
            body = f"Nothing answers at {origin}\n"
        elif await route(runtime, runtime.directory, scope, receive, send, is_from_worker=True):
            return
        else:
            body = (
                f"The embedded cloud has no Internet: fetch to {host} was refused. "
                "Only hostnames of its own Workers can be reached.\n"
            )
        await send_page(scope, send, pages.Page(530, body.encode(), b"text/plain; charset=UTF-8"), [])


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)


def _refusal(bucket: str) -> bytes:
    """Say in R2's protocol that buckets aren't served."""
    message = f"R2 is not served by this embedded cloud (bucket {bucket})"
    return json.dumps({"version": 1, "v4code": _R2_NOT_SERVED, "message": message}).encode()
