"""Why a wrangler call failed, as one of our errors: the one place where foreign failures are renamed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from clodo.cloudflare.refusals import BAD_TOKEN_CODES, says_bad_token
from clodo.errors import (
    ApiRefused,
    ClodoError,
    CloudflareUnavailable,
    DatabaseNotFound,
    NamespaceNotFound,
    NoSpaceLeft,
    NotAuthorised,
    OutcomeUnknown,
    PermissionMissing,
    RateLimited,
    VersionNotFound,
    WorkerNotFound,
    WranglerFailed,
)
from clodo.wrangler.forwarding import Call
from clodo.wrangler.output import code_in, error_text

_FAILED_REQUEST = re.compile(r"request to the Cloudflare API \((?P<path>[^)]*)\) failed")
# Asked by wrangler only to explain an authentication error.
_WHOAMI = re.compile(r"^/(user|user/tokens/verify|accounts|memberships|accounts/[^/]+/tokens/verify)$")

# 10000 is also said of a good token that lacks a right.
_UNUSABLE_TOKEN = BAD_TOKEN_CODES - {10000}

_NOT_FOUND: Mapping[int, type[ClodoError]] = {
    10007: WorkerNotFound,
    10090: WorkerNotFound,
    10008: VersionNotFound,
    7404: DatabaseNotFound,
    10013: NamespaceNotFound,
}


def error_from(
    command: str, calls: Sequence[Call], records: Sequence[Mapping[str, Any]], stderr: Sequence[str]
) -> ClodoError:
    """
    Say why wrangler failed.

    The gateway's record comes first (it alone knows statuses and messages), then the ND-JSON, then what was printed.

    Args:
        command: What was run, in words that hold no secret.

        stderr: Lines without escapes and secrets.
    """
    last_words = [record for record in records if record.get("type") == "command-failed"]
    failed: Mapping[str, Any] = last_words[-1] if last_words else {}
    told = error_text(stderr)
    if any("ENOSPC" in line for line in stderr):
        return NoSpaceLeft(f"{command}: the disk is full", hint="Free some space and try again.")
    call = _culprit(calls, failed, told)
    if call is not None:
        return error_from_call(command, call)
    code = failed.get("code")
    number = code if isinstance(code, int) else code_in(told)
    message = str(failed.get("message") or "")
    if not message or (number is not None and _FAILED_REQUEST.search(message)):
        message = told or message or "it gave no reason"
    return WranglerFailed(f"{command}: {_first_paragraph(message)}", code=number)


def error_from_call(command: str, call: Call) -> ClodoError:
    """Rename one request that failed."""
    where = f"{command}: {call.method} {call.path}"
    said = f"{where}: {call.message or 'HTTP ' + str(call.status)}" + (f" [code: {call.code}]" if call.code else "")
    wait = timedelta(seconds=call.retry_after) if call.retry_after is not None else None
    if call.status == 429:
        return RateLimited(said, hint="Wait a few minutes and try again.", retry_after=wait)
    if call.status == 401 or call.code in _UNUSABLE_TOKEN or says_bad_token(call.message):
        return NotAuthorised(said, hint="Check the API token: it is wrong, expired or disabled.")
    if call.status == 403 and call.code in (10000, 9109):
        return PermissionMissing(said, hint="Give the API token the right to do this: " + _right(call.path))
    if call.status == 0 or call.status >= 500:
        if call.is_write and call.status != 0:
            return OutcomeUnknown(said, hint="Look whether it was done before repeating it.")
        return CloudflareUnavailable(said, hint="Try again in a few minutes.", retry_after=wait)
    if kind := _NOT_FOUND.get(call.code):
        return kind(said)
    return ApiRefused(said, status=call.status, code=call.code)


def _culprit(calls: Sequence[Call], failed: Mapping[str, Any], told: str) -> Call | None:
    """Find the request that wrangler died of; not every failed request is one: a missing Worker may be expected."""
    failures = [call for call in calls if call.is_failure]
    # After an authentication error wrangler asks who it is, and dies of *that* request's failure.
    failures = [call for call in failures if not _WHOAMI.match(call.path)] or failures
    for text in (str(failed.get("message") or ""), told):
        named = _FAILED_REQUEST.search(text)
        path = named["path"].partition("?")[0] if named else None
        if found := [call for call in failures if call.path == path]:
            return found[-1]
    code = failed.get("code") or code_in(told)
    if found := [call for call in failures if code and call.code == code]:
        return found[-1]
    # wrangler hides the request behind words of its own. What it was is only sure if nothing went on after it.
    last = calls[-1] if calls else None
    return last if last is not None and last in failures and not code else None


def _right(path: str) -> str:
    rights = (
        ("/workers/", "Workers Scripts, Edit"),
        ("/d1/", "D1, Edit"),
        ("/storage/kv/", "Workers KV Storage, Edit"),
        ("/r2/", "Workers R2 Storage, Edit"),
        ("/queues", "Queues, Edit"),
        ("/pages/", "Cloudflare Pages, Edit"),
        ("/zones", "Zone, Read and Workers Routes, Edit"),
    )
    return next((right for part, right in rights if part in path), "see the path above") + "."


def _first_paragraph(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split())
