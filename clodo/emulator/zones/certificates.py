"""
Certificates of a zone: the universal one, and one for each custom domain of a Worker.

Nothing is signed: packs say what Cloudflare would have, so that one can ask whether a hostname is covered.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.database import Row
from clodo.emulator.envelope import ApiError, envelope, object_body, page_of
from clodo.emulator.zones.routes import zone_of
from clodo.emulator.zones.store import Zones

#: Assumed.
NO_SUCH_PACK = (404, 1400, "The certificate pack does not exist.")
INVALID_SETTING = 1401

VALIDITY_DAYS = 90

#: The zone setting that `ssl/universal/settings` keeps.
_UNIVERSAL = "universal_ssl"


def routes(zones: Zones) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    async def list_packs(request: Request) -> Response:
        packs = _packs(zones, zone_of(request, zones))
        if request.query_params.get("status") != "all":
            packs = [pack for pack in packs if pack["status"] == "active"]
        page, info = page_of(packs, request.query_params, default_per_page=20, max_per_page=50)
        return envelope(page, result_info=info)

    async def get_pack(request: Request) -> Response:
        for pack in _packs(zones, zone_of(request, zones)):
            if pack["id"] == request.path_params["pack_id"]:
                return envelope(pack)
        raise ApiError(*NO_SUCH_PACK)

    async def get_verification(request: Request) -> Response:
        return envelope(
            [
                {
                    "brand_check": False,
                    "cert_pack_uuid": pack["id"],
                    "certificate_status": pack["status"],
                    "signature": "ECDSAWithSHA256",
                    "validation_method": pack["validation_method"],
                    "hostname": pack["hosts"][0],
                    "verification_status": pack["status"] == "active",
                }
                for pack in _packs(zones, zone_of(request, zones))
            ]
        )

    async def get_universal(request: Request) -> Response:
        return envelope(_universal(zones, zone_of(request, zones)))

    async def patch_universal(request: Request) -> Response:
        zone = zone_of(request, zones)
        enabled = (await object_body(request)).get("enabled")
        if not isinstance(enabled, bool):
            raise ApiError(400, INVALID_SETTING, "enabled must be true or false.")
        zones.set_setting(zone["id"], _UNIVERSAL, enabled)
        return envelope(_universal(zones, zone))

    return [
        Route("/zones/{zone_id}/ssl/certificate_packs", list_packs, methods=["GET"]),
        Route("/zones/{zone_id}/ssl/certificate_packs/{pack_id}", get_pack, methods=["GET"]),
        Route("/zones/{zone_id}/ssl/verification", get_verification, methods=["GET"]),
        Route("/zones/{zone_id}/ssl/universal/settings", get_universal, methods=["GET"]),
        Route("/zones/{zone_id}/ssl/universal/settings", patch_universal, methods=["PATCH"]),
    ]


def _universal(zones: Zones, zone: Row) -> dict[str, Any]:
    enabled = bool(zones.settings(zone["id"]).get(_UNIVERSAL, (True, ""))[0])
    return {"enabled": enabled, "certificate_authority": "google", "validation_method": "txt"}


def _packs(zones: Zones, zone: Row) -> list[dict[str, Any]]:
    packs = []
    if _universal(zones, zone)["enabled"]:
        pack_id = str(uuid.UUID(hashlib.sha256(f"universal {zone['id']}".encode()).hexdigest()[:32]))
        packs.append(_pack(zone, pack_id, "universal", [zone["name"], f"*.{zone['name']}"], zone["created_on"]))
    packs += [
        _pack(zone, domain["cert_id"], "advanced", [domain["hostname"]], zone["modified_on"])
        for domain in zones.domains(zone["id"])
    ]
    return packs


def _pack(zone: Row, pack_id: str, kind: str, hosts: list[str], moment: str) -> dict[str, Any]:
    status = "active" if zone["status"] == "active" else "pending_validation"
    expiry = (datetime.fromisoformat(moment) + timedelta(days=VALIDITY_DAYS)).strftime("%Y-%m-%dT%H:%M:%SZ")
    certificate = {
        "id": str(uuid.UUID(hashlib.sha256(pack_id.encode()).hexdigest()[:32])),
        "hosts": hosts,
        "issuer": "GoogleTrustServices",
        "signature": "ECDSAWithSHA256",
        "status": status,
        "bundle_method": "ubiquitous",
        "zone_id": zone["id"],
        "uploaded_on": moment,
        "modified_on": moment,
        "expires_on": expiry,
        "priority": 1,
    }
    return {
        "id": pack_id,
        "type": kind,
        "hosts": hosts,
        "primary_certificate": certificate["id"],
        "status": status,
        "certificates": [certificate] if status == "active" else [],
        "created_on": moment,
        "validity_days": VALIDITY_DAYS,
        "validation_method": "txt",
        "certificate_authority": "google",
        "cloudflare_branding": False,
    }
