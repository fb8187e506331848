"""Service bindings between real workerd processes: fetch, RPC and entrypoints, while the callee is redeployed."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp

from tests.emulator.runtime.cloud import ACCOUNT, Cloud

SERVICE = {"type": "service", "name": "CALLEE"}


def callee(version: str) -> str:
    return f"""
        import {{ RpcTarget, WorkerEntrypoint }} from "cloudflare:workers";
        class Counter extends RpcTarget {{ n = 0; add(by) {{ return this.n += by; }} }}
        export class Admin extends WorkerEntrypoint {{
          whoami() {{ return "admin {version}"; }}
          fetch() {{ return new Response("admin fetch {version}"); }}
          counter() {{ return new Counter(); }}
          slow(ms) {{ return scheduler.wait(ms).then(() => "slow {version}"); }}
          async each(callback) {{ return await callback("{version}"); }}
          stream() {{ return new Blob(["streamed {version}"]).stream(); }}
        }}
        export default class extends WorkerEntrypoint {{
          async fetch(request) {{
            return new Response(`{version} ${{request.method}} ${{request.url}} ${{await request.text()}}`);
          }}
          version() {{ return "{version}"; }}
          fail() {{ throw new RangeError("on purpose"); }}
        }};"""


CALLER = """
    export default { async fetch(request, env) {
      const { pathname } = new URL(request.url);
      switch (pathname) {
        case "/fetch": return env.CALLEE.fetch("http://inner.example/path?q=1", { method: "POST", body: "body" });
        case "/rpc": return new Response(await env.CALLEE.version());
        case "/admin": return new Response(await env.ADMIN.whoami());
        case "/admin-fetch": return env.ADMIN.fetch("http://x/");
        case "/counter": {
          using counter = await env.ADMIN.counter();
          await counter.add(2);
          return new Response(String(await counter.add(3)));
        }
        case "/callback": return new Response(await env.ADMIN.each(async (name) => `called back by ${name}`));
        case "/stream": return new Response(await env.ADMIN.stream());
        case "/slow": return new Response(await env.ADMIN.slow(300));
        case "/fail":
          try { await env.CALLEE.fail(); } catch (error) { return new Response(`${error.name}: ${error.message}`); }
      }
    } };"""


async def _pair(cloud: Cloud, name: str) -> None:
    await cloud.worker(f"{name}-callee", callee("v1"))
    await cloud.worker(
        name,
        CALLER,
        {**SERVICE, "service": f"{name}-callee"},
        {**SERVICE, "name": "ADMIN", "service": f"{name}-callee", "entrypoint": "Admin"},
    )


async def test_fetch_rpc_and_entrypoints_reach_the_callee(cloud: Cloud) -> None:
    """fetch, RPC methods, named entrypoints, stubs, callbacks, streams and exceptions all cross between Workers."""
    await _pair(cloud, "calls")

    answers = {
        path: await cloud.text("calls", path)
        for path in ("/fetch", "/rpc", "/admin", "/admin-fetch", "/counter", "/callback", "/stream", "/fail")
    }

    assert answers == {
        "/fetch": "v1 POST http://inner.example/path?q=1 body",
        "/rpc": "v1",
        "/admin": "admin v1",
        "/admin-fetch": "admin fetch v1",
        "/counter": "5",
        "/callback": "called back by v1",
        "/stream": "streamed v1",
        "/fail": "RangeError: on purpose",
    }


async def test_callers_follow_a_redeploy_without_a_restart(cloud: Cloud) -> None:
    """After a redeploy of the callee the running caller reaches the new version, by fetch and by RPC."""
    await _pair(cloud, "follow")
    assert await cloud.text("follow", "/rpc") == "v1"
    before = [s.pid for s in cloud.runtime.stats() if s.script == "follow"]

    await cloud.worker("follow-callee", callee("v2"))

    assert await cloud.text("follow", "/rpc") == "v2"
    assert await cloud.text("follow", "/admin") == "admin v2"
    assert (await cloud.text("follow", "/fetch")).startswith("v2 ")
    assert [s.pid for s in cloud.runtime.stats() if s.script == "follow"] == before


async def test_no_call_is_lost_while_the_callee_is_redeployed(cloud: Cloud) -> None:
    """Under a steady load of calls, five redeploys of the callee lose none, and the last version is reached."""
    await _pair(cloud, "busy")
    stop = asyncio.Event()
    outcomes: Counter[str] = Counter()

    async def call(path: str) -> None:
        visitor = cloud.visitor("busy")
        while not stop.is_set():
            outcomes[await visitor.ask(path)] += 1
        visitor.leave()

    callers = [asyncio.create_task(call(path)) for path in ("/rpc", "/rpc", "/admin", "/counter", "/slow")]
    for number in range(2, 7):
        spec = await cloud.worker("busy-callee", callee(f"v{number}"))
        old = [s for s in cloud.runtime.stats() if s.script == "busy-callee" and s.version_id != spec.version_id]
        await asyncio.gather(*(cloud.runtime.retire(ACCOUNT, "busy-callee", s.version_id) for s in old))
        assert await cloud.text("busy", "/rpc") == f"v{number}"
    stop.set()
    await asyncio.gather(*callers)

    assert [outcome for outcome in outcomes if outcome.startswith("FAILED")] == [], outcomes
    assert outcomes["v6"] > 0


async def test_a_call_of_a_worker_that_is_not_deployed_says_so(cloud: Cloud) -> None:
    """A binding to a Worker without a deployment answers 503 and names it."""
    await cloud.worker(
        "lonely",
        "export default { fetch: (request, env) => env.CALLEE.fetch(request) };",
        {**SERVICE, "service": "missing"},
    )

    response = await cloud.request("lonely")

    assert response.status_code == 503
    assert "missing" in response.text


async def test_a_callee_with_a_split_serves_fetches_by_percentage(cloud: Cloud) -> None:
    """fetch through a binding is split like requests from outside, and follows an override that is passed on."""
    old, new = cloud.version("parts", callee("old")), cloud.version("parts", callee("new"))
    await cloud.deploy((old, 50), (new, 50))
    await cloud.worker(
        "asker",
        "export default { fetch: (request, env) => env.CALLEE.fetch(request) };",
        {**SERVICE, "service": "parts"},
    )

    answers = [(await cloud.text("asker")).split()[0] for _ in range(20)]
    headers = {"Cloudflare-Workers-Version-Overrides": f'parts="{new.version_id}"'}
    chosen = [(await cloud.text("asker", headers=headers)).split()[0] for _ in range(5)]

    assert set(answers) == {"old", "new"}
    assert chosen == ["new"] * 5


async def test_websockets_cross_a_binding_and_fetch(cloud: Cloud) -> None:
    """A Worker can pass a WebSocket on to another one, by its binding and by its hostname."""
    echo = """export default { fetch() {
        const [client, server] = Object.values(new WebSocketPair());
        server.accept();
        server.addEventListener("message", ({ data }) => server.send(`echo ${data}`));
        return new Response(null, { status: 101, webSocket: client });
    } };"""
    await cloud.worker("echo", echo)
    await cloud.worker(
        "gate",
        """export default { fetch: (request, env) => new URL(request.url).pathname === "/binding"
            ? env.CALLEE.fetch(request) : fetch("https://echo.test/", request) };""",
        {**SERVICE, "service": "echo"},
    )
    received = []
    async with aiohttp.ClientSession() as session:
        for path in ("/binding", "/hostname"):
            async with session.ws_connect(cloud.url(path), headers={"host": "gate.test"}) as socket:
                await socket.send_str(path)
                received.append((await socket.receive(timeout=10)).data)

    assert received == ["echo /binding", "echo /hostname"]


async def test_a_stub_that_is_held_keeps_its_version_alive(cloud: Cloud) -> None:
    """A session that began before a redeploy ends on the version it began on; new ones wait for it a little at most."""
    await _pair(cloud, "held")
    held = asyncio.create_task(cloud.text("held", "/slow"))
    async with asyncio.timeout(10):
        while not any(s.script == "held-callee" and s.in_flight for s in cloud.runtime.stats()):
            await asyncio.sleep(0.005)

    await cloud.worker("held-callee", callee("v2"))
    after = await cloud.text("held", "/admin")

    assert (await held, after) == ("slow v1", "admin v2")


async def test_props_of_a_binding_reach_the_callee(cloud: Cloud) -> None:
    """Each binding's own are in `ctx.props`, by fetch and RPC, also when the callee runs already or is itself."""
    source = """
        import { WorkerEntrypoint } from "cloudflare:workers";
        export class Admin extends WorkerEntrypoint { props() { return this.ctx.props; } }
        export default { async fetch(request, env, ctx) {
          if (new URL(request.url).pathname !== "/ask") return Response.json(ctx.props);
          const fetched = await env.DEFAULT.fetch("http://callee/");
          return Response.json([await fetched.json(), await env.ADMIN.props(), await env.PLAIN.props()]);
        } };"""

    def bindings(to: str, who: str) -> list[dict[str, object]]:
        return [
            {**SERVICE, "name": "DEFAULT", "service": to, "props": {"who": who, "é": [1]}},
            {**SERVICE, "name": "ADMIN", "service": to, "entrypoint": "Admin", "props": {"who": f"admin {who}"}},
            {**SERVICE, "name": "PLAIN", "service": to, "entrypoint": "Admin"},
        ]

    await cloud.worker("props-callee", source)
    plain = await cloud.text("props-callee")
    for who in ("first", "second"):
        await cloud.worker(f"props-{who}", source, *bindings("props-callee", who))
    await cloud.worker("props-itself", source, *bindings("props-itself", "itself"))

    asked = [(await cloud.request(f"props-{who}", "/ask")).json() for who in ("first", "second", "itself")]

    assert plain == "{}"
    assert asked == [[{"who": who, "é": [1]}, {"who": f"admin {who}"}, {}] for who in ("first", "second", "itself")]
