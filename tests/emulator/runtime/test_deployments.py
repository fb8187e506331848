"""Redeploys under load, faults, assets, Durable Objects, tails and events without a request."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from clodo.emulator.runtime.ports import Disturbance, ScriptInvalid, WorkerdUnavailable
from tests.emulator.runtime.cloud import ACCOUNT, Cloud


def says(text: str) -> str:
    return f"export default {{ async fetch(request) {{ await request.text(); return new Response('{text}'); }} }};"


async def test_no_request_is_lost_over_redeploys_under_load(cloud: Cloud) -> None:
    """Four clients that never pause lose not one request over six redeploys, and end on the last version."""
    await cloud.worker("steady", says("v0"))
    stop = asyncio.Event()
    outcomes: Counter[str] = Counter()

    async def client(number: int) -> None:
        visitor = cloud.visitor("steady")
        while not stop.is_set():
            outcomes[await visitor.ask(body=b"x" * (number % 2))] += 1
        visitor.leave()

    clients = [asyncio.create_task(client(number)) for number in range(4)]
    for number in range(1, 7):
        before = outcomes.total()
        old = cloud.directory.traffic[ACCOUNT, "steady"][0][0]
        await cloud.worker("steady", says(f"v{number}"))
        await cloud.runtime.retire(ACCOUNT, "steady", old)
        async with asyncio.timeout(20):
            while outcomes.total() < before + 50:
                await asyncio.sleep(0.01)
    stop.set()
    await asyncio.gather(*clients)

    assert not [outcome for outcome in outcomes if outcome.startswith("FAILED")], outcomes
    assert set(outcomes) == {f"v{number}" for number in range(7)}


async def test_a_disturbed_version_misbehaves_and_the_others_do_not(cloud: Cloud) -> None:
    """Injected latency, errors, hangs and drops hit one version only, are counted, and end when told."""
    good, bad = cloud.version("canary", says("good")), cloud.version("canary", says("bad"))
    await cloud.deploy((good, 50), (bad, 50))

    async def ask(version_id: str) -> httpx.Response:
        headers = {"Cloudflare-Workers-Version-Overrides": f'canary="{version_id}"'}
        return await cloud.request("canary", headers=headers)

    cloud.runtime.disturbances.set(
        ACCOUNT, "canary", bad.version_id, Disturbance(latency_ms=50, error_rate=0.5, error_status=503)
    )
    began = asyncio.get_running_loop().time()
    answers = [(await ask(bad.version_id)).status_code for _ in range(20)]
    elapsed = asyncio.get_running_loop().time() - began
    untouched = [(await ask(good.version_id)).status_code for _ in range(5)]
    cloud.runtime.disturbances.set(ACCOUNT, "canary", bad.version_id, None)
    cured = [(await ask(bad.version_id)).status_code for _ in range(5)]

    assert set(answers) == {200, 503}
    assert elapsed > 1.0
    assert untouched == cured == [200] * 5
    stats = {s.version_id: s for s in cloud.runtime.stats()}
    assert stats[bad.version_id].errors == answers.count(503)
    assert stats[good.version_id].errors == 0


async def test_a_hanging_version_answers_nobody(cloud: Cloud) -> None:
    """A version told to hang takes requests and never answers."""
    await cloud.worker("hang", says("ok"))
    cloud.runtime.disturbances.set(ACCOUNT, "hang", None, Disturbance(hang=True))

    with pytest.raises(httpx.ReadTimeout):
        await cloud.request("hang", timeout=0.3)

    assert cloud.runtime.disturbances.active() == {(ACCOUNT, "hang", None): Disturbance(hang=True)}
    cloud.runtime.disturbances.set(ACCOUNT, "hang", None, None)
    assert await cloud.text("hang") == "ok"


# --- assets


SITE = {"/index.html": "<h1>home</h1>", "/about.html": "<h1>about</h1>", "/app.js": "1;", "/404.html": "<h1>lost</h1>"}


async def test_a_site_of_assets_alone_is_served(cloud: Cloud) -> None:
    """Assets without a script are served: index, pretty URLs, redirects, headers and the 404 page."""
    config = {
        "not_found_handling": "404-page",
        "_redirects": "/old /about 301\n",
        "_headers": "/app.js\n  X-Extra: yes\n",
    }
    await cloud.worker("site", None, assets=SITE, assets_config=config)

    home, about, old, script, lost = [
        await cloud.request("site", path) for path in ("/", "/about", "/old", "/app.js", "/nothing")
    ]

    assert home.text == "<h1>home</h1>"
    assert home.headers["content-type"].startswith("text/html")
    assert about.text == "<h1>about</h1>"
    assert (old.status_code, old.headers["location"]) == (301, "/about")
    assert script.headers["x-extra"] == "yes"
    assert (lost.status_code, lost.text) == (404, "<h1>lost</h1>")


@pytest.mark.parametrize(
    ("handling", "paths"),
    [
        ("auto-trailing-slash", {"/about": 200, "/about.html": 307, "/about/": 307, "/docs": 307, "/docs/": 200}),
        ("force-trailing-slash", {"/about": 307, "/about/": 200, "/docs": 307, "/docs/": 200}),
        ("drop-trailing-slash", {"/about": 200, "/about/": 307, "/docs": 200, "/docs/": 307}),
        ("none", {"/about": 404, "/about.html": 200, "/docs/": 404, "/docs/index.html": 200}),
    ],
)
async def test_pages_are_found_as_html_handling_says(cloud: Cloud, handling: str, paths: dict[str, int]) -> None:
    """Each kind of html_handling has its own canonical address of a page, and redirects to it from the others."""
    pages = {"/about.html": "about", "/docs/index.html": "docs"}
    await cloud.worker(f"html-{handling}", None, assets=pages, assets_config={"html_handling": handling})

    found = {path: (await cloud.request(f"html-{handling}", path)).status_code for path in paths}

    assert found == paths


async def test_a_single_page_application_answers_everywhere(cloud: Cloud) -> None:
    """With not_found_handling for single pages every unknown path is the index, with status 200."""
    config = {"not_found_handling": "single-page-application"}
    await cloud.worker("spa", None, assets={"/index.html": "app", "/a.js": "1"}, assets_config=config)

    assert [await cloud.text("spa", path) for path in ("/", "/deep/link", "/a.js")] == ["app", "app", "1"]


async def test_assets_come_before_the_worker_and_are_reachable_by_binding(cloud: Cloud) -> None:
    """Files are served before the script; other paths reach it, and it reaches the files by its binding."""
    source = """export default { async fetch(request, env) {
        const page = await env.ASSETS.fetch(new URL("/about", request.url));
        return new Response("worker, and " + await page.text());
    } };"""
    await cloud.worker("app", source, {"type": "assets", "name": "ASSETS"}, assets=SITE)

    assert await cloud.text("app", "/app.js") == "1;"
    assert await cloud.text("app", "/api") == "worker, and <h1>about</h1>"


async def test_run_worker_first_puts_the_script_in_front(cloud: Cloud) -> None:
    """With run_worker_first the script sees every request first."""
    await cloud.worker("first", says("worker"), assets=SITE, assets_config={"run_worker_first": True})

    assert await cloud.text("first", "/app.js") == "worker"


async def test_an_asset_cannot_leave_its_folder(cloud: Cloud, tmp_path: Path) -> None:
    """A manifest path that leads out of the folder is refused."""
    for name in ("/../outside.txt", "/", "/a/../../b"):
        with pytest.raises(ScriptInvalid, match="not allowed"):
            await cloud.runtime.validate(cloud.version("escape", None, assets={name: "x"}))


# --- Durable Objects


def counter(version: str) -> str:
    return f"""
        import {{ DurableObject }} from "cloudflare:workers";
        export class Counter extends DurableObject {{
          memory = 0;
          async add() {{
            const total = ((await this.ctx.storage.get("total")) ?? 0) + 1;
            await this.ctx.storage.put("total", total);
            return `{version} ${{total}} ${{++this.memory}}`;
          }}
        }}
        export default {{ async fetch(request, env) {{
          const counter = env.COUNTER.get(env.COUNTER.idFromName("one"));
          return new Response(`{version}/` + await counter.add());
        }} }};"""


COUNTER = {"type": "durable_object_namespace", "name": "COUNTER", "class_name": "Counter"}


async def test_durable_objects_keep_their_data_over_redeploys_under_load(cloud: Cloud) -> None:
    """While clients count, redeploys lose neither a request nor a count, and never give two objects one name."""
    await cloud.worker("counter", counter("v1"), COUNTER, objects=["Counter"])
    stop = asyncio.Event()
    totals: list[int] = []

    async def client() -> None:
        visitor = cloud.visitor("counter")
        while not stop.is_set():
            totals.append(int((await visitor.ask()).split()[1]))
        visitor.leave()

    clients = [asyncio.create_task(client()) for _ in range(4)]
    for number in range(2, 5):
        await cloud.worker("counter", counter(f"v{number}"), COUNTER, objects=["Counter"])
        assert (await cloud.text("counter")).startswith(f"v{number}/v{number} ")
        totals.append(0)
    stop.set()
    await asyncio.gather(*clients)
    last = int((await cloud.text("counter")).split()[1])

    counted = [total for total in totals if total]
    assert len(counted) == len(set(counted))
    assert last == len(counted) + 3 + 1


async def test_versions_with_durable_objects_share_one_process(cloud: Cloud) -> None:
    """Two versions in one deployment meet in the same objects, which run the code of the one with more traffic."""
    big = cloud.version("shared", counter("big"), COUNTER, objects=["Counter"])
    small = cloud.version("shared", counter("small"), COUNTER, objects=["Counter"])
    await cloud.deploy((big, 90), (small, 10))

    async def ask(version_id: str) -> str:
        return await cloud.text("shared", headers={"Cloudflare-Workers-Version-Overrides": f'shared="{version_id}"'})

    assert [await ask(big.version_id), await ask(small.version_id)] == ["big/big 1 1", "small/big 2 2"]
    assert len({s.pid for s in cloud.runtime.stats() if s.script == "shared"}) == 1


async def test_a_class_that_is_not_exported_is_refused(cloud: Cloud) -> None:
    """A Durable Object class that the script lacks is refused by name; a broken version leaves the old one running."""
    await cloud.worker("classy", counter("v1"), COUNTER, objects=["Counter"])

    with pytest.raises(ScriptInvalid, match="'Counter' is not exported"):
        await cloud.runtime.validate(cloud.version("classy", says("x"), objects=["Counter"]))

    assert (await cloud.text("classy")).startswith("v1/v1 1")


async def test_objects_survive_a_kill_and_a_removal_deletes_them(cloud: Cloud) -> None:
    """An object's data survives kill -9 of its process; removing the script deletes it."""
    await cloud.worker("durable", counter("v1"), COUNTER, objects=["Counter"])
    await cloud.text("durable")
    instance = cloud.runtime._instances[ACCOUNT, "durable", ""]
    assert instance.workerd is not None
    instance.workerd.signal(9)
    await instance.workerd.ended.wait()

    after_kill = await cloud.text("durable")
    await cloud.runtime.remove(ACCOUNT, "durable")
    after_removal = await cloud.text("durable")

    assert (after_kill, after_removal) == ("v1/v1 2 1", "v1/v1 1 1")


