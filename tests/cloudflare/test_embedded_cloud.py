"""The client against the embedded cloud: two readings of Cloudflare's documentation that must agree."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from clodo.cloudflare.budget import Lane, UnlimitedBudget
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.kv import Pair
from clodo.cloudflare.settings import UnversionedSettings
from clodo.cloudflare.workers import preview_hostname
from clodo.errors import (
    ApiRefused,
    DatabaseNotFound,
    NamespaceNotFound,
    NotAuthorised,
    NotFound,
    VersionNotFound,
    WorkerNotFound,
)
from tests.fixtures.embedded_cloud import CloudAccount

NAMED = """export default { fetch(request, env) {
  console.log("seen");
  return new Response(env.VERSION.id);
} };"""
VERSION_BINDING = [{"name": "VERSION", "type": "version_metadata"}]
LONG = timedelta(seconds=20)


@pytest.fixture
def cloudflare(account: CloudAccount) -> Iterator[Cloudflare]:
    """A client of a fresh account."""
    with Cloudflare(account.account_id, account.token, account.cloud.url, budget=UnlimitedBudget()) as client:
        yield client


def test_who_we_are(cloudflare, account):
    """Token, account and zone are those of the fixture."""
    assert cloudflare.user.verify_token().status == "active"
    assert cloudflare.accounts.get().id == account.account_id
    assert account.account_id in [each.id for each in cloudflare.accounts.list()]
    assert cloudflare.zones.get_by_name(account.zone).id == account.zone_id
    assert cloudflare.zones.for_hostname(f"shop.{account.zone}").id == account.zone_id
    assert cloudflare.subdomains.account() == account.subdomain


def test_a_wrong_token_is_not_authorised(account):
    """A token nobody knows gets NotAuthorised from reads and from verify."""
    with Cloudflare(account.account_id, "wrong-token-0123456789", account.cloud.url) as stranger:
        with pytest.raises(NotAuthorised):
            stranger.scripts.list()
        with pytest.raises(NotAuthorised):
            stranger.user.verify_token()


def test_a_worker_from_upload_to_deletion(cloudflare, account):
    """Versions, shares, secrets, settings, schedules, subdomain: read as they were set."""
    assert not cloudflare.scripts.exists("api")
    account.put_worker("api", NAMED, bindings=[*VERSION_BINDING, {"name": "KEY", "type": "secret_text", "text": "s"}])
    first = cloudflare.deployments.current("api").only_version
    second = account.upload_version(
        "api", NAMED, bindings=VERSION_BINDING, annotations={"workers/tag": "r2.abc", "workers/message": "two"}
    )["id"]

    found = cloudflare.versions.find_by_tag("api", "r2.abc")
    assert (found.id, found.message) == (second, "two")
    assert [version.id for version in cloudflare.versions.list("api")] == [second, first]
    assert cloudflare.versions.get("api", first).secret_names == ("KEY",)
    assert cloudflare.versions.get("api", second).created_on is not None
    assert [secret.name for secret in cloudflare.secrets.list("api")] == list(
        cloudflare.versions.get("api", second).secret_names
    )

    made = cloudflare.deployments.create("api", {first: 90, second: 10}, message="canary")
    assert cloudflare.deployments.current("api").shares == {first: 90.0, second: 10.0}
    assert cloudflare.deployments.current("api").message == "canary"
    assert cloudflare.deployments.get("api", made.id).id == made.id
    cloudflare.deployments.create("api", {second: 100})
    assert account.visit(account.hostname("api")).text == second

    cloudflare.settings.patch("api", UnversionedSettings(tags=["cf:service=api"], logpush=False))
    assert cloudflare.settings.get("api").tags == ["cf:service=api"]
    cloudflare.schedules.put("api", ["*/5 * * * *"])
    assert [each.cron for each in cloudflare.schedules.get("api")] == ["*/5 * * * *"]
    cloudflare.schedules.put("api", [])
    assert cloudflare.schedules.get("api") == []

    assert preview_hostname(first, "api", account.subdomain) == account.preview("api", first)
    assert account.visit(account.preview("api", first)).text == first
    assert cloudflare.workers.get("api").subdomain.enabled is True
    cloudflare.subdomains.set("api", enabled=False, previews_enabled=False)
    assert cloudflare.subdomains.get("api").enabled is False

    assert [script.id for script in cloudflare.scripts.list()] == ["api"]
    assert cloudflare.scripts.get_settings("api").bindings
    cloudflare.scripts.delete("api")
    assert not cloudflare.scripts.exists("api")


def test_what_is_missing_is_named(cloudflare, account):
    """Each absence is the error of its kind."""
    account.put_worker("api")

    for call in (
        cloudflare.versions.list,
        cloudflare.deployments.list,
        cloudflare.secrets.list,
        cloudflare.settings.get,
        cloudflare.schedules.get,
        cloudflare.subdomains.get,
        cloudflare.workers.get,
        cloudflare.tails.create,
        cloudflare.scripts.delete,
    ):
        with pytest.raises(WorkerNotFound):
            call("nobody")
    nothing = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(VersionNotFound):
        cloudflare.versions.get("api", nothing)
    with pytest.raises(VersionNotFound):
        cloudflare.deployments.create("api", {nothing: 100})
    with pytest.raises(NotFound):
        cloudflare.deployments.get("api", nothing)
    with pytest.raises(DatabaseNotFound):
        cloudflare.d1.get(nothing)
    with pytest.raises(DatabaseNotFound):
        cloudflare.d1.query(nothing, "SELECT 1")
    with pytest.raises(NamespaceNotFound):
        cloudflare.kv.get_value("0" * 32, "k")
    with pytest.raises(NotFound):
        cloudflare.routes.delete(account.zone_id, "0" * 32)
    with pytest.raises(NotFound):
        cloudflare.domains.detach("0" * 40)


def test_routes_and_custom_domains_reach_the_worker(cloudflare, account):
    """A route and a custom domain are made, answer, and are taken away."""
    account.put_worker("api", NAMED, bindings=VERSION_BINDING)
    version = cloudflare.deployments.current("api").only_version

    route = cloudflare.routes.create(account.zone_id, f"shop.{account.zone}/*", "api")
    domain = cloudflare.domains.attach(f"api.{account.zone}", "api", zone_id=account.zone_id)

    assert account.visit(f"shop.{account.zone}").text == version
    assert account.visit(f"api.{account.zone}").text == version
    assert cloudflare.routes.list(account.zone_id) == [route]
    assert [each.id for each in cloudflare.domains.list(worker="api")] == [domain.id]
    with pytest.raises(ApiRefused):
        cloudflare.routes.create(account.zone_id, f"shop.{account.zone}/*", "api")

    cloudflare.routes.update(account.zone_id, route.id, f"store.{account.zone}/*", "api")
    assert account.visit(f"store.{account.zone}").text == version
    cloudflare.routes.delete(account.zone_id, route.id)
    cloudflare.domains.detach(domain.id)
    assert cloudflare.routes.list(account.zone_id) == []
    assert cloudflare.domains.list() == []


def test_a_tail_names_the_version_that_answered(cloudflare, account):
    """The event of our own request carries the version's id and our header."""
    account.put_worker("api", NAMED, bindings=VERSION_BINDING)
    version = cloudflare.deployments.current("api").only_version

    with cloudflare.tails.stream("api") as stream:
        assert account.visit(account.hostname("api"), headers={"X-Probe": "42"}).text == version
        event = stream.receive(LONG)

    assert event is not None
    assert event.version_id == version
    assert event.request_headers["x-probe"] == "42"
    assert event.logs


