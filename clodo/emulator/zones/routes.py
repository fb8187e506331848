"""``/zones``: list, create, get, change, delete."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clodo.emulator.accounts.authentication import AUTHENTICATION_ERROR, caller
from clodo.emulator.accounts.caller import Caller
from clodo.emulator.accounts.store import Accounts
from clodo.emulator.database import Row
from clodo.emulator.dns.names import canonical
from clodo.emulator.envelope import ApiError, envelope, object_body, page_of
from clodo.emulator.zones.store import DOMAIN, Zones

#: 1061 is Cloudflare's; the others are assumed.
ZONE_EXISTS = 1061
INVALID_ZONE = 1049
INVALID_CHANGE = 1002
INVALID_QUERY = 1005

#: Assumed.
MAX_PER_PAGE = 1000

KINDS = ("full", "partial", "secondary", "internal")
STATUSES = ("initializing", "pending", "active", "moved")

#: Pairs of nameservers; an account's zones share one, which one its id decides.
NAME_SERVERS = (("ada", "bob"), ("ella", "finn"), ("gina", "hugo"), ("ines", "jack"), ("dora", "kate"))

#: The plan of every zone, and the only one that can be had.
PLAN: Mapping[str, Any] = {
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
}

_TO_LIST_ZONES = frozenset({"Zone Read", "Zone Write"})
#: Who may edit a zone's records may find its id by its name: tried by certbot's authors in 2020 (certbot#8015) and by a
#: user of ddclient in 2025 (ddclient#834).
_TO_FIND_A_ZONE = frozenset({"DNS Write"})

#: What a zone's ``permissions`` say for a permission group's family.
_PERMISSIONS = {
    "DNS": "#dns_records",
    "SSL and Certificates": "#ssl",
    "Workers Routes": "#worker",
    "Zone": "#zone",
    "Zone Settings": "#zone_settings",
}


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


def name_servers(zone: Row) -> list[str]:
    """Return the nameservers that Cloudflare gave a zone."""
    pair = NAME_SERVERS[int(zone["account_id"][:8], 16) % len(NAME_SERVERS)]
    return [f"{name}.ns.cloudflare.com" for name in pair]


def routes(zones: Zones, accounts: Accounts, refresh_hosts: Callable[[], None]) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    async def list_zones(request: Request) -> Response:
        query, whose = request.query_params, caller(request)
        rights = _TO_LIST_ZONES | _TO_FIND_A_ZONE if query.get("name") else _TO_LIST_ZONES
        rows = zones.of_accounts(whose.account_ids)
        readable = [row for row in rows if whose.may_in_zone(rights, row["id"], row["account_id"])]
        described = [_zone(row, accounts, whose) for row in readable]
        found = _select(described, query)
        if not found and query.get("name") and not _may_list(whose):
            # Recorded in 2020; without a name, a token without the right sees an empty list (public reports).
            permission = "com.cloudflare.api.account.zone.list"
            actor = f"com.cloudflare.api.token.{whose.token_id}"
            raise ApiError(403, 0, f"Actor '{actor}' requires permission '{permission}' to list zones")
        # Recorded: 20 a page by default, and 100 are given to who asks for them (documented are 50 at most).
        page, info = page_of(found, query, default_per_page=20, max_per_page=MAX_PER_PAGE)
        return envelope(page, result_info=info)

    async def create_zone(request: Request) -> Response:
        body, whose = await object_body(request), caller(request)
        account = body.get("account")
        account_id = account.get("id") if isinstance(account, dict) else None
        if account_id is None and len(whose.account_ids) == 1:
            account_id = whose.account_ids[0]
        if not isinstance(account_id, str) or not _may_create(whose, account_id):
            permission = "com.cloudflare.api.account.zone.create"
            raise ApiError(403, 0, f'Requires permission "{permission}" to create zones for the selected account')
        name = body.get("name")
        domain = canonical(name) if isinstance(name, str) else None
        if domain is None or not DOMAIN.match(domain):
            raise ApiError(400, INVALID_ZONE, f"{str(name)[:100]} is not a registered domain")
        kind = body.get("type") or "full"
        if kind not in KINDS:
            raise ApiError(400, INVALID_CHANGE, f"type must be one of {', '.join(KINDS)}.")
        if zones.named(domain) is not None:
            raise ApiError(400, ZONE_EXISTS, f"{domain} already exists.")
        row = zones.add(account_id, domain, kind=kind)
        refresh_hosts()
        return envelope(_zone(row, accounts, whose))

    async def get_zone(request: Request) -> Response:
        return envelope(_zone(zone_of(request, zones), accounts, caller(request)))

    async def patch_zone(request: Request) -> Response:
        zone = zone_of(request, zones)
        body = await object_body(request)
        changes = {key: body[key] for key in ("paused", "type", "vanity_name_servers") if body.get(key) is not None}
        if (plan := body.get("plan")) is not None and plan != {"id": PLAN["id"]}:
            raise ApiError(400, INVALID_CHANGE, "The zone can't have this plan.")
        if not changes and plan is None:
            raise ApiError(400, INVALID_CHANGE, "paused, plan, type or vanity_name_servers is what can be changed.")
        _raise_if_unfit(changes)
        return envelope(_zone(zones.change(zone["id"], **changes), accounts, caller(request)))

    async def delete_zone(request: Request) -> Response:
        zone = zone_of(request, zones)
        zones.delete(zone["id"])
        refresh_hosts()
        return envelope({"id": zone["id"]})

    async def check_activation(request: Request) -> Response:
        zone = zone_of(request, zones)
        # There is no registrar to ask: whoever asks for the check has changed the nameservers.
        zones.activate(zone["id"])
        return envelope({"id": zone["id"]})

    async def list_plans(request: Request) -> Response:
        zone_of(request, zones)
        return envelope([{**PLAN, "frequency": "monthly", "is_subscribed": True, "can_subscribe": True}])

    async def list_page_rules(request: Request) -> Response:
        zone_of(request, zones)
        return envelope([])

    async def get_fallback_origin(request: Request) -> Response:
        zone_of(request, zones)
        # Recorded in 2025: this refusal has no key `result`.
        refusal = {"success": False, "errors": [{"code": 1551, "message": "Resource not found."}], "messages": []}
        return JSONResponse(refusal, status_code=404)

    return [
        Route("/zones", list_zones, methods=["GET"]),
        Route("/zones", create_zone, methods=["POST"]),
        Route("/zones/{zone_id}", get_zone, methods=["GET"]),
        Route("/zones/{zone_id}", patch_zone, methods=["PATCH"]),
        Route("/zones/{zone_id}", delete_zone, methods=["DELETE"]),
        Route("/zones/{zone_id}/available_plans", list_plans, methods=["GET"]),
        Route("/zones/{zone_id}/activation_check", check_activation, methods=["PUT"]),
        Route("/zones/{zone_id}/custom_hostnames/fallback_origin", get_fallback_origin, methods=["GET"]),
        # None can be made; clients that look for them (octoDNS) see that there are none.
        Route("/zones/{zone_id}/pagerules", list_page_rules, methods=["GET"]),
    ]


def _may_list(whose: Caller) -> bool:
    """Say whether the token may read all zones of some account, not only named ones."""
    return any(whose.may_in_zone(_TO_LIST_ZONES, "*", account_id) for account_id in whose.account_ids)


def _may_create(whose: Caller, account_id: str) -> bool:
    return whose.may_in_zone({"Zone Write"}, "*", account_id)


def _raise_if_unfit(changes: Mapping[str, Any]) -> None:
    if not isinstance(changes.get("paused", False), bool):
        raise ApiError(400, INVALID_CHANGE, "paused must be true or false.")
    if changes.get("type", "full") not in KINDS:
        raise ApiError(400, INVALID_CHANGE, f"type must be one of {', '.join(KINDS)}.")
    servers = changes.get("vanity_name_servers", [])
    if not isinstance(servers, list) or not all(isinstance(name, str) and canonical(name) for name in servers):
        raise ApiError(400, INVALID_CHANGE, "vanity_name_servers must be a list of hostnames.")


def _select(described: list[dict[str, Any]], query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the zones that fit a query, in its order."""
    tests: list[Callable[[dict[str, Any]], bool]] = []
    if name := query.get("name"):
        tests.append(lambda zone: _fits(zone["name"], name))
    if account_name := query.get("account.name"):
        tests.append(lambda zone: _fits(zone["account"]["name"], account_name))
    if account_id := query.get("account.id"):
        tests.append(lambda zone: zone["account"]["id"] == account_id)
    if status := query.get("status"):
        tests.append(lambda zone: zone["status"] == status)
    if kinds := query.get("type"):
        tests.append(lambda zone: zone["type"] in kinds.split(","))
    combine = any if query.get("match") == "any" else all
    found = [zone for zone in described if not tests or combine(test(zone) for test in tests)]
    orders: Mapping[str, Callable[[dict[str, Any]], str]] = {
        "name": lambda zone: zone["name"],
        "status": lambda zone: zone["status"],
        "account.id": lambda zone: zone["account"]["id"],
        "account.name": lambda zone: zone["account"]["name"],
        "plan.id": lambda zone: zone["plan"]["id"],
    }
    order = query.get("order") or "name"
    if order not in orders:
        raise ApiError(400, INVALID_QUERY, f"order must be one of {', '.join(orders)}.")
    return sorted(found, key=orders[order], reverse=query.get("direction") == "desc")


