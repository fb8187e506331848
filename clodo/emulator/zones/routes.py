"""``/zones``: listing and reading; the Workers' routes of a zone are next door, in ``workers``."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.accounts.authentication import AUTHENTICATION_ERROR, caller
from clodo.emulator.accounts.store import Accounts
from clodo.emulator.database import Row
from clodo.emulator.envelope import ApiError, envelope, page_of
from clodo.emulator.zones.store import Zones


def zone_of(request: Request, zones: Zones) -> Row:
    """
    Return the zone that the path names.

    Raises:
        ApiError: There is none, or the token doesn't reach it: the real API doesn't tell the two apart.
    """
    zone = zones.get(request.path_params["zone_id"])
    if zone is None or zone["account_id"] not in caller(request).account_ids:
        raise ApiError(403, AUTHENTICATION_ERROR, "Authentication error")
    return zone


def routes(zones: Zones, accounts: Accounts) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    async def list_zones(request: Request) -> Response:
        query = request.query_params
        rows = [row for row in zones.of_accounts(caller(request).account_ids) if _fits(row, query.get("name"))]
        if account_id := query.get("account.id"):
            rows = [row for row in rows if row["account_id"] == account_id]
        if status := query.get("status"):
            rows = [row for row in rows if row["status"] == status]
        described = [_zone(row, accounts) for row in rows]
        if account_name := query.get("account.name"):
            described = [zone for zone in described if zone["account"]["name"] == account_name]
        if query.get("direction") == "desc":
            described.reverse()
        # Recorded: 20 a page by default, 50 at most.
        page, info = page_of(described, query, default_per_page=20, max_per_page=50)
        return envelope(page, result_info=info)

    async def get_zone(request: Request) -> Response:
        return envelope(_zone(zone_of(request, zones), accounts))

    return [
        Route("/zones", list_zones, methods=["GET"]),
        Route("/zones/{zone_id}", get_zone, methods=["GET"]),
    ]


def _fits(row: Row, wanted: str | None) -> bool:
    """Compare a name with the ``name`` filter, which may say how: ``contains:shop``."""
    if not wanted:
        return True
    operator, colon, value = wanted.rpartition(":")
    name: str = row["name"]
    tests = {
        "": name == value.lower(),
        "equal": name == value,
        "not_equal": name != value,
        "starts_with": name.startswith(value),
        "ends_with": name.endswith(value),
        "contains": value in name,
    }
    return tests.get(operator if colon else "", False)


def _zone(row: Row, accounts: Accounts) -> dict[str, Any]:
    account = accounts.account(row["account_id"])
    assert account is not None
    moment = row["created_on"]
    return {
        "id": row["id"],
        "name": row["name"],
        "status": row["status"],
        "paused": False,
        "type": "full",
        "development_mode": 0,
        "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
        "original_name_servers": None,
        "original_registrar": None,
        "original_dnshost": None,
        "modified_on": moment,
        "created_on": moment,
        "activated_on": moment,
        "vanity_name_servers": [],
        "vanity_name_servers_ips": None,
        "meta": {
            "step": 2,
            "custom_certificate_quota": 0,
            "page_rule_quota": 3,
            "phishing_detected": False,
        },
        "owner": {"id": None, "type": "user", "email": None},
        "account": {"id": account["id"], "name": account["name"]},
        "tenant": {"id": None, "name": None},
        "tenant_unit": {"id": None},
        "permissions": ["#worker:edit", "#worker:read", "#zone:read", "#zone:edit"],
        "plan": {
            "id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
            "name": "Free Website",
            "price": 0,
            "currency": "USD",
            "frequency": "",
            "is_subscribed": False,
            "can_subscribe": False,
            "legacy_id": "free",
            "legacy_discount": False,
            "externally_managed": False,
        },
    }