# --- tails, cron, queues


async def test_a_tail_shows_each_event_with_its_version(cloud: Cloud) -> None:
    """A tail gets each request with outcome, logs, exceptions, response and version, until it is closed."""
    source = """export default { fetch(request, env, ctx) {
        console.log("hi", { a: 1 });
        ctx.waitUntil(scheduler.wait(10).then(() => console.warn("late")));
        if (request.url.endsWith("/throw")) throw new TypeError("boom");
        return new Response("ok", { status: 201 });
    } };"""
    spec = await cloud.worker("tailed", source, tag="r1.abc", message="first")
    await cloud.request("tailed", "/before")
    events: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    tail_id = cloud.runtime.open_tail(ACCOUNT, "tailed", events.put_nowait)
    await cloud.request("tailed", "/ok?x=1")
    ok = await asyncio.wait_for(events.get(), 10)
    await cloud.request("tailed", "/throw")
    thrown = await asyncio.wait_for(events.get(), 10)
    cloud.runtime.close_tail(tail_id)
    cloud.runtime.close_tail(tail_id)
    await cloud.request("tailed", "/after")

    assert ok["scriptName"] == "tailed"
    assert ok["scriptVersion"] == {"id": spec.version_id, "tag": "r1.abc", "message": "first"}
    assert (ok["outcome"], ok["exceptions"], ok["truncated"]) == ("ok", [], False)
    assert ok["event"]["request"]["url"] == "https://tailed.test/ok?x=1"
    assert (ok["event"]["request"]["method"], ok["event"]["response"]) == ("GET", {"status": 201})
    assert ok["event"]["request"]["cf"]["colo"] == "LOC"
    assert [(log["level"], log["message"]) for log in ok["logs"]] == [("log", ["hi", {"a": 1}]), ("warn", ["late"])]
    assert abs(ok["eventTimestamp"] / 1000 - datetime.now(UTC).timestamp()) < 60
    assert (thrown["outcome"], thrown["exceptions"][0]["name"], thrown["exceptions"][0]["message"]) == (
        "exception",
        "TypeError",
        "boom",
    )
    assert events.empty()


