"""Custom domains: whole hostnames that lead to a Worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.database import Row
from clodo.emulator.dns.store import Records
from clodo.emulator.envelope import ApiError, envelope, json_body, object_body
from clodo.emulator.workers.directory import WorkerDirectory
from clodo.emulator.workers.publishing import SCRIPT_NOT_FOUND, Publisher
from clodo.emulator.workers.requests import account_of, script_name
from clodo.emulator.workers.store import Script, Scripts
from clodo.emulator.zones.store import Zones

#: The first two are Cloudflare's (cloudflare/workers-sdk#9878, alchemy-run/alchemy-async#1384), the others assumed.
DNS_RECORD_EXISTS = 100117
DOMAIN_EXISTS = 100116
DOMAIN_NOT_FOUND = 10025
INVALID_DOMAIN = 100112


def routes(
    scripts: Scripts, publisher: Publisher, zones: Zones, records: Records, directory: WorkerDirectory
) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def list_domains(request: Request) -> Response:
        query = request.query_params
        rows = scripts.domains(account_of(request))
        for key in ("hostname", "service", "environment", "zone_id", "zone_name"):
            if key in query:
                rows = [row for row in rows if row[key] == query[key]]
        info = {"count": len(rows), "page": 1, "per_page": len(rows), "total_count": len(rows)}
        # Recorded: errors and messages are null here, and the page is as large as the list.
        return envelope([_domain(row) for row in rows], result_info=info, errors=None, messages=None)

    async def get_domain(request: Request) -> Response:
        return envelope(_domain(_existing(request)))

    async def put_domain(request: Request) -> Response:
        body = await object_body(request)
        account_id = account_of(request)
        service = body.get("service")
        if not isinstance(service, str) or scripts.get(account_id, service) is None:
            raise ApiError(404, SCRIPT_NOT_FOUND, "This Worker does not exist on your account.")
        zone, hostname = _origin(body, account_id, zones)
        _raise_if_taken(scripts, records, zone, hostname, service, body)
        row = scripts.put_domain(zone, hostname, service)
        records.put_worker(zone, hostname, service)
        directory.refresh_hosts()
        return envelope(_domain(row))

    async def delete_domain(request: Request) -> Response:
        row = _existing(request)
        scripts.delete_domain(row["id"])
        directory.refresh_hosts()
        return envelope(None)

    async def post_changeset(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        origins = await json_body(request)
        replace_state = request.query_params.get("replace_state") == "true"
        wanted = _origins(origins, script, zones)
        return envelope(_changeset(scripts, records, script, wanted, replace_state=replace_state))

    async def put_records(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        body = await object_body(request)
        origins = _origins(body.get("origins"), script, zones)
        for zone, hostname, _ in origins:
            _raise_if_taken(scripts, records, zone, hostname, script.name, body)
        if body.get("override_scope"):
            wanted = {hostname for _, hostname, _ in origins}
            for row in scripts.domains(script.account_id):
                if row["service"] == script.name and row["hostname"] not in wanted:
                    scripts.delete_domain(row["id"])
        rows = [
            scripts.put_domain(
                zone,
                hostname,
                script.name,
                enabled=origin.get("enabled") is not False,
                previews_enabled=origin.get("previews_enabled") is True,
            )
            for zone, hostname, origin in origins
        ]
        for zone, hostname, _ in origins:
            records.put_worker(zone, hostname, script.name)
        directory.refresh_hosts()
        return envelope([_domain(row) for row in rows])

    async def list_records(request: Request) -> Response:
        query = request.query_params
        rows = [row for row in scripts.domains(account_of(request)) if query.get("service") in (None, row["service"])]
        return envelope([_domain(row) for row in rows])

    def _existing(request: Request) -> Row:
        for row in scripts.domains(account_of(request)):
            if row["id"] == request.path_params["domain_id"]:
                return row
        raise ApiError(404, DOMAIN_NOT_FOUND, "Custom domain not found.")

    return [
        Route("/workers/domains", list_domains, methods=["GET"]),
        Route("/workers/domains", put_domain, methods=["PUT"]),
        Route("/workers/domains/records", list_records, methods=["GET"]),
        Route("/workers/domains/records/{domain_id}", get_domain, methods=["GET"]),
        Route("/workers/domains/records/{domain_id}", delete_domain, methods=["DELETE"]),
        Route("/workers/domains/{domain_id}", get_domain, methods=["GET"]),
        Route("/workers/domains/{domain_id}", delete_domain, methods=["DELETE"]),
        Route("/workers/scripts/{script}/domains/changeset", post_changeset, methods=["POST"]),
        Route("/workers/scripts/{script}/domains/records", put_records, methods=["PUT"]),
    ]


def _raise_if_taken(
    scripts: Scripts, records: Records, zone: Row, hostname: str, service: str, body: Mapping[str, Any]
) -> None:
    """Refuse a hostname that another Worker or a DNS record has, unless the body says to override that."""
    known = scripts.domain(hostname)
    if known is not None and known["service"] != service and not body.get("override_existing_origin"):
        raise ApiError(
            409,
            DOMAIN_EXISTS,
            f"Hostname '{hostname}' already in use by other custom domain. Either delete it, try a different hostname,"
            " or use the option 'override_existing_origin' to override.",
        )
    if records.in_the_way_of(zone, hostname) and not body.get("override_existing_dns_record"):
        raise ApiError(
            409,
            DNS_RECORD_EXISTS,
            f"Hostname '{hostname}' already has externally managed DNS records (A, CNAME, etc). Either delete them, try"
            " a different hostname, or use the option 'override_existing_dns_record' to override.",
        )


def _changeset(
    scripts: Scripts,
    records: Records,
    script: Script,
    origins: list[tuple[Row, str, dict[str, Any]]],
    *,
    replace_state: bool,
) -> dict[str, Any]:
    """Say what publishing these hostnames would change."""
    added: list[dict[str, Any]] = []
    updated: list[dict[str, Any]] = []
    conflicting: list[dict[str, Any]] = []
    for zone, hostname, origin in origins:
        known = scripts.domain(hostname)
        previews = origin.get("previews_enabled") is True
        if known is None:
            fresh = {"hostname": hostname, "zone_id": zone["id"], "zone_name": zone["name"], "service": script.name}
            new = {**fresh, "environment": "production", "previews_enabled": previews}
            in_the_way = records.in_the_way_of(zone, hostname)
            if in_the_way:
                conflicting.append({**new, "external_dns_record_id": in_the_way[0].id, "external_cert_id": None})
            else:
                added.append(new)
        else:
            modified = known["service"] != script.name or bool(known["previews_enabled"]) != previews
            updated.append({**_domain(known), "previews_enabled": previews, "modified": modified})
    wanted = {hostname for _, hostname, _ in origins}
    removed = [
        _domain(row)
        for row in scripts.domains(script.account_id)
        if replace_state and row["service"] == script.name and row["hostname"] not in wanted
    ]
    return {"added": added, "updated": updated, "removed": removed, "conflicting": conflicting}


def _origins(body: Any, script: Script, zones: Zones) -> list[tuple[Row, str, dict[str, Any]]]:
    if not isinstance(body, list):
        raise ApiError(400, INVALID_DOMAIN, "a list of hostnames is needed")
    found = []
    for origin in body:
        if not isinstance(origin, dict):
            raise ApiError(400, INVALID_DOMAIN, "each custom domain must be an object with a hostname")
        zone, hostname = _origin(origin, script.account_id, zones)
        found.append((zone, hostname, origin))
    return found


def _origin(body: dict[str, Any], account_id: str, zones: Zones) -> tuple[Row, str]:
    hostname = body.get("hostname")
    if not isinstance(hostname, str) or "/" in hostname or "*" in hostname or not hostname:
        raise ApiError(400, INVALID_DOMAIN, f"{str(hostname)[:100]!r} is no hostname")
    hostname = hostname.lower()
    if isinstance(body.get("zone_id"), str):
        zone = zones.get(body["zone_id"])
    elif isinstance(body.get("zone_name"), str):
        zone = zones.named(body["zone_name"])
    else:
        zone = zones.holding(hostname)
    inside = zone is not None and (hostname == zone["name"] or hostname.endswith("." + zone["name"]))
    if zone is None or zone["account_id"] != account_id or not inside:
        raise ApiError(400, INVALID_DOMAIN, f"Could not find a zone of this account for '{hostname}'.")
    return zone, hostname


def _domain(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "zone_id": row["zone_id"],
        "zone_name": row["zone_name"],
        "hostname": row["hostname"],
        "service": row["service"],
        "environment": row["environment"],
        "cert_id": row["cert_id"],
        "enabled": bool(row["enabled"]),
        "previews_enabled": bool(row["previews_enabled"]),
    }
