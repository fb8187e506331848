"""``purge_cache`` of a zone: what Workers kept of its hostnames with the Cache API. Nothing else is cached here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import ApiError, envelope, object_body
from clodo.emulator.runtime.caching import Cache
from clodo.emulator.runtime.forwarding import Headers
from clodo.emulator.zones.routes import zone_of
from clodo.emulator.zones.store import Zones

#: From public reports.
NOTHING_TO_PURGE = (1012, 'Request must contain one of "purge_everything", "files", "tags", "hosts" or "prefixes"')
#: Assumed number.
INVALID_PURGE = 1016

#: https://developers.cloudflare.com/cache/how-to/purge-cache/
MAX_ITEMS = 100

_LISTS = ("files", "tags", "hosts", "prefixes")


def routes(zones: Zones, kept: Cache) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    async def purge(request: Request) -> Response:
        zone = zone_of(request, zones)
        body = await object_body(request)
        lists = {name: _items(name, body[name]) for name in _LISTS if body.get(name) is not None}
        everything = body.get("purge_everything") is True
        if not everything and not any(lists.values()):
            raise ApiError(400, *NOTHING_TO_PURGE)

        def goes(url: str, headers: Headers) -> bool:
            host = urlsplit(url).hostname or ""
            is_in_zone = host == zone["name"] or host.endswith(f".{zone['name']}")
            return is_in_zone and (everything or is_named(lists, url, headers))

        kept.purge(zone["account_id"], goes)
        return envelope({"id": zone["id"]})

    return [Route("/zones/{zone_id}/purge_cache", purge, methods=["POST"])]


def is_named(lists: Mapping[str, Collection[str]], url: str, headers: Headers) -> bool:
    """Say whether a response is among what is to be purged: by its URL, a tag, its host, or the start of its path."""
    address = urlsplit(url)
    tags = b",".join(value for name, value in headers if name == b"cache-tag").decode("latin-1")
    return (
        url.removesuffix("?") in lists.get("files", ())
        or not {tag.strip().lower() for tag in tags.split(",")}.isdisjoint(map(str.lower, lists.get("tags", ())))
        or address.hostname in lists.get("hosts", ())
        or f"{address.hostname}{address.path}".startswith(tuple(lists.get("prefixes", ())))
    )


def _items(name: str, given: Any) -> list[str]:
    items: list[Any] = given if isinstance(given, list) else [None]
    if name == "files":
        items = [item.get("url") if isinstance(item, dict) else item for item in items]
    if len(items) > MAX_ITEMS or not all(isinstance(item, str) and item for item in items):
        raise ApiError(400, INVALID_PURGE, f"{name} must be a list of at most {MAX_ITEMS} to purge.")
    return items
