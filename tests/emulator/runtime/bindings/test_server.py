"""The small HTTP server that bindings' calls arrive at."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.emulator.runtime.bindings.calls import Answer, Call, Replies
from clodo.emulator.runtime.bindings.desk import Desk
from clodo.emulator.runtime.bindings.server import BindingServer

ASKED = (
    b"POST /one?a=1 HTTP/1.1\r\nHost: d1\r\nContent-Length: 5\r\n\r\nfirst"
    b"PUT /two HTTP/1.1\r\nHost: d1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsec\r\n3\r\nond\r\n0\r\n\r\n"
    b"GET /three HTTP/1.1\r\nHost: d1\r\n\r\n"
)
ANSWERED = b"".join(
    b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    for body in (b"POST /one?a=1 first", b"PUT /two second", b"GET /three ")
)


def said(call: Call) -> Answer:
    return Answer(200, b"%b %b %b" % (call.method.encode(), call.target, call.body))


@asynccontextmanager
async def served(replies: Replies, folder: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    server = BindingServer(replies)
    await server.open(folder / "desk.sock")
    reader, writer = await asyncio.open_unix_connection(folder / "desk.sock")
    try:
        yield reader, writer
    finally:
        writer.close()
        await server.close()


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, len(ASKED) - 1), unique=True, max_size=12), is_late=st.booleans())
def test_calls_are_answered_in_order_however_their_bytes_come(
    cuts: list[int], is_late: bool, tmp_path_factory: object
) -> None:
    """Calls are answered in order, at once or later, wherever their bytes are cut."""

    async def later(call: Call) -> Answer:
        await asyncio.sleep(0)
        return said(call)

    async def ask(folder: Path) -> bytes:
        async with served(later if is_late else said, folder) as (reader, writer):
            for start, end in pairwise([0, *sorted(cuts), len(ASKED)]):
                writer.write(ASKED[start:end])
                await asyncio.sleep(0)
            return await reader.readexactly(len(ANSWERED))

    assert asyncio.run(ask(tmp_path_factory.mktemp("desk"))) == ANSWERED  # type: ignore[attr-defined]


async def test_what_is_not_http_is_refused_and_the_connection_closed(tmp_path: Path) -> None:
    """Whatever isn't HTTP gets 400, and the connection ends."""
    async with served(said, tmp_path) as (reader, writer):
        writer.write(b"\x00\x01 nonsense\r\n\r\n")

        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_a_call_that_fails_is_a_500_and_the_next_one_is_answered(tmp_path: Path) -> None:
    """A failure costs its own call only, whether it comes at once or later."""

    async def fail() -> Answer:
        raise RuntimeError("later")

    def reply(call: Call) -> Answer | Awaitable[Answer]:
        if call.target == b"/now":
            raise RuntimeError("now")
        return fail() if call.target == b"/later" else said(call)

    statuses = []
    async with served(reply, tmp_path) as (reader, writer):
        for target in (b"/now", b"/later", b"/fine"):
            writer.write(b"GET %b HTTP/1.1\r\nHost: d1\r\n\r\n" % target)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.rpartition(b"content-length: ")[2]))
            statuses.append(head[9:12])

    assert statuses == [b"500", b"500", b"200"]


async def test_closing_breaks_off_what_is_being_answered(tmp_path: Path) -> None:
    """Nothing goes on after the end of the server."""
    begun = asyncio.Event()
    ended: list[str] = []

    async def hang(call: Call) -> Answer:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(call.method)
        return Answer()

    async with served(hang, tmp_path) as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: d1\r\n\r\n")
        await begun.wait()

    assert ended == ["GET"]


async def test_nonsense_waits_until_the_calls_before_it_are_answered(tmp_path: Path) -> None:
    """The refusal of what isn't HTTP comes after the answers of the calls before, not instead of them."""
    begun, gate = asyncio.Event(), asyncio.Event()

    async def late(call: Call) -> Answer:
        begun.set()
        await gate.wait()
        return said(call)

    async with served(late, tmp_path) as (reader, writer):
        writer.write(b"GET /late HTTP/1.1\r\nHost: d1\r\n\r\n\x00 nonsense\r\n\r\n")
        await begun.wait()
        gate.set()

        answers = await reader.read()

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"400"]


async def test_a_call_that_asks_for_another_protocol_is_answered_once(tmp_path: Path) -> None:
    """Who asks for an upgrade gets the answer to the call, and the connection ends."""
    async with served(said, tmp_path) as (reader, writer):
        writer.write(b"GET /one HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")

        answers = await reader.read()

    assert answers == b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nGET /one "


async def test_closing_breaks_off_what_nobody_waits_for_any_more(tmp_path: Path) -> None:
    """Calls whose asker left go on until the server closes, and no longer."""
    begun, lost = asyncio.Event(), asyncio.Event()
    ended: list[bytes] = []

    async def hang(call: Call) -> Answer:
        begun.set()
        try:
            await lost.wait()
            await asyncio.Event().wait()
        finally:
            ended.append(call.target)
        return Answer()

    async with served(hang, tmp_path) as (_, writer):
        writer.write(b"GET /left HTTP/1.1\r\nHost: d1\r\n\r\n")
        await begun.wait()
        writer.transport.abort()
        await writer.wait_closed()
        # The server's side hears of it with one of the loop's next turns.
        for _turn in range(10):
            await asyncio.sleep(0)
        lost.set()

    assert ended == [b"/left"]


async def test_only_processes_of_the_runtime_are_answered(tmp_path: Path) -> None:
    """Without the runtime's secret nothing is served, and no version is counted."""
    counted: list[str] = []
    desk = Desk(None, None, None, None, b"secret", counted.append, lambda *told: None)

    async with served(desk, tmp_path) as (reader, writer):
        for secret in (b"", b"X-Clodo-Secret: guessed\r\n"):
            writer.write(b'GET / HTTP/1.1\r\n%bX-Clodo-Caller: {"kind":"d1"}\r\n\r\n' % secret)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.rpartition(b"content-length: ")[2]))
            assert head.startswith(b"HTTP/1.1 403 ")

    assert counted == []