async def test_a_tail_follows_a_redeploy(cloud: Cloud) -> None:
    """A tail that was opened before a redeploy shows the events of the new version, too."""
    await cloud.worker("tailing", says("v1"))
    events: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
    cloud.runtime.open_tail(ACCOUNT, "tailing", events.put_nowait)

    new = await cloud.worker("tailing", says("v2"))
    await cloud.text("tailing")

    assert (await asyncio.wait_for(events.get(), 10))["scriptVersion"]["id"] == new.version_id


async def test_cron_runs_the_scheduled_handler(cloud: Cloud) -> None:
    """A cron trigger runs the live version's handler with its expression and time; failures are told."""
    source = """export default { async scheduled(controller, env) {
        if (controller.cron === "0 0 * * *") throw new Error("no");
        await env.KV.put("cron", `${controller.cron} ${controller.scheduledTime}`);
    } };"""
    kv = {"type": "kv_namespace", "name": "KV", "namespace_id": "cron"}
    await cloud.worker("cron", source, kv)
    when = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)

    good = await cloud.runtime.orders.scheduled(ACCOUNT, "cron", "*/30 * * * *", when)
    bad = await cloud.runtime.orders.scheduled(ACCOUNT, "cron", "0 0 * * *", when)

    stored = await cloud.namespaces.get(ACCOUNT, "cron", "cron")
    assert stored is not None
    assert stored.value.decode() == f"*/30 * * * * {int(when.timestamp() * 1000)}"
    assert (good["outcome"], bad["outcome"]) == ("ok", "exception")
    with pytest.raises(WorkerdUnavailable, match="not deployed"):
        await cloud.runtime.orders.scheduled(ACCOUNT, "nobody", "* * * * *", when)


async def test_queue_messages_reach_the_consumer(cloud: Cloud) -> None:
    """Messages of every kind reach the queue handler, whose acknowledgements come back."""
    source = """export default { async queue(batch, env) {
        await env.KV.put("queue", JSON.stringify([batch.queue, batch.messages.map((m) => m.body)]));
        batch.messages[0].ack(); batch.messages[1].retry({ delaySeconds: 5 });
    } };"""
    await cloud.worker("consumer", source, {"type": "kv_namespace", "name": "KV", "namespace_id": "queue"})
    messages = [
        {"id": "1", "timestamp": 1000, "attempts": 1, "body": "eyJhIjoxfQ==", "contentType": "json"},
        {"id": "2", "timestamp": 1000, "attempts": 2, "body": "dGV4dA==", "contentType": "text"},
    ]

    result = await cloud.runtime.orders.queue(ACCOUNT, "consumer", "orders", messages)

    stored = await cloud.namespaces.get(ACCOUNT, "queue", "queue")
    assert stored is not None
    assert stored.value == b'["orders",[{"a":1},"text"]]'
    assert result["outcome"] == "ok"
    assert result["explicitAcks"] == ["1"]
    assert result["retryMessages"] == [{"msgId": "2", "delaySeconds": 5}]
