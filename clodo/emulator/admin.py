"""
The embedded cloud's own endpoints, ``/__clodo/…``: what was called, what goes wrong on purpose, more accounts.

They are no part of Cloudflare. Whoever calls them shows the admin token that the cloud wrote to its data folder, or
the first account's API token.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from clodo.emulator.access import summary
from clodo.emulator.clock import moment
from clodo.emulator.envelope import EXCEPTION_HANDLERS, ApiError, UnexpectedErrors, envelope, object_body
from clodo.emulator.faults import MAX_REQUESTS, WINDOW_SECONDS, FaultRule
from clodo.emulator.runtime.ports import Disturbance, VersionStats, WorkerdUnavailable
from clodo.errors import BadUsage

if TYPE_CHECKING:
    from clodo.emulator.app import Cloud

PREFIX = "/__clodo"

#: What ``PATCH /__clodo/settings`` changes.
SETTINGS = ("analytics_delay_seconds", "ignore_overrides", "propagation_seconds", "rate_limit")


def admin_app(cloud: Cloud) -> ASGIApp:
    """Return the application behind ``/__clodo``."""
    began = time.monotonic()

    async def get_status(request: Request) -> Response:
        return envelope(
            {
                "url": cloud.url,
                "seconds": round(time.monotonic() - began, 3),
                "rate_limit": cloud.limit.is_on,
                "ignore_overrides": cloud.runtime.ignore_overrides,
                "faults": len(cloud.faults.armed()),
                "calls": cloud.log.count,
                "workers": _workers(cloud),
            }
        )

    async def get_requests(request: Request) -> Response:
        query = request.query_params
        pattern, since = query.get("path"), query.get("since", "0")
        try:
            re.compile(pattern or "")
            number = int(since)
        except (re.error, ValueError) as error:
            raise ApiError(400, 400, f"path must be a regular expression and since a number: {error}") from error
        calls = cloud.log.calls(
            account_id=query.get("account_id"),
            method=query.get("method"),
            path=pattern,
            token=query.get("token"),
            since=number,
        )
        return envelope({**summary(calls), "calls": [call.as_json() for call in calls]})

    async def delete_requests(request: Request) -> Response:
        cloud.log.forget()
        return envelope(None)

    async def list_faults(request: Request) -> Response:
        return envelope(cloud.faults.armed())

    async def add_fault(request: Request) -> Response:
        return envelope(cloud.faults.add(FaultRule.from_json(await object_body(request))).as_json())

    async def delete_faults(request: Request) -> Response:
        cloud.faults.clear()
        return envelope(None)

    async def delete_fault(request: Request) -> Response:
        if not cloud.faults.remove(request.path_params["fault_id"]):
            raise ApiError(404, 404, "there is no such fault")
        return envelope(None)

    async def list_disturbances(request: Request) -> Response:
        return envelope(
            [
                {"account_id": account_id, "script": script, "version_id": version_id, **asdict(disturbance)}
                for (account_id, script, version_id), disturbance in cloud.runtime.disturbances.active().items()
            ]
        )

    async def put_disturbance(request: Request) -> Response:
        body = await object_body(request)
        account_id, script, version_id = _target(body)
        try:
            disturbance = Disturbance(**body)
        except TypeError as error:
            raise ApiError(400, 400, f"not a disturbance: {error}") from error
        _raise_unless_there(cloud, account_id, script, version_id)
        cloud.runtime.disturbances.set(account_id, script, version_id, disturbance)
        return envelope(asdict(disturbance))

    async def delete_disturbance(request: Request) -> Response:
        target = _target(dict(request.query_params))
        if target not in cloud.runtime.disturbances.active():
            _raise_unless_there(cloud, *target)
        cloud.runtime.disturbances.set(*target, None)
        return envelope(None)

    async def patch_settings(request: Request) -> Response:
        body = await object_body(request)
        if unknown := sorted(set(body) - set(SETTINGS)):
            raise ApiError(400, 400, f"unknown key {unknown[0]!r}; known are {', '.join(SETTINGS)}")
        if "ignore_overrides" in body:
            cloud.runtime.ignore_overrides = body["ignore_overrides"] is True
        if "analytics_delay_seconds" in body:
            cloud.analytics.delay_seconds = _seconds(body, "analytics_delay_seconds")
        if "propagation_seconds" in body:
            cloud.directory.propagate_after(_seconds(body, "propagation_seconds"))
        if "rate_limit" in body:
            limit = body["rate_limit"]
            if isinstance(limit, Mapping):
                maximum, window = limit.get("maximum", MAX_REQUESTS), limit.get("window_seconds", WINDOW_SECONDS)
                if not isinstance(maximum, int) or not isinstance(window, (int, float)):
                    raise ApiError(400, 400, "rate_limit: maximum and window_seconds must be numbers")
                cloud.limit.configure(is_on=True, maximum=maximum, window_seconds=float(window))
            else:
                cloud.limit.configure(is_on=limit is True)
        return envelope(
            {
                "analytics_delay_seconds": cloud.analytics.delay_seconds,
                "ignore_overrides": cloud.runtime.ignore_overrides,
                "propagation_seconds": cloud.directory.propagation_seconds,
                "rate_limit": cloud.limit.is_on,
            }
        )

    async def add_account(request: Request) -> Response:
        body = await object_body(request)
        if not all(isinstance(body.get(key) or "", str) for key in ("name", "subdomain", "zone")):
            raise ApiError(400, 400, "name, subdomain and zone must be strings")
        try:
            keys = cloud.accounts.create(
                name=str(body.get("name") or "Account"), subdomain=body.get("subdomain"), zone=body.get("zone")
            )
        except BadUsage as error:
            raise ApiError(400, 400, error.message) from error
        cloud.directory.refresh_hosts()
        return envelope(asdict(keys))

    async def add_token(request: Request) -> Response:
        body = await object_body(request)
        account_ids = body.get("account_ids")
        if not isinstance(account_ids, list) or not account_ids:
            raise ApiError(400, 400, "account_ids must be a list of accounts")
        owner = body.get("owner") or "user"
        if owner not in ("user", "account"):
            raise ApiError(400, 400, "owner must be user or account")
        token_id, token = cloud.accounts.add_token(
            [str(account_id) for account_id in account_ids],
            name=str(body.get("name") or "token"),
            owner=owner,
            expires_on=_moment_in(body, "expires_on"),
            permissions=_words_in(body, "permissions"),
            zone_ids=[*(_words_in(body, "zone_ids") or ()), *_zone_ids(cloud, _words_in(body, "zones") or ())],
            value=body.get("value") if isinstance(body.get("value"), str) else None,
        )
        return envelope({"id": token_id, "token": token})

    async def patch_token(request: Request) -> Response:
        body = await object_body(request)
        if body.get("status") not in ("active", "disabled"):
            raise ApiError(400, 400, "status must be active or disabled")
        if not cloud.accounts.tokens.set_status(request.path_params["token_id"], body["status"]):
            raise ApiError(404, 404, "there is no such token")
        return envelope(None)

    async def add_zone(request: Request) -> Response:
        body = await object_body(request)
        if cloud.accounts.account(str(body.get("account_id"))) is None:
            raise ApiError(404, 404, "there is no such account")
        try:
            row = cloud.zones.ensure(str(body.get("account_id")), str(body.get("name")))
        except BadUsage as error:
            raise ApiError(400, 400, error.message) from error
        return envelope({"id": row["id"], "name": row["name"]})

    async def fire_schedule(request: Request) -> Response:
        body = await object_body(request)
        account_id, script, _ = _target(body)
        try:
            outcome = await cloud.runtime.orders.scheduled(
                account_id, script, str(body.get("cron") or "* * * * *"), datetime.now(UTC)
            )
        except WorkerdUnavailable as error:
            raise ApiError(409, 409, error.message) from error
        return envelope(dict(outcome))

    async def carry_out_lifecycles(request: Request) -> Response:
        at = _moment_in(await object_body(request), "at")
        seconds = None if at is None else datetime.fromisoformat(at).timestamp()
        return envelope((await cloud.lifecycles.sweep(seconds))._asdict())

    app = Starlette(
        routes=[
            Route(f"{PREFIX}/status", get_status, methods=["GET"]),
            Route(f"{PREFIX}/requests", get_requests, methods=["GET"]),
            Route(f"{PREFIX}/requests", delete_requests, methods=["DELETE"]),
            Route(f"{PREFIX}/faults", list_faults, methods=["GET"]),
            Route(f"{PREFIX}/faults", add_fault, methods=["POST"]),
            Route(f"{PREFIX}/faults", delete_faults, methods=["DELETE"]),
            Route(f"{PREFIX}/faults/{{fault_id}}", delete_fault, methods=["DELETE"]),
            Route(f"{PREFIX}/disturbances", list_disturbances, methods=["GET"]),
            Route(f"{PREFIX}/disturbances", put_disturbance, methods=["PUT"]),
            Route(f"{PREFIX}/disturbances", delete_disturbance, methods=["DELETE"]),
            Route(f"{PREFIX}/settings", patch_settings, methods=["PATCH"]),
            Route(f"{PREFIX}/accounts", add_account, methods=["POST"]),
            Route(f"{PREFIX}/tokens", add_token, methods=["POST"]),
            Route(f"{PREFIX}/tokens/{{token_id}}", patch_token, methods=["PATCH"]),
            Route(f"{PREFIX}/zones", add_zone, methods=["POST"]),
            Route(f"{PREFIX}/scheduled", fire_schedule, methods=["POST"]),
            Route(f"{PREFIX}/lifecycles", carry_out_lifecycles, methods=["POST"]),
        ],
        exception_handlers=dict(EXCEPTION_HANDLERS),
        middleware=[Middleware(UnexpectedErrors)],
    )
    app.router.redirect_slashes = False
    return _Guarded(app, cloud)


class _Guarded:
    """Let nobody through who doesn't show the admin token or the first account's."""

    def __init__(self, app: ASGIApp, cloud: Cloud) -> None:
        self.app = app
        self.cloud = cloud

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        shown = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        shown = shown.partition(b" ")[2].strip()
        allowed = (self.cloud.admin_token, self.cloud.accounts.first_token())
        if scope["type"] == "http" and any(token and hmac.compare_digest(shown, token.encode()) for token in allowed):
            await self.app(scope, receive, send)
            return
        refusal = ApiError(403, 403, "The admin token is in emulator.json in the embedded cloud's data folder.")
        await refusal.as_response()(scope, receive, send)


def _seconds(body: Mapping[str, Any], name: str) -> float:
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86_400:
        raise ApiError(400, 400, f"{name} must be a number of seconds, at most a day")
    return float(value)


def _workers(cloud: Cloud) -> list[dict[str, Any]]:
    """Return what each version has done: all that are live, and others that were asked anything since the start."""
    shares = {
        (account_id, script, version_id): share
        for (account_id, script), traffic in cloud.directory.deployed().items()
        for version_id, share in traffic
    }
    seen = {(stats.account_id, stats.script, stats.version_id): stats for stats in cloud.runtime.stats()}
    rows = {key: seen.get(key) or VersionStats.of_sleeper(*key) for key in (*shares, *seen)}
    return [
        {**asdict(stats), "responses": dict(stats.responses), "percentage": shares.get(key)}
        for key, stats in sorted(rows.items(), key=lambda item: (item[0][:2], -shares.get(item[0], -1)))
    ]


def _target(body: dict[str, Any]) -> tuple[str, str, str | None]:
    """Take the Worker (and version) that a body names out of it."""
    account_id, script = body.pop("account_id", None), body.pop("script", None)
    version_id = body.pop("version_id", None)
    if not isinstance(account_id, str) or not isinstance(script, str):
        raise ApiError(400, 400, "account_id and script are needed")
    return account_id, script, version_id if isinstance(version_id, str) else None


def _raise_unless_there(cloud: Cloud, account_id: str, name: str, version_id: str | None) -> None:
    """Refuse to disturb what nobody could visit."""
    script = cloud.scripts.get(account_id, name)
    if script is None:
        raise ApiError(404, 404, f"the account {account_id} has no Worker called {name}")
    if version_id is not None and cloud.scripts.version(script, version_id) is None:
        raise ApiError(404, 404, f"the Worker {name} has no version {version_id}")


def _zone_ids(cloud: Cloud, names: Sequence[str]) -> list[str]:
    """Return the ids of zones by name."""
    ids = []
    for name in names:
        zone = cloud.zones.named(name)
        if zone is None:
            raise ApiError(404, 404, f"there is no zone {name}")
        ids.append(zone["id"])
    return ids


def _words_in(body: Mapping[str, Any], key: str) -> list[str] | None:
    """Return a list of strings that a body may hold."""
    words = body.get(key)
    if words is None:
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ApiError(400, 400, f"{key} must be a list of strings")
    return words


def _moment_in(body: Mapping[str, Any], key: str) -> str | None:
    """Return a time that a body may hold."""
    text = body.get(key)
    if text is None:
        return None
    try:
        return moment(text)
    except (TypeError, ValueError) as error:
        raise ApiError(400, 400, f"{key} must be a time such as 2026-12-24T18:00:00Z") from error
