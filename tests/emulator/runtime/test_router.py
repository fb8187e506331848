"""The router in front of real workerd processes."""

from __future__ import annotations

import asyncio
import gzip
import itertools
from collections.abc import MutableMapping
from pathlib import Path

import aiohttp
import httpx
import pytest

from clodo.emulator.runtime.ports import Disturbance
from clodo.emulator.runtime.router import RouterApp
from tests.emulator.runtime.cloud import ACCOUNT, Cloud

HELLO = "export default { fetch: () => new Response('hello') };"


def says(text: str) -> str:
    return f"export default {{ fetch: () => new Response('{text}') }};"


async def test_a_deployed_worker_answers_at_its_hostname(cloud: Cloud) -> None:
    """A deployed Worker answers at its hostname."""
    await cloud.worker("hello", HELLO)

    response = await cloud.request("hello")

    assert response.text == "hello"
    assert response.headers["cf-ray"].endswith("-LOC")


async def test_a_worker_sees_the_request_as_the_client_sent_it(cloud: Cloud) -> None:
    """Method, URL, headers and body arrive as sent; the edge adds its own headers and forged ones are replaced."""
    await cloud.worker(
        "mirror",
        """export default { async fetch(request) {
          return Response.json({ url: request.url, method: request.method, body: await request.text(),
            headers: Object.fromEntries(request.headers), colo: request.cf.colo,
            certificate: request.cf.tlsClientAuth.certPresented });
        } };""",
    )

    response = await cloud.request(
        "mirror",
        "/a%2Fb/%C3%A9//c?x=1&x=%20",
        "PATCH",
        content=b"body",
        headers={"x-mine": "1", "cf-connecting-ip": "6.6.6.6", "x-clodo-cf": '{"colo":"EVIL"}', "x-clodo-secret": "x"},
    )

    seen = response.json()
    assert seen["url"] == "https://mirror.test/a%2Fb/%C3%A9//c?x=1&x=%20"
    assert (seen["method"], seen["body"], seen["colo"]) == ("PATCH", "body", "LOC")
    assert seen["headers"]["cf-connecting-ip"] == "127.0.0.1"
    assert (seen["headers"]["x-mine"], seen["headers"]["x-forwarded-proto"]) == ("1", "https")
    assert seen["certificate"] == "0"
    assert response.headers["cf-ray"].startswith(seen["headers"]["cf-ray"])
    assert not [name for name in seen["headers"] if name.startswith("x-clodo")]


async def test_responses_pass_unchanged(cloud: Cloud) -> None:
    """Status, repeated headers and encoded bodies pass unchanged."""
    await cloud.worker(
        "answers",
        """export default { fetch(request) {
          const headers = new Headers({ "content-encoding": "gzip", "x-a": "1" });
          headers.append("set-cookie", "a=1"); headers.append("set-cookie", "b=2");
          return new Response("zipped".repeat(100), { status: 418, headers });
        } };""",
    )

    async with cloud.client.stream("GET", cloud.url(), headers={"host": "answers.test"}) as response:
        raw = b"".join([chunk async for chunk in response.aiter_raw()])

    assert response.status_code == 418
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert gzip.decompress(raw) == b"zipped" * 100


async def test_what_the_edge_says_of_a_response_is_said_once(cloud: Cloud) -> None:
    """A Worker can set many headers, but neither `server`, `cf-ray` nor `date`."""
    await cloud.worker(
        "wordy",
        """export default { fetch() {
          const headers = { server: "mine", "cf-ray": "mine", date: "Mon, 01 Jan 2001 00:00:00 GMT" };
          for (let i = 0; i < 500; i++) headers[`x-many-${i}`] = `${i}`;
          return new Response("x", { headers });
        } };""",
    )

    headers = (await cloud.request("wordy")).headers

    assert headers["x-many-499"] == "499"
    assert [len(headers.get_list(name)) for name in ("cf-ray", "date")] == [1, 1]
    assert "mine" not in headers["server"] + headers["cf-ray"]


async def test_a_request_that_workers_pass_on_for_ever_ends(cloud: Cloud) -> None:
    """After 16 Workers the answer is 1019: also for one that failed open, without an origin behind it."""
    await cloud.worker(
        "pass-through",
        """export default { fetch(request, env, ctx) {
          if (new URL(request.url).pathname === "/fetch") return fetch(request);
          ctx.passThroughOnException();
          throw new Error(`hops left: ${request.headers.get("cf-ew-via")}`);
        } };""",
    )

    answers = [await cloud.request("pass-through", path, headers={"cf-ew-via": "99"}) for path in ("/", "/fetch")]

    assert [answer.status_code for answer in answers] == [500, 500]
    assert all("1019" in answer.text for answer in answers)


