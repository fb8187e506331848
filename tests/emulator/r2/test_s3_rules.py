"""CORS and lifecycle rules as S3's XML, beside the API's JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import obstore
import pytest
from obstore.store import S3Store

from tests.emulator.r2.conftest import Keys, Signed
from tests.emulator.r2.test_s3 import refusal, texts, tree
from tests.fixtures.embedded_cloud import CloudAccount

CORS = (
    '<CORSConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><CORSRule><ID>web</ID>'
    "<AllowedOrigin>https://a.example</AllowedOrigin><AllowedOrigin>https://b.example</AllowedOrigin>"
    "<AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedHeader>content-type</AllowedHeader>"
    "<ExposeHeader>etag</ExposeHeader><MaxAgeSeconds>3600</MaxAgeSeconds></CORSRule></CORSConfiguration>"
)
LIFECYCLE = (
    '<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<Rule><ID>old</ID><Status>Enabled</Status><Filter><Prefix>logs/</Prefix></Filter>"
    "<Expiration><Days>30</Days></Expiration><Transition><Days>7</Days><StorageClass>STANDARD_IA</StorageClass>"
    "</Transition><AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation>"
    "</AbortIncompleteMultipartUpload></Rule>"
    "<Rule><ID>end</ID><Status>Disabled</Status><Filter><Prefix></Prefix></Filter>"
    "<Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration></Rule></LifecycleConfiguration>"
)


def test_cors_goes_around_as_xml(account: CloudAccount, s3: httpx.Client, store: S3Store) -> None:
    """Rules put over S3 are those of the API, are read back as they were put, and can be removed."""
    none = refusal(s3.get("/things?cors"))
    put = s3.put("/things?cors", content=CORS.encode())
    got = s3.get("/things?cors")
    rules = account.result("GET", "/r2/buckets/things/cors")["rules"]
    deleted = s3.delete("/things?cors")

    assert none == (404, "NoSuchCORSConfiguration")
    assert (put.status_code, put.content, deleted.status_code) == (200, b"", 204)
    assert got.content.decode().partition("?>")[2] == CORS
    allowed = {
        "methods": ["GET", "PUT"],
        "origins": ["https://a.example", "https://b.example"],
        "headers": ["content-type"],
    }
    assert rules == [{"id": "web", "allowed": allowed, "exposeHeaders": ["etag"], "maxAgeSeconds": 3600}]
    assert refusal(s3.get("/things?cors")) == (404, "NoSuchCORSConfiguration")


def test_lifecycles_go_around_as_xml(account: CloudAccount, s3: httpx.Client, store: S3Store) -> None:
    """Rules put over S3 are those of the API, are read back as they were put, and can be removed."""
    default = texts(s3.get("/things?lifecycle"), "Rule/AbortIncompleteMultipartUpload/DaysAfterInitiation")
    put = s3.put("/things?lifecycle", content=LIFECYCLE.encode())
    got = s3.get("/things?lifecycle")
    rules = account.result("GET", "/r2/buckets/things/lifecycle")["rules"]
    deleted = s3.delete("/things?lifecycle")

    assert default == ["7"]
    assert (put.status_code, deleted.status_code) == (200, 204)
    assert got.content.decode().partition("?>")[2] == LIFECYCLE
    assert rules[0]["deleteObjectsTransition"] == {"condition": {"type": "Age", "maxAge": 2_592_000}}
    assert rules[1]["deleteObjectsTransition"] == {"condition": {"type": "Date", "date": "2030-01-01T00:00:00Z"}}
    assert refusal(s3.get("/things?lifecycle")) == (404, "NoSuchLifecycleConfiguration")


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("cors", "", (400, "MalformedXML")),
        ("cors", "<CORSConfiguration/>", (400, "MalformedXML")),
        ("cors", CORS.replace("GET", "TRACE"), (400, "InvalidArgument")),
        ("cors", CORS.replace("3600", "an hour"), (400, "MalformedXML")),
        ("cors", LIFECYCLE, (400, "MalformedXML")),
        ("cors", CORS.replace("ExposeHeader", "Exposed"), (400, "MalformedXML")),
        ("cors", CORS.replace("https://a.example", "https://a.example/path"), (400, "InvalidArgument")),
        ("lifecycle", "<LifecycleConfiguration/>", (400, "MalformedXML")),
        ("lifecycle", LIFECYCLE.replace("Enabled", "Maybe"), (400, "MalformedXML")),
        ("lifecycle", LIFECYCLE.replace("<Days>30", "<Days>0"), (400, "MalformedXML")),
        ("lifecycle", LIFECYCLE.replace("2030-01-01T00:00:00Z", "soon"), (400, "MalformedXML")),
        ("lifecycle", LIFECYCLE.replace("STANDARD_IA", "GLACIER"), (501, "NotImplemented")),
        ("lifecycle", LIFECYCLE.replace("Prefix>", "Tag>"), (501, "NotImplemented")),
    ],
)
def test_rules_that_cannot_be_are_refused(
    s3: httpx.Client, store: S3Store, query: str, body: str, expected: tuple[int, str]
) -> None:
    """What isn't such a document, or says what R2 doesn't have, is refused and changes nothing."""
    before = s3.get(f"/things?{query}").content

    assert refusal(s3.put(f"/things?{query}", content=body.encode())) == expected
    assert s3.get(f"/things?{query}").content == before


def test_only_administrators_change_rules(account: CloudAccount, keys: Keys, store: S3Store) -> None:
    """A token for reading and writing objects neither sees nor changes a bucket's rules."""
    made = httpx.post(
        f"{account.cloud.edge_url}/__clodo/tokens",
        json={"account_ids": [account.account_id], "permissions": ["Workers R2 Storage Bucket Item Write"]},
        headers={"Authorization": f"Bearer {account.cloud.admin_token}"},
        trust_env=False,
    ).json()["result"]
    writer = Keys.of_token(keys.endpoint, made["id"], made["token"])

    with httpx.Client(base_url=keys.endpoint, auth=Signed(writer), trust_env=False) as client:
        answers = [
            refusal(client.request(method, f"/things?{query}", content=body))
            for query, body in (("cors", CORS), ("lifecycle", LIFECYCLE))
            for method in ("GET", "PUT", "DELETE")
        ]
        assert client.put("/things/k", content=b"x").status_code == 200

    assert answers == [(403, "AccessDenied")] * 6


def test_rules_are_carried_out_as_if_it_were_later(account: CloudAccount, s3: httpx.Client, store: S3Store) -> None:
    """Whoever rehearses names a moment, and what is due then is gone."""
    obstore.put(store, "logs/1", b"x")
    obstore.put(store, "kept", b"x")
    s3.put("/things?lifecycle", content=LIFECYCLE.encode())
    headers = {"Authorization": f"Bearer {account.cloud.admin_token}"}
    url = f"{account.cloud.edge_url}/__clodo/lifecycles"
    later = (datetime.now(UTC) + timedelta(days=31)).isoformat()

    now = httpx.post(url, headers=headers, json={}, trust_env=False).json()["result"]
    then = httpx.post(url, headers=headers, json={"at": later}, trust_env=False).json()["result"]
    wrong = httpx.post(url, headers=headers, json={"at": "soon"}, trust_env=False).status_code

    assert (now["expired"], then["expired"], wrong) == (0, 1, 400)
    assert [element.text for element in tree(s3.get("/things")).findall("Contents/Key")] == ["kept"]
