"""Subscriptions of accounts and zones: what the embedded cloud's plan is called."""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.accounts.store import Accounts
from clodo.emulator.envelope import envelope, page_of
from clodo.emulator.zones.routes import zone_of
from clodo.emulator.zones.store import Zones


def routes(zones: Zones, accounts: Accounts) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    async def list_of_account(request: Request) -> Response:
        account_id = request.path_params["account_id"]
        account = accounts.account(account_id)
        assert account is not None, "the token reaches existing accounts only"
        paid = _subscription(account_id, "pro", "Workers Paid", "user", account["created_on"], "prod_worker_paid")
        page, info = page_of([paid], request.query_params, default_per_page=20, max_per_page=50)
        return envelope(page, result_info=info)

    async def get_of_zone(request: Request) -> Response:
        zone = zone_of(request, zones)
        shown = _subscription(zone["id"], "free", "Free Website", "zone", zone["created_on"], "prod_cloudflare")
        extra = {"handler": "", "intent": "", "state": "Provisioned", "zone": {"id": zone["id"], "name": zone["name"]}}
        return envelope({**shown, **extra, "frequency": "not-applicable"})

    return [
        Route("/accounts/{account_id}/subscriptions", list_of_account, methods=["GET"]),
        Route("/zones/{zone_id}/subscription", get_of_zone, methods=["GET"]),
    ]


def _subscription(owner_id: str, plan: str, name: str, scope: str, moment: str, product: str) -> dict[str, Any]:
    return {
        "cancel_at_period_end": False,
        "component_values": [{"name": "page_rules", "value": 3}],
        "created_date": f"{moment[:19]}Z",
        "currency": "USD",
        "frequency": "monthly",
        "id": hashlib.sha256(f"{plan} {owner_id}".encode()).hexdigest()[:32],
        "price": 0,
        "product": {"billing": "", "duration": 0, "name": product, "period": "", "public_name": name},
        "rate_plan": {
            "currency": "USD",
            "externally_managed": False,
            "id": plan,
            "is_contract": False,
            "public_name": name,
            "scope": scope,
            "sets": ["usage", "is_cloudflare", "public"],
        },
        "trial": None,
    }
