"""The door to the Workers: an ASGI application for every Host that isn't the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from clodo.emulator.runtime import pages
from clodo.emulator.runtime.passing import (
    HOPS_HEADER,
    hops_left,
    new_ray,
    pass_to_version,
    public_headers,
    send_page,
)
from clodo.emulator.runtime.ports import Directory
from clodo.emulator.runtime.traffic import choose_version

if TYPE_CHECKING:
    from clodo.emulator.runtime.runtime import Runtime


class RouterApp:
    """Passes each request to the version that the directory and the traffic split say, streaming both ways."""

    def __init__(self, runtime: Runtime, directory: Directory) -> None:
        self.runtime = runtime
        self.directory = directory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] in ("http", "websocket") and not await route(
            self.runtime, self.directory, scope, receive, send
        ):
            await send_page(scope, send, pages.origin_dns_error(), edge_headers(new_ray()))


def host_of(scope: Scope) -> str:
    """Return the name in the Host header: lower case, without port and trailing dot."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].removesuffix(".")


def edge_headers(ray: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that the edge adds to every response."""
    return [(b"cf-ray", ray.encode()), (b"server", b"cloudflare")]


async def route(
    runtime: Runtime,
    directory: Directory,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    is_from_worker: bool = False,
) -> bool:
    """Serve the request if its host is one of this cloud; say whether it was."""
    host = host_of(scope)
    resolved = directory.resolve(host, scope["path"])
    if resolved is None:
        return False
    ray = new_ray()
    extra = edge_headers(ray)
    if resolved.kind == "none":
        page = pages.origin_dns_error() if resolved.reason == "no_route" else pages.nothing_here(ray)
        await send_page(scope, send, page, extra)
        return True
    if not resolved.traffic:
        await send_page(scope, send, pages.nothing_here(ray), extra)
        return True
    if resolved.kind == "preview":
        version_id = resolved.traffic[0][0]
    else:
        version_id = choose_version(
            resolved.traffic,
            resolved.script,
            scope["headers"],
            runtime.random,
            ignore_overrides=runtime.ignore_overrides,
        )
    headers = public_headers(scope, ray)
    if is_from_worker:
        left = hops_left(scope) - 1
        if left < 0:
            await send_page(scope, send, pages.worker_loops(host, ray), extra)
            return True
        headers.append((HOPS_HEADER, str(left).encode()))
    await pass_to_version(
        runtime,
        scope,
        receive,
        send,
        account_id=resolved.account_id,
        script=resolved.script,
        version_id=version_id,
        headers=headers,
        extra=extra,
        host=host,
        ray=ray,
    )
    return True
