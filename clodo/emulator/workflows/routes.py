"""``/workflows``: Workflows and their versions; of instances, that there are none and none can be made here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import ApiError, envelope, object_body, page_of
from clodo.emulator.runtime.crons import Cron
from clodo.emulator.workers.requests import account_of
from clodo.emulator.workers.store import Scripts
from clodo.emulator.workflows.definitions import INVALID_BODY, definition_from
from clodo.emulator.workflows.store import Workflow, Workflows, WorkflowVersion

#: Measured by public clients: what a Workflow of a Worker that isn't there is answered, with status 500.
INTERNAL_SERVER = 10001
INSTANCE_NOT_FOUND = 10400
#: Not Cloudflare's; the real one runs them.
NOT_RUN = 10499

STATUSES = (
    "complete",
    "errored",
    "paused",
    "queued",
    "rollingBack",
    "running",
    "terminated",
    "waiting",
    "waitingForPause",
)
MAX_PER_PAGE = 100
MAX_DELETED = 100

_NEVER = "the embedded cloud keeps Workflows, but runs no instances of them"
_PAGES: dict[str, Any] = {
    "default_per_page": 10,
    "max_per_page": MAX_PER_PAGE,
    "bad_page": (INVALID_BODY, "workflows.api.error.query: malformed page"),
    "bad_per_page": (INVALID_BODY, "workflows.api.error.query: malformed per_page"),
}

_ONE = "/workflows/{workflow}"
_INSTANCES = f"{_ONE}/instances"
_INSTANCE = f"{_INSTANCES}/{{instance}}"


def routes(workflows: Workflows, scripts: Scripts) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def list_workflows(request: Request) -> Response:
        wanted = request.query_params.get("search", "")
        found = [known for known in workflows.of_account(account_of(request)) if wanted in known.name]
        page, info = page_of(found, request.query_params, **_PAGES)
        return envelope([_shown(known) for known in page], result_info=info)

    async def get_workflow(request: Request) -> Response:
        return envelope(_shown(_workflow(request)))

    async def put_workflow(request: Request) -> Response:
        body = await object_body(request, code=INVALID_BODY, message="workflows.api.error.body")
        account_id, name = account_of(request), unquote(request.path_params["workflow"])
        definition = definition_from(name, body)
        if scripts.get(account_id, definition.script) is None:
            raise ApiError(500, INTERNAL_SERVER, "workflows.api.error.internal_server")
        workflow, version = workflows.put(account_id, name, definition)
        return envelope(
            {**_core(workflow), "is_deleted": 0, "terminator_running": 0, "version_id": version.id},
        )

    async def delete_workflow(request: Request) -> Response:
        workflows.delete(_workflow(request))
        return envelope({"status": "ok", "success": True})

    async def list_versions(request: Request) -> Response:
        page, info = page_of(workflows.versions(_workflow(request)), request.query_params, **_PAGES)
        return envelope([_version_shown(version) for version in page], result_info=info)

    async def get_version(request: Request) -> Response:
        return envelope(_version_shown(_version(request)))

    async def get_graph(request: Request) -> Response:
        shown = _version_shown(_version(request))
        kept = ("id", "class_name", "created_on", "modified_on", "workflow_id")
        return envelope({**{key: shown[key] for key in kept}, "graph": None})

    # --- instances

    async def list_instances(request: Request) -> Response:
        _workflow(request)
        status = request.query_params.get("status")
        if status is not None and status not in STATUSES:
            raise ApiError(400, INVALID_BODY, f"workflows.api.error.query: no status is {status[:40]!r}")
        nothing: list[object] = []
        page, info = page_of(nothing, request.query_params, **_PAGES)
        return envelope(page, result_info=info)

    async def refuse_instances(request: Request) -> Response:
        workflow = _workflow(request)
        raise ApiError(400, NOT_RUN, f"{_NEVER}: {workflow.name} can't be started here.")

    async def delete_instances(request: Request) -> Response:
        _workflow(request)
        body = await object_body(request, code=INVALID_BODY, message="workflows.api.error.body")
        wanted = body.get("instances")
        if not isinstance(wanted, list) or not 1 <= len(wanted) <= MAX_DELETED:
            raise ApiError(
                400, INVALID_BODY, f"workflows.api.error.body: instances must be a list of 1 to {MAX_DELETED} ids"
            )
        missing = {"code": INSTANCE_NOT_FOUND, "message": "workflows.api.error.instance.not_found"}
        return envelope({"deleted": [], "errors": [{"id": str(instance), **missing} for instance in wanted]})

    async def terminate_instances(request: Request) -> Response:
        _workflow(request)
        return envelope({"status": "ok"})

    async def miss_instance(request: Request) -> Response:
        _workflow(request)
        raise ApiError(404, INSTANCE_NOT_FOUND, f"workflows.api.error.instance.not_found: {_NEVER}.")

    # --- what is shown

    def _workflow(request: Request) -> Workflow:
        return workflows.find(account_of(request), unquote(request.path_params["workflow"]))

    def _version(request: Request) -> WorkflowVersion:
        return workflows.version(_workflow(request), unquote(request.path_params["version"]))

    def _shown(workflow: Workflow) -> dict[str, Any]:
        shown = {
            **_core(workflow),
            "instances": dict.fromkeys(STATUSES, 0),
            "script_deleted": scripts.get(workflow.account_id, workflow.script) is None,
        }
        if workflow.schedules:
            shown["schedules"] = [{"cron": cron, "next_instance": _next(cron)} for cron in workflow.schedules]
        return shown

    return [
        Route("/workflows", list_workflows, methods=["GET"]),
        Route(_ONE, get_workflow, methods=["GET"]),
        Route(_ONE, put_workflow, methods=["PUT"]),
        Route(_ONE, delete_workflow, methods=["DELETE"]),
        Route(f"{_ONE}/versions", list_versions, methods=["GET"]),
        Route(f"{_ONE}/versions/{{version}}", get_version, methods=["GET"]),
        Route(f"{_ONE}/versions/{{version}}/graph", get_graph, methods=["GET"]),
        Route(_INSTANCES, list_instances, methods=["GET"]),
        Route(_INSTANCES, refuse_instances, methods=["POST"]),
        Route(f"{_INSTANCES}/batch", refuse_instances, methods=["POST"]),
        Route(f"{_INSTANCES}/batch/delete", delete_instances, methods=["POST"]),
        Route(f"{_INSTANCES}/terminate", terminate_instances, methods=["PUT"]),
        Route(_INSTANCE, miss_instance, methods=["GET"]),
        Route(f"{_INSTANCE}/step", miss_instance, methods=["GET"]),
        Route(f"{_INSTANCE}/status", miss_instance, methods=["PATCH"]),
        Route(f"{_INSTANCE}/events/{{event}}", miss_instance, methods=["POST"]),
    ]


def _core(workflow: Workflow) -> dict[str, Any]:
    shown = {
        "id": workflow.id,
        "name": workflow.name,
        "script_name": workflow.script,
        "class_name": workflow.class_name,
        "created_on": workflow.created_on,
        "modified_on": workflow.modified_on,
        "triggered_on": None,
    }
    return shown | ({"jurisdiction": workflow.jurisdiction} if workflow.jurisdiction else {})


def _version_shown(version: WorkflowVersion) -> dict[str, Any]:
    return {
        "id": version.id,
        "workflow_id": version.workflow_id,
        "class_name": version.class_name,
        "created_on": version.created_on,
        "modified_on": version.created_on,
        "has_dag": False,
        # Python Workers can't be deployed here.
        "language": "javascript",
        **version.settings,
    }


def _next(cron: str) -> str:
    """Return the next minute of a schedule; empty if there never is one."""
    found = Cron.parse(cron).next_after(datetime.now(UTC))
    return "" if found is None else found.strftime("%Y-%m-%dT%H:%M:%S.000Z")