async def test_bodiless_answers_keep_the_connection_in_step(cloud: Cloud) -> None:
    """Answers without a body leave the connection usable for the next request."""
    await cloud.worker(
        "bodiless",
        "export default { fetch: (r) => new Response(null, { status: +new URL(r.url).pathname.slice(1) }) };",
    )

    for method, status in itertools.product(("HEAD", "GET", "OPTIONS", "DELETE"), (200, 204, 304)):
        response = await cloud.request("bodiless", f"/{status}", method)
        assert (method, response.status_code, response.content) == (method, status, b"")


async def test_bodies_stream_both_ways(cloud: Cloud) -> None:
    """A Worker can answer each piece of a request's body before the next one is sent."""
    await cloud.worker(
        "stream",
        "export default { fetch: (request) => new Response(request.body.pipeThrough(new TransformStream())) };",
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", cloud.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: stream.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none!\r\n")

    await reader.readuntil(b"\r\n\r\n")
    first = await reader.readuntil(b"one!\r\n")
    writer.write(b"4\r\ntwo!\r\n0\r\n\r\n")
    rest = await reader.readuntil(b"0\r\n\r\n")
    writer.close()

    assert first.endswith(b"one!\r\n")
    assert b"two!" in rest


async def test_large_bodies_pass_whole(cloud: Cloud) -> None:
    """A body of 20 MB comes back as it was sent."""
    await cloud.worker(
        "large", "export default { fetch: async (request) => new Response(await request.arrayBuffer()) };"
    )
    body = bytes(range(256)) * 80_000

    response = await cloud.request("large", method="PUT", content=body)

    assert response.content == body


async def test_a_worker_learns_that_its_client_left(cloud: Cloud) -> None:
    """When a client leaves in mid-stream the Worker's stream is cancelled, and nothing stays in flight."""
    spec = await cloud.worker(
        "endless",
        """export default { fetch: () => new Response(new ReadableStream({
          async pull(controller) {
            await scheduler.wait(5);
            controller.enqueue(new TextEncoder().encode("tick"));
          } })) };""",
    )

    async with cloud.client.stream("GET", cloud.url(), headers={"host": "endless.test"}) as response:
        async for _ in response.aiter_raw():
            break

    async with asyncio.timeout(5):
        while next(s for s in cloud.runtime.stats() if s.version_id == spec.version_id).in_flight:
            await asyncio.sleep(0.01)


async def test_websockets_pass_text_bytes_and_closes(cloud: Cloud) -> None:
    """A WebSocket carries text, bytes, its subprotocol, and the closing code of either side."""
    await cloud.worker(
        "socket",
        """export default { fetch(request) {
          if (request.headers.get("upgrade") !== "websocket") return new Response("no", { status: 426 });
          const [client, server] = Object.values(new WebSocketPair());
          server.binaryType = "arraybuffer";
          server.accept();
          server.addEventListener("message", ({ data }) =>
            data === "bye" ? server.close(4001, "bye") : server.send(data));
          const headers = { "sec-websocket-protocol": "echo" };
          return new Response(null, { status: 101, webSocket: client, headers });
        } };""",
    )
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(cloud.url(), headers={"host": "socket.test"}, protocols=["echo"]) as ws,
    ):
        await ws.send_str("text")
        await ws.send_bytes(b"\x00\xff")
        received = [(await ws.receive()).data, (await ws.receive()).data]
        await ws.send_str("bye")
        await ws.receive()

    assert received == ["text", b"\x00\xff"]
    assert (ws.protocol, ws.close_code) == ("echo", 4001)


async def test_a_handshake_is_answered_as_the_worker_says(cloud: Cloud) -> None:
    """Headers of the Worker are in an accepted handshake; a refused one has its status, headers and body."""
    await cloud.worker(
        "doorkeeper",
        """export default { fetch(request) {
          const headers = { "set-cookie": "a=1", "x-why": "because" };
          if (new URL(request.url).pathname === "/refuse") return new Response("not you", { status: 403, headers });
          const [client, server] = Object.values(new WebSocketPair());
          server.accept();
          return new Response(null, { status: 101, webSocket: client, headers });
        } };""",
    )
    shake = "GET {} HTTP/1.1\r\nHost: doorkeeper.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{}\r\n\r\n"
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    answers = []
    for path in ("/accept", "/refuse"):
        reader, writer = await asyncio.open_connection("127.0.0.1", cloud.port)
        writer.write(shake.format(path, key).encode())
        answers.append((await reader.readuntil(b"\r\n\r\n")).lower())
        if path == "/refuse":
            answers.append(await reader.readexactly(7))
        writer.close()

    accepted, refused, body = answers
    assert accepted.startswith(b"http/1.1 101 ")
    assert refused.startswith(b"http/1.1 403 ")
    assert all(b"set-cookie: a=1" in head and b"x-why: because" in head for head in (accepted, refused))
    assert body == b"not you"


