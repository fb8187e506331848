"""KV's endpoints: shapes, codes and refusals, as clients that nobody here wrote expect them."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import cloudflare
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clodo.emulator.kv.store import Namespace, Namespaces
from tests.emulator.d1.conftest import Clock
from tests.emulator.kv.conftest import ACCOUNT


def _codes(answer: httpx.Response) -> tuple[int, list[int]]:
    return answer.status_code, [fault["code"] for fault in answer.json()["errors"]]


@pytest.fixture
def path(namespace: Namespace) -> str:
    """Of the namespace."""
    return f"/namespaces/{namespace.id}"


async def test_a_namespace_is_made_got_renamed_and_removed(api: httpx.AsyncClient):
    """The whole life of a namespace."""
    made = (await api.post("/namespaces", json={"title": "cache"})).json()["result"]
    one = (await api.get(f"/namespaces/{made['id']}")).json()["result"]
    renamed = (await api.put(f"/namespaces/{made['id']}", json={"title": "store"})).json()["result"]
    removed = await api.delete(f"/namespaces/{made['id']}")
    gone = await api.get(f"/namespaces/{made['id']}")

    assert made == one == {"id": made["id"], "title": "cache", "supports_url_encoding": True}
    assert renamed == {**made, "title": "store"}
    assert removed.status_code == 200
    assert _codes(gone) == (404, [10013])


async def test_a_title_can_be_used_once(api: httpx.AsyncClient, path: str):
    """Making or renaming to a title that is taken is 10014, which wrangler looks for."""
    other = (await api.post("/namespaces", json={"title": "other"})).json()["result"]["id"]

    again = await api.post("/namespaces", json={"title": "cache"})
    renamed = await api.put(f"/namespaces/{other}", json={"title": "cache"})

    assert _codes(again) == _codes(renamed) == (400, [10014])


@pytest.mark.parametrize("body", [{}, {"title": ""}, {"title": 7}, {"title": "x" * 513}])
async def test_a_namespace_needs_a_title(api: httpx.AsyncClient, body: dict[str, Any]):
    """Missing, empty and endless titles are 10019."""
    assert _codes(await api.post("/namespaces", json=body)) == (400, [10019])


async def test_namespaces_are_listed_in_pages_and_either_order(api: httpx.AsyncClient):
    """20 a page by default, as recorded; a page past the end is empty, which is where clients stop."""
    for number in range(25):
        await api.post("/namespaces", json={"title": f"n{number:02}"})

    first = (await api.get("/namespaces")).json()
    titles = (await api.get("/namespaces?per_page=100&order=title&direction=desc&page=1")).json()["result"]
    third = (await api.get("/namespaces?page=3")).json()

    assert first["result_info"] == {"count": 20, "page": 1, "per_page": 20, "total_count": 25, "total_pages": 2}
    assert first["result"] == sorted(first["result"], key=lambda item: item["id"])
    assert [item["title"] for item in titles] == [f"n{number:02}" for number in range(24, -1, -1)]
    assert third["result"] == []
    assert _codes(await api.get("/namespaces?page=0")) == (400, [10007])
    assert _codes(await api.get("/namespaces?per_page=many")) == (400, [10008])
    assert (await api.get("/namespaces?order=age")).status_code == 400


@pytest.mark.parametrize("key", ["a/b c", "ü/€?&=#%41", "%2F", "a+b", "a//b", ".hidden", "a/../b", "\x00", "a;b,c:d@e"])
async def test_keys_are_taken_from_the_path_as_it_came(api: httpx.AsyncClient, path: str, key: str):
    """Percent-encoded keys, slashes and all, are decoded once and no more."""
    encoded = quote(key, safe="")

    put = await api.put(f"{path}/values/{encoded}", content=b"value")
    got = await api.get(f"{path}/values/{encoded}")
    listed = (await api.get(f"{path}/keys")).json()["result"]
    await api.delete(f"{path}/values/{encoded}")

    assert put.json()["success"] is True
    assert got.content == b"value"
    assert listed == [{"name": key}]
    assert _codes(await api.get(f"{path}/values/{encoded}")) == (404, [10009])


async def test_a_value_may_come_with_metadata_and_expiry(api: httpx.AsyncClient, path: str, clock: Clock):
    """As wrangler sends it: a form with value and metadata, expiry in the query."""
    await api.put(
        f"{path}/values/k?expiration_ttl=300",
        files={"value": (None, b"bytes \x00\xff"), "metadata": (None, '{"a": 1}')},
    )

    got = await api.get(f"{path}/values/k")
    metadata = (await api.get(f"{path}/metadata/k")).json()["result"]
    listed = (await api.get(f"{path}/keys")).json()["result"]

    expiration = int(clock.seconds) + 300
    assert got.headers["expiration"] == str(expiration)
    assert metadata == {"a": 1}
    assert listed == [{"name": "k", "expiration": expiration, "metadata": {"a": 1}}]
    clock.seconds += 300
    assert _codes(await api.get(f"{path}/values/k")) == (404, [10009])
    assert _codes(await api.get(f"{path}/metadata/k")) == (404, [10009])


async def test_a_value_uploaded_as_a_file_is_kept_byte_by_byte(api: httpx.AsyncClient, path: str):
    """A part with a file name is binary; nothing is decoded on the way."""
    content = bytes(range(256)) * 100

    await api.put(f"{path}/values/k", files={"value": ("blob", content), "metadata": (None, "null")})

    assert (await api.get(f"{path}/values/k")).content == content


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"url": "/values/" + "k" * 513, "content": b""}, 414, 10030),
        ({"url": "/values/%ff", "content": b""}, 400, 10023),
        ({"url": "/values/", "content": b""}, 400, 10023),
        ({"url": "/values/k", "content": bytes(25 * 1024 * 1024 + 1)}, 413, 10024),
        ({"url": "/values/k?expiration_ttl=59", "content": b""}, 400, 10034),
        ({"url": "/values/k?expiration_ttl=soon", "content": b""}, 400, 10034),
        ({"url": "/values/k?expiration=1", "content": b""}, 400, 10033),
        ({"url": "/values/k", "files": {"value": (None, b"v"), "metadata": (None, "{")}}, 400, 10047),
        (
            {"url": "/values/k", "files": {"value": (None, b"v"), "metadata": (None, json.dumps("x" * 1100))}},
            413,
            10047,
        ),
        ({"url": "/values/k", "files": {"other": (None, b"v")}}, 400, 10012),
        (
            {"url": "/values/k", "content": b"--x\r\nbroken", "headers": {"content-type": "multipart/form-data"}},
            400,
            10012,
        ),
    ],
)
async def test_values_that_make_no_sense_are_refused(
    api: httpx.AsyncClient, path: str, request_: dict[str, Any], status: int, code: int
):
    """Keys, values, metadata and expiry over the limits, or malformed, have the documented codes."""
    answer = await api.put(path + request_.pop("url"), **request_)

    assert _codes(answer) == (status, [code])
    assert (await api.get(f"{path}/keys")).json()["result"] == []


@pytest.mark.parametrize("namespace_id", ["nonsense", "0" * 31, "A" * 32, "%2e%2e"])
async def test_a_malformed_namespace_id_is_10011(api: httpx.AsyncClient, namespace_id: str):
    """Ids are 32 hexadecimal digits."""
    assert _codes(await api.get(f"/namespaces/{namespace_id}/keys")) == (400, [10011])


async def test_keys_are_listed_with_prefix_limit_and_cursor(api: httpx.AsyncClient, path: str):
    """The cursor leads to the next page, and is empty on the last."""
    await api.put(f"{path}/bulk", json=[{"key": f"{kind}{n:02}", "value": ""} for kind in "ab" for n in range(25)])

    found: list[str] = []
    cursor = ""
    pages = 0
    while True:
        query = {"prefix": "b", "limit": "10", **({"cursor": cursor} if cursor else {})}
        body = (await api.get(f"{path}/keys", params=query)).json()
        found += [key["name"] for key in body["result"]]
        pages += 1
        assert body["result_info"]["count"] == len(body["result"])
        cursor = body["result_info"]["cursor"]
        if not cursor:
            break

    assert found == [f"b{n:02}" for n in range(25)]
    assert pages == 3
    assert _codes(await api.get(f"{path}/keys?limit=9")) == (400, [10028])
    assert _codes(await api.get(f"{path}/keys?limit=1001")) == (400, [10028])
    assert _codes(await api.get(f"{path}/keys?cursor=nonsense")) == (400, [10041])


async def test_many_pairs_are_written_read_and_deleted_at_once(api: httpx.AsyncClient, path: str, clock: Clock):
    """Bulk writes know base64, metadata and expiry; bulk reads text, JSON and metadata."""
    pairs = [
        {"key": "plain", "value": '{"n": 1}', "metadata": {"m": 1}, "expiration_ttl": 60},
        {"key": "bytes", "value": base64.b64encode(b"\x00\xff").decode(), "base64": True},
        {"key": "text", "value": "ü"},
    ]

    written = (await api.put(f"{path}/bulk", json=pairs)).json()["result"]
    text = (await api.post(f"{path}/bulk/get", json={"keys": ["text", "plain", "none"]})).json()["result"]
    parsed = (
        await api.post(f"{path}/bulk/get", json={"keys": ["plain"], "type": "json", "withMetadata": True})
    ).json()["result"]
    binary = (await api.get(f"{path}/values/bytes")).content
    deleted = (await api.request("DELETE", f"{path}/bulk", json=["plain", "bytes", "none"])).json()["result"]
    await api.post(f"{path}/bulk/delete", json=["text"])

    assert written == {"successful_key_count": 3, "unsuccessful_keys": []}
    assert text == {"values": {"text": "ü", "plain": '{"n": 1}', "none": None}}
    expected = {"value": {"n": 1}, "metadata": {"m": 1}, "expiration": int(clock.seconds) + 60}
    assert parsed == {"values": {"plain": expected}}
    assert binary == b"\x00\xff"
    assert deleted["successful_key_count"] == 3
    assert (await api.get(f"{path}/keys")).json()["result"] == []


@pytest.mark.parametrize(
    "pair",
    [
        {"key": "k"},
        {"value": "v"},
        {"key": 1, "value": "v"},
        {"key": "k", "value": {"a": 1}},
        {"key": "k", "value": "?", "base64": True},
        {"key": "k", "value": "v", "expiration_ttl": 1},
        {"key": "", "value": "v"},
        {"key": "k", "value": "v", "metadata": "x" * 2000},
        "k",
    ],
)
async def test_a_bulk_write_is_all_or_nothing(api: httpx.AsyncClient, path: str, pair: Any):
    """One wrong pair, and none is written."""
    answer = await api.put(f"{path}/bulk", json=[{"key": "good", "value": "v"}, pair])

    assert answer.status_code in (400, 413)
    assert (await api.get(f"{path}/keys")).json()["result"] == []


async def test_bulk_requests_have_limits(api: httpx.AsyncClient, path: str):
    """10,000 pairs to write, 100 keys to read; values that are no JSON can't be read as JSON."""
    await api.put(f"{path}/values/text", content=b"no json")

    assert (await api.put(f"{path}/bulk", json=[{"key": "k", "value": ""}] * 10_001)).status_code == 413
    assert (await api.post(f"{path}/bulk/get", json={"keys": ["k"] * 101})).status_code == 400
    assert (await api.post(f"{path}/bulk/get", json={"keys": ["text"], "type": "json"})).status_code == 400
    assert (await api.post(f"{path}/bulk/get", json={"keys": ["text"], "type": "xml"})).status_code == 400
    assert (await api.post(f"{path}/bulk/get", json={"keys": "text"})).status_code == 400


