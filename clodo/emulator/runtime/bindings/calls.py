"""What a binding asks, and what it is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from urllib.parse import parse_qsl

JSON = (b"content-type", b"application/json")
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


@dataclass(frozen=True)
class Call:
    """
    A whole HTTP request of a binding.

    Attributes:
        target: Path and query as they were sent.

        headers: Names in lower case.
    """

    method: str
    target: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    @property
    def raw_path(self) -> bytes:
        """The path as it was sent, percent-encoded."""
        return self.target.partition(b"?")[0]

    @cached_property
    def query(self) -> dict[str, str]:
        """The query's parameters, the last of each name."""
        return dict(parse_qsl(self.target.partition(b"?")[2].decode("latin-1"), keep_blank_values=True))

    def header(self, name: bytes) -> bytes | None:
        """Return the value of the header *name* (lower case)."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a back end says."""

    status: int = 200
    body: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()

    def encoded(self) -> bytes:
        """Return it as HTTP/1.1 writes it."""
        lines = [b"HTTP/1.1 %d %b\r\n" % (self.status, _REASONS.get(self.status, b"Unknown"))]
        lines += [b"%b: %b\r\n" % header for header in self.headers]
        return b"%bcontent-length: %d\r\n\r\n%b" % (b"".join(lines), len(self.body), self.body)


Replies = Callable[[Call], Answer | Awaitable[Answer]]
"""Answers a call at once where it can, or later."""
