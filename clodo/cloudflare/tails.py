"""Tails: a Worker's invocations as they happen; each event names the version that answered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pydantic
from pydantic import Field
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.cloudflare.scripts import worker_missing
from clodo.errors import CloudflareUnavailable, NotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api

TRACE = Subprotocol("trace-v1")
CONNECT_TIMEOUT = timedelta(seconds=10)


class Tail(Model):
    """A tail that waits for a reader at *url*, until *expires_at*."""

    id: str
    url: str = Field(repr=False)
    expires_at: datetime | None = None


class EventVersion(Model):
    """The version that answered."""

    id: str | None = None
    tag: str | None = None
    message: str | None = None


class TailEvent(Model):
    """
    One invocation of a Worker.

    Attributes:
        outcome: ``ok``, ``exception``, ``exceededCpu`` …

        event: What it was: for a request ``{"request": {"url", "method", "headers", …}, "response": {"status"}}``.

        event_timestamp: Milliseconds since 1970.
    """

    outcome: str | None = None
    script_name: str | None = Field(default=None, validation_alias="scriptName")
    script_version: EventVersion | None = Field(default=None, validation_alias="scriptVersion")
    event_timestamp: int | None = Field(default=None, validation_alias="eventTimestamp")
    event: dict[str, Any] | None = None
    exceptions: list[dict[str, Any]] = Field(default_factory=list)
    logs: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def version_id(self) -> str | None:
        """The version that answered, None if the event doesn't say."""
        return self.script_version.id if self.script_version else None

    @property
    def request_headers(self) -> Mapping[str, str]:
        """Headers of the request in lower case, empty if it wasn't one."""
        request = (self.event or {}).get("request")
        headers = request.get("headers") if isinstance(request, dict) else None
        return {str(name).lower(): str(value) for name, value in (headers or {}).items()}


class TailStream:
    """
    Reads the events of one tail from its WebSocket.

    Use as a context manager; events come only while it is connected.
    """

    def __init__(self, url: str, *, connect_timeout: timedelta = CONNECT_TIMEOUT) -> None:
        try:
            # No proxy: the address is Cloudflare's own, made for this one reader.
            self._socket: ClientConnection = connect(
                url, subprotocols=[TRACE], open_timeout=connect_timeout.total_seconds(), proxy=None
            )
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
            raise CloudflareUnavailable(f"The tail can't be read: {type(error).__name__} on connecting") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def receive(self, timeout: timedelta) -> TailEvent | None:
        """
        Return the next event, None if none came within *timeout*.

        Raises:
            CloudflareUnavailable: The connection ended, or what came is no event.
        """
        try:
            message = self._socket.recv(timeout=timeout.total_seconds())
        except TimeoutError:
            return None
        except (ConnectionClosed, WebSocketException) as error:
            raise CloudflareUnavailable("The tail ended before its event came") from error
        try:
            return TailEvent.model_validate(json.loads(message))
        except (ValueError, pydantic.ValidationError) as error:
            raise CloudflareUnavailable("The tail sent something that is not a trace event") from error

    def events(self, timeout: timedelta) -> Iterator[TailEvent]:
        """Yield events until none came for *timeout*."""
        while (event := self.receive(timeout)) is not None:
            yield event

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class Tails:
    """Start, read and end tails."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(self, worker: str, *, filters: Sequence[Mapping[str, object]] = ()) -> Tail:
        """
        Start a tail; it expires by itself if nobody reads it.

        Args:
            filters: As wrangler sends them: ``{"sampling_rate": 0.1}``, ``{"method": ["GET"]}``,
                ``{"header": {"key": …, "query": …}}``.

        Raises:
            WorkerNotFound: The account has no such Worker.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/tail/
        """
        return self._api.post(
            self._api.account_path("/workers/scripts/{}/tails", worker),
            Tail.model_validate,
            json={"filters": [dict(each) for each in filters]},
            missing=worker_missing(worker),
            # It changes nothing of the Worker: a second one only expires unread.
            only_reads=True,
        )

    def delete(self, worker: str, tail_id: str) -> None:
        """
        End a tail.

        Raises:
            NotFound: It ended already.
            WorkerNotFound: The account has no such Worker.
        """
        gone = Missing(NotFound, f"The Worker {worker} has no tail {tail_id}")
        self._api.delete(
            self._api.account_path("/workers/scripts/{}/tails/{}", worker, tail_id),
            missing=(worker_missing(worker).by_code_only(), gone),
            only_reads=True,
        )

    @contextmanager
    def stream(self, worker: str, *, filters: Sequence[Mapping[str, object]] = ()) -> Iterator[TailStream]:
        """
        Start a tail, give its stream, and end the tail afterwards.

        Raises:
            CloudflareUnavailable: The tail can't be connected to.
            WorkerNotFound: The account has no such Worker.
        """
        tail = self.create(worker, filters=filters)
        try:
            with TailStream(tail.url) as stream:
                yield stream
        finally:
            try:
                self.delete(worker, tail.id)
            except NotFound:
                # Expired, or gone with its Worker: that is what was wanted.
                return
