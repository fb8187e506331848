"""``/workers/services``, the older view of Workers (new_workers next door is the newer); references; namespaces."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.database import Row
from clodo.emulator.envelope import ApiError, envelope, page_of
from clodo.emulator.runtime.kept_objects import kept_in
from clodo.emulator.workers.answers import script_answer
from clodo.emulator.workers.bindings import without_secrets
from clodo.emulator.workers.publishing import Publisher
from clodo.emulator.workers.references import raise_if_referenced, references_of, tail_producers
from clodo.emulator.workers.requests import account_of, is_true, script_name
from clodo.emulator.workers.store import Script, Scripts
from clodo.emulator.zones.store import Zones

#: The one environment that Workers have since services became Workers again.
ENVIRONMENT = "production"
#: Numbers and sentences of public bug reports; wranglers of 2025 take no other for a first deploy.
SERVICE_NOT_FOUND = 10090
NO_ENVIRONMENT = (10092, "workers.api.error.environment_not_found")

#: Assumed.
NAMESPACE_NOT_FOUND = 10066
INVALID_LIMIT = 10021

#: From the API's schema: how many objects a page has.
MIN_OBJECTS, DEFAULT_OBJECTS, MAX_OBJECTS = 10, 1000, 10_000


def routes(scripts: Scripts, publisher: Publisher, zones: Zones, objects: Path) -> list[Route]:
    """
    Return the routes, relative to ``/client/v4/accounts/{account_id}``.

    Args:
        objects: Folder in which Durable Objects keep what they have.
    """

    def existing(request: Request) -> Script:
        script = scripts.get(account_of(request), script_name(request))
        if script is None:
            raise ApiError(404, SERVICE_NOT_FOUND, "workers.api.error.service_not_found")
        return script

    async def get_service(request: Request) -> Response:
        script = existing(request)
        answer = {**script_answer(scripts, script), "id": script.id}
        environment: dict[str, Any] = {
            "environment": ENVIRONMENT,
            "created_on": script.created_on,
            "modified_on": script.modified_on,
        }
        default: dict[str, Any] = {**environment, "script": answer}
        return envelope(
            {
                "id": script.name,
                "created_on": script.created_on,
                "modified_on": script.modified_on,
                "usage_model": "standard",
                "default_environment": default,
                "environments": [environment],
            }
        )

    def in_environment(request: Request) -> Script:
        script = existing(request)
        if request.path_params["environment"] != ENVIRONMENT:
            raise ApiError(404, *NO_ENVIRONMENT)
        return script

    async def get_environment(request: Request) -> Response:
        script = in_environment(request)
        dates = {"created_on": script.created_on, "modified_on": script.modified_on}
        shown = {**script_answer(scripts, script), "id": script.id}
        return envelope({"environment": ENVIRONMENT, **dates, "script": shown})

    async def get_bindings(request: Request) -> Response:
        script = in_environment(request) if "environment" in request.path_params else existing(request)
        version = scripts.newest_version(script)
        return envelope(without_secrets(version.content.bindings) if version else [])

    def zone_name(route: Row) -> str | None:
        zone = zones.get(route["zone_id"])
        return None if zone is None else zone["name"]

    async def get_routes(request: Request) -> Response:
        names = is_true(request, "show_zonename")
        return envelope(
            [
                {key: row[key] for key in ("id", "pattern", "script")}
                | ({"zone_name": zone_name(row)} if names else {})
                for row in scripts.routes_of(in_environment(request))
            ]
        )

    async def get_subdomain(request: Request) -> Response:
        script = in_environment(request)
        return envelope({"enabled": script.subdomain_enabled, "previews_enabled": script.previews_enabled})

    async def delete_service(request: Request) -> Response:
        script = existing(request)
        if not is_true(request, "force"):
            raise_if_referenced(scripts, script)
        await publisher.delete(script.account_id, script.name)
        return envelope(None)

    async def get_references(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        return envelope(references_of(scripts, script))

    async def get_tail_producers(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        return envelope(tail_producers(scripts, script))

    async def list_namespaces(request: Request) -> Response:
        found = [
            {
                "id": known.id,
                "name": f"{script.name}_{known.name}",
                "script": script.name,
                "class": known.name,
                "use_sqlite": known.uses_sqlite,
            }
            for script in scripts.of_account(account_of(request))
            for known in scripts.object_classes(script)
        ]
        page, info = page_of(found, request.query_params, default_per_page=20, max_per_page=1000)
        return envelope(page, result_info=info)

    async def list_objects(request: Request) -> Response:
        account_id, wanted = account_of(request), request.path_params["namespace"]
        for script in scripts.of_account(account_id):
            if any(known.id == wanted for known in scripts.object_classes(script)):
                ids = await asyncio.to_thread(kept_in, objects, account_id, script.name, wanted)
                return _page_of_objects(ids, request.query_params)
        raise ApiError(404, NAMESPACE_NOT_FOUND, "Durable Object namespace not found.")

    return [
        Route("/workers/services/{script}", get_service, methods=["GET"]),
        Route("/workers/services/{script}", delete_service, methods=["DELETE"]),
        Route("/workers/services/{script}/environments/{environment}", get_environment, methods=["GET"]),
        Route("/workers/services/{script}/environments/{environment}/bindings", get_bindings, methods=["GET"]),
        # Of clients that are older than services, such as cloudflare-go's first generation and what is built on it.
        Route("/workers/scripts/{script}/bindings", get_bindings, methods=["GET"]),
        Route("/workers/services/{script}/environments/{environment}/routes", get_routes, methods=["GET"]),
        Route("/workers/services/{script}/environments/{environment}/subdomain", get_subdomain, methods=["GET"]),
        Route("/workers/scripts/{script}/references", get_references, methods=["GET"]),
        Route("/workers/tails/by-consumer/{script}", get_tail_producers, methods=["GET"]),
        Route("/workers/durable_objects/namespaces", list_namespaces, methods=["GET"]),
        Route("/workers/durable_objects/namespaces/{namespace}/objects", list_objects, methods=["GET"]),
    ]


def _page_of_objects(ids: list[str], query: Mapping[str, str]) -> Response:
    """Return the objects behind the cursor, which is the last id of the page before."""
    text = query.get("limit") or str(DEFAULT_OBJECTS)
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not MIN_OBJECTS <= limit <= MAX_OBJECTS:
        raise ApiError(400, INVALID_LIMIT, f"limit must be between {MIN_OBJECTS} and {MAX_OBJECTS}")
    left = [object_id for object_id in ids if object_id > query.get("cursor", "")]
    page = left[:limit]
    after = page[-1] if len(left) > limit else ""
    info = {"count": len(page), "cursor": after, "cursors": {"after": after}, "per_page": limit}
    return envelope([{"id": object_id, "hasStoredData": True} for object_id in page], result_info=info)
