"""The door to the Workers: an ASGI application for every Host that isn't the API."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from clodo.emulator.runtime.ports import Directory
from clodo.emulator.runtime.runtime import Runtime


class RouterApp:
    """Passes each request to the version that the directory and the traffic split say, streaming both ways."""

    def __init__(self, runtime: Runtime, directory: Directory) -> None:
        self.runtime = runtime
        self.directory = directory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        raise NotImplementedError
