"""API tokens over the API: those of a user, and those of an account."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.accounts.authentication import INVALID_API_TOKEN, caller
from clodo.emulator.accounts.permission_groups import PERMISSION_GROUPS, USER
from clodo.emulator.accounts.policies import INVALID_TOKEN, Policy, read_policies
from clodo.emulator.accounts.store import Accounts
from clodo.emulator.accounts.tokens import Tokens
from clodo.emulator.clock import moment, now
from clodo.emulator.database import Row
from clodo.emulator.envelope import ApiError, envelope, object_body, page_of

#: Assumed.
TOKEN_NOT_FOUND = (404, 1003, "API token not found.")
MAX_NAME_CHARACTERS = 120

VERIFIED = {"code": 10000, "message": "This API Token is valid and active", "type": None}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a body says a token should be."""

    name: str
    policies: tuple[Policy, ...]
    status: str
    expires_on: str | None
    not_before: str | None
    condition: dict[str, Any]

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> _Wanted:
        name, status = body.get("name"), body.get("status") or "active"
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME_CHARACTERS:
            raise ApiError(400, INVALID_TOKEN, f"Invalid token name: 1 to {MAX_NAME_CHARACTERS} characters are needed.")
        if status not in ("active", "disabled", "expired"):
            raise ApiError(400, INVALID_TOKEN, "Invalid token status: it must be active or disabled.")
        return cls(
            name=name,
            policies=read_policies(body.get("policies")),
            status="active" if status == "expired" else status,
            expires_on=_moment(body, "expires_on"),
            not_before=_moment(body, "not_before"),
            condition=_condition(body.get("condition")),
        )


def routes(accounts: Accounts) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""
    return [
        *_owned(
            accounts.tokens, "/user/tokens", "user", lambda request: accounts.tokens.of_user(caller(request).user_id)
        ),
        *_owned(
            accounts.tokens,
            "/accounts/{account_id}/tokens",
            "account",
            lambda request: accounts.tokens.of_account(request.path_params["account_id"]),
        ),
    ]


def _owned(tokens: Tokens, root: str, owner: str, found: Callable[[Request], list[Row]]) -> list[Route]:
    async def verify(request: Request) -> Response:
        whose = caller(request)
        if whose.owner != owner:
            raise ApiError(401, INVALID_API_TOKEN, "Invalid API Token")
        result: dict[str, Any] = {"id": whose.token_id, "status": whose.current_status}
        for key, value in (("expires_on", whose.expires_on), ("not_before", whose.not_before)):
            if value is not None:
                result[key] = _seconds(value)
        return envelope(result, messages=[VERIFIED])

    async def list_groups(request: Request) -> Response:
        name, scope = request.query_params.get("name"), request.query_params.get("scope")
        return envelope(
            [
                group.as_json()
                for group in PERMISSION_GROUPS
                if name in (None, group.name)
                and scope in (None, group.scope)
                and not (owner == "account" and group.scope == USER)
            ]
        )

    async def list_tokens(request: Request) -> Response:
        query = request.query_params
        shown = [_token(tokens, row) for row in found(request)]
        if query.get("include_expired") != "true":
            shown = [token for token in shown if token["status"] != "expired"]
        if query.get("direction") == "desc":
            shown.reverse()
        page, info = page_of(shown, query, default_per_page=20, max_per_page=50)
        return envelope(page, result_info=info)

    async def create(request: Request) -> Response:
        wanted = _Wanted.from_json(await object_body(request))
        whose = caller(request)
        account_id = request.path_params.get("account_id")
        token_id, value = tokens.create(
            whose.user_id,
            whose.account_ids if account_id is None else [account_id],
            wanted.name,
            owner=owner,
            policies=wanted.policies,
            expires_on=wanted.expires_on,
            not_before=wanted.not_before,
            condition=wanted.condition,
        )
        row = next(row for row in found(request) if row["id"] == token_id)
        return envelope({**_token(tokens, row), "value": value})

    async def get(request: Request) -> Response:
        return envelope(_token(tokens, _existing(request)))

    async def update(request: Request) -> Response:
        row = _existing(request)
        wanted = _Wanted.from_json(await object_body(request))
        tokens.update(
            row["id"],
            name=wanted.name,
            policies=wanted.policies,
            status=wanted.status,
            expires_on=wanted.expires_on,
            not_before=wanted.not_before,
            condition=wanted.condition,
        )
        return envelope(_token(tokens, _existing(request)))

    async def roll(request: Request) -> Response:
        return envelope(tokens.roll(_existing(request)["id"]))

    async def delete(request: Request) -> Response:
        row = _existing(request)
        tokens.delete(row["id"])
        return envelope({"id": row["id"]})

    def _existing(request: Request) -> Row:
        for row in found(request):
            if row["id"] == request.path_params["token_id"]:
                return row
        raise ApiError(*TOKEN_NOT_FOUND)

    return [
        Route(f"{root}/verify", verify, methods=["GET"]),
        Route(f"{root}/permission_groups", list_groups, methods=["GET"]),
        Route(root, list_tokens, methods=["GET"]),
        Route(root, create, methods=["POST"]),
        Route(f"{root}/{{token_id}}", get, methods=["GET"]),
        Route(f"{root}/{{token_id}}", update, methods=["PUT"]),
        Route(f"{root}/{{token_id}}", delete, methods=["DELETE"]),
        Route(f"{root}/{{token_id}}/value", roll, methods=["PUT"]),
    ]


def _token(tokens: Tokens, row: Row) -> dict[str, Any]:
    is_expired = row["expires_on"] is not None and row["expires_on"] <= now()
    shown: dict[str, Any] = {
        "id": row["id"],
        "name": row["name"],
        "status": "expired" if is_expired else row["status"],
        "issued_on": _seconds(row["created_on"]),
        "modified_on": _seconds(row["modified_on"] or row["created_on"]),
        "policies": [policy.as_json() for policy in tokens.policies_of(row)],
    }
    for key in ("last_used_on", "expires_on", "not_before"):
        if row[key] is not None:
            shown[key] = _seconds(row[key])
    if condition := json.loads(row["condition"] or "{}"):
        shown["condition"] = condition
    return shown


def _seconds(time: str) -> str:
    """Return a time as tokens show it: whole seconds."""
    return time[:19] + "Z"


def _moment(body: dict[str, Any], key: str) -> str | None:
    text = body.get(key)
    if text is None:
        return None
    try:
        return moment(text)
    except (TypeError, ValueError) as error:
        raise ApiError(400, INVALID_TOKEN, f"Invalid {key}: it must be a time such as 2026-12-24T18:00:00Z.") from error


def _condition(body: Any) -> dict[str, Any]:
    if body is None or body == {}:
        return {}
    networks = body.get("request_ip") if isinstance(body, dict) else None
    networks = networks or {}
    if not isinstance(networks, dict) or not set(networks) <= {"in", "not_in"}:
        raise ApiError(400, INVALID_TOKEN, "Invalid condition: request_ip with in and not_in is what there is.")
    try:
        for network in (*(networks.get("in") or ()), *(networks.get("not_in") or ())):
            ipaddress.ip_network(network, strict=False)
    except (TypeError, ValueError) as error:
        raise ApiError(400, INVALID_TOKEN, "Invalid condition: networks such as 192.0.2.0/24 are needed.") from error
    return {"request_ip": {key: list(value) for key, value in networks.items() if value}} if networks else {}
