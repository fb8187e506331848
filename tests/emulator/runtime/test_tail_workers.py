"""Tail Workers: Workers that are given the events of others."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.emulator.runtime.cloud import ACCOUNT, Cloud

KV = {"type": "kv_namespace", "name": "KV", "namespace_id": "events"}
AS_OBJECT = """
export default { async tail(events, env) {
  for (const event of events) await env.KV.put(event.event.request.url, JSON.stringify(event));
} };
"""
AS_CLASS = """
import { WorkerEntrypoint } from "cloudflare:workers";
export default class extends WorkerEntrypoint {
  async tail(events) { await KEEP }
}
""".replace("KEEP", "Promise.all(events.map((e) => this.env.KV.put(e.event.request.url, JSON.stringify(e))));")
PRODUCER = """
export default { fetch(request) {
  console.log("seen", { n: 1 });
  if (request.url.endsWith("/throw")) throw new RangeError("no");
  return new Response("ok");
} };
"""


@pytest.mark.parametrize("code", [AS_OBJECT, AS_CLASS], ids=["object", "class"])
async def test_a_tail_worker_is_given_what_happened(cloud: Cloud, code: str, request: pytest.FixtureRequest) -> None:
    """Logs, outcome, exceptions, request and version of each run reach the consumer, also when it is named later."""
    kind = request.node.callspec.id
    producer, consumer = f"producer-{kind}", f"consumer-{kind}"
    spec = await cloud.worker(producer, PRODUCER)
    await cloud.worker(consumer, code, KV)
    await cloud.text(producer, "/before")
    cloud.directory.consumers[producer] = [consumer]
    await cloud.text(producer, "/fine?q=1")
    await cloud.request(producer, "/throw")

    fine, threw = [await _event(cloud, f"https://{producer}.test{path}") for path in ("/fine?q=1", "/throw")]
    assert (fine["outcome"], threw["outcome"]) == ("ok", "exception")
    assert fine["logs"][0]["message"] == ["seen", {"n": 1}]
    assert fine["event"]["response"]["status"] == 200
    assert threw["exceptions"][0]["message"] == "no"
    assert (fine["scriptName"], fine["scriptVersion"]["id"]) == (producer, spec.version_id)
    assert await cloud.namespaces.get(ACCOUNT, "events", f"https://{producer}.test/before") is None


async def test_a_tail_worker_that_fails_harms_nobody(cloud: Cloud) -> None:
    """An exception in a tail Worker, or a consumer that isn't there, leaves the producer's answers as they are."""
    await cloud.worker("unlucky", PRODUCER)
    await cloud.worker("broken-consumer", "export default { tail() { throw new Error('no'); } };")
    cloud.directory.consumers["unlucky"] = ["broken-consumer", "nobody"]

    assert [await cloud.text("unlucky") for _ in range(3)] == ["ok"] * 3


async def _event(cloud: Cloud, url: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while (found := await cloud.namespaces.get(ACCOUNT, "events", url)) is None:
            await asyncio.sleep(0.02)
    event: dict[str, Any] = json.loads(found.value)
    return event