async def test_a_websocket_ends_on_one_side_as_on_the_other(cloud: Cloud) -> None:
    """A Worker hears of a close without a code and of none at all; its exception is no ordinary close to the client."""
    await cloud.worker(
        "goodbye",
        """export default { fetch(request, env) {
          const [client, server] = Object.values(new WebSocketPair());
          server.accept();
          server.addEventListener("message", () => { throw new Error("in a message"); });
          server.addEventListener("close", ({ code }) => env.EVENTS.writeDataPoint({ doubles: [code] }));
          return new Response(null, { status: 101, webSocket: client });
        } };""",
        {"type": "analytics_engine", "name": "EVENTS", "dataset": "closes"},
    )
    heard = []
    async with aiohttp.ClientSession() as session:
        for leave in ("code", "without", "vanish", "throw"):
            ws = await session.ws_connect(cloud.url(), headers={"host": "goodbye.test"})
            match leave:
                case "code":
                    await ws.close(code=4005)
                case "without":
                    await ws.send_frame(b"", aiohttp.WSMsgType.CLOSE)
                    await ws.receive()
                case "vanish":
                    ws._response.close()
                case "throw":
                    await ws.send_str("throw")
                    await ws.receive()
                    break
            async with asyncio.timeout(10):
                _, point = await cloud.events.written.get()
            heard.append(point["double1"])

    assert heard == [4005, 1005, 1006]
    assert ws.close_code in (1006, 1011)


async def test_an_exception_shows_error_1101_and_a_workers_own_500_does_not(cloud: Cloud) -> None:
    """An uncaught exception gives Cloudflare's page 1101; a 500 that a Worker wrote itself passes."""
    spec = await cloud.worker(
        "thrower",
        """export default { fetch(request) {
          if (request.url.endsWith("/own")) return new Response("Internal Server Error", { status: 500 });
          throw new Error("boom");
        } };""",
    )

    thrown = await cloud.request("thrower", "/throw")
    own = await cloud.request("thrower", "/own")
    heads = [await cloud.request("thrower", path, "HEAD") for path in ("/throw", "/own")]

    assert thrown.status_code == 500
    assert "1101" in thrown.text
    assert "Worker threw exception" in thrown.text
    assert own.text == "Internal Server Error"
    assert [head.headers["content-type"] for head in heads] == ["text/html; charset=UTF-8", "text/plain;charset=UTF-8"]
    stats = next(s for s in cloud.runtime.stats() if s.version_id == spec.version_id)
    assert (stats.requests, stats.errors, stats.responses) == (4, 2, {"5xx": 4})
    assert "boom" in cloud.runtime.log(spec.account_id, "thrower", spec.version_id)


async def test_hosts_without_a_worker_get_cloudflares_pages(cloud: Cloud) -> None:
    """Unknown Workers get 404 "There is nothing here yet", zones without a Worker and foreign hosts 530."""
    nobody = await cloud.request("nobody")
    zone = await cloud.client.get(cloud.url(), headers={"host": "zone.test"})
    foreign = await cloud.client.get(cloud.url(), headers={"host": "example.com"})

    assert (nobody.status_code, "There is nothing here yet" in nobody.text) == (404, True)
    assert (zone.status_code, zone.text) == (530, "error code: 1016")
    assert foreign.status_code == 530


async def test_traffic_is_split_by_percentage(cloud: Cloud) -> None:
    """Of many requests each version gets about its share."""
    old, new = cloud.version("split", says("old")), cloud.version("split", says("new"))
    await cloud.deploy((old, 90), (new, 10))

    async def visit() -> list[str]:
        visitor = cloud.visitor("split")
        return [await visitor.ask() for _ in range(100)]

    answers = [answer for answers in await asyncio.gather(visit(), visit(), visit()) for answer in answers]

    assert 10 <= answers.count("new") <= 55
    assert answers.count("old") + answers.count("new") == 300


