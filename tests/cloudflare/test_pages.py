"""Lists that come in pages, and lists that come by cursor."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.errors import AmbiguousName, DatabaseNotFound
from tests.cloudflare.wire import bad, good, wired


def server(count: int, *, most: int, totals: bool, ignores_page: bool = False) -> Any:
    """A D1 list of *count* databases that grants at most *most* a page."""

    def answer(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params["page"])
        size = min(int(request.url.params["per_page"]), most)
        start = 0 if ignores_page else (page - 1) * size
        items = [{"uuid": f"id{n}", "name": f"db{n}"} for n in range(count)][start : start + size]
        info = {"page": page, "per_page": size, "count": len(items), "total_count": count}
        if totals:
            info["total_pages"] = -(-count // size)
        return good(items, info=info)

    return answer


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 320), most=st.integers(20, 150), totals=st.booleans())
def test_every_item_comes_once_and_in_order(count, most, totals):
    """However many there are and whatever size of page is granted, the list is whole."""
    wire = wired(server(count, most=most, totals=totals))

    names = [database.name for database in wire.cloudflare.d1.list()]

    assert names == [f"db{n}" for n in range(count)]
    pages = -(-count // min(most, 100))
    assert len(wire.requests) <= pages + 1
    if totals:
        assert len(wire.requests) == max(pages, 1)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 300))
def test_a_server_that_ignores_the_page_does_not_loop_us(count):
    """A list that is the same on every page ends."""
    wire = wired(server(count, most=100, totals=False, ignores_page=True))

    names = [database.name for database in wire.cloudflare.d1.list()]

    assert names == [f"db{n}" for n in range(min(count, 100))]
    assert len(wire.requests) <= 2


def test_a_list_without_result_info_ends_with_a_short_page():
    """No `result_info` at all: a page shorter than asked for is the last."""
    wire = wired([good([{"uuid": "a", "name": "x"}])])

    assert [database.uuid for database in wire.cloudflare.d1.list()] == ["a"]


@pytest.mark.parametrize("result", [None, {}, "text", 3])
def test_a_list_that_is_none_is_passing_trouble(result):
    """Something else than a list is not taken for an empty list."""
    wire = wired([good(result), good([])])

    assert list(wire.cloudflare.d1.list()) == []
    assert len(wire.requests) == 2


def test_pages_are_fetched_when_they_are_needed():
    """Who looks at the first item only, costs one request."""
    wire = wired(server(1000, most=100, totals=True))

    next(iter(wire.cloudflare.d1.list()))

    assert len(wire.requests) == 1


def test_a_name_is_found_exactly_and_on_any_page():
    """Databases whose names only contain the wanted one are passed over, also when they come first."""
    names = ["my-shop", "shop-old", *(f"x{n}-shop" for n in range(98)), "shop"]

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.params["name"] == "shop"
        page = int(request.url.params["page"])
        items = [{"uuid": name, "name": name} for name in names][(page - 1) * 100 : page * 100]
        return good(items, info={"page": page, "per_page": 100, "count": len(items), "total_count": len(names)})

    wire = wired(answer)

    assert wire.cloudflare.d1.get_by_name("shop").uuid == "shop"
    assert len(wire.requests) == 2


def test_a_name_that_nothing_has_is_not_found():
    """A near miss is no hit."""
    wire = wired([good([{"uuid": "a", "name": "shop2"}])])

    with pytest.raises(DatabaseNotFound, match="called shop"):
        wire.cloudflare.d1.get_by_name("shop")


def test_a_name_that_two_have_is_ambiguous():
    """Two databases of the same name are both named in the error, none is chosen."""
    wire = wired([good([{"uuid": "a", "name": "shop"}, {"uuid": "b", "name": "shop"}])])

    with pytest.raises(AmbiguousName, match="a, b"):
        wire.cloudflare.d1.get_by_name("shop")


@settings(max_examples=50, deadline=None)
@given(pages=st.lists(st.lists(st.text(min_size=1, max_size=5), max_size=4), min_size=1, max_size=6))
def test_keys_come_by_cursor_until_there_is_none(pages):
    """Every key comes once, in order; empty pages in the middle don't end the list."""

    def answer(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("cursor") or 0)
        cursor = str(number + 1) if number + 1 < len(pages) else ""
        return good([{"name": name} for name in pages[number]], info={"count": len(pages[number]), "cursor": cursor})

    wire = wired(answer)

    names = [key.name for key in wire.cloudflare.kv.keys("ns", prefix="p")]

    assert names == [name for page in pages for name in page]
    assert len(wire.requests) == len(pages)


def test_a_cursor_that_repeats_itself_ends():
    """A server that answers the cursor it was given doesn't loop us."""
    wire = wired(lambda _: good([{"name": "a"}], info={"cursor": "same"}))

    assert len(list(wire.cloudflare.kv.keys("ns"))) == 2


def test_versions_lie_under_items():
    """The list of versions is an object with `items`."""
    wire = wired([good({"items": [{"id": "v1", "number": 1}]}, info={"page": 1, "per_page": 100, "total_pages": 1})])

    assert [version.id for version in wire.cloudflare.versions.list("api")] == ["v1"]


def test_trouble_in_the_middle_of_a_list_repeats_that_page_only():
    """The second page is asked for twice, the first once."""
    items = [{"uuid": f"id{n}", "name": f"db{n}"} for n in range(150)]
    wire = wired([good(items[:100]), bad(502), good(items[100:])])

    assert len(list(wire.cloudflare.d1.list())) == 150
    assert [asked.split("page=")[1][0] for asked in wire.asked] == ["1", "2", "2"]
