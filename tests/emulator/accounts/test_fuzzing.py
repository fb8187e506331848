"""Whatever is sent to identity, zones and records, the answer is in Cloudflare's envelope and no 500."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures.embedded_cloud import CloudAccount

#: ``A`` is the account, ``Z`` its zone, ``T`` a token's id.
PATHS = (
    *("/accounts", "A", "A/members", "A/members/x", "A/roles", "A/roles/x", "A/subscriptions", "A/audit_logs"),
    *("A/logs/audit", "A/tokens", "A/tokens/T", "A/tokens/T/value", "A/tokens/permission_groups", "/memberships"),
    *("/memberships/x", "/user", "/user/tokens", "/user/tokens/T", "/user/tokens/permission_groups", "/zones", "Z"),
    *("Z/activation_check", "Z/settings", "Z/settings/ssl", "Z/settings/minify", "Z/ssl/certificate_packs"),
    *("Z/ssl/universal/settings", "Z/ssl/verification", "Z/dnssec", "Z/subscription", "Z/dns_records"),
    *("Z/dns_records/T", "Z/dns_records/batch", "Z/dns_records/export", "Z/dns_records/import", "Z/pagerules"),
    *("/zones/%2e%2e", "/zones/%00", "Z/dns_records/%ff", "/accounts/..%2f..", "Z/custom_hostnames/fallback_origin"),
)

KEYS = st.sampled_from(
    (
        *(
            "name",
            "type",
            "content",
            "data",
            "ttl",
            "priority",
            "proxied",
            "comment",
            "tags",
            "settings",
            "id",
            "items",
        ),
        *("posts", "puts", "patches", "deletes", "policies", "effect", "permission_groups", "resources", "condition"),
        *("request_ip", "in", "not_in", "expires_on", "not_before", "status", "account", "paused", "value", "enabled"),
        *("vanity_name_servers", "first_name", "flags", "tag", "target", "weight", "port", "priority"),
    )
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(("A", "CNAME", "SRV", "HTTPS", "LOC", "allow", "*", "\ud800", "192.0.2.1", "2026-01-01", "\x00"))
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)
QUERIES = st.dictionaries(
    st.sampled_from(
        (
            *("page", "per_page", "name", "type", "order", "direction", "match", "tag", "tag.exact", "since", "before"),
            *("cursor", "limit", "status", "account.id", "search", "name.contains", "include_expired", "proxied"),
        )
    ),
    st.text(max_size=6) | st.sampled_from(("1", "-1", "0", "99999999999", "2026-01-01", "contains:", "asc", "\x00")),
    max_size=4,
)

COMMON = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(account: CloudAccount, method: str, path: str, **request: Any) -> None:
    """Call the API; the answer must be Cloudflare's, and no 500."""
    first, _, rest = path.partition("/")
    path = {"A": account.root, "Z": f"/zones/{account.zone_id}", "": ""}[first] + (f"/{rest}" if rest else "")
    answer = account.api.request(method, path.replace("/T", "/" + "0" * 32), **request)

    assert answer.status_code < 500, f"{method} {path} {request}: {answer.status_code} {answer.text}"
    if answer.headers.get("content-type") == "application/json":
        body = answer.json()
        assert isinstance(body["success"], bool)
        assert body["success"] or isinstance(body["errors"][0]["code"], int)


@COMMON
@given(
    st.sampled_from(("POST", "PUT", "PATCH", "DELETE")),
    st.sampled_from(PATHS),
    st.dictionaries(KEYS, DOCUMENTS, max_size=6) | DOCUMENTS | st.binary(max_size=20),
)
def test_no_body_upsets_identity_and_zones(account: CloudAccount, method: str, path: str, body: Any) -> None:
    """Any JSON, and what is no JSON, gets an answer."""
    if method == "DELETE" and path == "Z":
        return
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    check(account, method, path, content=content)


@COMMON
@given(st.sampled_from(PATHS), QUERIES)
def test_no_query_upsets_a_list(account: CloudAccount, path: str, query: dict[str, str]) -> None:
    """Any page, filter and order gets an answer."""
    check(account, "GET", path, params=query)
