"""``/workers/scripts/{script}/versions`` and ``…/deployments``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import ApiError, envelope, object_body, page_of
from clodo.emulator.workers.annotations import annotations_from
from clodo.emulator.workers.answers import deployment_answer, version_answer
from clodo.emulator.workers.publishing import VERSION_NOT_FOUND, Publisher, traffic_from
from clodo.emulator.workers.requests import account_of, author_of, is_true, script_name
from clodo.emulator.workers.store import Scripts
from clodo.emulator.workers.upload import read_upload

DEPLOYMENT_NOT_FOUND = 10008
DEPLOYMENT_IS_LIVE = 10021


def routes(scripts: Scripts, publisher: Publisher) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def list_versions(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        deployable = is_true(request, "deployable")
        items = [version_answer(version, script, whole=False) for version in scripts.versions(script)[:100]]
        if deployable:
            # "Only return versions that can be used in a deployment. Ignores pagination."
            return envelope({"items": items})
        everything = [version_answer(version, script, whole=False) for version in scripts.versions(script)]
        page, info = page_of(everything, request.query_params, default_per_page=10, max_per_page=100)
        return envelope({"items": list(page)}, result_info=info)

    async def upload_version(request: Request) -> Response:
        account_id, name = account_of(request), script_name(request)
        publisher.existing(account_id, name)
        strict = request.query_params.get("bindings_inherit") == "strict"
        version = await publisher.upload_version(
            account_id, name, await read_upload(request), author_of(request), strict=strict
        )
        return envelope(version_answer(version, publisher.existing(account_id, name)))

    async def get_version(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        version = scripts.version(script, request.path_params["version_id"])
        if version is None:
            raise ApiError(404, VERSION_NOT_FOUND, "Could not find that version.")
        return envelope(version_answer(version, script))

    async def list_deployments(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        found = [deployment_answer(deployment) for deployment in scripts.deployments(script)]
        since, until = request.query_params.get("since"), request.query_params.get("until")
        if since:
            found = [entry for entry in found if entry["created_on"] >= since]
        if until:
            found = [entry for entry in found if entry["created_on"] <= until]
        page, _ = page_of(found, request.query_params, default_per_page=100, max_per_page=1000)
        return envelope({"deployments": list(page)})

    async def create_deployment(request: Request) -> Response:
        body = await object_body(request)
        force = is_true(request, "force") or body.get("force") is True
        deployment = await publisher.deploy(
            account_of(request),
            script_name(request),
            traffic_from(body),
            author_of(request),
            annotations=annotations_from(body.get("annotations"), triggered_by=None),
            force=force,
        )
        return envelope(deployment_answer(deployment))

    async def get_deployment(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        deployment = scripts.deployment(script, request.path_params["deployment_id"])
        if deployment is None:
            raise ApiError(404, DEPLOYMENT_NOT_FOUND, "Could not find that deployment.")
        return envelope(deployment_answer(deployment))

    async def delete_deployment(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        deployment = scripts.deployment(script, request.path_params["deployment_id"])
        current = scripts.current_deployment(script)
        if deployment is None or current is None:
            raise ApiError(404, DEPLOYMENT_NOT_FOUND, "Could not find that deployment.")
        if deployment.id == current.id:
            raise ApiError(400, DEPLOYMENT_IS_LIVE, "The active deployment can't be deleted.")
        scripts.delete_deployment(deployment)
        return envelope(None)

    return [
        Route("/workers/scripts/{script}/versions", list_versions, methods=["GET"]),
        Route("/workers/scripts/{script}/versions", upload_version, methods=["POST"]),
        Route("/workers/scripts/{script}/versions/{version_id}", get_version, methods=["GET"]),
        Route("/workers/scripts/{script}/deployments", list_deployments, methods=["GET"]),
        Route("/workers/scripts/{script}/deployments", create_deployment, methods=["POST"]),
        Route("/workers/scripts/{script}/deployments/{deployment_id}", get_deployment, methods=["GET"]),
        Route("/workers/scripts/{script}/deployments/{deployment_id}", delete_deployment, methods=["DELETE"]),
    ]
