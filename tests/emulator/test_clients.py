"""Real clients at a Worker's hostname, through the port that serves everything: WebSockets, streams, plain HTTP."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from clodo.emulator.server import EmbeddedCloud
from tests.fixtures.embedded_cloud import CloudAccount, account_of

WORKER = """
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/socket") {
      const [client, server] = Object.values(new WebSocketPair());
      server.accept();
      server.addEventListener("message", ({ data }) => {
        if (data === "bye") return server.close(4001, "as asked");
        server.send(data);
      });
      return new Response(null, { status: 101, webSocket: client });
    }
    if (pathname === "/count") {
      let bytes = 0;
      for await (const chunk of request.body) bytes += chunk.length;
      return new Response(String(bytes));
    }
    if (pathname === "/echo") return new Response(request.body, { headers: { "x-method": request.method } });
    if (pathname === "/cookies") {
      const headers = new Headers({ "set-cookie": "a=1" });
      headers.append("set-cookie", "b=2");
      return new Response(null, { status: 204, headers });
    }
    return new Response("hello");
  },
};
"""


@pytest.fixture(scope="module")
def shop(cloud: EmbeddedCloud) -> Iterator[CloudAccount]:
    """An account whose Worker echoes."""
    with account_of(cloud, cloud.new_account(name="clients")) as account:
        account.put_worker("shop", WORKER)
        yield account


def address(account: CloudAccount) -> tuple[str, int]:
    """Where the cloud listens."""
    host, _, port = account.cloud.edge_url.removeprefix("http://").partition(":")
    return host, int(port)


def test_a_websocket_client_talks_to_a_worker(shop: CloudAccount) -> None:
    """Texts, bytes and a megabyte come back as they were sent; the Worker's closing code reaches the client."""
    large = bytes(range(256)) * 4096
    with (
        socket.create_connection(address(shop)) as raw,
        connect(f"ws://{shop.hostname('shop')}/socket", sock=raw) as ws,
    ):
        echoed = []
        for message in ("hello", "ünïcödé", b"\x00\xff", large[: 1024 * 1024 - 1]):
            ws.send(message)
            echoed.append(ws.recv(timeout=20) == message)
        ws.send("bye")
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(timeout=20)

    assert echoed == [True] * 4
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as asked")


def test_a_body_streams_both_ways(shop: CloudAccount) -> None:
    """A chunked upload of unknown length is counted by the Worker, and one is echoed while it is sent."""

    def chunks() -> Iterator[bytes]:
        for _ in range(64):
            yield b"x" * 65_536

    headers = {"Host": shop.hostname("shop")}
    with httpx.Client(base_url=shop.cloud.edge_url, headers=headers, timeout=30, trust_env=False) as client:
        counted = client.post("/count", content=chunks()).text
        echoed = client.put("/echo", content=chunks())

    assert counted == str(64 * 65_536)
    assert (len(echoed.content), echoed.headers["x-method"]) == (64 * 65_536, "PUT")


def test_one_connection_serves_many_requests(shop: CloudAccount) -> None:
    """The standard library's client keeps its connection over HEAD, 204 with two cookies, and GET."""
    connection = http.client.HTTPConnection(*address(shop), timeout=20)
    answers = []
    for method, path in (("HEAD", "/"), ("GET", "/cookies"), ("GET", "/")):
        connection.request(method, path, headers={"Host": shop.hostname("shop")})
        answer = connection.getresponse()
        answers.append((answer.status, answer.read(), answer.headers.get_all("set-cookie")))
    connection.close()

    assert answers == [(200, b"", None), (204, b"", ["a=1", "b=2"]), (200, b"hello", None)]
