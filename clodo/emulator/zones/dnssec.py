"""``dnssec`` of a zone: whether it is on, and what to tell the registrar. Nothing is signed."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.database import Row
from clodo.emulator.envelope import ApiError, envelope, object_body
from clodo.emulator.zones.routes import zone_of
from clodo.emulator.zones.store import Zones

#: Assumed.
INVALID_STATUS = 1003

#: The zone setting that keeps it.
_KEPT_AS = "dnssec"
_FLAGS = ("dnssec_multi_signer", "dnssec_presigned", "dnssec_use_nsec3")


def routes(zones: Zones) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    async def get(request: Request) -> Response:
        return envelope(_dnssec(zones, zone_of(request, zones)))

    async def patch(request: Request) -> Response:
        zone = zone_of(request, zones)
        body = await object_body(request)
        known = _dnssec(zones, zone)
        status = body.get("status", known["status"])
        if status not in ("active", "disabled"):
            raise ApiError(400, INVALID_STATUS, "status must be active or disabled.")
        flags = {name: body[name] for name in _FLAGS if isinstance(body.get(name), bool)}
        zones.set_setting(zone["id"], _KEPT_AS, {"status": status, **flags})
        return envelope(_dnssec(zones, zone))

    async def delete(request: Request) -> Response:
        zone = zone_of(request, zones)
        zones.set_setting(zone["id"], _KEPT_AS, {"status": "disabled"})
        return envelope("")

    return [
        Route("/zones/{zone_id}/dnssec", get, methods=["GET"]),
        Route("/zones/{zone_id}/dnssec", patch, methods=["PATCH"]),
        Route("/zones/{zone_id}/dnssec", delete, methods=["DELETE"]),
    ]


def _dnssec(zones: Zones, zone: Row) -> dict[str, Any]:
    kept, moment = zones.settings(zone["id"]).get(_KEPT_AS, ({"status": "disabled"}, zone["created_on"]))
    shown: dict[str, Any] = {**kept, "modified_on": moment}
    if kept["status"] == "disabled":
        return shown
    key = hashlib.sha512(f"key of {zone['id']}".encode()).digest()
    digest = hashlib.sha256(key).hexdigest().upper()
    tag = int.from_bytes(key[:2], "big")
    return {
        "algorithm": "13",
        "digest": digest,
        "digest_algorithm": "SHA256",
        "digest_type": "2",
        "ds": f"{zone['name']}. 3600 IN DS {tag} 13 2 {digest}",
        "flags": 257,
        "key_tag": tag,
        "key_type": "ECDSAP256SHA256",
        "public_key": base64.b64encode(key).decode(),
        **shown,
    }
