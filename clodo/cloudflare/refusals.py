"""The one table in which Cloudflare's refusals become Clodo's errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from clodo.errors import ApiRefused, ClodoError, NotAuthorised, NotFound, PermissionMissing, RateLimited

# 9103, 9106, 9107: unknown or missing credentials. 6003, 6111: a token that can't be one. 10000: authentication error.
BAD_TOKEN_CODES = frozenset({6003, 6111, 9103, 9106, 9107, 10000})
# 971 is the throttle of the Workers upload, 10429 that of other products.
THROTTLED_CODES = frozenset({971, 10429})
NO_PERMISSION_CODE = 9109
# "Could not route to …": the path is wrong, not the thing at its end.
UNROUTABLE_CODES = frozenset({7000, 7003})

_NAMED_PERMISSION = re.compile(r"requires permission '([^']+)'")
_SAYS_FORBIDDEN = re.compile(r"permission|not authori[sz]ed|unauthori[sz]ed|not allowed|not entitled", re.IGNORECASE)
_SAYS_BAD_TOKEN = re.compile(r"invalid (access|api) token|token (has )?expired", re.IGNORECASE)

# The first that occurs in the path names the permission, as the dashboard's token form calls it.
# Source: https://developers.cloudflare.com/fundamentals/api/reference/permissions/
_PERMISSIONS: tuple[tuple[str, str, str], ...] = (
    ("/tails", "Workers Tail: Read", "Workers Tail: Read"),
    ("/workers/routes", "Workers Routes: Read", "Workers Routes: Edit"),
    ("/workers/", "Workers Scripts: Read", "Workers Scripts: Edit"),
    ("/d1/", "D1: Read", "D1: Edit"),
    ("/storage/kv/", "Workers KV Storage: Read", "Workers KV Storage: Edit"),
    ("/r2/", "Workers R2 Storage: Read", "Workers R2 Storage: Edit"),
    ("/queues", "Queues: Read", "Queues: Edit"),
    ("/dns_records", "DNS: Read", "DNS: Edit"),
    ("/ssl/", "SSL and Certificates: Read", "SSL and Certificates: Edit"),
    ("/zones", "Zone: Read", "Zone: Edit"),
    ("/user", "User Details: Read", "User Details: Edit"),
    ("/accounts", "Account Settings: Read", "Account Settings: Edit"),
)


class Refusal(NamedTuple):
    """What Cloudflare said no with; *code* 0 and an empty *message* when it gave none."""

    status: int
    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Missing:
    """
    How an absence shows at one path, and which error it is.

    Attributes:
        error: The error to raise.

        message: Its sentence.

        codes: Cloudflare's codes that mean it, whatever the status.

        any_404: Every 404 means it, except one that says that the path is wrong.
    """

    error: type[NotFound]
    message: str
    codes: frozenset[int] = frozenset()
    any_404: bool = True
    hint: str | None = None

    def by_code_only(self) -> Missing:
        """Return one that doesn't claim every 404: something further down the path may be what is missing."""
        return replace(self, any_404=False)

    def fits(self, refusal: Refusal) -> bool:
        """Say whether *refusal* means this absence."""
        if refusal.code in self.codes:
            return True
        return self.any_404 and refusal.status == 404 and refusal.code not in UNROUTABLE_CODES


def permission_for(method: str, path: str, message: str) -> str:
    """Name the permission that a call needs: as Cloudflare's *message* does, else by its path."""
    named = _NAMED_PERMISSION.search(message)
    if named:
        return named.group(1)
    for part, read, edit in _PERMISSIONS:
        if part in path:
            return read if method == "GET" else edit
    return "a permission that Cloudflare doesn't name"


def to_error(method: str, path: str, refusal: Refusal, missing: Sequence[Missing] = ()) -> ClodoError:
    """
    Return the error that a refusal is.

    Args:
        missing: What a 404 or a code of absence means at this path; the first that fits wins.
    """
    status, code, message = refusal
    said = f"{message.rstrip('.')} (HTTP {status}, code {code})" if message else f"HTTP {status}, code {code}"
    where = f"{method} {path}"
    for absence in missing:
        if absence.fits(refusal):
            return absence.error(absence.message, hint=absence.hint)
    if status == 429 or code in THROTTLED_CODES:
        return RateLimited(f"Cloudflare asks to slow down at {where}: {said}")
    needs = permission_for(method, path, message)
    if code == NO_PERMISSION_CODE or status == 403:
        if says_bad_token(message):
            return _bad_token(where, said, needs)
        if code == NO_PERMISSION_CODE or _NAMED_PERMISSION.search(message) or _SAYS_FORBIDDEN.search(message):
            return PermissionMissing(
                f"The API token lacks the permission {needs} for {where}: {said}",
                hint=f"Add {needs} to the token in the dashboard (My Profile, API Tokens), or use another token.",
            )
    if status == 401 or code in BAD_TOKEN_CODES:
        return _bad_token(where, said, needs)
    return ApiRefused(f"Cloudflare refused {where}: {said}", status=status, code=code)


def says_bad_token(message: str | None) -> bool:
    """Tell whether a refusal's words are about the token itself; 9109 alone says no more than that it may not."""
    return _SAYS_BAD_TOKEN.search(message or "") is not None


def _bad_token(where: str, said: str, needs: str) -> NotAuthorised:
    # Cloudflare answers the same 10000 to a wrong token and to a good one without any right to the resource.
    return NotAuthorised(
        f"Cloudflare doesn't accept the API token for {where}: {said}",
        hint=f"Check that the token is not expired, belongs to this account and has the permission {needs}.",
    )