async def test_overrides_choose_a_version_of_the_deployment_only(cloud: Cloud) -> None:
    """An override is obeyed for versions of the current deployment, even at 0 %, and silently ignored for others."""
    old, new, stray = (cloud.version("over", says(name)) for name in ("old", "new", "stray"))
    await cloud.deploy((old, 100), (new, 0))

    async def ask(version_id: str) -> str:
        headers = {"Cloudflare-Workers-Version-Overrides": f'other="x", over="{version_id}"'}
        return await cloud.text("over", headers=headers)

    assert await ask(new.version_id) == "new"
    assert await ask(stray.version_id) == "old"
    cloud.runtime.ignore_overrides = True
    try:
        assert await ask(new.version_id) == "old"
    finally:
        cloud.runtime.ignore_overrides = False


async def test_a_version_key_sticks_to_a_version(cloud: Cloud) -> None:
    """Requests with one key always meet the same version; different keys meet both."""
    old, new = cloud.version("sticky", says("old")), cloud.version("sticky", says("new"))
    await cloud.deploy((old, 50), (new, 50))

    async def ask(key: str) -> set[str]:
        headers = {"Cloudflare-Workers-Version-Key": key}
        return set(await asyncio.gather(*(cloud.text("sticky", headers=headers) for _ in range(4))))

    met = [await ask(f"user-{number}") for number in range(12)]

    assert all(len(versions) == 1 for versions in met)
    assert set().union(*met) == {"old", "new"}


async def test_a_preview_reaches_its_version_whatever_is_deployed(cloud: Cloud) -> None:
    """A preview hostname reaches its version without a deployment, started by that request."""
    live, next_one = cloud.version("pre", says("live")), cloud.version("pre", says("next"))
    await cloud.deploy(live)

    assert await cloud.text(f"{next_one.version_id[:8]}-pre") == "next"
    assert await cloud.text("pre") == "live"


async def test_fetch_reaches_other_workers_and_nothing_else(cloud: Cloud) -> None:
    """fetch() to another Worker's hostname comes back into the router; anything else is refused clearly."""
    await cloud.worker("target", "export default { fetch: (r) => new Response('at ' + r.url) };")
    await cloud.worker(
        "fetcher",
        "export default { fetch: (r) => fetch(decodeURIComponent(new URL(r.url).search.slice(1))) };",
    )

    inside = await cloud.request("fetcher", "/?https://target.test/x")
    outside = await cloud.request("fetcher", "/?https://example.com/")
    loopback = await cloud.request("fetcher", f"/?http://127.0.0.1:{cloud.port}/")

    assert inside.text == "at https://target.test/x"
    assert (outside.status_code, "has no Internet" in outside.text) == (530, True)
    assert (loopback.status_code, "has no Internet" in loopback.text) == (530, True)


@pytest.mark.exhaustive
async def test_a_connection_left_idle_for_long_still_works(cloud: Cloud) -> None:
    """A client may come back on the same connection after workerd has closed its end of ours."""
    await cloud.worker("idle", HELLO)
    async with httpx.AsyncClient(headers={"host": "idle.test"}) as client:
        first = await client.post(cloud.url(), content=b"x")
        await asyncio.sleep(
            5.2
        )  # the five seconds after which kj's server closes an idle connection: its clock, not ours
        second = await client.post(cloud.url(), content=b"x")

    assert (first.status_code, second.status_code) == (200, 200)


async def test_workers_may_reach_this_machine_only_if_told(workerd: Path, tmp_path: Path) -> None:
    """With loopback allowed, fetch() reaches a server of this machine; other addresses stay out of reach."""
    async with Cloud(workerd, tmp_path, allow_loopback=True) as cloud:
        await cloud.worker("target", HELLO)
        source = """export default { fetch: (r) => fetch(decodeURIComponent(new URL(r.url).search.slice(1)),
            { headers: { host: "target.test" } }) };"""
        await cloud.worker("local", source)

        inside = await cloud.request("local", f"/?http://127.0.0.1:{cloud.port}/")
        outside = await cloud.request("local", "/?http://10.0.0.1/")

    assert inside.status_code == 530  # our own router's answer for the Host 127.0.0.1: it was reached
    assert "has no Internet" not in inside.text
    assert "has no Internet" in outside.text


async def test_a_dropping_version_cuts_the_connection(cloud: Cloud) -> None:
    """A version told to drop ends the connection without an answer, by the server's own means."""
    await cloud.worker("drop", HELLO)
    cloud.runtime.disturbances.set(ACCOUNT, "drop", None, Disturbance(drop=True))
    cuts: list[str] = []
    sent: list[object] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"drop.test")],
        "extensions": {"clodo.reset": lambda: cuts.append("cut")},
    }

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, object]) -> None:
        sent.append(message)

    await RouterApp(cloud.runtime, cloud.directory)(scope, receive, send)
    cloud.runtime.disturbances.set(ACCOUNT, "drop", None, None)

    assert (cuts, sent) == (["cut"], [])
