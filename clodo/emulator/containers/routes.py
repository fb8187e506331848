"""``/containers/applications``: what wrangler deploys of containers whose images are in a registry already."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.clock import new_uuid
from clodo.emulator.containers.store import INVALID_APPLICATION, Application, Applications
from clodo.emulator.envelope import ApiError, envelope, object_body
from clodo.emulator.workers.requests import account_of

_KINDS = ("full_auto", "full_manual", "durable_objects_auto")
_STRATEGIES = ("rolling", "new_instances")
_ONE = "/containers/applications/{application}"


def routes(applications: Applications) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def list_applications(request: Request) -> Response:
        name, image = request.query_params.get("name"), request.query_params.get("image")
        found = [
            known
            for known in applications.of_account(account_of(request))
            if name in (None, known.name) and image in (None, known.settings["configuration"]["image"])
        ]
        return envelope([_shown(known) for known in found])

    async def list_on_dash(request: Request) -> Response:
        shown = [_shown(known) for known in applications.of_account(account_of(request))]
        return envelope([{**known, "image": known["configuration"]["image"]} for known in shown])

    async def list_instances(request: Request) -> Response:
        _application(request)
        return envelope({"instances": [], "durable_objects": []})

    async def create_application(request: Request) -> Response:
        return envelope(_shown(applications.create(account_of(request), await object_body(request))))

    async def get_application(request: Request) -> Response:
        return envelope(_shown(_application(request)))

    async def change_application(request: Request) -> Response:
        return envelope(_shown(applications.change(_application(request), await object_body(request))))

    async def delete_application(request: Request) -> Response:
        applications.delete(_application(request))
        return envelope({"message": "Application deleted successfully"})

    async def create_rollout(request: Request) -> Response:
        before, body = _application(request), await object_body(request)
        kind, strategy = body.get("kind", "full_auto"), body.get("strategy")
        if kind not in _KINDS or strategy not in _STRATEGIES or not isinstance(body.get("target_configuration"), dict):
            raise ApiError(400, INVALID_APPLICATION, "a rollout needs a strategy, a kind and a target_configuration.")
        after = applications.change(before, {"configuration": body["target_configuration"]})
        # There is no instance that would have to be replaced: it is over when it begins.
        return envelope(
            {
                "id": new_uuid(),
                "created_at": after.modified_on,
                "started_at": after.modified_on,
                "last_updated_at": after.modified_on,
                "description": str(body.get("description", "")),
                "kind": kind,
                "strategy": strategy,
                "status": "completed",
                "current_configuration": before.settings["configuration"],
                "current_version": before.version,
                "target_configuration": after.settings["configuration"],
                "target_version": after.version,
                "health": {"errors": [], "instances": _INSTANCES},
            }
        )

    def _application(request: Request) -> Application:
        return applications.find(account_of(request), unquote(request.path_params["application"]))

    return [
        Route("/containers/applications", list_applications, methods=["GET"]),
        Route("/containers/applications", create_application, methods=["POST"]),
        Route(_ONE, get_application, methods=["GET"]),
        Route(_ONE, change_application, methods=["PATCH"]),
        Route(_ONE, delete_application, methods=["DELETE"]),
        Route(f"{_ONE}/rollouts", create_rollout, methods=["POST"]),
        Route("/containers/dash/applications", list_on_dash, methods=["GET"]),
        Route("/containers/dash/applications/{application}/instances", list_instances, methods=["GET"]),
    ]


#: Of every state, none.
_INSTANCES = dict.fromkeys(
    ("active", "assigned", "durable_objects_not_active", "failed", "healthy", "scheduling", "starting", "stopped"), 0
)


def _shown(application: Application) -> dict[str, Any]:
    return {
        "id": application.id,
        "account_id": application.account_id,
        "name": application.name,
        "created_at": application.created_on,
        "updated_at": application.modified_on,
        "version": application.version,
        **application.settings,
        "health": {"errors": [], "instances": _INSTANCES},
    }
