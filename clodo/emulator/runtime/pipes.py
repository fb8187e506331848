"""The reading end of a pipe, watched by an event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_CHUNK_BYTES = 64 * 1024


class PipeReader:
    """
    Reads a pipe to its end, and closes it then.

    The loop's own `connect_read_pipe` won't do: uvloop closes the descriptor and then the file around it, and by then
    the number may be that of a file which another thread has just opened.

    Args:
        descriptor: Belongs to this object from now on.

        received: Given what comes.

        ended: Called at the end, but not after `close`.
    """

    def __init__(
        self,
        descriptor: int,
        loop: asyncio.AbstractEventLoop,
        received: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self._descriptor: int | None = descriptor
        self._loop = loop
        self._received = received
        self._ended = ended
        os.set_blocking(descriptor, False)
        loop.add_reader(descriptor, self._read)

    def close(self) -> None:
        """Read no more; safe to repeat."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            self._loop.remove_reader(descriptor)
            os.close(descriptor)

    def _read(self) -> None:
        if self._descriptor is None:
            return
        try:
            data = os.read(self._descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # Nothing more comes.
        if data:
            self._received(data)
        else:
            self.close()
            self._ended()
