"""Reading a Worker's events as they happen, over a real WebSocket on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from clodo.cloudflare.tails import TailStream
from clodo.errors import CloudflareUnavailable, NotFound, WorkerNotFound
from tests.cloudflare.wire import ACCOUNT, bad, good, wired

LONG = timedelta(seconds=20)
EVENT = {
    "outcome": "ok",
    "scriptName": "api",
    "scriptVersion": {"id": "0a1b2c3d-0000-4000-8000-000000000001", "tag": "r1"},
    "eventTimestamp": 1_790_000_000_000,
    "exceptions": [],
    "logs": [{"message": ["hello"], "level": "log", "timestamp": 1}],
    "event": {"request": {"url": "https://api.test/", "method": "GET", "headers": {"X-Probe": "42"}}},
    "diagnosticsChannelEvents": [],
}


@contextmanager
def server(talk: Callable[[ServerConnection], None], protocol: str = "trace-v1") -> Iterator[str]:
    """Run *talk* for each reader that connects, until the reader goes; give the address."""

    def until_closed(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            talk(socket)

    with serve(until_closed, "127.0.0.1", 0, subprotocols=[Subprotocol(protocol)]) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        host, port = listening.socket.getsockname()[:2]
        try:
            yield f"ws://{host}:{port}/tail"
        finally:
            listening.shutdown()
            thread.join()


def test_an_event_names_the_version_that_answered():
    """Text and binary frames are events; each says which version answered and to which request."""

    def talk(socket: ServerConnection) -> None:
        assert socket.subprotocol == "trace-v1"
        assert "Authorization" not in socket.request.headers
        socket.send(json.dumps(EVENT))
        socket.send(json.dumps(EVENT | {"scriptVersion": None}).encode())
        socket.recv()

    with server(talk) as url, TailStream(url) as stream:
        first, second = stream.receive(LONG), stream.receive(LONG)

    assert first is not None
    assert second is not None
    assert (first.version_id, first.outcome, first.script_name) == (EVENT["scriptVersion"]["id"], "ok", "api")
    assert first.request_headers == {"x-probe": "42"}
    assert second.version_id is None


def test_silence_is_none():
    """No event in time is an answer too."""
    with server(lambda socket: socket.recv()) as url, TailStream(url) as stream:
        assert stream.receive(timedelta(milliseconds=1)) is None
        assert list(stream.events(timedelta(milliseconds=1))) == []


def test_events_come_until_there_is_silence():
    """The iterator ends when nothing more came for a while."""

    def talk(socket: ServerConnection) -> None:
        for number in range(3):
            socket.send(json.dumps(EVENT | {"eventTimestamp": number}))
        socket.recv()

    with server(talk) as url, TailStream(url) as stream:
        stamps = [event.event_timestamp for _, event in zip(range(3), stream.events(LONG), strict=False)]

    assert stamps == [0, 1, 2]


@pytest.mark.parametrize("frame", ["no json", "[1, 2]", '{"logs": 3}'])
def test_something_that_is_no_event_is_an_error(frame):
    """An unreadable frame proves nothing, and is not passed over."""

    def talk(socket: ServerConnection) -> None:
        socket.send(frame)
        socket.recv()

    with (
        server(talk) as url,
        TailStream(url) as stream,
        pytest.raises(CloudflareUnavailable, match="not a trace event"),
    ):
        stream.receive(LONG)


def test_a_tail_that_ends_is_an_error():
    """A closed connection is not silence."""
    with (
        server(lambda socket: socket.close()) as url,
        TailStream(url) as stream,
        pytest.raises(CloudflareUnavailable, match="ended"),
    ):
        stream.receive(LONG)


def test_a_tail_that_nobody_serves_is_an_error():
    """A refused connection is CloudflareUnavailable, without the address, which is a key to the events."""
    with server(lambda socket: None) as url:
        pass

    with pytest.raises(CloudflareUnavailable, match="can't be read") as caught:
        TailStream(url)

    assert url not in caught.value.message


def test_a_stream_makes_its_tail_and_ends_it():
    """Create, read, delete: also when the reader fails in between."""

    def talk(socket: ServerConnection) -> None:
        socket.send(json.dumps(EVENT))
        socket.recv()

    with server(talk) as url:
        tail = {"id": "tail1", "url": url, "expires_at": "2026-11-20T18:00:00Z"}
        wire = wired([good(tail), good(None), good(tail), good(None), good(tail), bad(404, 10007, "worker gone")])

        with wire.cloudflare.tails.stream("api", filters=[{"method": ["GET"]}]) as stream:
            event = stream.receive(LONG)
        with pytest.raises(KeyError), wire.cloudflare.tails.stream("api"):
            raise KeyError
        with wire.cloudflare.tails.stream("api"):
            pass

    root = f"/accounts/{ACCOUNT}/workers/scripts/api/tails"
    assert event is not None
    assert wire.asked == [f"POST {root}", f"DELETE {root}/tail1"] * 3
    assert wire.body(0) == {"filters": [{"method": ["GET"]}]}
    assert url not in repr(wire.cloudflare.tails.create) + repr(event)


def test_a_tail_needs_no_lock():
    """Reading events changes nothing, so the guard isn't asked."""
    wire = wired([good({"id": "t", "url": "ws://127.0.0.1:1/x"}), bad(404, 10007, "none"), bad(404, 1, "expired")])

    def refuse() -> None:
        raise AssertionError("a tail is no write")

    tails = wire.cloudflare.with_guard(refuse).tails
    assert "ws://" not in repr(tails.create("api"))
    with pytest.raises(WorkerNotFound):
        tails.delete("api", "t")
    with pytest.raises(NotFound, match="no tail t"):
        tails.delete("api", "t")
