"""The official SDK, generated from Cloudflare's schema, reads our answers with its strictest validation."""

from __future__ import annotations

import base64
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
    """Every operation of the products that are served gives what the schema promises: at least seventy of them."""
    operations = {**of_workers(account, client), **of_stores(account, client)}
    problems = {}
    for name, operation in operations.items():
        try:
            operation()
        except Exception as error:  # noqa: BLE001 -- all that is wrong is to be seen at once
            problems[name] = f"{type(error).__name__}: {error}"

    print(f"{len(operations)} operations of the official SDK")  # noqa: T201 -- CI shows how many
    assert not problems, "\n".join(f"{name}: {problem}" for name, problem in problems.items())
    assert len(operations) >= 70


Operations = dict[str, Callable[[], Any]]


def of_workers(account: CloudAccount, client: Cloudflare) -> Operations:
    """Scripts, versions, deployments, triggers, and accounts."""
    me: Any = {"account_id": account.account_id}
    script: dict[str, Any] = {"script_name": "shop", **me}
    metadata: Any = {
        "main_module": "index.js",
        "compatibility_date": "2026-01-01",
        "bindings": [{"type": "plain_text", "name": "A", "text": "x"}],
        "observability": {"enabled": True},
    }
    module = ("index.js", CODE, "application/javascript+module")
    scripts, versions = client.workers.scripts, client.workers.scripts.versions

    scripts.update(**script, metadata=metadata, files=[module])
    # The SDK can't build its own model of a version with bindings (ResourcesBindings), so it is read raw.
    raw = versions.with_raw_response.create(**script, metadata=metadata, files=[module])
    answered: Any = raw.json()
    version_id = answered["result"]["id"]
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
        "scripts.get": lambda: scripts.get(**script),
        "scripts.content.update": lambda: scripts.content.update(
            **script, metadata={"main_module": "index.js"}, files=[module]
        ),
        "deployments.delete": lambda: scripts.deployments.delete(deployed.id, **script),
        "tail.delete": lambda: scripts.tail.delete(scripts.tail.create(**script).id, **script),
        "workers.domains.get": lambda: client.workers.domains.get(
            next(iter(client.workers.domains.list(**me))).id, **me
        ),
        "workers.domains.delete": lambda: client.workers.domains.delete(
            next(iter(client.workers.domains.list(**me))).id, **me
        ),
        "scripts.delete": lambda: scripts.delete(**script),
    }
    return operations


