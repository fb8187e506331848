"""How requests reach a Worker: workers.dev, routes, schedules. None of it is versioned."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.accounts.authentication import caller
from clodo.emulator.accounts.permissions import AUTHENTICATION_ERROR
from clodo.emulator.accounts.store import Accounts
from clodo.emulator.database import Row
from clodo.emulator.envelope import ApiError, envelope, json_body, object_body
from clodo.emulator.runtime.crons import Cron, CronInvalid
from clodo.emulator.workers.directory import WorkerDirectory
from clodo.emulator.workers.limits import MAX_SCHEDULES
from clodo.emulator.workers.patterns import Pattern
from clodo.emulator.workers.publishing import SCRIPT_NOT_FOUND, Publisher
from clodo.emulator.workers.requests import account_of, script_name
from clodo.emulator.workers.store import Script, Scripts
from clodo.emulator.zones.routes import zone_of
from clodo.emulator.zones.store import Zones

#: Numbers of refusals; those of routes and schedules are Cloudflare's.
NO_SUBDOMAIN = 10007
ROUTE_NOT_FOUND = 10015
ROUTE_EXISTS = 10020
INVALID_ROUTE = 10022
INVALID_SCHEDULE = 10100


def account_routes(
    scripts: Scripts, publisher: Publisher, accounts: Accounts, zones: Zones, directory: WorkerDirectory
) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def get_account_subdomain(request: Request) -> Response:
        subdomain = accounts.subdomain(account_of(request))
        if subdomain is None:
            raise ApiError(404, NO_SUBDOMAIN, "There is no workers.dev subdomain for this account.")
        return envelope({"subdomain": subdomain})

    async def put_account_subdomain(request: Request) -> Response:
        body = await object_body(request)
        subdomain = body.get("subdomain")
        if not isinstance(subdomain, str):
            raise ApiError(400, INVALID_ROUTE, "subdomain must be a string")
        accounts.set_subdomain(account_of(request), subdomain)
        directory.refresh_hosts()
        return envelope({"subdomain": subdomain})

    async def delete_account_subdomain(request: Request) -> Response:
        accounts.set_subdomain(account_of(request), None)
        directory.refresh_hosts()
        return envelope(None)

    async def get_subdomain(request: Request) -> Response:
        return envelope(_subdomain(publisher.existing(account_of(request), script_name(request))))

    async def post_subdomain(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        body = await object_body(request)
        enabled = _flag(body, "enabled", script.subdomain_enabled)
        previews = _flag(body, "previews_enabled", enabled if "enabled" in body else script.previews_enabled)
        script = scripts.set_subdomain(script, enabled=enabled, previews_enabled=previews)
        directory.refresh(script.account_id, script.name)
        return envelope(_subdomain(script))

    async def delete_subdomain(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        script = scripts.set_subdomain(script, enabled=False, previews_enabled=False)
        directory.refresh(script.account_id, script.name)
        return envelope(_subdomain(script))

    async def get_routes(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        return envelope([_route(row) for row in scripts.routes_of(script)])

    async def put_routes(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        body = await json_body(request)
        if not isinstance(body, list):
            raise ApiError(400, INVALID_ROUTE, "routes must be a list")
        wanted = [_wanted(entry, script, zones) for entry in body]
        for zone, pattern in wanted:
            if not caller(request).may_in_zone({"Workers Routes Write"}, zone["id"], zone["account_id"]):
                # The zone's right, on an account's route: wrangler knows this number and tries the zone's own routes.
                raise ApiError(*AUTHENTICATION_ERROR)
            known = scripts.route_of_pattern(zone["id"], pattern)
            if known is not None and known["script"] not in (None, script.name):
                raise ApiError(
                    409,
                    ROUTE_EXISTS,
                    f"Can't deploy routes that are assigned to another worker. {known['script']!r} is already assigned"
                    f" to routes: {pattern}",
                )
        rows = scripts.replace_routes(script, wanted)
        directory.refresh_hosts()
        return envelope([_route(row) for row in rows])

    async def get_schedules(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        return envelope({"schedules": scripts.schedules(script)})

    async def put_schedules(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        body = await json_body(request)
        if not isinstance(body, list):
            raise ApiError(400, INVALID_SCHEDULE, "schedules must be a list")
        crons = [_cron(entry) for entry in body]
        if len(set(crons)) > MAX_SCHEDULES:
            raise ApiError(400, INVALID_SCHEDULE, f"{len(crons)} schedules exceed the limit of {MAX_SCHEDULES}")
        rows = scripts.set_schedules(script, crons)
        return envelope({"schedules": rows})

    return [
        Route("/workers/subdomain", get_account_subdomain, methods=["GET"]),
        Route("/workers/subdomain", put_account_subdomain, methods=["PUT"]),
        Route("/workers/subdomain", delete_account_subdomain, methods=["DELETE"]),
        Route("/workers/scripts/{script}/subdomain", get_subdomain, methods=["GET"]),
        Route("/workers/scripts/{script}/subdomain", post_subdomain, methods=["POST"]),
        Route("/workers/scripts/{script}/subdomain", delete_subdomain, methods=["DELETE"]),
        Route("/workers/scripts/{script}/routes", get_routes, methods=["GET"]),
        Route("/workers/scripts/{script}/routes", put_routes, methods=["PUT"]),
        Route("/workers/scripts/{script}/schedules", get_schedules, methods=["GET"]),
        Route("/workers/scripts/{script}/schedules", put_schedules, methods=["PUT"]),
    ]


def zone_routes(scripts: Scripts, zones: Zones, directory: WorkerDirectory) -> list[Route]:
    """Return the routes of zones' Worker routes, relative to ``/client/v4``."""

    async def list_routes(request: Request) -> Response:
        zone = zone_of(request, zones)
        return envelope([_route(row) for row in scripts.routes(zone["id"])])

    async def create_route(request: Request) -> Response:
        zone = zone_of(request, zones)
        pattern, script = _body(await object_body(request), zone, scripts)
        if scripts.route_of_pattern(zone["id"], pattern) is not None:
            raise ApiError(409, ROUTE_EXISTS, "A route with the same pattern already exists.")
        row = scripts.add_route(zone, pattern, script)
        directory.refresh_hosts()
        return envelope(_route(row))

    async def get_route(request: Request) -> Response:
        return envelope(_route(_existing(request)))

    async def put_route(request: Request) -> Response:
        zone, row = zone_of(request, zones), _existing(request)
        pattern, script = _body(await object_body(request), zone, scripts)
        other = scripts.route_of_pattern(zone["id"], pattern)
        if other is not None and other["id"] != row["id"]:
            raise ApiError(409, ROUTE_EXISTS, "A route with the same pattern already exists.")
        scripts.change_route(row["id"], pattern, script)
        directory.refresh_hosts()
        return envelope({"id": row["id"], "pattern": pattern, "script": script})

    async def delete_route(request: Request) -> Response:
        row = _existing(request)
        scripts.delete_route(row["id"])
        directory.refresh_hosts()
        return envelope({"id": row["id"]})

    def _existing(request: Request) -> Row:
        zone = zone_of(request, zones)
        row = scripts.route(zone["id"], request.path_params["route_id"])
        if row is None:
            raise ApiError(404, ROUTE_NOT_FOUND, "Route not found.")
        return row

    return [
        Route("/zones/{zone_id}/workers/routes", list_routes, methods=["GET"]),
        Route("/zones/{zone_id}/workers/routes", create_route, methods=["POST"]),
        Route("/zones/{zone_id}/workers/routes/{route_id}", get_route, methods=["GET"]),
        Route("/zones/{zone_id}/workers/routes/{route_id}", put_route, methods=["PUT"]),
        Route("/zones/{zone_id}/workers/routes/{route_id}", delete_route, methods=["DELETE"]),
    ]


