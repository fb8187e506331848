"""``/workers/services``, the older view of Workers, and ``/workers/workers``, the newer one; references; namespaces."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import envelope, page_of
from clodo.emulator.workers.answers import script_answer
from clodo.emulator.workers.directory import WorkerDirectory
from clodo.emulator.workers.publishing import Publisher, not_found
from clodo.emulator.workers.references import raise_if_referenced, references_of, tail_producers
from clodo.emulator.workers.requests import account_of, is_true, script_name
from clodo.emulator.workers.store import Script, Scripts


def routes(scripts: Scripts, publisher: Publisher, directory: WorkerDirectory) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def get_service(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        answer = {**script_answer(scripts, script), "id": script.id}
        environment: dict[str, Any] = {
            "environment": "production",
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

    async def delete_service(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
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

    async def get_worker(request: Request) -> Response:
        return envelope(_worker(_named(request)))

    async def list_workers(request: Request) -> Response:
        found = [_worker(script) for script in scripts.of_account(account_of(request))]
        page, info = page_of(found, request.query_params, default_per_page=10, max_per_page=100)
        return envelope(page, result_info=info)

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

    def _named(request: Request) -> Script:
        account_id, name = account_of(request), script_name(request)
        script = scripts.get(account_id, name) or scripts.by_id(account_id, name)
        if script is None:
            raise not_found(name)
        return script

    def _worker(script: Script) -> dict[str, Any]:
        current = scripts.current_deployment(script)
        found = references_of(scripts, script)
        suffix = directory.preview_suffix(script)
        subdomain: dict[str, Any] = {
            "enabled": script.subdomain_enabled,
            "previews_enabled": script.previews_enabled,
        }
        if suffix is not None:
            subdomain["url"] = f"https://{suffix.removeprefix('-')}"
            subdomain["preview_url_suffix"] = suffix
        return {
            "id": script.id,
            "name": script.name,
            "created_on": script.created_on,
            "updated_on": script.modified_on,
            "deployed_on": current.created_on if current else None,
            "logpush": bool(script.settings.get("logpush", False)),
            "observability": script.settings.get("observability") or {"enabled": False},
            "tags": script.settings.get("tags") or [],
            "tail_consumers": [
                {"name": consumer.get("service")} for consumer in script.settings.get("tail_consumers") or []
            ],
            "subdomain": subdomain,
            "references": {
                "workers": [
                    {"id": other.id, "name": other.name}
                    for reference in found["services"]["incoming"]
                    if (other := scripts.get(script.account_id, reference["service"]))
                ],
                "durable_objects": [
                    {
                        "namespace_id": reference["durable_object_namespace_id"],
                        "namespace_name": reference["durable_object_namespace_name"],
                        "worker_id": other.id,
                        "worker_name": other.name,
                    }
                    for reference in found["durable_objects"]
                    if (other := scripts.get(script.account_id, reference["service"]))
                ],
                "domains": [
                    {
                        "id": row["id"],
                        "certificate_id": row["cert_id"],
                        "hostname": row["hostname"],
                        "zone_id": row["zone_id"],
                        "zone_name": row["zone_name"],
                    }
                    for row in scripts.domains(script.account_id)
                    if row["service"] == script.name
                ],
                "queues": [],
                "dispatch_namespace_outbounds": [],
            },
        }

    return [
        Route("/workers/services/{script}", get_service, methods=["GET"]),
        Route("/workers/services/{script}", delete_service, methods=["DELETE"]),
        Route("/workers/scripts/{script}/references", get_references, methods=["GET"]),
        Route("/workers/tails/by-consumer/{script}", get_tail_producers, methods=["GET"]),
        Route("/workers/workers", list_workers, methods=["GET"]),
        Route("/workers/workers/{script}", get_worker, methods=["GET"]),
        Route("/workers/durable_objects/namespaces", list_namespaces, methods=["GET"]),
    ]
