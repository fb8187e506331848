"""``settings`` of a zone, one by one and all at once."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.database import Database
from clodo.emulator.envelope import ApiError, envelope, object_body
from clodo.emulator.zones.routes import zone_of
from clodo.emulator.zones.settings import INVALID_VALUE, SETTINGS, as_json, setting
from clodo.emulator.zones.store import Zones


def routes(database: Database, zones: Zones) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    async def list_settings(request: Request) -> Response:
        changed = zones.settings(zone_of(request, zones)["id"])
        return envelope([as_json(setting_id, changed) for setting_id in SETTINGS])

    async def get_setting(request: Request) -> Response:
        changed = zones.settings(zone_of(request, zones)["id"])
        return envelope(as_json(request.path_params["setting_id"], changed))

    async def patch_setting(request: Request) -> Response:
        zone_id, setting_id = zone_of(request, zones)["id"], request.path_params["setting_id"]
        setting(setting_id)
        _change(zone_id, setting_id, await object_body(request))
        return envelope(as_json(setting_id, zones.settings(zone_id)))

    async def patch_settings(request: Request) -> Response:
        zone_id = zone_of(request, zones)["id"]
        items = (await object_body(request)).get("items")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ApiError(400, INVALID_VALUE, "items must be a list of settings.")
        with database.transaction():
            for item in items:
                _change(zone_id, str(item.get("id")), item)
        changed = zones.settings(zone_id)
        return envelope([as_json(str(item["id"]), changed) for item in items])

    def _change(zone_id: str, setting_id: str, body: dict[str, Any]) -> None:
        found = setting(setting_id)
        if "value" not in body:
            raise ApiError(400, INVALID_VALUE, f"Invalid value for zone setting {setting_id}.")
        found.raise_if_unfit(setting_id, body["value"])
        zones.set_setting(zone_id, setting_id, body["value"])

    return [
        Route("/zones/{zone_id}/settings", list_settings, methods=["GET"]),
        Route("/zones/{zone_id}/settings", patch_settings, methods=["PATCH"]),
        Route("/zones/{zone_id}/settings/{setting_id}", get_setting, methods=["GET"]),
        Route("/zones/{zone_id}/settings/{setting_id}", patch_setting, methods=["PATCH"]),
    ]
