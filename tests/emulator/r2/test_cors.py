"""What a bucket's CORS rules do: to preflights and to answers, on S3's endpoint and where the bucket is public."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import obstore
import pytest
from obstore.store import S3Store

from tests.emulator.r2.conftest import Keys
from tests.emulator.r2.test_s3 import refusal
from tests.fixtures.embedded_cloud import CloudAccount

ORIGIN = "https://shop.example"
RULE = {
    "allowed": {
        "origins": [ORIGIN, "https://*.preview.example"],
        "methods": ["GET", "PUT"],
        "headers": ["Content-Type", "x-amz-*"],
    },
    "exposeHeaders": ["ETag", "Content-Length"],
    "maxAgeSeconds": 3600,
}


def preflight(url: str, method: str = "PUT", headers: str = "", origin: str = ORIGIN, host: str = "") -> httpx.Response:
    """Ask as a browser does before it sends something."""
    asked = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": headers}
    sent = {name: value for name, value in {**asked, "host": host}.items() if value}
    return httpx.options(url, headers=sent, trust_env=False)


def told(answer: httpx.Response) -> dict[str, str]:
    """Return the headers that are for the browser."""
    names = ("access-control-", "vary")
    return {name: value for name, value in answer.headers.items() if name.startswith(names)}


@pytest.fixture
def url(account: CloudAccount, keys: Keys, store: S3Store) -> str:
    """Where an object is, in a bucket with a rule."""
    account.result("PUT", "/r2/buckets/things/cors", json={"rules": [RULE]})
    return f"{keys.endpoint}/things/a/b"


def test_a_preflight_is_answered_by_the_rule(url: str) -> None:
    """A browser learns, without any signature, what it may send; names of headers have no case."""
    answer = preflight(url, headers="content-type,X-Amz-Date")

    assert (answer.status_code, answer.content) == (204, b"")
    assert told(answer) == {
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "content-type, x-amz-date",
        "access-control-expose-headers": "ETag, Content-Length",
        "access-control-max-age": "3600",
        "vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    }
    assert preflight(url, origin="https://a.preview.example").status_code == 204


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"origin": "https://shop.example.org"}, (403, "Unauthorized")),
        ({"method": "DELETE"}, (403, "Unauthorized")),
        ({"headers": "authorization"}, (403, "Unauthorized")),
        ({"method": ""}, (403, "Unauthorized")),
        ({"origin": ""}, (400, "BadRequest")),
    ],
)
def test_what_no_rule_lets_in_is_refused(url: str, asked: dict[str, str], expected: tuple[int, str]) -> None:
    """Another origin, method or header is refused, in the words of a bucket without rules."""
    answer = preflight(url, **asked)

    assert refusal(answer) == expected
    assert "access-control-allow-origin" not in answer.headers


def test_a_preflight_for_the_url_of_a_signer_who_cannot_be_is_refused(account: CloudAccount) -> None:
    """An access key that isn't text is nobody's, and no failure of ours."""
    answer = preflight(f"{account.cloud.edge_url}/things/k?X-Amz-Credential={'%ff' * 32}%2F20261120%2Fauto%2Fs3")

    assert refusal(answer) == (403, "Unauthorized")


def test_a_bucket_without_rules_refuses_preflights(keys: Keys, store: S3Store) -> None:
    """So does a bucket that isn't there."""
    for bucket in ("things", "none"):
        answer = preflight(f"{keys.endpoint}/{bucket}/k")

        assert refusal(answer) == (403, "Unauthorized")
        assert "CORS not configured for this bucket" in answer.text


def test_answers_carry_headers_for_the_origin(url: str, s3: httpx.Client) -> None:
    """A request from an origin that a rule lets in has headers, refusals too; others have none."""
    put = s3.put("/things/k", content=b"x", headers={"origin": ORIGIN})
    missing = s3.get("/things/none", headers={"origin": ORIGIN})

    expected = {
        "access-control-allow-origin": ORIGIN,
        "access-control-expose-headers": "ETag, Content-Length",
        "vary": "Origin",
    }
    assert told(put) == told(missing) == expected
    assert (put.status_code, missing.status_code) == (200, 404)
    assert told(s3.get("/things/k", headers={"origin": "https://other.example"})) == {}
    assert told(s3.get("/things/k")) == {}
    assert told(s3.delete("/things/k", headers={"origin": ORIGIN})) == {}


def test_a_presigned_url_without_an_account_has_rules_too(account: CloudAccount, url: str, keys: Keys) -> None:
    """A preflight for a URL at the root is for the account of whoever signed the URL."""
    rooted = Keys(account.cloud.edge_url, keys.access_key, keys.secret).store("things")
    presigned = obstore.sign(rooted, "PUT", "k", timedelta(minutes=5))

    assert preflight(presigned).status_code == 204
    assert preflight(presigned.replace(keys.access_key, "f" * 32)).status_code == 403
    put = httpx.put(presigned, content=b"x", headers={"origin": ORIGIN}, trust_env=False)
    assert (put.status_code, put.headers["access-control-allow-origin"]) == (200, ORIGIN)


def test_public_buckets_have_cors_too(account: CloudAccount, s3: httpx.Client, store: S3Store) -> None:
    """At r2.dev and at a custom domain: a star stands for any origin and any header."""
    rule = {"allowed": {"origins": ["*"], "methods": ["GET"], "headers": ["*"]}}
    account.result("PUT", "/r2/buckets/things/cors", json={"rules": [rule]})
    s3.put("/things/k", content=b"x")
    dev = account.result("PUT", "/r2/buckets/things/domains/managed", json={"enabled": True})["domain"]
    own = f"files.{account.zone}"
    account.result("POST", "/r2/buckets/things/domains/custom", json={"domain": own, "zoneId": account.zone_id})
    url = f"{account.cloud.edge_url}/k"

    for host in (dev, own):
        got = httpx.get(url, headers={"host": host, "origin": ORIGIN}, trust_env=False)
        asked = preflight(url, "GET", "authorization,range", host=host)
        assert (got.text, told(got)) == ("x", {"access-control-allow-origin": "*", "vary": "Origin"})
        assert (asked.status_code, asked.headers["access-control-allow-headers"]) == (204, "authorization, range")
        assert preflight(url, "PUT", host=host).status_code == 403
        assert preflight(url, "GET", origin="", host=host).status_code == 400
        assert httpx.put(url, content=b"y", headers={"host": host}, trust_env=False).status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"origins": ["https://shop.example/"]},
        {"origins": ["shop.example"]},
        {"origins": ["https://*.*.example"]},
        {"headers": [""]},
        {"headers": ["a\r\nb: c"]},
        {"headers": "content-type"},
        {"exposeHeaders": ["e tag"]},
        {"maxAgeSeconds": -1},
    ],
)
def test_rules_that_could_fit_nothing_are_refused(
    account: CloudAccount, store: S3Store, changes: dict[str, Any]
) -> None:
    """Origins have no path, headers have names, ages are numbers."""
    outer = {name: value for name, value in changes.items() if name in ("exposeHeaders", "maxAgeSeconds")}
    allowed = {"origins": ["*"], "methods": ["GET"], **{k: v for k, v in changes.items() if k not in outer}}

    answer = account.api.put(f"{account.root}/r2/buckets/things/cors", json={"rules": [{"allowed": allowed, **outer}]})

    assert answer.status_code == 400