def test_d1_queries_travel_exports_and_imports(cloudflare, tmp_path: Path):
    """Several statements are one transaction; time goes back and forth; a dump makes a second database."""
    d1 = cloudflare.d1
    database = d1.create("shop")
    assert d1.get_by_name("shop").uuid == database.uuid
    d1.create("my-shop")

    d1.query(database.uuid, "CREATE TABLE t (a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 'one')")
    before = d1.bookmark(database.uuid)
    with pytest.raises(ApiRefused, match="UNIQUE"):
        d1.query(database.uuid, "INSERT INTO t VALUES (2, 'two'); INSERT INTO t VALUES (1, 'again')")
    assert d1.query(database.uuid, "SELECT count(*) AS n FROM t", only_reads=True)[0].results == [{"n": 1}]
    d1.query(database.uuid, "INSERT INTO t VALUES (?, ?)", [3, None])
    assert d1.raw(database.uuid, "SELECT a, b FROM t ORDER BY a")[0].results.rows == [[1, "one"], [3, None]]

    back = d1.restore(database.uuid, before)
    assert d1.query(database.uuid, "SELECT a FROM t")[0].results == [{"a": 1}]
    d1.restore(database.uuid, back.previous_bookmark)
    assert len(d1.query(database.uuid, "SELECT a FROM t")[0].results) == 2

    dump = tmp_path / "shop.sql"
    assert d1.download(d1.export(database.uuid), dump) == dump.stat().st_size > 0
    copy = d1.create("copy")
    imported = d1.import_sql(copy.uuid, dump)
    assert imported.status == "complete"
    assert d1.query(copy.uuid, "SELECT a, b FROM t ORDER BY a")[0].results == [
        {"a": 1, "b": "one"},
        {"a": 3, "b": None},
    ]

    broken = tmp_path / "broken.sql"
    broken.write_text("INSERT INTO gone VALUES (1);")
    with pytest.raises(ApiRefused, match="no such table"):
        d1.import_sql(copy.uuid, broken)
    with pytest.raises(ApiRefused) as taken:
        d1.create("shop")
    assert taken.value.code == 7502
    d1.delete(copy.uuid)
    with pytest.raises(DatabaseNotFound):
        d1.get(copy.uuid)


