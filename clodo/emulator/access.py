"""Every API call, remembered: a ring in memory to ask questions of, and one line of JSON each on disk."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clodo.emulator.clock import now

#: Calls that can be asked about; older ones are in the file only.
RING_SIZE = 50_000

#: Bytes of a refusal that are read to find Cloudflare's error number.
MAX_ERROR_BYTES = 64 * 1024

#: Headers that are kept with a call: who asked, and what ties it to a run. Never a credential.
KEPT_HEADERS = re.compile(r"^(user-agent|cf-trace-id|content-type|x-clodo-.*)$")

#: Where the parts of the pipeline leave what they know of a call, in the ASGI scope.
NOTES = "clodo.notes"


@dataclass(frozen=True, slots=True)
class Call:
    """
    One API call.

    Attributes:
        number: Counts up from 1 since the start of the cloud.

        time: When it arrived, UTC.

        path: Below ``/client/v4``, as it was sent (percent-encoded).

        status: HTTP status; 0 when the connection was cut without an answer.

        code: Cloudflare's error number, None for a success.

        token: Name of the token, None when there was none or a wrong one.

        seconds: From the first byte in to the last byte out.

        fault: Id of the injected fault that bent this call, if one did.
    """

    number: int
    time: str
    method: str
    path: str
    query: str
    status: int
    code: int | None
    token: str | None
    account_id: str | None
    seconds: float
    fault: str | None
    headers: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the call as it stands in the log."""
        return {
            "number": self.number,
            "time": self.time,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "status": self.status,
            "code": self.code,
            "token": self.token,
            "account_id": self.account_id,
            "seconds": round(self.seconds, 6),
            "fault": self.fault,
            "headers": dict(self.headers),
        }


class AccessLog:
    """
    What was called, and how it went.

    Args:
        path: The JSON-lines file; appended to, mode 0600.
    """

    def __init__(self, path: Path) -> None:
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._ring: deque[Call] = deque(maxlen=RING_SIZE)
        self._numbers = 0

    def close(self) -> None:
        """Close the file; safe to repeat."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @property
    def count(self) -> int:
        """Calls since the start."""
        return self._numbers

    def next_number(self) -> int:
        """Return the number of the call that now arrives."""
        self._numbers += 1
        return self._numbers

    def add(self, call: Call) -> None:
        """Remember *call*; on a full disk in memory only, since the call itself was answered."""
        self._ring.append(call)
        if self._file is None:
            return
        line = (json.dumps(call.as_json(), separators=(",", ":")) + "\n").encode("utf-8", "surrogatepass")
        with contextlib.suppress(OSError):
            written = os.write(self._file, line)
            if written < len(line):
                # No torn line: the next one must begin at a line's beginning.
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)

    def calls(
        self,
        *,
        account_id: str | None = None,
        method: str | None = None,
        path: str | None = None,
        token: str | None = None,
        since: int = 0,
    ) -> list[Call]:
        """
        Return the calls that fit everything given, oldest first.

        Args:
            path: Regular expression that must match somewhere in the path.

            since: Only calls with a higher number.
        """
        pattern = re.compile(path) if path else None
        return [
            call
            for call in self._ring
            if call.number > since
            and (account_id is None or call.account_id == account_id)
            and (method is None or call.method == method)
            and (token is None or call.token == token)
            and (pattern is None or pattern.search(call.path))
        ]

    def forget(self) -> None:
        """Empty the ring; the file stays."""
        self._ring.clear()


def summary(calls: list[Call]) -> dict[str, Any]:
    """Return how many calls there were, in all and by method, status and path."""
    return {
        "count": len(calls),
        "by_method": dict(Counter(call.method for call in calls)),
        "by_status": {str(status): count for status, count in Counter(call.status for call in calls).items()},
        "by_path": dict(Counter(f"{call.method} {call.path}" for call in calls)),
    }


class Recorded:
    """
    Write every call to the log, whatever becomes of it.

    Args:
        observer: Told of each call too, with what the parts of the pipeline noted of it.
    """

    def __init__(
        self, app: ASGIApp, log: AccessLog, observer: Callable[[Call, Mapping[str, Any]], None] | None = None
    ) -> None:
        self.app = app
        self.log = log
        self.observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on and note how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        number, arrived, started = self.log.next_number(), now(), time.perf_counter()
        notes: dict[str, Any] = {}
        scope[NOTES] = notes
        status = 0
        refusal = bytearray()

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and status >= 400 and len(refusal) < MAX_ERROR_BYTES:
                refusal.extend(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, noting_send)
        finally:
            call = Call(
                number=number,
                time=arrived,
                method=scope["method"],
                path=raw_path(scope),
                query=scope["query_string"].decode("latin-1"),
                status=status,
                code=_error_number(bytes(refusal)),
                token=notes.get("token"),
                account_id=notes.get("account_id") or _account_in(raw_path(scope)),
                seconds=time.perf_counter() - started,
                fault=notes.get("fault"),
                headers=_kept_headers(scope),
            )
            self.log.add(call)
            if self.observer is not None:
                self.observer(call, notes)


def raw_path(scope: Scope) -> str:
    """Return the path below ``/client/v4`` as it was sent, percent-encoded."""
    path: str = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").partition("?")[0]
    return path.removeprefix("/client/v4")


def _account_in(path: str) -> str | None:
    # The S3 endpoint of R2 names the account as /r2/<account id>[.<jurisdiction>].
    match = re.match(r"/accounts/([^/]+)|/r2/([^/.]+)", path)
    return (match[1] or match[2]) if match else None


def _kept_headers(scope: Scope) -> dict[str, str]:
    headers = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    return {name: value for name, value in headers if KEPT_HEADERS.match(name)}


def _error_number(body: bytes) -> int | None:
    if not body:
        return None
    try:
        code = json.loads(body)["errors"][0]["code"]
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return code if isinstance(code, int) else None
