"""The official SDK, generated from Cloudflare's schema, reads our answers with its strictest validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cloudflare import Cloudflare

from tests.fixtures.embedded_cloud import CloudAccount

CODE = b"export default { fetch() { return new Response('hello'); }, scheduled() {} };"


@pytest.fixture
def client(account: CloudAccount) -> Any:
    """A client of the account that refuses every answer that isn't as its schema says."""
    with Cloudflare(
        api_token=account.token,
        base_url=account.cloud.url,
        max_retries=0,
        _strict_response_validation=True,
    ) as made:
        yield made


def test_reading_and_writing_validates(account: CloudAccount, client: Cloudflare) -> None:
    """Every operation of scripts, versions, deployments, triggers and accounts gives what the schema promises."""
    me = {"account_id": account.account_id}
    script: dict[str, Any] = {"script_name": "shop", **me}
    metadata: Any = {
        "main_module": "index.js",
        "compatibility_date": "2026-01-01",
        "bindings": [{"type": "plain_text", "name": "A", "text": "x"}],
        "observability": {"enabled": True},
    }
    module = ("index.js", CODE, "application/javascript+module")
    scripts, versions = client.workers.scripts, client.workers.scripts.versions

    put = scripts.update(**script, metadata=metadata, files=[module])
    # The SDK can't build its own model of a version with bindings (ResourcesBindings), so it is read raw.
    raw = versions.with_raw_response.create(**script, metadata=metadata, files=[module])
    version_id = raw.json()["result"]["id"]
    deployed = scripts.deployments.create(
        **script, strategy="percentage", versions=[{"version_id": version_id, "percentage": 100}]
    )
    secret: Any = {"name": "KEY", "text": "swordfish", "type": "secret_text"}
    operations: dict[str, Callable[[], Any]] = {
        "scripts.list": lambda: list(scripts.list(**me)),
        "scripts.search": lambda: client.workers.scripts.search(**me, name="sho"),
        "scripts.content.get": lambda: scripts.content.get(**script),
        "scripts.settings.get": lambda: scripts.settings.get(**script),
        "scripts.settings.edit": lambda: scripts.settings.edit(**script, logpush=True, tags=["a"]),
        "scripts.script_and_version_settings.get": lambda: scripts.script_and_version_settings.get(**script),
        "scripts.script_and_version_settings.edit": lambda: scripts.script_and_version_settings.edit(
            **script, settings={"compatibility_date": "2026-02-02"}
        ),
        "versions.list": lambda: list(versions.list(**script)),
        "deployments.list": lambda: scripts.deployments.list(**script),
        "deployments.get": lambda: scripts.deployments.get(deployed.id, **script),
        "secrets.update": lambda: scripts.secrets.update(**script, **secret),
        "secrets.list": lambda: list(scripts.secrets.list(**script)),
        "secrets.get": lambda: scripts.secrets.get("KEY", **script),
        "secrets.bulk_update": lambda: scripts.secrets.bulk_update(
            **script, secrets={"OTHER": secret | {"name": "OTHER"}}
        ),
        "secrets.delete": lambda: scripts.secrets.delete("KEY", **script),
        "schedules.update": lambda: scripts.schedules.update(**script, body=[{"cron": "*/5 * * * *"}]),
        "schedules.get": lambda: scripts.schedules.get(**script),
        "subdomain.create": lambda: scripts.subdomain.create(**script, enabled=True, previews_enabled=True),
        "subdomain.get": lambda: scripts.subdomain.get(**script),
        "subdomain.delete": lambda: scripts.subdomain.delete(**script),
        "tail.create": lambda: scripts.tail.create(**script),
        "workers.subdomains.get": lambda: client.workers.subdomains.get(**me),
        "workers.domains.update": lambda: client.workers.domains.update(
            **me, hostname=f"www.{account.zone}", service="shop", zone_id=account.zone_id
        ),
        "workers.domains.list": lambda: list(client.workers.domains.list(**me)),
        "workers.routes.create": lambda: client.workers.routes.create(
            zone_id=account.zone_id, pattern=f"{account.zone}/*", script="shop"
        ),
        "workers.routes.list": lambda: list(client.workers.routes.list(zone_id=account.zone_id)),
        "beta.workers.list": lambda: list(client.workers.beta.workers.list(**me)),
        "beta.workers.get": lambda: client.workers.beta.workers.get("shop", **me),
        "durable_objects.namespaces.list": lambda: list(client.durable_objects.namespaces.list(**me)),
        "queues.create": lambda: client.queues.create(**me, queue_name="orders"),
        "queues.list": lambda: list(client.queues.list(**me)),
        "r2.buckets.create": lambda: client.r2.buckets.create(**me, name="bucket-one"),
        "r2.buckets.list": lambda: client.r2.buckets.list(**me),
        "r2.buckets.get": lambda: client.r2.buckets.get("bucket-one", **me),
        "r2.buckets.delete": lambda: client.r2.buckets.delete("bucket-one", **me),
        "accounts.list": lambda: list(client.accounts.list()),
        "accounts.get": lambda: client.accounts.get(**me),
        "memberships.list": lambda: list(client.memberships.list()),
        "user.get": client.user.get,
        "user.tokens.verify": client.user.tokens.verify,
        "zones.list": lambda: list(client.zones.list()),
        "zones.get": lambda: client.zones.get(zone_id=account.zone_id),
        "scripts.delete": lambda: scripts.delete(**script),
    }
    problems = {}
    for name, operation in operations.items():
        try:
            operation()
        except Exception as error:  # noqa: BLE001 -- all that is wrong is to be seen at once
            problems[name] = f"{type(error).__name__}: {error}"

    assert not problems, "\n".join(f"{name}: {problem}" for name, problem in problems.items())
    assert put.startup_time_ms >= 0
