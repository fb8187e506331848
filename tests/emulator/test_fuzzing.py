"""Whatever is sent, the control plane answers in Cloudflare's envelope and never with 500."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures.embedded_cloud import CloudAccount

PATHS = (
    *(
        "/workers/scripts",
        "/workers/scripts/shop",
        "/workers/scripts/shop/settings",
        "/workers/scripts/shop/script-settings",
    ),
    *("/workers/scripts/shop/versions", "/workers/scripts/shop/deployments", "/workers/scripts/shop/secrets"),
    *("/workers/scripts/shop/secrets-bulk", "/workers/scripts/shop/schedules", "/workers/scripts/shop/subdomain"),
    *("/workers/scripts/shop/routes", "/workers/scripts/shop/tails", "/workers/scripts/shop/assets-upload-session"),
    *("/workers/scripts/shop/domains/changeset", "/workers/scripts/shop/domains/records", "/workers/assets/upload"),
    *("/workers/workers/shop/versions/latest", "/workers/subdomain", "/workers/domains", "/workers/services/shop"),
    *("/workers/scripts/shop/content", "/workers/scripts/shop/references", "/workers/durable_objects/namespaces"),
    *("/r2/buckets", "/queues", "/workers/scripts/%2e%2e/settings", "/workers/scripts/a%2Fb/secrets/c%2Fd"),
)

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12)
)
names = st.sampled_from(
    (
        *("versions", "version_id", "percentage", "strategy", "annotations", "workers/tag", "force", "secrets", "name"),
        *(
            "text",
            "type",
            "cron",
            "enabled",
            "previews_enabled",
            "pattern",
            "script",
            "zone_name",
            "hostname",
            "origins",
        ),
        *("manifest", "env", "filters", "bindings", "subdomain", "service", "queue_name", "settings", "hash", "size"),
        *(
            "tags",
            "tail_consumers",
            "observability",
            "logpush",
            "override_scope",
            "compatibility_date",
            "jwt",
            "assets",
        ),
    )
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=8
)


@pytest.fixture(scope="module")
def shop(cloud: Any) -> Any:
    """An account with a Worker to throw things at."""
    from tests.fixtures.embedded_cloud import account_of

    with account_of(cloud, cloud.new_account()) as account:
        account.put_worker("shop")
        yield account


def check(account: CloudAccount, method: str, path: str, **request: Any) -> None:
    """Call the API; the answer must be Cloudflare's, and no 500."""
    answer = account.api.request(method, account.root + path, **request)

    assert answer.status_code < 500, f"{method} {path} {request}: {answer.status_code} {answer.text}"
    if answer.headers.get("content-type") == "application/json":
        body = answer.json()
        assert isinstance(body["success"], bool)
        assert body["success"] or (body["errors"] and isinstance(body["errors"][0]["code"], int))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(("POST", "PUT", "PATCH", "GET")), st.sampled_from(PATHS), documents | st.binary(max_size=20))
def test_no_body_upsets_the_control_plane(shop: CloudAccount, method: str, path: str, body: Any) -> None:
    """Any JSON, and what is no JSON, gets an answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    check(shop, method, path, content=content)


#: What makes the rest pointless: the caller's own token or account gone, or the cloud waiting for a minute.
NOT_DRIVEN = re.compile(r"^DELETE /accounts/\{account_id\}$|^\w+ .*/tokens/\{|^DELETE /zones/\{|/tails$")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_endpoint_answers_500(
    shop: CloudAccount, furniture: dict[str, tuple[str, ...]], data: st.DataObject
) -> None:
    """Every endpoint that there is, with real and odd names in its path, any query and any body, has an answer."""
    drive(shop, furniture, data)


@pytest.mark.exhaustive
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_endpoint_answers_500_for_long(
    shop: CloudAccount, furniture: dict[str, tuple[str, ...]], data: st.DataObject
) -> None:
    """The same, many more times."""
    drive(shop, furniture, data)


def drive(shop: CloudAccount, furniture: dict[str, tuple[str, ...]], data: st.DataObject) -> None:
    """Call some endpoint with something."""
    endpoints = [f"{method} {path}" for method, path in shop.cloud.endpoints()]
    method, path = data.draw(st.sampled_from([each for each in endpoints if not NOT_DRIVEN.search(each)])).split(" ")

    def fill(match: re.Match[str]) -> str:
        name = match[1].partition(":")[0]
        return data.draw(st.sampled_from((*furniture.get(name, ()), "nothing", "..%2f..", "%00", "a%2Fb%20c", "%ff")))

    filled = re.sub(r"\{([^}]+)\}", fill, path)
    body = data.draw(documents | st.binary(max_size=20))
    query = data.draw(
        st.dictionaries(st.sampled_from(("page", "per_page", "name", "limit", "cursor", "order")), st.text(max_size=6))
    )
    answer = shop.api.request(
        method,
        filled,
        content=body if isinstance(body, bytes) else json.dumps(body).encode(),
        params=query,
        headers={"Content-Type": data.draw(st.sampled_from(("application/json", "text/plain", "multipart/form-data")))},
    )

    assert answer.status_code < 500, f"{method} {filled} {query} {body!r}: {answer.status_code} {answer.text}"


@pytest.fixture(scope="module")
def furniture(shop: CloudAccount) -> dict[str, tuple[str, ...]]:
    """Something real for each name in a path."""
    bucket = shop.result("POST", "/r2/buckets", json={"name": "files"})["name"]
    database = shop.result("POST", "/d1/database", json={"name": "notes"})["uuid"]
    namespace = shop.result("POST", "/storage/kv/namespaces", json={"title": "cache"})["id"]
    queue = shop.result("POST", "/queues", json={"queue_name": "orders"})["queue_id"]
    version = shop.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    return {
        "account_id": (shop.account_id,),
        "bucket": (bucket,),
        "database": (database, "notes"),
        "key": ("a", "dir/a"),
        "namespace": (namespace,),
        "queue_id": (queue,),
        "script": ("shop",),
        "secret": ("SECRET",),
        "setting": ("always_online",),
        "version_id": (version,),
        "zone_id": (shop.zone_id,),
    }


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        ("PUT /workers/scripts/fuzz", "POST /workers/scripts/shop/versions", "PATCH /workers/scripts/shop/settings")
    ),
    st.dictionaries(
        names | st.sampled_from(("main_module", "migrations", "exports", "keep_bindings")), documents, max_size=4
    )
    | documents,
)
def test_no_metadata_upsets_an_upload(shop: CloudAccount, call: str, metadata: Any) -> None:
    """Any metadata in front of a module gets an answer."""
    method, path = call.split()
    if isinstance(metadata, dict):
        metadata = {"main_module": "index.js", "compatibility_date": "2026-01-01", **metadata}
    parts = [
        ("metadata", (None, json.dumps(metadata))),
        ("settings", (None, json.dumps(metadata))),
        ("index.js", ("index.js", b"export default {fetch(){}}", "application/javascript+module")),
    ]
    check(shop, method, path, files=parts)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(PATHS),
    st.dictionaries(st.sampled_from(("page", "per_page", "name", "deployable", "since", "tags")), st.text(max_size=6)),
)
def test_no_query_upsets_a_list(shop: CloudAccount, path: str, query: dict[str, str]) -> None:
    """Any page, size and filter gets an answer."""
    check(shop, "GET", path, params=query)