def _subdomain(script: Script) -> dict[str, Any]:
    return {"enabled": script.subdomain_enabled, "previews_enabled": script.previews_enabled}


def _flag(body: dict[str, Any], name: str, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ApiError(400, INVALID_ROUTE, f"{name} must be true or false")
    return value


def _route(row: Row) -> dict[str, Any]:
    answer = {"id": row["id"], "pattern": row["pattern"]}
    if row["script"] is not None:
        answer["script"] = row["script"]
    return answer


def _wanted(entry: Any, script: Script, zones: Zones) -> tuple[Row, str]:
    """Read one route of a Worker's whole set: a pattern, and perhaps its zone."""
    body = {"pattern": entry} if isinstance(entry, str) else entry
    if not isinstance(body, dict) or not isinstance(body.get("pattern"), str):
        raise ApiError(400, INVALID_ROUTE, "each route needs a pattern")
    pattern = Pattern.parse(body["pattern"])
    if isinstance(body.get("zone_id"), str):
        zone = zones.get(body["zone_id"])
    elif isinstance(body.get("zone_name"), str):
        zone = zones.named(body["zone_name"])
    else:
        zone = zones.holding(pattern.zone_host)
    if zone is None or zone["account_id"] != script.account_id:
        raise ApiError(
            400, INVALID_ROUTE, f"Could not find zone for `{body['pattern']}`. Make sure the domain is on this account."
        )
    _raise_if_outside(pattern, zone, body["pattern"])
    return zone, body["pattern"]


def _body(body: dict[str, Any], zone: Row, scripts: Scripts) -> tuple[str, str | None]:
    pattern, script = body.get("pattern"), body.get("script")
    if not isinstance(pattern, str):
        raise ApiError(400, INVALID_ROUTE, "a route needs a pattern")
    _raise_if_outside(Pattern.parse(pattern), zone, pattern)
    if script is not None and not isinstance(script, str):
        raise ApiError(400, INVALID_ROUTE, "script must be a Worker's name")
    if script and scripts.get(zone["account_id"], script) is None:
        raise ApiError(404, SCRIPT_NOT_FOUND, "This Worker does not exist on your account.")
    return pattern, script or None


def _raise_if_outside(pattern: Pattern, zone: Row, text: str) -> None:
    host = pattern.zone_host
    if host != zone["name"] and not host.endswith("." + zone["name"]):
        raise ApiError(400, INVALID_ROUTE, f"Route pattern {text!r} is not in the zone {zone['name']}.")


def _cron(entry: Any) -> str:
    text = entry.get("cron") if isinstance(entry, dict) else entry
    try:
        return Cron.parse(text if isinstance(text, str) else "").text
    except CronInvalid as error:
        raise ApiError(400, INVALID_SCHEDULE, f"invalid cron string: {str(text)[:100]!r}") from error