def _fits(text: str, wanted: str) -> bool:
    """Compare a text with a filter that may say how: ``contains:shop``."""
    operator, colon, value = wanted.partition(":")
    if not colon:
        return text.lower() == wanted.lower()
    exact = operator.removesuffix("_case_sensitive")
    if exact == operator:
        text, value = text.lower(), value.lower()
    tests = {
        "equal": text == value,
        "not_equal": text != value,
        "starts_with": text.startswith(value),
        "ends_with": text.endswith(value),
        "contains": value in text,
    }
    return tests.get(exact, False)


def _permissions(row: Row, whose: Caller) -> list[str]:
    return sorted(
        f"{name}:{verb}"
        for family, name in _PERMISSIONS.items()
        for verb, groups in (("read", {f"{family} Read", f"{family} Write"}), ("edit", {f"{family} Write"}))
        if whose.may_in_zone(groups, row["id"], row["account_id"])
    )


def _zone(row: Row, accounts: Accounts, whose: Caller) -> dict[str, Any]:
    account = accounts.account(row["account_id"])
    assert account is not None
    return {
        "id": row["id"],
        "name": row["name"],
        "status": row["status"],
        "paused": bool(row["paused"]),
        "type": row["type"],
        "development_mode": 0,
        "name_servers": name_servers(row),
        "original_name_servers": None,
        "original_registrar": None,
        "original_dnshost": None,
        "modified_on": row["modified_on"],
        "created_on": row["created_on"],
        "activated_on": row["activated_on"],
        "vanity_name_servers": json.loads(row["vanity_name_servers"]),
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
        "permissions": _permissions(row, whose),
        "plan": dict(PLAN),
    }
