"""``…/deployments/{deployment}/tails``: what Functions of one deployment log, live."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.pages.store import Projects
from clodo.emulator.tails.sessions import TailSessions


def routes(projects: Projects, tails: TailSessions) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    def script_of(request: Request) -> tuple[str, str, str]:
        project = projects.find(request.path_params["account_id"], request.path_params["project"])
        deployment = projects.deployment(project, request.path_params["deployment"])
        return project.account_id, project.script(deployment.environment), deployment.id

    async def create(request: Request) -> Response:
        account_id, script, deployment_id = script_of(request)
        return await tails.create(request, account_id, script, deployment_id)

    async def delete(request: Request) -> Response:
        account_id, script, _ = script_of(request)
        return tails.delete(request, account_id, script)

    tails_of_one = "/pages/projects/{project}/deployments/{deployment}/tails"
    return [
        Route(tails_of_one, create, methods=["POST"]),
        Route(f"{tails_of_one}/{{tail_id}}", delete, methods=["DELETE"]),
    ]