def of_stores(account: CloudAccount, client: Cloudflare) -> Operations:
    """D1, KV and R2, each thing made, read, changed and removed."""
    me: Any = {"account_id": account.account_id}
    databases, namespaces, beta = client.d1.database, client.kv.namespaces, client.workers.beta.workers
    made: dict[str, Any] = {}

    def create_database() -> None:
        made["database"] = databases.create(**me, name="notes", primary_location_hint="weur").uuid

    def create_namespace() -> None:
        created = namespaces.create(**me, title="cache")
        assert created is not None
        made["namespace"] = created.id

    def create_route() -> None:
        zone = account.zone_id
        account.put_worker("routed")
        route = client.workers.routes.create(zone_id=zone, pattern=f"a.{account.zone}/*", script="routed")
        assert route is not None
        made["route"] = route.id

    def create_worker() -> None:
        made["worker"] = beta.create(
            **me, name="modern", subdomain={"enabled": True, "previews_enabled": True}, tags=["a"]
        ).id

    def create_version() -> None:
        module: Any = {
            "name": "index.js",
            "content_type": "application/javascript+module",
            "content_base64": base64.b64encode(CODE).decode(),
        }
        # The SDK can't build its own model of a version's bindings, so this one has none.
        made["version"] = beta.versions.create(
            made["worker"], **me, main_module="index.js", compatibility_date="2026-01-01", modules=[module]
        ).id

    def export() -> None:
        begun = databases.export(made["database"], **me, output_format="polling")
        if begun.status != "complete":
            databases.export(made["database"], **me, output_format="polling", current_bookmark=begun.at_bookmark or "")

    def restore() -> None:
        bookmark = databases.time_travel.get_bookmark(made["database"], **me).bookmark or ""
        databases.time_travel.restore(made["database"], **me, bookmark=bookmark)

    return {
        "d1.database.create": create_database,
        "d1.database.list": lambda: list(databases.list(**me, name="not")),
        "d1.database.get": lambda: databases.get(made["database"], **me),
        "d1.database.update": lambda: databases.update(made["database"], **me, read_replication={"mode": "auto"}),
        "d1.database.edit": lambda: databases.edit(made["database"], **me, read_replication={"mode": "disabled"}),
        "d1.database.query": lambda: list(
            databases.query(made["database"], **me, sql="SELECT 1; SELECT ?", params=["x"])
        ),
        "d1.database.raw": lambda: list(databases.raw(made["database"], **me, sql="SELECT 1 AS a, NULL AS b")),
        "d1.database.export": export,
        "d1.database.import": lambda: databases.import_(made["database"], **me, action="init", etag="0" * 32),
        "d1.time_travel.get_bookmark": lambda: databases.time_travel.get_bookmark(made["database"], **me),
        "d1.time_travel.restore": restore,
        "d1.database.delete": lambda: databases.delete(made["database"], **me),
        "kv.namespaces.create": create_namespace,
        "kv.namespaces.list": lambda: list(namespaces.list(**me, order="title", direction="desc")),
        "kv.namespaces.get": lambda: namespaces.get(made["namespace"], **me),
        "kv.namespaces.update": lambda: namespaces.update(made["namespace"], **me, title="renamed"),
        "kv.namespaces.bulk_update": lambda: namespaces.bulk_update(
            made["namespace"], **me, body=[{"key": "a", "value": "1", "metadata": {"m": 1}}, {"key": "b", "value": "2"}]
        ),
        "kv.namespaces.bulk_get": lambda: namespaces.bulk_get(made["namespace"], **me, keys=["a"]),
        "kv.namespaces.bulk_delete": lambda: namespaces.bulk_delete(made["namespace"], **me, body=["b"]),
        "kv.keys.list": lambda: list(namespaces.keys.list(made["namespace"], **me, prefix="a", limit=10)),
        "kv.keys.bulk_update": lambda: namespaces.keys.bulk_update(
            made["namespace"], **me, body=[{"key": "c", "value": "3"}]
        ),
        "kv.keys.bulk_get": lambda: namespaces.keys.bulk_get(
            made["namespace"], **me, keys=["a", "c"], with_metadata=True
        ),
        "kv.keys.bulk_delete": lambda: namespaces.keys.bulk_delete(made["namespace"], **me, body=["c"]),
        "kv.values.update": lambda: namespaces.values.update(
            "x/y z", **me, namespace_id=made["namespace"], value=b"v", expiration_ttl=120, metadata={"m": 1}
        ),
        "kv.values.get": lambda: namespaces.values.get("x/y z", **me, namespace_id=made["namespace"]).read(),
        "kv.metadata.get": lambda: namespaces.metadata.get("x/y z", **me, namespace_id=made["namespace"]),
        "kv.values.delete": lambda: namespaces.values.delete("x/y z", **me, namespace_id=made["namespace"]),
        "kv.namespaces.delete": lambda: namespaces.delete(made["namespace"], **me),
        "workers.routes.create": create_route,
        "workers.routes.get": lambda: client.workers.routes.get(made["route"], zone_id=account.zone_id),
        "workers.routes.update": lambda: client.workers.routes.update(
            made["route"], zone_id=account.zone_id, pattern=f"b.{account.zone}/*", script="routed"
        ),
        "workers.routes.delete": lambda: client.workers.routes.delete(made["route"], zone_id=account.zone_id),
        "beta.workers.create": create_worker,
        "beta.workers.edit": lambda: beta.edit(
            made["worker"],
            **me,
            name="modern",
            logpush=True,
            observability={"enabled": True},
            subdomain={},
            tags=["b"],
            tail_consumers=[],
        ),
        "beta.workers.update": lambda: beta.update(made["worker"], **me, name="modern"),
        "beta.workers.versions.create": create_version,
        "beta.workers.versions.list": lambda: list(beta.versions.list(made["worker"], **me)),
        "beta.workers.versions.get": lambda: beta.versions.get(
            made["version"], **me, worker_id=made["worker"], include="modules"
        ),
        "beta.workers.versions.delete": lambda: beta.versions.delete(made["version"], **me, worker_id=made["worker"]),
        "beta.workers.delete": lambda: beta.delete(made["worker"], **me),
        "workers.account_settings.update": lambda: client.workers.account_settings.update(
            **me, default_usage_model="standard", green_compute=False
        ),
        "workers.account_settings.get": lambda: client.workers.account_settings.get(**me),
        "workers.subdomains.update": lambda: client.workers.subdomains.update(**me, subdomain=account.subdomain),
    }
