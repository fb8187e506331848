"""Durable Objects: of other Workers, with WebSockets, and woken by their alarms."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp

from clodo.emulator.runtime.alarms import RETRY_SECONDS, Alarms, Owner
from tests.emulator.runtime.cloud import ACCOUNT, Cloud

OWNER = """
import { DurableObject, RpcTarget } from "cloudflare:workers";
class Hand extends RpcTarget { constructor(by) { super(); this.by = by; } wave() { return `waved ${this.by}`; } }
export class Counter extends DurableObject {
  get kind() { return "VERSION"; }
  async add(by) {
    const total = ((await this.ctx.storage.get("total")) ?? 0) + by;
    await this.ctx.storage.put("total", total);
    return { total, name: this.ctx.id.name ?? null };
  }
  hand(by) { return new Hand(by); }
  async each(callback) { return await callback("called"); }
  fail() { throw new RangeError("on purpose"); }
  async fetch(request) {
    if (request.headers.get("upgrade") === "websocket") {
      const [client, server] = Object.values(new WebSocketPair());
      this.ctx.acceptWebSocket(server);
      return new Response(null, { status: 101, webSocket: client });
    }
    const hidden = request.headers.get("x-clodo-object");
    return Response.json([request.method, request.url, await request.text(), hidden]);
  }
  webSocketMessage(socket, message) { socket.send(`${this.ctx.getWebSockets().length} ${message}`); }
}
export default { async fetch(request, env) {
  return Response.json(await env.COUNTER.getByName("a").add(1));
} };
"""

BORROWER = """
export default { async fetch(request, env) {
  const { pathname, searchParams } = new URL(request.url);
  const stub = env.COUNTER.get(env.COUNTER.idFromName("a"));
  switch (pathname) {
    case "/add": return Response.json(await stub.add(Number(searchParams.get("by"))));
    case "/fetch": return stub.fetch("http://object/path?q=1", { method: "POST", body: "body" });
    case "/pipelined": return new Response(await stub.hand("x").wave());
    case "/callback": return new Response(await stub.each((word) => `${word} back`));
    case "/property": return new Response(await stub.kind);
    case "/fail":
      try { await stub.fail(); } catch (error) { return new Response(`${error.name}: ${error.message}`); }
    case "/ids": {
      const id = env.COUNTER.newUniqueId();
      const again = env.COUNTER.idFromString(id.toString());
      const first = await env.COUNTER.get(id).add(1);
      const second = await env.COUNTER.get(again).add(1);
      let refused;
      try { env.COUNTER.idFromString("0".repeat(64)); } catch (error) { refused = error.message; }
      return Response.json([id.equals(again), first, second, refused]);
    }
    case "/socket": return stub.fetch(request);
  }
} };
"""

COUNTER = {"type": "durable_object_namespace", "name": "COUNTER", "class_name": "Counter"}


async def test_objects_of_another_worker_are_one_with_its_own(cloud: Cloud) -> None:
    """A binding with script_name reaches the very objects of that Worker, by fetch, RPC, pipelines and callbacks."""
    await cloud.worker("owner", OWNER.replace("VERSION", "v1"), COUNTER, objects=["Counter"])
    await cloud.worker("borrower", BORROWER, {**COUNTER, "script_name": "owner"})

    own = await cloud.text("owner")
    paths = ("/add?by=5", "/fetch", "/pipelined", "/callback", "/property", "/fail", "/ids")
    said = {path: await cloud.text("borrower", path) for path in paths}

    assert own == '{"total":1,"name":"a"}'
    assert said["/add?by=5"] == '{"total":6,"name":"a"}'
    assert said["/fetch"] == '["POST","http://object/path?q=1","body",null]'
    assert said["/pipelined"] == "waved x"
    assert said["/callback"] == "called back"
    assert said["/property"] == "v1"
    assert said["/fail"] == "RangeError: on purpose"
    assert said["/ids"].startswith('[true,{"total":1,"name":null},{"total":2,"name":null},"')


async def test_a_borrower_follows_a_redeploy_of_the_owner(cloud: Cloud) -> None:
    """After the owner is redeployed the running borrower reaches the new code, with the data of before."""
    await cloud.worker("owner2", OWNER.replace("VERSION", "v1"), COUNTER, objects=["Counter"])
    await cloud.worker("borrower2", BORROWER, {**COUNTER, "script_name": "owner2"})
    await cloud.text("borrower2", "/add?by=5")
    await cloud.worker("owner2", OWNER.replace("VERSION", "v2"), COUNTER, objects=["Counter"])

    assert await cloud.text("borrower2", "/property") == "v2"
    assert await cloud.text("borrower2", "/add?by=1") == '{"total":6,"name":"a"}'


async def test_websockets_reach_objects_that_hibernate(cloud: Cloud) -> None:
    """A WebSocket accepted for hibernation by an object of another Worker passes messages through both."""
    await cloud.worker("owner3", OWNER, COUNTER, objects=["Counter"])
    await cloud.worker("borrower3", BORROWER, {**COUNTER, "script_name": "owner3"})
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(cloud.url("/socket"), headers={"host": "borrower3.test"}) as socket,
    ):
        await socket.send_str("hello")
        said = await socket.receive_str(timeout=10)

    assert said == "1 hello"


async def test_objects_of_a_worker_that_is_gone_are_refused(cloud: Cloud) -> None:
    """A binding to objects of a Worker without a deployment says so when it is used."""
    await cloud.worker("borrower4", BORROWER, {**COUNTER, "script_name": "nobody"})

    answer = await cloud.request("borrower4", "/add?by=1")

    assert answer.status_code == 500
    assert "1101" in answer.text
    assert "does not serve the binding COUNTER" in cloud.runtime.log(*_only(cloud, "borrower4"))


ALARM = """
import { DurableObject } from "cloudflare:workers";
export class Clock extends DurableObject {
  async set(ms) { await this.ctx.storage.setAlarm(Date.now() + ms); return "set"; }
  async alarm() { await this.env.KV.put("rang", "yes"); }
}
export default { async fetch(request, env) {
  return new Response(await env.CLOCK.getByName("a").set(Number(new URL(request.url).pathname.slice(1))));
} };
"""


async def test_an_alarm_wakes_the_objects_of_a_stopped_cloud(workerd: Path, tmp_path: Path) -> None:
    """An alarm that was stored before a stop rings after the next start, with nobody asking for the Worker."""
    kv = {"type": "kv_namespace", "name": "KV", "namespace_id": "seen"}
    clock = {"type": "durable_object_namespace", "name": "CLOCK", "class_name": "Clock"}
    async with Cloud(workerd, tmp_path) as first:
        spec = await first.worker("alarmed", ALARM, kv, clock, objects=["Clock"])
        await first.text("alarmed", "/300")
    second = Cloud(workerd, tmp_path)
    second.directory.specs, second.directory.traffic = first.directory.specs, first.directory.traffic
    async with second, asyncio.timeout(10):
        while await second.namespaces.get(ACCOUNT, "seen", "rang") is None:
            await asyncio.sleep(0.02)

        assert [stats.requests for stats in second.runtime.stats()] == [0]
        assert spec.version_id == second.runtime.stats()[0].version_id


def test_sleepers_are_woken_when_their_alarm_is_due(tmp_path: Path) -> None:
    """A timer an owner: the first alarm of all its namespaces, and again if it didn't wake."""
    for owner, moments in {"one": [50, 90], "two": [70], "none": []}.items():
        for number, moment in enumerate(moments):
            folder = tmp_path / "account" / owner / f"namespace-{number}"
            folder.mkdir(parents=True)
            with closing(sqlite3.connect(folder / "metadata.sqlite", isolation_level=None)) as database:
                database.execute("CREATE TABLE _cf_ALARM (actor_id TEXT PRIMARY KEY, scheduled_time INTEGER)")
                database.execute("INSERT INTO _cf_ALARM VALUES ('x', ?)", (moment * 10**9,))
    now = 0.0
    running: set[Owner] = set()
    alarms = Alarms(tmp_path, lambda: now)
    owners = [("account", "one"), ("account", "two"), ("account", "none")]

    def due(moment: float) -> list[str]:
        nonlocal now
        now = moment
        return [script for _, script in alarms.due(owners, running.__contains__, within=1)]

    assert due(48.9) == []
    assert due(49) == ["one"]
    assert due(50) == []
    assert due(49 + RETRY_SECONDS) == ["one"]
    running.add(("account", "one"))
    assert due(70) == ["two"]
    running.clear()
    assert due(71) == ["one"], "its alarms were read anew after it had run"


def _only(cloud: Cloud, script: str) -> tuple[str, str, str]:
    (stats,) = (stats for stats in cloud.runtime.stats() if stats.script == script)
    return stats.account_id, stats.script, stats.version_id
