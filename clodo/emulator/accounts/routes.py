"""``/accounts``, ``/memberships``, ``/user`` and the verification of tokens."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.accounts.authentication import INVALID_API_TOKEN, caller
from clodo.emulator.accounts.store import Accounts, Caller
from clodo.emulator.database import Row
from clodo.emulator.envelope import ApiError, envelope, page_of

#: "/user" with a token that has no user behind it.
NO_USER = (403, 9109, "Unauthorized to access requested resource")


def routes(accounts: Accounts) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    async def list_accounts(request: Request) -> Response:
        name = request.query_params.get("name")
        found = [
            _account(row)
            for row in accounts.accounts(caller(request).account_ids)
            if name is None or row["name"] == name
        ]
        page, info = page_of(found, request.query_params, default_per_page=20, max_per_page=50)
        return envelope(page, result_info=info)

    async def get_account(request: Request) -> Response:
        row = accounts.account(request.path_params["account_id"])
        assert row is not None, "the token reaches existing accounts only"
        return envelope(_account(row))

    async def list_memberships(request: Request) -> Response:
        whose = _user(request)
        found = [_membership(row, whose) for row in accounts.accounts(whose.account_ids)]
        page, info = page_of(found, request.query_params, default_per_page=20, max_per_page=50)
        return envelope(page, result_info=info)

    async def get_user(request: Request) -> Response:
        whose = _user(request)
        return envelope(
            {
                "id": whose.user_id,
                "email": whose.email,
                "first_name": None,
                "last_name": None,
                "country": None,
                "telephone": None,
                "zipcode": None,
                "suspended": False,
                "two_factor_authentication_enabled": False,
                "two_factor_authentication_locked": False,
                "has_pro_zones": False,
                "has_business_zones": False,
                "has_enterprise_zones": False,
                "betas": [],
                "organizations": [],
            }
        )

    async def verify_user_token(request: Request) -> Response:
        whose = caller(request)
        if whose.owner != "user":
            raise ApiError(401, INVALID_API_TOKEN, "Invalid API Token")
        return _verified(whose)

    async def verify_account_token(request: Request) -> Response:
        whose = caller(request)
        if whose.owner != "account":
            raise ApiError(401, INVALID_API_TOKEN, "Invalid API Token")
        return _verified(whose)

    return [
        Route("/accounts", list_accounts, methods=["GET"]),
        Route("/accounts/{account_id}", get_account, methods=["GET"]),
        Route("/accounts/{account_id}/tokens/verify", verify_account_token, methods=["GET"]),
        Route("/memberships", list_memberships, methods=["GET"]),
        Route("/user", get_user, methods=["GET"]),
        Route("/user/tokens/verify", verify_user_token, methods=["GET"]),
    ]


def _user(request: Request) -> Caller:
    whose = caller(request)
    if whose.owner != "user":
        raise ApiError(*NO_USER)
    return whose


def _verified(whose: Caller) -> Response:
    result: dict[str, Any] = {"id": whose.token_id, "status": whose.status}
    if whose.expires_on is not None:
        result["expires_on"] = whose.expires_on
    return envelope(result, messages=[{"code": 10000, "message": "This API Token is valid and active", "type": None}])


def _account(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "type": "standard",
        "settings": {
            "enforce_twofactor": False,
            "api_access_enabled": None,
            "access_approval_expiry": None,
            "abuse_contact_email": None,
        },
        "legacy_flags": {"enterprise_zone_quota": {"maximum": 0, "current": 0, "available": 0}},
        "created_on": row["created_on"],
    }


def _membership(row: Row, whose: Caller) -> dict[str, Any]:
    return {
        "id": whose.user_id[:16] + row["id"][:16],
        "code": "",
        "status": "accepted",
        "account": _account(row),
        "roles": ["Super Administrator - All Privileges"],
        "permissions": {"workers": {"read": True, "write": True}, "zones": {"read": True, "write": True}},
        "api_access_enabled": None,
    }
