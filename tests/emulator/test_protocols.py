"""HTTP as odd clients speak it, at the port of a running cloud."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from clodo.emulator.protocols import MAX_HEADER_BYTES, WholeBodies
from tests.fixtures.embedded_cloud import CloudAccount

MIRROR = """export default { async fetch(request) {
  if (request.url.endsWith("/stream")) {
    return new Response(new Blob(["streamed"]).stream().pipeThrough(new TransformStream()));
  }
  const body = await request.text();
  return Response.json({ url: request.url, body, headers: Object.fromEntries(request.headers) });
} };"""


def ask(account: CloudAccount, path: bytes, *headers: bytes, version: bytes = b"1.1", body: bytes = b"") -> bytes:
    """Send a request as it is, and return all that comes."""
    url = httpx.URL(account.cloud.edge_url)
    head = [b"POST " + path + b" HTTP/" + version, b"Host: " + account.hostname("mirror").encode(), *headers]
    with socket.create_connection((url.host, url.port or 80), timeout=20) as connection:
        connection.sendall(b"\r\n".join([*head, b"Connection: close", b"", body]))
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def seen(answer: bytes) -> Any:
    """Return what the Worker saw."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def test_workers_see_requests_of_odd_clients(account: CloudAccount) -> None:
    """Characters that no URL may have are encoded, UTF-8 in headers stays, cookies are joined, trailers left out."""
    account.put_worker("mirror", MIRROR)

    url = seen(ask(account, b'/<a>`?"=<{b}>'))["url"]
    headers = seen(ask(account, b"/", "X-Name: é".encode(), b"X-Old: \xe9", b"Cookie: a=1", b"Cookie: b=2"))["headers"]
    chunked = seen(
        ask(account, b"/", b"Transfer-Encoding: chunked", body=b"4\r\nbody\r\n0\r\nX-Trailer: 1\r\nCookie: c=3\r\n\r\n")
    )

    assert url.endswith("/%3Ca%3E%60?%22=%3C{b}%3E")
    assert (headers["x-name"], headers["x-old"], headers["cookie"]) == ("é", "é", "a=1; b=2")
    assert (chunked["body"], {"x-trailer", "cookie"} & chunked["headers"].keys()) == ("body", set())


def test_a_client_of_http_1_0_gets_no_chunks(account: CloudAccount) -> None:
    """What is streamed arrives whole, with its length."""
    account.put_worker("mirror", MIRROR)

    head, _, body = ask(account, b"/stream", version=b"1.0").partition(b"\r\n\r\n")

    assert body == b"streamed"
    assert b"content-length: 8" in head.lower()
    assert b"transfer-encoding" not in head.lower()


@pytest.mark.parametrize("line", [b"x: " + b"y" * 994, b"x: "], ids=["long", "many"])
def test_more_headers_than_cloudflare_takes_are_refused_before_they_end(account: CloudAccount, line: bytes) -> None:
    """Above 128 KiB a request is 400 and its connection ends: no list of headers fills memory or time."""
    url = httpx.URL(account.cloud.edge_url)
    lines = (line + b"\r\n") * (MAX_HEADER_BYTES // (len(line) + 2) + 1)

    with socket.create_connection((url.host, url.port or 80), timeout=20) as connection:
        # With the first byte of another header it is plain that the one before has ended.
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lines + b"x")
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_clients_of_http_1_0_get_what_has_a_length_piece_by_piece() -> None:
    """Only what has no length is held until it ends: an object may be larger than the memory."""
    start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]}
    pieces: list[Message] = [
        {"type": "http.response.body", "body": body, "more_body": body != b"ed"} for body in (b"str", b"e", b"ed")
    ]
    passed: list[Message] = []
    held: list[int] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for message in (start, *pieces):
            await send(message)
            held.append(len(passed))

    async def receive() -> Message:
        raise AssertionError("nobody asks for a body")

    async def send(message: Message) -> None:
        passed.append(message)

    await WholeBodies(application)({"type": "http", "http_version": "1.0"}, receive, send)

    assert (held, passed) == ([1, 2, 3, 4], [start, *pieces])