async def test_the_official_sdk_finds_every_shape_right(transport: httpx.ASGITransport):
    """The Python SDK, generated from Cloudflare's OpenAPI and told to be strict, takes each answer."""
    sdk = cloudflare.AsyncCloudflare(
        api_token="t" * 40,
        base_url="http://127.0.0.1:8787/client/v4",
        http_client=httpx.AsyncClient(transport=transport),
        _strict_response_validation=True,
        max_retries=0,
    )
    kv = sdk.kv.namespaces

    made = await kv.create(account_id=ACCOUNT, title="cache")
    one = {"account_id": ACCOUNT, "namespace_id": made.id}
    assert (await kv.get(**one)).title == "cache"
    renamed = await kv.update(**one, title="store")
    assert renamed is not None
    assert [item.title async for item in kv.list(account_id=ACCOUNT, per_page=10)] == ["store"]
    await kv.values.update("a/b", **one, value=b"text", metadata='{"a": 1}', expiration_ttl=60)
    value = await kv.values.get("a/b", **one)
    assert await value.read() == b"text"
    assert await kv.metadata.get("a/b", **one) == {"a": 1}
    assert [key.name async for key in kv.keys.list(**one, limit=10)] == ["a/b"]
    await kv.bulk_update(**one, body=[{"key": "c", "value": "1"}])
    got = await kv.bulk_get(**one, keys=["c"])
    assert got is not None
    deleted = await kv.bulk_delete(**one, body=["c"])
    assert deleted is not None
    assert deleted.successful_key_count == 1
    await kv.values.delete("a/b", **one)
    with pytest.raises(cloudflare.NotFoundError):
        await kv.values.get("a/b", **one)
    await kv.delete(**one)
    await sdk.close()


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["key", "value", "metadata", "keys", "type", "title", "base64", "expiration", "name"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
    path=st.sampled_from(
        ["", "/{}", "/{}/keys", "/{}/bulk", "/{}/bulk/get", "/{}/bulk/delete", "/{}/values/%00/..", "/{}/metadata/x"]
    ),
    body=_JSON,
    query=st.dictionaries(
        st.sampled_from(["page", "per_page", "order", "limit", "cursor", "prefix", "expiration", "expiration_ttl"]),
        st.one_of(st.text(max_size=8), st.integers().map(str)),
        max_size=3,
    ),
)
async def test_no_request_is_too_odd(
    api: httpx.AsyncClient, namespaces: Namespaces, method: str, path: str, body: Any, query: dict[str, str]
):
    """Whatever comes in, the answer is no 500."""
    known = namespaces.all(ACCOUNT) or [await namespaces.create(ACCOUNT, "odd")]

    answer = await api.request(
        method, f"/namespaces{path.format(known[0].id)}", content=json.dumps(body).encode(), params=query
    )

    assert answer.status_code < 500, answer.text
