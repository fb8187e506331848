"""Cloudflare's envelope: answers, errors, pages and JSON bodies."""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from clodo.emulator.envelope import (
    EXCEPTION_HANDLERS,
    ApiError,
    Fault,
    UnexpectedErrors,
    envelope,
    json_body,
    object_body,
    page_of,
    parse_json,
    read_body,
)


async def _refuse(request: Request) -> Response:
    raise ApiError(
        409, 10014, "exists", more=[Fault(7, "really", {"meta": {"a": 1}})], headers={"Retry-After": "3"}, result=[]
    )


async def _break(request: Request) -> Response:
    raise KeyError("secret detail")


async def _fill_the_disk(request: Request) -> Response:
    raise OSError(errno.ENOSPC, "No space left on device")


async def _break_later(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"begun"
        raise KeyError("too late")

    return StreamingResponse(pieces())


async def _echo(request: Request) -> Response:
    return envelope(await json_body(request, limit=1000))


async def _object(request: Request) -> Response:
    return envelope(await object_body(request, code=7400, message="The request is malformed"))


async def _size(request: Request) -> Response:
    return envelope(len(await read_body(request, 10, code=10024, what="value")))


def _client() -> httpx.AsyncClient:
    app = Starlette(
        routes=[
            Route("/refuse", _refuse),
            Route("/break", _break),
            Route("/full", _fill_the_disk),
            Route("/late", _break_later),
            Route("/echo", _echo, methods=["POST"]),
            Route("/object", _object, methods=["POST"]),
            Route("/size", _size, methods=["PUT"]),
        ],
        exception_handlers=dict(EXCEPTION_HANDLERS),
        middleware=[Middleware(UnexpectedErrors)],
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")


async def test_an_answer_has_the_four_keys_and_result_info_only_when_given():
    """A success is result, success, errors and messages; result_info stands on lists only."""
    assert json.loads(bytes(envelope({"a": 1}).body)) == {
        "result": {"a": 1},
        "success": True,
        "errors": [],
        "messages": [],
    }
    body = json.loads(bytes(envelope([], result_info={"page": 1}, errors=None, messages=None).body))
    assert body == {"result": [], "success": True, "errors": None, "messages": None, "result_info": {"page": 1}}


async def test_an_api_error_carries_all_its_faults_headers_and_result():
    """Several errors, extra keys, headers and a result other than null reach the client."""
    async with _client() as client:
        answer = await client.get("/refuse")

    assert answer.status_code == 409
    assert answer.headers["retry-after"] == "3"
    assert answer.json() == {
        "result": [],
        "success": False,
        "errors": [{"code": 10014, "message": "exists"}, {"code": 7, "message": "really", "meta": {"a": 1}}],
        "messages": [],
    }


async def test_an_unforeseen_error_is_a_500_that_tells_nothing_but_an_incident():
    """The client gets an envelope with an id, and no word of the exception."""
    async with _client() as client:
        answer = await client.get("/break")

    assert answer.status_code == 500
    assert answer.json()["success"] is False
    assert "incident" in answer.json()["errors"][0]["message"]
    assert "secret detail" not in answer.text
    assert answer.json()["errors"][0]["code"] != 10000


async def test_a_full_disk_is_told_apart():
    """No space left answers 507, which a caller can act on."""
    async with _client() as client:
        assert (await client.get("/full")).status_code == 507


async def test_an_error_after_the_answer_began_is_not_papered_over():
    """When the first bytes are gone, the error goes on to the server, which cuts the connection."""
    async with _client() as client:
        with pytest.raises(KeyError):
            await client.get("/late")


@pytest.mark.parametrize(
    ("method", "path", "status", "codes"),
    [("GET", "/nowhere", 404, [7003, 7000]), ("GET", "/echo", 405, [7001])],
)
async def test_what_the_router_refuses_has_the_gateways_numbers(method: str, path: str, status: int, codes: list[int]):
    """Unknown paths and methods are answered like Cloudflare's gateway does, in the envelope."""
    async with _client() as client:
        answer = await client.request(method, path)

    assert answer.status_code == status
    assert [fault["code"] for fault in answer.json()["errors"]] == codes


async def test_json_is_read_whatever_the_content_type_says():
    """A JSON body sent as text/plain, as wrangler does, is read."""
    async with _client() as client:
        answer = await client.post("/echo", content=b'\xef\xbb\xbf{"a": 1}', headers={"content-type": "text/plain"})

    assert answer.json()["result"] == {"a": 1}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 900, b"Infinity"])
async def test_what_is_no_json_is_a_400(body: bytes):
    """Empty, broken, binary, not-a-number and absurdly nested bodies are refused, not crashed on."""
    async with _client() as client:
        answer = await client.post("/echo", content=body)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == 6007


async def test_deep_nesting_is_refused_by_the_parser():
    """A body nested deeper than the interpreter's stack is a 400."""
    with pytest.raises(ApiError) as refusal:
        parse_json(b"[" * 200_000)

    assert refusal.value.status == 400


async def test_an_object_is_asked_for_where_one_is_needed():
    """An array where an object must be is refused with the product's own number."""
    async with _client() as client:
        answer = await client.post("/object", content=b"[]")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == 7400


async def test_a_body_is_refused_as_soon_as_it_is_too_large():
    """Announced or not, a body over the limit is a 413; the one at the limit is taken."""

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"12345"

    async with _client() as client:
        assert (await client.put("/size", content=b"x" * 10)).json()["result"] == 10
        announced = await client.put("/size", content=b"x" * 11)
        streamed = await client.put("/size", content=unannounced())

    assert announced.status_code == streamed.status_code == 413
    assert announced.json()["errors"][0]["code"] == 10024


@given(
    count=st.integers(0, 60),
    page=st.integers(1, 12),
    per_page=st.integers(1, 20),
)
def test_pages_put_together_are_the_list(count: int, page: int, per_page: int):
    """Each item is on exactly one page, a page past the end is empty, and the totals are right."""
    items = list(range(count))

    chosen, info = page_of(items, {"page": str(page), "per_page": f"{per_page}.0"}, default_per_page=5, max_per_page=20)

    assert list(chosen) == [item for item in items if item // per_page == page - 1]
    assert info["count"] == len(chosen)
    assert info["total_count"] == count
    assert info["total_pages"] == max(1, (count + per_page - 1) // per_page)


def test_pages_have_defaults_and_may_lack_the_number_of_pages():
    """Without page and per_page the first page of the default size comes; D1 leaves total_pages out."""
    chosen, info = page_of(list("abc"), {"page": ""}, default_per_page=2, max_per_page=10, total_pages=False)

    assert chosen == ["a", "b"]
    assert info == {"count": 2, "page": 1, "per_page": 2, "total_count": 3}


@pytest.mark.parametrize(
    "query", [{"page": "0"}, {"page": "x"}, {"per_page": "0"}, {"per_page": "11"}, {"page": "-1"}, {"page": "9" * 30}]
)
def test_a_page_that_makes_no_sense_is_a_400(query: dict[str, str]):
    """Zero, negative, enormous and non-numeric pages are refused."""
    with pytest.raises(ApiError) as refusal:
        page_of([], query, default_per_page=5, max_per_page=10)

    assert refusal.value.status == 400
    assert refusal.value.code == (10007 if "page" in query else 10008)
