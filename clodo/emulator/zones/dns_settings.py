"""
``dns_settings`` of a zone.

Source:
    https://developers.cloudflare.com/api/resources/dns/subresources/settings/: fields, bounds and defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import ApiError, envelope, object_body
from clodo.emulator.zones.routes import zone_of
from clodo.emulator.zones.store import Zones

#: Assumed.
INVALID_DNS_SETTING = 1003

#: The zone setting that keeps it.
_KEPT_AS = "dns_settings"

_SOA: Mapping[str, Any] = {
    "expire": 604_800,
    "min_ttl": 1800,
    "mname": None,
    "refresh": 10_000,
    "retry": 2400,
    "rname": "dns.cloudflare.com",
    "ttl": 3600,
}
_DEFAULTS: Mapping[str, Any] = {
    "flatten_all_cnames": False,
    "foundation_dns": False,
    "internal_dns": {"reference_zone_id": ""},
    "multi_provider": False,
    "nameservers": {"type": "cloudflare.standard"},
    "ns_ttl": 86_400,
    "secondary_overrides": False,
    "soa": _SOA,
    "zone_mode": "standard",
}
_MODES = ("standard", "cdn_only", "dns_only")
_NAME_SERVERS = (
    *("cloudflare.standard", "cloudflare.advanced"),
    *("custom", "custom.account", "custom.tenant", "custom.zone"),
)


def routes(zones: Zones) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    def known(zone_id: str) -> dict[str, Any]:
        kept, _ = zones.settings(zone_id).get(_KEPT_AS, ({}, ""))
        return {**_DEFAULTS, **kept}

    async def get(request: Request) -> Response:
        return envelope(known(zone_of(request, zones)["id"]))

    async def patch(request: Request) -> Response:
        zone_id = zone_of(request, zones)["id"]
        changes = await object_body(request)
        # Looked up after the body has come: meanwhile somebody else may have changed others.
        settings = known(zone_id)
        for name, value in changes.items():
            if name not in _CHECKS:
                continue
            if not _CHECKS[name](value):
                raise ApiError(400, INVALID_DNS_SETTING, f"Invalid value for the DNS setting {name}.")
            settings[name] = {**settings[name], **value} if name in ("soa", "internal_dns") else value
        zones.set_setting(zone_id, _KEPT_AS, settings)
        return envelope(settings)

    return [
        Route("/zones/{zone_id}/dns_settings", get, methods=["GET"]),
        Route("/zones/{zone_id}/dns_settings", patch, methods=["PATCH"]),
    ]


def _is_soa(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(part, str | None) if name in ("mname", "rname") else _is_whole(part, 0, 2_419_200)
        for name, part in value.items()
        if name in _SOA
    )


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "flatten_all_cnames": _is_flag,
    "foundation_dns": _is_flag,
    "internal_dns": lambda value: isinstance(value, dict),
    "multi_provider": _is_flag,
    "nameservers": lambda value: isinstance(value, dict) and value.get("type") in _NAME_SERVERS,
    "ns_ttl": lambda value: _is_whole(value, 30, 86_400),
    "secondary_overrides": _is_flag,
    "soa": _is_soa,
    "zone_mode": lambda value: value in _MODES,
}
