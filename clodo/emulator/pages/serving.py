"""
Pages that moved: Pages says 308 of them where Workers' static assets, which serve its files here, say 307.

Source:
    Cloudflare's published asset server of Pages (packages/pages-shared in cloudflare/workers-sdk).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clodo.emulator.pages.directory import PagesDirectory
from clodo.emulator.runtime.router import host_of

_END_OF_A_PAGE = re.compile(r"((?<=/)index)?(\.html)?/?$")


def is_move_of_a_page(files: Collection[str], path: str, location: str) -> bool:
    """Say whether a redirect leads from another way to write a page's address to the page: ``/a.html`` to ``/a``."""
    target = unquote(location.partition("?")[0])
    page = f"{target}index.html" if target.endswith("/") else f"{target}.html"
    return page in files and _END_OF_A_PAGE.sub("", path).rstrip("/") == target.rstrip("/")


class SitesApp:
    """Passes requests on, and says of pages that moved that they did so for good."""

    def __init__(self, app: ASGIApp, directory: PagesDirectory) -> None:
        self._app = app
        self._directory = directory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        files = self._directory.files_at(host_of(scope)) if scope["type"] == "http" else ()

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 307:
                location = next((value for name, value in message["headers"] if name.lower() == b"location"), b"")
                if is_move_of_a_page(files, scope["path"], location.decode("latin-1")):
                    message = {**message, "status": 308}
            await send(message)

        await self._app(scope, receive, send_on if files else send)
