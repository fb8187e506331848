"""A transport that makes one system call of what is written in one go, such as a response's head and its body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

#: More than this is not held back: whoever writes much is told soon that the other end reads slowly.
MAX_HELD_BYTES = 64 * 1024


class GatheringTransport(asyncio.Transport):
    """
    Holds what is written until the event loop's next turn, and passes everything else on at once.

    Args:
        transport: What is written to in the end.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held: list[bytes | bytearray | memoryview] = []
        self._held_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write *data*, soon."""
        if not data:
            return
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > MAX_HELD_BYTES:
            self.flush()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write several pieces, soon."""
        for data in list_of_data:
            self.write(data)

    def flush(self) -> None:
        """Write what is held, now."""
        if self._held:
            held, self._held, self._held_bytes = self._held, [], 0
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def write_eof(self) -> None:
        """Say that nothing more will be written."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Close once everything is written."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close without waiting for what the other end has yet to read."""
        self.flush()
        self._transport.abort()

    def can_write_eof(self) -> bool:
        """Say whether half of the connection can be closed."""
        return self._transport.can_write_eof()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait."""
        return self._held_bytes + self._transport.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return when writing is paused and resumed."""
        return self._transport.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say when writing is paused and resumed."""
        self._transport.set_write_buffer_limits(high, low)

    def is_closing(self) -> bool:
        """Say whether it is closed, or about to be."""
        return self._transport.is_closing()

    def is_reading(self) -> bool:
        """Say whether data is received."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """Receive nothing for a while."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection."""
        return self._transport.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return who is told what arrives."""
        return self._transport.get_protocol()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Say who is told what arrives."""
        self._transport.set_protocol(protocol)
