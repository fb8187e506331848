"""The Cache API of Workers, and what may be kept for how long."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from clodo.emulator.runtime.caching import Cache, read_range, seconds_to_keep
from tests.emulator.runtime.cloud import Cloud

_CACHE_ALL = """
const put = async (cache, url, body, headers) => {
  try { await cache.put(url, new Response(body, { headers })); } catch (error) { return String(error); }
};
export default { async fetch(request) {
  const url = new URL(request.url);
  const cache = url.searchParams.has("named") ? await caches.open("other") : caches.default;
  const key = new Request("https://kept.example/a%20b?q=1", { headers: [...request.headers] });
  switch (url.pathname) {
    case "/put": return new Response(await put(cache, key, "content", { "cache-control": "max-age=60", etag: '"e"' }));
    case "/stream": {
      const { readable, writable } = new TransformStream();
      const chunks = async () => {
        const writer = writable.getWriter();
        for (const part of ["a", "bc", "def"]) await writer.write(new TextEncoder().encode(part));
        await writer.close();
      };
      return new Response(await Promise.all([put(cache, key, readable, { "cache-control": "s-maxage=9" }), chunks()]));
    }
    case "/private": return new Response(await put(cache, key, "mine", { "cache-control": "private" }));
    case "/delete": return new Response(await cache.delete(key));
  }
  return await cache.match(key) ?? new Response("nothing", { status: 404 });
} };"""


async def test_what_a_worker_puts_in_the_cache_comes_back(cloud: Cloud) -> None:
    """Responses stay until deleted, also for other Workers of the account; named caches are apart."""
    await cloud.worker("cache-writer", _CACHE_ALL)
    await cloud.worker("cache-reader", _CACHE_ALL)

    before = await cloud.request("cache-writer", "/")
    await cloud.text("cache-writer", "/put")
    kept = await cloud.request("cache-reader", "/")
    named = await cloud.request("cache-reader", "/?named")
    deleted = [await cloud.text("cache-writer", "/delete") for _ in range(2)]
    after = await cloud.request("cache-reader", "/")

    assert (before.status_code, named.status_code, after.status_code) == (404, 404, 404)
    assert (kept.text, kept.headers["cf-cache-status"], kept.headers["age"]) == ("content", "HIT", "0")
    assert deleted == ["true", "false"]


async def test_the_cache_answers_ranges_and_conditions(cloud: Cloud) -> None:
    """A part is 206, what the asker has already is 304, as documented for `match`."""
    await cloud.worker("cache-parts", _CACHE_ALL)
    await cloud.text("cache-parts", "/put")

    part = await cloud.request("cache-parts", "/", headers={"range": "bytes=-3"})
    unchanged = await cloud.request("cache-parts", "/", headers={"if-none-match": 'W/"x", "e"'})
    await cloud.text("cache-parts", "/stream")
    streamed = await cloud.text("cache-parts", "/")

    assert (part.status_code, part.text, part.headers["content-range"]) == (206, "ent", "bytes 4-6/7")
    assert (unchanged.status_code, unchanged.text) == (304, "")
    assert streamed == "abcdef"


async def test_what_may_not_be_cached_takes_the_place_of_what_was(cloud: Cloud) -> None:
    """A response that forbids it isn't kept, and neither is the one before it."""
    await cloud.worker("cache-private", _CACHE_ALL)
    await cloud.text("cache-private", "/put")

    await cloud.text("cache-private", "/private")

    assert (await cloud.request("cache-private", "/")).status_code == 404


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (200, {}, 7200),
        (404, {}, 180),
        (500, {}, 0),
        (200, {"cache-control": "public, s-maxage=5, max-age=60"}, 5),
        (200, {"cache-control": "max-age=60", "cdn-cache-control": "no-store"}, 0),
        (200, {"cache-control": "max-age=x"}, 0),
        (200, {"cache-control": "private, max-age=60"}, 0),
        (200, {"cache-control": "max-age=60", "set-cookie": "a=1"}, 0),
        (200, {"cache-control": "private=Set-Cookie, max-age=60", "set-cookie": "a=1"}, 60),
        (200, {"expires": formatdate(1060, usegmt=True)}, 60),
        (200, {"expires": "0"}, 0),
        (200, {"cache-control": "max-age=" + "9" * 5000}, 10**15),
        (200, {"cache-control": "max-age=\xb2"}, 0),
        (200, {"expires": "Mon, 01 Jan 2001 00:00:00 +99999999999999999999"}, 0),
    ],
)
def test_headers_say_how_long_a_response_is_kept(status: int, headers: dict[str, str], seconds: int) -> None:
    """CDN directives go before Cache-Control, that before Expires, and cookies forbid it."""
    sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    assert seconds_to_keep(status, sent, 1000.0) == seconds


def test_a_range_with_more_digits_than_anybody_counts_to_is_one_far_behind_the_end() -> None:
    """Numbers of visitors' Range headers may have any length."""
    digits = b"9" * 5000

    ranges = [read_range(b"bytes=" + span, 10) for span in (digits + b"-", b"2-" + digits, b"-" + digits)]

    assert ranges == [None, (2, 9), (0, 9)]


async def ask(cache: Cache, method: str, path: str, *pieces: bytes) -> int:
    """Ask the cache as a workerd process does; return the status."""
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n" % sum(map(len, pieces))
    scope = {"method": method, "path": path, "query_string": b"", "headers": [(b"host", b"x")]}
    left = [head, *pieces] if method == "PUT" else [b""]
    statuses = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: dict[str, object]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    await cache.serve("account", scope, receive, send)  # type: ignore[arg-type]
    return int(str(statuses[0]))


async def test_the_cache_forgets_what_is_old_or_was_longest_not_asked_for() -> None:
    """Room and time are limited: a response ends with its age, or when others need its place."""
    now = 1000.0
    cache = Cache(lambda: now, room=100)

    big = [b"0" * 50] * 3
    put = [await ask(cache, "PUT", *what) for what in (("/a", b"1234"), ("/b", b"1234"))]
    put.append(await ask(cache, "PUT", "/big", *big))
    read = await ask(cache, "GET", "/a")
    await ask(cache, "PUT", "/c", b"1234")
    room = [await ask(cache, "GET", path) for path in ("/a", "/b", "/c")]
    now += 60
    old = [await ask(cache, "GET", "/a"), await ask(cache, "PURGE", "/c")]

    assert (put, read, room, old) == ([204, 204, 413], 200, [200, 504, 200], [504, 404])


async def test_responses_without_a_body_need_room_too() -> None:
    """Headers and URLs count: however many empty responses a Worker puts, the cache stays small."""
    cache = Cache(lambda: 1000.0, room=100)

    for number in range(10):
        await ask(cache, "PUT", f"/{number}")

    assert [await ask(cache, "GET", f"/{number}") for number in range(10)] == [504] * 8 + [200] * 2
