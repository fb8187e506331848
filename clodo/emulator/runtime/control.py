"""Orders to our own code inside a process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp


async def ask(socket: Path, path: str, order: Mapping[str, Any] | None) -> Any:
    """
    Send one request to a process's own code and return its JSON.

    Raises:
        OSError, aiohttp.ClientError: The process is gone.
    """
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
        session.post(f"http://control{path}", json=order) as answer,
    ):
        if answer.status != 200:
            raise aiohttp.ClientPayloadError(f"workerd answered {answer.status}: {await answer.text()}")
        return await answer.json()
