"""The router in front of real workerd processes."""

from __future__ import annotations

from tests.emulator.runtime.cloud import Cloud

HELLO = "export default { fetch: () => new Response('hello') };"


async def test_a_deployed_worker_answers_at_its_hostname(cloud: Cloud) -> None:
    """A deployed Worker answers at its hostname."""
    await cloud.worker("hello", HELLO)

    assert await cloud.text("hello") == "hello"
