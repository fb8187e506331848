"""The Cache API's store: responses that Workers put there, in memory, until they expire or room is needed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from starlette.types import Message, Receive, Scope, Send

from clodo.emulator.runtime.configuration import PROTOCOL_HEADER
from clodo.emulator.runtime.forwarding import Headers

#: All accounts' together; the real cache may forget at any time, too.
MAXIMUM_BYTES = 64 * 2**20
#: How long a status is kept when the response doesn't say, as Cloudflare documents for its edge.
_DEFAULT_SECONDS = {200: 7200, 206: 7200, 301: 7200, 302: 1200, 303: 1200, 404: 180, 410: 180}
#: The first that is there decides.
_DIRECTIVES = (b"cloudflare-cdn-cache-control", b"cdn-cache-control", b"cache-control")
_STATUS = b"cf-cache-status"
_NAMESPACE = b"cf-cache-namespace"
#: For numbers with more digits than anybody counts to.
_ENDLESS = 10**15
#: What frames a body, and cookies: a response with one is only kept when it says that this is its private part.
_NOT_KEPT = frozenset((b"content-length", b"transfer-encoding", b"set-cookie"))


@dataclass(frozen=True, slots=True)
class Cached:
    """
    A response that is kept.

    Attributes:
        stored, expires: In Unix seconds.
    """

    status: int
    headers: Headers
    body: bytes
    stored: float
    expires: float


class Cache:
    """
    Serves what workerd asks for `caches`: ``GET`` for `match`, ``PUT`` for `put`, ``PURGE`` for `delete`.

    Args:
        clock: Tells Unix seconds.

        room: Bytes of all responses with their URLs; the one that was longest not asked for goes first.
    """

    def __init__(self, clock: Callable[[], float] = time.time, room: int = MAXIMUM_BYTES) -> None:
        self._clock = clock
        self._room = room
        self._kept: OrderedDict[tuple[str, bytes, str], Cached] = OrderedDict()
        self._size = 0

    def purge(self, account_id: str, fits: Callable[[str, Headers], bool]) -> None:
        """Forget the responses of an account whose URL and headers *fits* takes."""
        for key in [key for key, kept in self._kept.items() if key[0] == account_id and fits(key[2], kept.headers)]:
            self._drop(key)

    async def serve(self, account_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call of an account's Worker."""
        asked = dict(scope["headers"])
        key = (account_id, asked.get(_NAMESPACE, b""), _url(scope, asked))
        body = await _read(receive, self._room)
        status, headers, content = self._answer(scope["method"], key, asked, body)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _answer(
        self, method: str, key: tuple[str, bytes, str], asked: dict[bytes, bytes], body: bytes | None
    ) -> tuple[int, Headers, bytes]:
        match method:
            case "PUT":
                return 204 if self._put(key, body) else 413, [], b""
            case "PURGE":
                return 200 if self._drop(key) else 404, [], b""
            case _:
                return self._match(key, asked)

    def _put(self, key: tuple[str, bytes, str], raw: bytes | None) -> bool:
        now = self._clock()
        self._drop(key)
        if raw is None:
            return False
        status, headers, body = read_response(raw)
        seconds = seconds_to_keep(status, headers, now)
        kept = [(name, value) for name, value in headers if name not in _NOT_KEPT]
        cached = Cached(status, kept, body, now, now + seconds)
        if seconds <= 0 or _bytes_of(key, cached) > self._room:
            return False
        self._kept[key] = cached
        self._size += _bytes_of(key, cached)
        while self._size > self._room:
            self._size -= _bytes_of(*self._kept.popitem(last=False))
        return True

    def _drop(self, key: tuple[str, bytes, str]) -> bool:
        kept = self._kept.pop(key, None)
        if kept is None:
            return False
        self._size -= _bytes_of(key, kept)
        return kept.expires > self._clock()

    def _match(self, key: tuple[str, bytes, str], asked: dict[bytes, bytes]) -> tuple[int, Headers, bytes]:
        kept = self._kept.get(key)
        if kept is None or kept.expires <= self._clock():
            self._drop(key)
            # What `only-if-cached` says of something that isn't (RFC 9111, 5.2.1.7).
            return 504, [(_STATUS, b"MISS")], b""
        self._kept.move_to_end(key)
        age = int(self._clock() - kept.stored)
        headers = [*kept.headers, (_STATUS, b"HIT"), (b"age", str(age).encode())]
        if is_unchanged(kept.headers, asked):
            return 304, headers, b""
        if kept.status == 200 and (part := read_range(asked.get(b"range", b""), len(kept.body))) is not None:
            first, last = part
            where = f"bytes {first}-{last}/{len(kept.body)}".encode()
            return 206, _sized([*headers, (b"content-range", where)], last - first + 1), kept.body[first : last + 1]
        return kept.status, _sized(headers, len(kept.body)), kept.body


