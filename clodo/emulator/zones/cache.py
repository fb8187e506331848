"""``purge_cache`` of a zone. Nothing is cached in front of the embedded cloud's Workers: there is nothing to purge."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import ApiError, envelope, object_body
from clodo.emulator.zones.routes import zone_of
from clodo.emulator.zones.store import Zones

#: From public reports.
NOTHING_TO_PURGE = (1012, 'Request must contain one of "purge_everything", "files", "tags", "hosts" or "prefixes"')
#: Assumed number.
INVALID_PURGE = 1016

#: https://developers.cloudflare.com/cache/how-to/purge-cache/
MAX_ITEMS = 100

_LISTS = ("files", "tags", "hosts", "prefixes")


def routes(zones: Zones) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    async def purge(request: Request) -> Response:
        zone = zone_of(request, zones)
        body = await object_body(request)
        lists = {name: body[name] for name in _LISTS if body.get(name) is not None}
        if body.get("purge_everything") is not True and not any(lists.values()):
            raise ApiError(400, *NOTHING_TO_PURGE)
        for name, items in lists.items():
            if not isinstance(items, list) or len(items) > MAX_ITEMS or not all(_fits(name, item) for item in items):
                raise ApiError(400, INVALID_PURGE, f"{name} must be a list of at most {MAX_ITEMS} to purge.")
        return envelope({"id": zone["id"]})

    return [Route("/zones/{zone_id}/purge_cache", purge, methods=["POST"])]


def _fits(name: str, item: object) -> bool:
    if name == "files" and isinstance(item, dict):
        item = item.get("url")
    return isinstance(item, str) and item != ""
