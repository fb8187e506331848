"""Who may call: bearer tokens, checked before anything else happens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clodo.emulator.access import NOTES, raw_path
from clodo.emulator.accounts.caller import Caller
from clodo.emulator.accounts.permissions import UNAUTHORIZED, Level, row_for, second_segment
from clodo.emulator.accounts.store import Accounts
from clodo.emulator.envelope import ApiError, no_route
from clodo.emulator.faults import RequestLimit
from clodo.emulator.zones.store import Zones

#: "Authentication error": the number that makes wrangler explain who it is logged in as.
AUTHENTICATION_ERROR = 10000
INVALID_API_TOKEN = 1000
#: From public reports, like 6103 and 6111, which stand in its ``error_chain``.
MISSING_HEADERS = (9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")
INVALID_HEADERS = (6003, "Invalid request headers")
MALFORMED_KEY = (6103, "Invalid format for X-Auth-Key header")
MALFORMED_AUTHORIZATION = (6111, "Invalid format for Authorization header")
#: What accounts, users and zones say of a token that nobody has; products and DNS say 10000.
UNKNOWN_TOKEN = (9109, "Invalid access token")
#: What a token of Cloudflare's looks like. The embedded cloud's own may be shorter, as long as they are known.
_TOKEN = re.compile(r"^[A-Za-z0-9_.-]{40,}$")
#: For the older way to say who one is: an e-mail and a "Global API Key", which a user's token serves as here.
UNKNOWN_KEY = (9103, "Unknown X-Auth-Key or X-Auth-Email")

#: Calls that carry the JWT of an upload session where others carry a token; their handlers check it.
HOLDS_ITS_OWN_JWT = re.compile(r"^(/accounts/[^/]+/workers/assets/upload|/pages/assets/[^/]+)$")

#: What anybody may read without saying who asks.
PUBLIC = frozenset({"/ips"})

_CALLER = "clodo.caller"


def caller(request: Request) -> Caller:
    """Return who makes this call."""
    found: Caller = request.scope[_CALLER]
    return found


class Authenticated:
    """Let calls through whose token is known, active and allowed to do what the path and method say."""

    def __init__(self, app: ASGIApp, accounts: Accounts, zones: Zones, limit: RequestLimit) -> None:
        self.app = app
        self.accounts = accounts
        self.zones = zones
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or refuse it in the envelope."""
        if scope["type"] != "http" or raw_path(scope) in PUBLIC or HOLDS_ITS_OWN_JWT.match(raw_path(scope)):
            await self.app(scope, receive, send)
            return
        left: Mapping[str, str] = {}
        try:
            whose = self._caller(scope)
            scope[_CALLER] = whose
            notes: dict[str, Any] = scope.get(NOTES, {})
            notes["token"] = whose.token_name
            notes["caller"] = whose
            left = self.limit.take(whose.user_id)
            self._raise_if_not_allowed(scope, whose)
        except ApiError as refusal:
            refusal.headers.update(left)
            await refusal.as_response()(scope, receive, send)
            return

        async def announcing_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    *((name.lower().encode(), value.encode()) for name, value in left.items()),
                ]
            await send(message)

        await self.app(scope, receive, announcing_send if left else send)

    def _caller(self, scope: Scope) -> Caller:
        path = raw_path(scope)
        email = _header(scope, b"x-auth-email")
        key, authorization = _header(scope, b"x-auth-key"), _header(scope, b"authorization")
        if authorization is None and email is None and key is None:
            raise ApiError(400, *MISSING_HEADERS)
        token = _bearer(authorization) if email is None else key
        if token is None:
            raise _malformed(MALFORMED_KEY if authorization is None else MALFORMED_AUTHORIZATION)
        whose = self.accounts.tokens.authenticate(token)
        if email is not None and (whose is None or whose.owner != "user" or whose.email != email.lower()):
            raise ApiError(403, *UNKNOWN_KEY)
        if whose is None or not whose.is_active:
            raise _refusal_of_a_stranger(path, token, is_known=whose is not None)
        if re.match(r"/(accounts|zones)/(?![0-9a-f]{32}(/|$))", path):
            raise no_route(path)
        match = re.match(r"/accounts/([^/]+)", path)
        if match and match[1] not in whose.account_ids:
            raise ApiError(403, AUTHENTICATION_ERROR, "Authentication error")
        address = (scope.get("client") or ("127.0.0.1", 0))[0]
        scope.get(NOTES, {})["address"] = address
        if not whose.comes_from_the_right_place(address):
            raise ApiError(403, UNAUTHORIZED[1], f"Cannot use the access token from location: {address}")
        return whose

    def _raise_if_not_allowed(self, scope: Scope, whose: Caller) -> None:
        path = raw_path(scope)
        row = row_for(path)
        if row is None or row.level is Level.NONE:
            return
        groups = row.groups(scope["method"])
        if row.level is Level.ACCOUNT:
            allowed = whose.may_in_account(groups, second_segment(path))
        elif row.level is Level.ZONE:
            zone = self.zones.get(second_segment(path))
            allowed = zone is not None and whose.may_in_zone(groups, zone["id"], zone["account_id"])
        elif row.level is Level.USER:
            allowed = whose.may_as_user(groups)
        else:
            allowed = self._may_somewhere(whose, groups)
        if not allowed:
            raise ApiError(*row.refusal)

    def _may_somewhere(self, whose: Caller, groups: frozenset[str]) -> bool:
        return any(
            whose.may_in_account(groups, account_id)
            or any(whose.may_in_zone(groups, zone["id"], account_id) for zone in self.zones.of(account_id))
            for account_id in whose.account_ids
        )


def _malformed(part: tuple[int, str]) -> ApiError:
    return ApiError(400, *INVALID_HEADERS, extra={"error_chain": [{"code": part[0], "message": part[1]}]})


def _refusal_of_a_stranger(path: str, token: str, *, is_known: bool) -> ApiError:
    """Return what a token is told that is nobody's, or not active."""
    if not is_known and not _TOKEN.match(token):
        return _malformed(MALFORMED_AUTHORIZATION)
    if path.endswith("/tokens/verify"):
        return ApiError(401, INVALID_API_TOKEN, "Invalid API Token")
    row = row_for(path)
    if row is not None and (row.refusal == UNAUTHORIZED or row.level is Level.NONE):
        return ApiError(403, *UNKNOWN_TOKEN)
    return ApiError(403, AUTHENTICATION_ERROR, "Authentication error")


def _bearer(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _header(scope: Scope, name: bytes) -> str | None:
    found: bytes | None = next((value for key, value in scope["headers"] if key == name), None)
    return None if found is None else found.decode("utf-8", "surrogateescape")
