"""``/accounts``, ``/memberships`` and ``/user``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.accounts.authentication import caller
from clodo.emulator.accounts.caller import Caller
from clodo.emulator.accounts.permissions import UNAUTHORIZED
from clodo.emulator.accounts.store import Accounts
from clodo.emulator.database import Row
from clodo.emulator.envelope import ApiError, envelope, object_body, page_of

#: Assumed numbers.
INVALID_ACCOUNT = 1001
NOT_FOUND = 1003

ROLE = {
    "id": "33666b9c79b9a5273fc7344ff42f953d",
    "name": "Super Administrator - All Privileges",
    "description": "Can edit any Cloudflare setting, make purchases, update billing, and manage memberships.",
    "permissions": {
        area: {"read": True, "write": True}
        for area in (
            *("analytics", "billing", "cache_purge", "dns", "dns_records", "lb", "logs", "organization", "ssl", "waf"),
            *("zones", "zone_settings"),
        )
    },
}

#: What a user may say about themselves.
PROFILE = ("first_name", "last_name", "country", "telephone", "zipcode")


def routes(accounts: Accounts) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    async def list_accounts(request: Request) -> Response:
        name = request.query_params.get("name")
        found = [
            _account(row)
            for row in accounts.accounts(caller(request).account_ids)
            if name is None or row["name"] == name
        ]
        if request.query_params.get("direction") == "desc":
            found.reverse()
        page, info = page_of(found, request.query_params, default_per_page=20, max_per_page=50)
        return envelope(page, result_info=info)

    async def get_account(request: Request) -> Response:
        return envelope(_account(_existing(request)))

    async def put_account(request: Request) -> Response:
        row = _existing(request)
        body = await object_body(request)
        name, wanted = body.get("name"), body.get("settings") or {}
        if not isinstance(name, str) or not name.strip() or len(name) > 100 or not isinstance(wanted, dict):
            raise ApiError(400, INVALID_ACCOUNT, "An account needs a name of 1 to 100 characters.")
        known = _settings(row)
        settings = {key: wanted.get(key, value) for key, value in known.items()}
        if not isinstance(settings["enforce_twofactor"], bool):
            raise ApiError(400, INVALID_ACCOUNT, "enforce_twofactor must be true or false.")
        if not isinstance(settings["abuse_contact_email"], str | None):
            raise ApiError(400, INVALID_ACCOUNT, "abuse_contact_email must be an address.")
        accounts.change(row["id"], name, {key: settings[key] for key in ("enforce_twofactor", "abuse_contact_email")})
        return envelope(_account(_existing(request)))

    async def list_members(request: Request) -> Response:
        row = _existing(request)
        members = [_member(row, accounts.user(row["user_id"]))]
        page, info = page_of(members, request.query_params, default_per_page=20, max_per_page=50)
        return envelope(page, result_info=info)

    async def get_member(request: Request) -> Response:
        row = _existing(request)
        member = _member(row, accounts.user(row["user_id"]))
        if member["id"] != request.path_params["member_id"]:
            raise ApiError(404, NOT_FOUND, "Member not found for account.")
        return envelope(member)

    async def list_roles(request: Request) -> Response:
        page, info = page_of([ROLE], request.query_params, default_per_page=20, max_per_page=50)
        return envelope(page, result_info=info)

    async def get_role(request: Request) -> Response:
        if request.path_params["role_id"] != ROLE["id"]:
            raise ApiError(404, NOT_FOUND, "Role not found for account.")
        return envelope(ROLE)

    async def list_memberships(request: Request) -> Response:
        found = [_membership(row, caller(request)) for row in accounts.accounts(caller(request).account_ids)]
        query = request.query_params
        found = [
            membership
            for membership in found
            if query.get("account.name") in (None, membership["account"]["name"])
            and query.get("status") in (None, membership["status"])
        ]
        page, info = page_of(found, query, default_per_page=20, max_per_page=50)
        return envelope(page, result_info=info)

    async def get_membership(request: Request) -> Response:
        for row in accounts.accounts(caller(request).account_ids):
            membership = _membership(row, caller(request))
            if membership["id"] == request.path_params["membership_id"]:
                return envelope(membership)
        raise ApiError(404, NOT_FOUND, "Membership not found.")

    async def get_user(request: Request) -> Response:
        return envelope(_user(request))

    async def patch_user(request: Request) -> Response:
        body = await object_body(request)
        known = _user(request)
        profile = {key: body.get(key, known[key]) for key in PROFILE}
        if not all(value is None or (isinstance(value, str) and len(value) <= 60) for value in profile.values()):
            raise ApiError(400, INVALID_ACCOUNT, f"{', '.join(PROFILE)} are strings of at most 60 characters.")
        accounts.set_profile(known["id"], profile)
        return envelope(_user(request))

    def _existing(request: Request) -> Row:
        row = accounts.account(request.path_params["account_id"])
        if row is None:
            raise ApiError(*UNAUTHORIZED)
        return row

    def _user(request: Request) -> dict[str, Any]:
        row = accounts.user(caller(request).user_id)
        profile: Mapping[str, Any] = json.loads(row["profile"] or "{}")
        return {
            "id": row["id"],
            "email": row["email"],
            "username": row["id"],
            **{key: profile.get(key) for key in PROFILE},
            "suspended": False,
            "two_factor_authentication_enabled": False,
            "two_factor_authentication_locked": False,
            "has_pro_zones": False,
            "has_business_zones": False,
            "has_enterprise_zones": False,
            "betas": [],
            "created_on": row["created_on"],
            "modified_on": row["created_on"],
            "organizations": [
                {"id": account["id"], "name": account["name"], "status": "member", "permissions": None, "roles": None}
                for account in accounts.accounts(caller(request).account_ids)
            ],
        }

    return [
        Route("/accounts", list_accounts, methods=["GET"]),
        Route("/accounts/{account_id}", get_account, methods=["GET"]),
        Route("/accounts/{account_id}", put_account, methods=["PUT"]),
        Route("/accounts/{account_id}/members", list_members, methods=["GET"]),
        Route("/accounts/{account_id}/members/{member_id}", get_member, methods=["GET"]),
        Route("/accounts/{account_id}/roles", list_roles, methods=["GET"]),
        Route("/accounts/{account_id}/roles/{role_id}", get_role, methods=["GET"]),
        Route("/memberships", list_memberships, methods=["GET"]),
        Route("/memberships/{membership_id}", get_membership, methods=["GET"]),
        Route("/user", get_user, methods=["GET"]),
        Route("/user", patch_user, methods=["PATCH"]),
    ]


def _account(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "type": "standard",
        "settings": _settings(row),
        "legacy_flags": {"enterprise_zone_quota": {"maximum": 0, "current": 0, "available": 0}},
        "created_on": row["created_on"],
    }


def _settings(row: Row) -> dict[str, Any]:
    return {
        "enforce_twofactor": False,
        "api_access_enabled": None,
        "access_approval_expiry": None,
        "use_account_custom_ns_by_default": False,
        "default_nameservers": "cloudflare.standard",
        "abuse_contact_email": None,
        **json.loads(row["settings"] or "{}"),
    }


def _member(account: Row, user: Row) -> dict[str, Any]:
    profile: Mapping[str, Any] = json.loads(user["profile"] or "{}")
    group = {"key": f"com.cloudflare.api.account.{account['id']}", "objects": [{"key": "*"}]}
    return {
        "id": user["id"][:16] + account["id"][:16],
        "email": user["email"],
        "user": {
            "id": user["id"],
            "first_name": profile.get("first_name"),
            "last_name": profile.get("last_name"),
            "email": user["email"],
            "two_factor_authentication_enabled": False,
        },
        "status": "accepted",
        "api_access_enabled": None,
        "policies": [
            {
                "id": account["id"][:16] + user["id"][:16],
                "access": "allow",
                "permission_groups": [
                    {
                        "id": ROLE["id"],
                        "name": ROLE["name"],
                        "meta": {
                            "description": ROLE["description"],
                            "editable": "false",
                            "label": "all_privileges",
                            "scopes": "com.cloudflare.api.account",
                        },
                    }
                ],
                "resource_groups": [
                    {"id": account["id"], "name": group["key"], "meta": {"editable": "false"}, "scope": group}
                ],
            }
        ],
        "roles": [ROLE],
    }


def _membership(row: Row, whose: Caller) -> dict[str, Any]:
    return {
        "id": whose.user_id[:16] + row["id"][:16],
        "code": "",
        "status": "accepted",
        "account": _account(row),
        "roles": [ROLE["name"]],
        "permissions": ROLE["permissions"],
        "api_access_enabled": None,
    }
