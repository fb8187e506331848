"""Tails over a WebSocket, and their filters."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
import websockets
from websockets.frames import Frame, Opcode

from clodo.emulator.tails.filters import Filters
from tests.fixtures.embedded_cloud import CloudAccount

LOGGING = """
export default { fetch(request) {
  const word = new URL(request.url).searchParams.get("word");
  console.log("seen", word);
  if (word === "throw") throw new Error("on purpose");
  return new Response("ok");
} };
"""


async def test_a_tail_tells_what_happened(account: CloudAccount) -> None:
    """Each request is one message: outcome, logs, exceptions, request, version; filters keep others away."""
    await asyncio.to_thread(account.put_worker, "shop", LOGGING)
    version = account.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    tail = account.result("POST", "/workers/scripts/shop/tails", json={"filters": [{"method": ["GET"]}]})
    async with websockets.connect(tail["url"], subprotocols=[websockets.Subprotocol("trace-v1")], proxy=None) as socket:
        await asyncio.to_thread(account.visit, account.hostname("shop"), "/?word=one")
        ok = json.loads(await socket.recv())
        await asyncio.to_thread(account.visit, account.hostname("shop"), "/?word=two", method="POST")
        await asyncio.to_thread(account.visit, account.hostname("shop"), "/?word=throw")
        thrown = json.loads(await socket.recv())
        account.result("DELETE", f"/workers/scripts/shop/tails/{tail['id']}")
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 10)

    assert socket.subprotocol == "trace-v1"
    assert (ok["outcome"], ok["scriptName"], ok["scriptVersion"]["id"]) == ("ok", "shop", version)
    assert ok["logs"][0]["message"] == ["seen", "one"]
    assert ok["event"]["response"]["status"] == 200
    assert (thrown["outcome"], thrown["exceptions"][0]["message"]) == ("exception", "on purpose")
    assert account.result("GET", "/workers/scripts/shop/tails") == []


async def test_an_unmasked_frame_is_taken(account: CloudAccount) -> None:
    """wrangler's first frame has no mask, against the rules; the tail goes on all the same."""
    await asyncio.to_thread(account.put_worker, "shop", LOGGING)
    tail = account.result("POST", "/workers/scripts/shop/tails", content='{"filters": []}')
    host, _, path = tail["url"].removeprefix("ws://").partition("/")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    writer.write(
        f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: trace-v1\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(Frame(Opcode.TEXT, b'{"debug":false}').serialize(mask=False))
    writer.write(Frame(Opcode.PING, b"still there?").serialize(mask=False))
    pong = await asyncio.wait_for(reader.readexactly(14), 10)
    await asyncio.to_thread(account.visit, account.hostname("shop"), "/?word=one")
    event = await asyncio.wait_for(read_text(reader), 10)
    writer.close()

    assert head.startswith(b"HTTP/1.1 101")
    assert b"sec-websocket-protocol: trace-v1" in head.lower()
    assert pong == bytes([0x8A, 12]) + b"still there?"
    assert event["logs"][0]["message"] == ["seen", "one"]


async def read_text(reader: asyncio.StreamReader) -> Any:
    """Read one text frame of a server and return its JSON."""
    head = await reader.readexactly(2)
    assert head[0] == 0x81
    length = head[1]
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    return json.loads(await reader.readexactly(length))


async def test_a_tail_of_nobody_is_refused(account: CloudAccount) -> None:
    """Unknown Workers have no tails, unknown tails no socket, and ten tails of one Worker are enough."""
    assert account.refusal("POST", "/workers/scripts/gone/tails") == (404, 10007)
    url = account.cloud.edge_url.replace("http", "ws") + f"/__clodo/tails/{os.urandom(16).hex()}"
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(url, proxy=None)
    await asyncio.to_thread(account.put_worker, "shop")
    for _ in range(10):
        account.result("POST", "/workers/scripts/shop/tails", json={"filters": []})

    assert account.refusal("POST", "/workers/scripts/shop/tails", json={"filters": []})[0] == 429


EVENT: dict[str, Any] = {
    "outcome": "exception",
    "logs": [{"message": ["hello", {"a": 1}]}],
    "exceptions": [{"message": "boom"}],
    "event": {"request": {"method": "GET", "headers": {"X-Run": "seven", "cf-connecting-ip": "127.0.0.1"}}},
}


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ([], True),
        ([{"outcome": ["error"]}], True),
        ([{"outcome": ["ok"]}], False),
        ([{"outcome": ["exception"]}], True),
        ([{"method": ["POST", "GET"]}], True),
        ([{"method": ["POST"]}], False),
        ([{"header": {"key": "x-run", "query": "eve"}}], True),
        ([{"header": {"key": "x-run"}}], True),
        ([{"header": {"key": "x-run", "query": "eight"}}], False),
        ([{"client_ip": ["127.0.0.1"]}], True),
        ([{"query": "hello"}], True),
        ([{"query": "boom"}], True),
        ([{"query": "absent"}], False),
        ([{"sampling_rate": 0.5}], True),
        ([{"sampling_rate": 0.4}], False),
        ([{"method": ["GET"]}, {"outcome": ["ok"]}], False),
    ],
)
def test_filters_let_through_what_fits_all(filters: list[dict[str, Any]], passes: bool) -> None:
    """Outcome, method, header, address, words in the logs, and a share of everything."""
    assert Filters(filters, lambda: 0.45).passes(EVENT) is passes