def read_response(raw: bytes) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of a response that workerd wrote out: its body is never in chunks."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields = (line.partition(b":") for line in lines)
    return int(first.split()[1]), [(name.lower(), value.strip()) for name, _, value in fields], body


def seconds_to_keep(status: int, headers: Headers, now: float) -> float:
    """Return for how long a response may be kept; 0 or less if it may not."""
    told = dict(headers)
    directives = _directives(next((told[name] for name in _DIRECTIVES if name in told), b""))
    hides_cookies = "set-cookie" in directives.get("private", "").lower()
    if b"set-cookie" in told and not hides_cookies:
        return 0
    if directives.keys() & {"no-store", "no-cache"} or ("private" in directives and not directives["private"]):
        return 0
    for name in ("s-maxage", "max-age"):
        if name in directives:
            text = directives[name]
            return _whole(text) if text.isascii() and text.isdigit() else 0
    if expires := told.get(b"expires"):
        try:
            return parsedate_to_datetime(expires.decode("latin-1")).timestamp() - now
        except (ValueError, OverflowError):
            return 0
    return _DEFAULT_SECONDS.get(status, 0)


def is_unchanged(kept: Headers, asked: dict[bytes, bytes]) -> bool:
    """Say whether the asker has the response already (RFC 9110, 13.2.2)."""
    told = dict(kept)
    if (tags := asked.get(b"if-none-match")) is not None:
        own = told.get(b"etag", b"").removeprefix(b"W/")
        return tags.strip() == b"*" or (
            bool(own) and own in [tag.strip().removeprefix(b"W/") for tag in tags.split(b",")]
        )
    since, modified = asked.get(b"if-modified-since"), told.get(b"last-modified")
    if since is None or modified is None:
        return False
    try:
        return parsedate_to_datetime(modified.decode("latin-1")) <= parsedate_to_datetime(since.decode("latin-1"))
    except (ValueError, TypeError, OverflowError):
        return False


def read_range(value: bytes, size: int) -> tuple[int, int] | None:
    """Return the first and last byte that a ``Range`` header asks for; None for the whole."""
    unit, _, span = value.partition(b"=")
    first, dash, last = span.strip().partition(b"-")
    if unit != b"bytes" or not dash or not (first + last).isdigit() or size == 0:
        return None
    start = _whole(first) if first else max(0, size - _whole(last))
    end = min(_whole(last), size - 1) if first and last else size - 1
    return (start, end) if start <= end else None


def _directives(value: bytes) -> dict[str, str]:
    pairs = (part.partition("=") for part in value.decode("latin-1").split(","))
    return {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}


def _whole(digits: str | bytes) -> int:
    return int(digits) if len(digits) < len(str(_ENDLESS)) else _ENDLESS


def _bytes_of(key: tuple[str, bytes, str], kept: Cached) -> int:
    return len(key[2]) + sum(len(name) + len(value) for name, value in kept.headers) + len(kept.body)


def _sized(headers: Iterable[tuple[bytes, bytes]], size: int) -> Headers:
    return [*headers, (b"content-length", str(size).encode())]


def _url(scope: Scope, asked: dict[bytes, bytes]) -> str:
    scheme = asked.get(PROTOCOL_HEADER.encode(), b"https")
    path = scope.get("raw_path") or scope["path"].encode()
    return b"".join((scheme, b"://", asked.get(b"host", b""), path, b"?", scope["query_string"])).decode("latin-1")


async def _read(receive: Receive, most: int) -> bytes | None:
    """Return the body, or None if it is longer than *most*; what is too much is not held."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= most:
            chunks.append(chunk)
        else:
            chunks.clear()
        if not message.get("more_body", False):
            return b"".join(chunks) if size <= most else None
