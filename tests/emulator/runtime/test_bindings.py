"""What a Worker finds in `env`, with real workerd and stores over SQLite."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from tests.emulator.runtime.cloud import Cloud

DB = {"type": "d1", "name": "DB", "database_id": "shop"}
KV = {"type": "kv_namespace", "name": "KV", "namespace_id": "sessions"}


def handler(body: str) -> str:
    return f"export default {{ async fetch(request, env, ctx) {{ {body} }} }};"


async def test_variables_secrets_and_json_arrive_as_written(cloud: Cloud) -> None:
    """Variables, secrets and JSON arrive as they were written, whatever characters they hold."""
    text = 'quote " backslash \\ newline \n tab \t nul \0 euro € emoji 😀 ) ; ]'
    await cloud.worker(
        "vars",
        handler("return Response.json({ text: env.TEXT, secret: env.SECRET, json: env.JSON });"),
        {"type": "plain_text", "name": "TEXT", "text": text},
        {"type": "secret_text", "name": "SECRET", "text": text[::-1]},
        {"type": "json", "name": "JSON", "json": {"deep": [1, None, text]}},
    )

    response = await cloud.request("vars")

    assert response.json() == {"text": text, "secret": text[::-1], "json": {"deep": [1, None, text]}}


async def test_version_metadata_names_the_version(cloud: Cloud) -> None:
    """Version metadata gives the version's id, tag and time."""
    spec = await cloud.worker(
        "metadata",
        handler("return Response.json(env.VERSION);"),
        {"type": "version_metadata", "name": "VERSION"},
        tag="r1.abc",
    )

    response = await cloud.request("metadata")

    assert response.json() == {"id": spec.version_id, "tag": "r1.abc", "timestamp": "2026-11-20T00:00:00Z"}


@pytest.mark.parametrize("flags", [(), ("d1_binding_jsrpc",)], ids=["http", "rpc"])
async def test_d1_runs_statements_batches_and_sessions(cloud: Cloud, flags: tuple[str, ...]) -> None:
    """A D1 binding runs statements, batches and sessions, and throws D1_ERROR, in both of its protocols."""
    name = f"d1-{len(flags)}"
    await cloud.worker(
        name,
        handler("""
            await env.DB.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, data BLOB)");
            const insert = env.DB.prepare("INSERT INTO t (name, data) VALUES (?1, ?2)");
            const bytes = new Uint8Array([0, 127, 255]);
            const one = await insert.bind("a", bytes).run();
            await env.DB.batch([insert.bind("b", null), insert.bind(true, null)]);
            const all = await env.DB.prepare("SELECT * FROM t ORDER BY id").all();
            const first = await env.DB.prepare("SELECT count(*) AS n FROM t").first("n");
            let error;
            const clash = [insert.bind("c", null), insert.bind("a", null)];
            try { await env.DB.batch(clash); } catch (e) { error = e.message; }
            const after = await env.DB.prepare("SELECT count(*) AS n FROM t").first("n");
            let dump;
            try { await env.DB.dump(); } catch (e) { dump = e.message; }
            const session = env.DB.withSession("first-primary");
            await session.prepare("SELECT 1").all();
            return Response.json({ lastRow: one.meta.last_row_id, rows: all.results, first, error, after, dump,
                                   bookmark: session.getBookmark() });
        """),
        {**DB, "database_id": name},
        flags=flags,
    )

    answer = (await cloud.request(name)).json()

    assert answer["lastRow"] == 1
    assert answer["dump"] == "D1_DUMP_ERROR: Status + 400"
    assert answer["rows"] == [
        {"id": 1, "name": "a", "data": [0, 127, 255]},
        {"id": 2, "name": "b", "data": None},
        {"id": 3, "name": "1", "data": None},
    ]
    assert answer["first"] == answer["after"] == 3
    assert answer["error"] == "D1_ERROR: UNIQUE constraint failed: t.name: SQLITE_ERROR"
    assert len(answer["bookmark"]) == 8
    assert cloud.databases.bookmarks[-1] == "first-primary"


async def test_kv_keeps_values_metadata_and_lists(cloud: Cloud) -> None:
    """A KV binding keeps text, bytes, metadata and strange keys, lists page by page, and forgets what is deleted."""
    await cloud.worker(
        "kv",
        handler("""
            await env.KV.put("a/b ?&%2F€", "text", { metadata: { who: "mé" } });
            await env.KV.put("bytes", new Uint8Array([0, 255]));
            await env.KV.put("json", JSON.stringify({ n: 1 }), { expirationTtl: 60 });
            await env.KV.put("gone", "x");
            await env.KV.delete("gone");
            const page = await env.KV.list({ limit: 2 });
            const rest = await env.KV.list({ cursor: page.cursor });
            return Response.json({
              value: await env.KV.getWithMetadata("a/b ?&%2F€"),
              bytes: [...new Uint8Array(await env.KV.get("bytes", "arrayBuffer"))],
              json: await env.KV.get("json", "json"),
              gone: await env.KV.get("gone"),
              many: [...await env.KV.get(["bytes", "json", "gone"].slice(1), "json")],
              names: [...page.keys, ...rest.keys].map((key) => key.name),
              complete: [page.list_complete, rest.list_complete],
            });
        """),
        KV,
    )

    answer = (await cloud.request("kv")).json()

    assert answer["value"]["value"] == "text"
    assert answer["value"]["metadata"] == {"who": "mé"}
    assert answer["bytes"] == [0, 255]
    assert answer["json"] == {"n": 1}
    assert answer["gone"] is None
    assert answer["many"] == [["json", {"n": 1}], ["gone", None]]
    assert answer["names"] == ["a/b ?&%2F€", "bytes", "json"]
    assert answer["complete"] == [False, True]


