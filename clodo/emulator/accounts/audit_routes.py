"""``audit_logs`` (changes) and ``logs/audit`` (every call)."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.accounts.audit import AuditLog, as_change, as_event, fits
from clodo.emulator.accounts.store import Accounts
from clodo.emulator.clock import moment
from clodo.emulator.envelope import ApiError, envelope, page_of

#: Assumed.
INVALID_QUERY = 1005
DEFAULT_LIMIT, MAX_LIMIT = 100, 1000


def routes(accounts: Accounts, audit: AuditLog) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    async def list_changes(request: Request) -> Response:
        query, account_id = request.query_params, request.path_params["account_id"]
        before, since = _time(request, "before"), _time(request, "since")
        shown = [
            as_change(entry, account_id)
            for entry in audit.entries(account_id, changes_only=True)
            if (before is None or entry["time"] < before)
            and (since is None or entry["time"] >= since)
            and query.get("id") in (None, entry["id"])
            and query.get("action.type") in (None, entry["action"])
            and query.get("actor.email") in (None, entry["actor"]["email"])
            and query.get("actor.ip") in (None, entry["actor"]["address"])
            and query.get("zone.name") in (None, (entry["zone"] or {}).get("name"))
        ]
        if query.get("direction") == "asc":
            shown.reverse()
        page, info = page_of(shown, query, default_per_page=100, max_per_page=1000)
        return envelope(page, result_info=info)

    async def list_events(request: Request) -> Response:
        query, account_id = request.query_params, request.path_params["account_id"]
        before, since = _time(request, "before"), _time(request, "since")
        if before is None or since is None:
            raise ApiError(400, INVALID_QUERY, "since and before are required.")
        account = accounts.account(account_id)
        assert account is not None, "the token reaches existing accounts only"
        pairs = query.multi_items()
        events = [as_event(entry, account_id, account["name"]) for entry in audit.entries(account_id)]
        # A day that is named as the end is a part of the span.
        events = [event for event in events if since <= event["action"]["time"] <= before and fits(event, pairs)]
        if query.get("direction") == "asc":
            events.reverse()
        start, limit = _number(request, "cursor", 0, None), _number(request, "limit", DEFAULT_LIMIT, MAX_LIMIT)
        page = events[start : start + limit]
        following = str(start + limit) if start + limit < len(events) else ""
        return envelope(page, result_info={"count": len(page), "cursor": following})

    return [
        Route("/accounts/{account_id}/audit_logs", list_changes, methods=["GET"]),
        Route("/accounts/{account_id}/logs/audit", list_events, methods=["GET"]),
    ]


def _time(request: Request, name: str) -> str | None:
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        read = moment(text)
    except ValueError as error:
        raise ApiError(400, INVALID_QUERY, f"{name} must be a date or a time, not {text[:40]!r}.") from error
    if name == "before" and len(text) == len("2026-01-01"):
        return datetime.fromisoformat(text).replace(hour=23, minute=59, second=59, tzinfo=UTC).strftime("%FT%T.999999Z")
    return read


def _number(request: Request, name: str, default: int, maximum: int | None) -> int:
    text = (request.query_params.get(name) or str(default)).removesuffix(".0")
    if not (text.isascii() and text.isdigit() and len(text) <= 9) or (
        maximum is not None and not 1 <= int(text) <= maximum
    ):
        raise ApiError(400, INVALID_QUERY, f"{name} is not valid: {text[:40]!r}.")
    return int(text)
