"""Sockets at which Workers reach other Workers, whichever process serves those now."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.types import ASGIApp

from clodo.emulator.runtime.configuration import Callee
from clodo.emulator.runtime.instances import Lease
from clodo.emulator.runtime.listening import Listener
from clodo.emulator.runtime.rpc import Pipe


class Callees:
    """
    One socket for each end of a binding between Workers.

    Args:
        app: Serves HTTP that comes in there.

        folder: Returns where the sockets are.

        connect: Chooses the version that an RPC connection leads to.
    """

    def __init__(self, app: ASGIApp, folder: Callable[[], Path], connect: Callable[[Callee], Awaitable[Lease]]) -> None:
        self._app = app
        self._folder = folder
        self._connect = connect
        self._open: dict[Callee, tuple[str, Listener]] = {}
        self._opening: dict[Callee, asyncio.Task[str]] = {}
        self._pipes: dict[tuple[str, str], set[Pipe]] = {}

    def repoint(self, account_id: str, script: str) -> None:
        """Lead the RPC connections of a script's callers to its current deployment."""
        for pipe in self._pipes.get((account_id, script), ()):
            pipe.repoint()

    def cut(self) -> None:
        """End every RPC connection."""
        for task in self._opening.values():
            task.cancel()
        for pipes in self._pipes.values():
            for pipe in list(pipes):
                pipe.close()

    async def close(self) -> None:
        """Close the sockets."""
        for _, listener in self._open.values():
            await listener.close()
        self._open.clear()

    async def address(self, callee: Callee) -> str:
        """Return the socket at which *callee* is reached, opened now if it must be."""
        known = self._open.get(callee)
        if known is not None:
            return known[0]
        if callee not in self._opening:
            self._opening[callee] = asyncio.create_task(self._open_one(callee))
        try:
            return await asyncio.shield(self._opening[callee])
        finally:
            self._opening.pop(callee, None)

    async def _open_one(self, callee: Callee) -> str:
        # RPC connections carry no headers, so this name is what proves the right to connect, besides the folder's mode.
        path = self._folder() / f"{secrets.token_hex(8)}.sock"

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
            pipe = Pipe(reader, writer, head, lambda: self._connect(callee))
            pipes = self._pipes.setdefault((callee.account_id, callee.script), set())
            pipes.add(pipe)
            try:
                await pipe.run()
            finally:
                pipes.discard(pipe)

        listener = Listener(self._app, tunnel)
        await listener.open(path)
        self._open[callee] = str(path), listener
        return str(path)