async def test_queues_take_messages_of_every_kind(cloud: Cloud) -> None:
    """A queue binding takes single messages and batches, with their kinds and delays."""
    await cloud.worker(
        "producer",
        handler("""
            await env.QUEUE.send({ n: 1 }, { contentType: "json", delaySeconds: 5 });
            const bytes = new Uint8Array([3]);
            await env.QUEUE.sendBatch([{ body: "two", contentType: "text" }, { body: bytes, contentType: "bytes" }]);
            return new Response("sent");
        """),
        {"type": "queue", "name": "QUEUE", "queue_name": "orders"},
    )

    assert await cloud.text("producer") == "sent"

    assert [name for name, _ in cloud.queues.sent] == ["orders"] * 3
    messages = [message for _, message in cloud.queues.sent]
    assert [(message.body, message.content_type) for message in messages] == [
        (b'{"n":1}', "json"),
        (b"two", "text"),
        (b"\x03", "bytes"),
    ]
    assert messages[0].delay_seconds == 5


async def test_analytics_points_are_written(cloud: Cloud) -> None:
    """An Analytics Engine binding writes data points to its dataset."""
    await cloud.worker(
        "points",
        handler("env.AE.writeDataPoint({ blobs: ['b'], doubles: [1.5], indexes: ['i'] }); return new Response('ok');"),
        {"type": "analytics_engine", "name": "AE", "dataset": "visits"},
    )

    await cloud.text("points")

    dataset, point = await asyncio.wait_for(cloud.events.written.get(), 5)
    assert dataset == "visits"
    assert (point["index1"], point["blob1"], point["double1"]) == ("i", "b", 1.5)


async def test_rate_limits_count(cloud: Cloud) -> None:
    """A rate limiting binding refuses what is beyond its limit, key by key."""
    await cloud.worker(
        "limited",
        handler("""
            const ask = async (key) => (await env.LIMIT.limit({ key })).success;
            return Response.json([await ask("a"), await ask("a"), await ask("a"), await ask("b")]);
        """),
        {"type": "ratelimit", "name": "LIMIT", "namespace_id": "1", "simple": {"limit": 2, "period": 60}},
    )

    assert (await cloud.request("limited")).json() == [True, True, False, True]


async def test_a_worker_cannot_pose_as_another(cloud: Cloud) -> None:
    """Headers that a Worker writes itself change neither whose store it reaches nor what the back end believes."""
    await cloud.worker("owner", handler("await env.KV.put('k', 'mine'); return new Response('ok');"), KV)
    await cloud.text("owner")
    forged = json.dumps({"account": "other", "script": "owner", "kind": "kv", "id": "sessions"})
    await cloud.worker(
        "thief",
        handler(f"""
            const headers = {{ "x-clodo-caller": {json.dumps(forged)}, "x-clodo-secret": "guess" }};
            const answer = await fetch("http://kv.test/k", {{ headers }});
            return new Response(answer.status + " " + (await answer.text()).slice(0, 24));
        """),
    )

    assert not (await cloud.text("thief")).endswith("mine")


async def test_modules_of_every_kind_are_importable(cloud: Cloud) -> None:
    """ES, CommonJS, text, data, JSON and WebAssembly modules can be imported."""
    wasm = base64.b64decode("AGFzbQEAAAABBQFgAAF/AwIBAAcFAQFmAAAKBgEEAEEqCw==")
    await cloud.worker(
        "modules",
        """
        import other from "./lib/other.js";
        import common from "./common.cjs";
        import text from "./hello.txt";
        import data from "./data.bin";
        import json from "./config.json";
        import wasm from "./f.wasm";
        export default { fetch: () => Response.json([other, common.n, text, [...new Uint8Array(data)], json.a,
          new WebAssembly.Instance(wasm).exports.f()]) };
        """,
        modules={
            "lib/other.js": ("application/javascript+module", b"export default 'other';"),
            "common.cjs": ("application/javascript", b"module.exports = { n: 1 };"),
            "hello.txt": ("text/plain", "grüß".encode()),
            "data.bin": ("application/octet-stream", b"\x00\xff"),
            "config.json": ("application/json", b'{"a": 2}'),
            "f.wasm": ("application/wasm", wasm),
            "index.js.map": ("application/source-map", b"{}"),
        },
    )

    assert (await cloud.request("modules")).json() == ["other", 1, "grüß", [0, 255], 2, 42]


async def test_the_modules_of_cloudflare_are_importable(cloud: Cloud) -> None:
    """`cloudflare:email` has its message, although workerd by itself only has the name, and its neighbours load too."""
    await cloud.worker(
        "platform",
        """
        import { EmailMessage } from "cloudflare:email";
        import { connect } from "cloudflare:sockets";
        import { NonRetryableError } from "cloudflare:workflows";
        import { env, exports, waitUntil } from "cloudflare:workers";
        import { httpServerHandler } from "cloudflare:node";
        const kinds = [connect, NonRetryableError, waitUntil, httpServerHandler].map((each) => typeof each);
        export default { fetch() {
          const message = new EmailMessage("from@example.com", "to@example.com", "Subject: x");
          return Response.json([message.from, message.to, ...new Set(kinds)]);
        } };
        """,
        flags=["nodejs_compat"],
    )

    assert (await cloud.request("platform")).json() == ["from@example.com", "to@example.com", "function"]