def test_kv_keeps_any_key_and_any_bytes(cloudflare):
    """Keys with slashes, dots, percent signs and other scripts; bytes that are no text; many at once."""
    kv = cloudflare.kv
    namespace = kv.create("shop").id
    assert kv.get_by_title("shop").id == namespace
    keys = ["plain", "a/b c", "100%", "ключ", "x.y", "a?b#c&d=e", "%2F", "..", "."]

    for key in keys[:-2]:
        kv.put_value(namespace, key, key.encode() + b"\x00\xff", metadata={"k": key})
        assert kv.get_value(namespace, key) == key.encode() + b"\x00\xff"
    assert {each.name: each.metadata for each in kv.keys(namespace)} == {key: {"k": key} for key in keys[:-2]}
    # "." and ".." are no keys to Cloudflare either; what matters is that they reach nothing else.
    for key in keys[-2:]:
        with pytest.raises(ApiRefused):
            kv.put_value(namespace, key, b"x")

    assert kv.get_value(namespace, "nothing") is None
    kv.delete_value(namespace, "plain")
    assert kv.get_value(namespace, "plain") is None
    many = {f"many/{number:04d}": f"v{number}" for number in range(1200)}
    assert kv.bulk_put(namespace, [Pair(key, value.encode()) for key, value in many.items()]) == 1200
    assert [each.name for each in kv.keys(namespace, prefix="many/")] == sorted(many)
    assert kv.bulk_get(namespace, list(many)[:150]) == dict(list(many.items())[:150])
    kv.bulk_delete(namespace, list(many))
    assert list(kv.keys(namespace, prefix="many/")) == []
    kv.delete(namespace)
    assert namespace not in [each.id for each in kv.list()]


@pytest.mark.parametrize("action", ["answer", "reset", "malformed"])
def test_nothing_is_made_twice_when_answers_are_lost(cloudflare, account, action):
    """Each create is applied and its answer lost; a look finds what was made."""
    account.put_worker("api")
    version = account.upload_version("api")["id"]
    before = len(cloudflare.deployments.list("api"))
    for path in (r"/d1/database$", r"/storage/kv/namespaces$", r"/deployments$", r"/workers/routes$"):
        scope = account.zone_id if "routes" in path else account.account_id
        account.cloud.add_fault(path=scope + ".*" + path, method="POST", action=action, applied=True, times=1)

    database = cloudflare.d1.create("shop")
    namespace = cloudflare.kv.create("shop")
    deployment = cloudflare.deployments.create("api", {version: 100}, message="once")
    route = cloudflare.routes.create(account.zone_id, f"a.{account.zone}/*", "api")

    assert [each.uuid for each in cloudflare.d1.list()] == [database.uuid]
    assert [each.id for each in cloudflare.kv.list()] == [namespace.id]
    assert [each.id for each in cloudflare.routes.list(account.zone_id)] == [route.id]
    assert len(cloudflare.deployments.list("api")) == before + 1
    assert cloudflare.deployments.current("api").id == deployment.id


def test_views_of_one_client_are_one_client(cloudflare):
    """A view for undoing reads the same account."""
    assert cloudflare.with_lane(Lane.UNDO).d1.create("shop").uuid == cloudflare.d1.get_by_name("shop").uuid
