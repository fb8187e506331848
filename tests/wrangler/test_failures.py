"""Failures of wrangler as facts of ours."""

from __future__ import annotations

from typing import Any

import pytest

from clodo.errors import (
    ApiRefused,
    ClodoError,
    CloudflareUnavailable,
    DatabaseNotFound,
    NoSpaceLeft,
    NotAuthorised,
    OutcomeUnknown,
    PermissionMissing,
    RateLimited,
    VersionNotFound,
    WorkerNotFound,
    WranglerFailed,
)
from clodo.wrangler.failures import error_from, error_from_call
from clodo.wrangler.forwarding import Call

SCRIPT = "/accounts/a/workers/scripts/shop"
MISSING = Call("GET", "/accounts/a/workers/services/shop", 404, 10007, "does not exist")


@pytest.mark.parametrize(
    ("call", "fact"),
    [
        (Call("GET", SCRIPT, 429, 971, "slow down", retry_after=30.0), RateLimited),
        (Call("GET", SCRIPT, 401, 10000, "Authentication error"), NotAuthorised),
        (Call("GET", SCRIPT, 400, 6003, "Invalid request headers"), NotAuthorised),
        (Call("GET", SCRIPT, 403, 9109, "Invalid access token"), NotAuthorised),
        (Call("GET", SCRIPT, 403, 10000, "Authentication error"), PermissionMissing),
        (Call("GET", SCRIPT, 403, 9109, "Unauthorized"), PermissionMissing),
        (Call("GET", SCRIPT, 404, 10007, "no Worker"), WorkerNotFound),
        (Call("GET", SCRIPT, 404, 10008, "no version"), VersionNotFound),
        (Call("GET", "/accounts/a/d1/database/x", 404, 7404, "no database"), DatabaseNotFound),
        (Call("GET", SCRIPT, 503, 0, "HTTP 503"), CloudflareUnavailable),
        (Call("POST", SCRIPT, 503, 0, "HTTP 503"), OutcomeUnknown),
        (Call("GET", SCRIPT, 0, 0, "refused"), CloudflareUnavailable),
        (Call("POST", SCRIPT, 400, 10021, "broken"), ApiRefused),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_failed_request_is_renamed(call: Call, fact: type[ClodoError]) -> None:
    """Status and code decide which fact it is; the message says what was asked and what Cloudflare said."""
    error = error_from_call("wrangler deploy", call)

    assert type(error) is fact
    assert call.message in error.message
    assert call.path in error.message
    assert error.hint or fact in (ApiRefused, WorkerNotFound, VersionNotFound, DatabaseNotFound)


def failed(message: str, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "wrangler-session"}, {"type": "command-failed", "message": message, **more}]


def test_the_request_wrangler_names_is_the_culprit() -> None:
    """A missing Worker is expected by a first deploy; what wrangler names in its record is what it died of."""
    calls = [MISSING, Call("PUT", SCRIPT, 400, 10021, "broken at line 1"), Call("GET", "/user", 403, 9109, "no")]
    records = failed(f"A request to the Cloudflare API ({SCRIPT}?excludeScript=true) failed.", code=10021)

    error = error_from("wrangler deploy", calls, records, [])

    assert isinstance(error, ApiRefused)
    assert (error.status, error.code) == (400, 10021)


def test_questions_about_the_token_are_not_the_culprit() -> None:
    """After an authentication error wrangler asks who it is, and names that request instead."""
    calls = [Call("GET", "/accounts/a/d1/database", 403, 10000, "no right"), Call("GET", "/user", 404, 7003, "what?")]

    error = error_from(
        "wrangler d1 list",
        calls,
        failed("A request to the Cloudflare API (/user) failed."),
        [
            "✘ [ERROR] A request to the Cloudflare API (/accounts/a/d1/database) failed.",
            "  no right [code: 10000]",
        ],
    )

    assert isinstance(error, PermissionMissing)
    assert error.hint is not None
    assert "D1, Edit" in error.hint


def test_words_of_wranglers_own_are_traced_to_the_last_request() -> None:
    """Friendly errors hide the request; it is known if nothing was asked after it."""
    calls = [MISSING, Call("POST", "/accounts/a/d1/database", 400, 7502, "exists")]

    error = error_from("wrangler d1 create", calls, failed("A database with that name already exists"), [])

    assert isinstance(error, ApiRefused)
    assert error.code == 7502


def test_a_failure_without_a_request_keeps_wranglers_words() -> None:
    """A config or a bundle that is broken has nothing to do with what was asked before."""
    calls = [MISSING, Call("GET", SCRIPT, 200)]

    error = error_from("wrangler deploy", calls, failed("Build failed with 1 error:\n✘ no x.js\n\nlong tail"), [])

    assert isinstance(error, WranglerFailed)
    assert error.message == "wrangler deploy: Build failed with 1 error: ✘ no x.js"
    assert error.code is None


def test_a_code_only_printed_is_kept() -> None:
    """Without a record the number comes from the error box."""
    error = error_from("wrangler x", [], [], ["✘ [ERROR] odd [code: 4711]"])

    assert isinstance(error, WranglerFailed)
    assert error.code == 4711


def test_a_full_disk_is_its_own_fact() -> None:
    """ENOSPC out of Node is told as what it is."""
    assert isinstance(error_from("wrangler deploy", [], [], ["Error: ENOSPC: no space left on device"]), NoSpaceLeft)
