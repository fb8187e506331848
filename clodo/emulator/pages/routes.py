"""``/pages/projects``: projects, their deployments and domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.clock import new_uuid, now
from clodo.emulator.envelope import ApiError, envelope, object_body, page_of
from clodo.emulator.pages.answers import shown_deployment, shown_domain, shown_project
from clodo.emulator.pages.configuration import ENVIRONMENTS, INVALID_CONFIGURATION, merged
from clodo.emulator.pages.deploying import INVALID_UPLOAD, Deploying
from clodo.emulator.pages.directory import PagesDirectory
from clodo.emulator.pages.names import branch_alias, check_project_name, check_text
from clodo.emulator.pages.store import Deployment, Project, Projects, default_settings
from clodo.emulator.pages.tokens import UploadTokens
from clodo.emulator.workers.limits import MAX_UPLOAD_BYTES
from clodo.emulator.zones.store import Zones

Item = TypeVar("Item")

DEPLOYMENT_IS_LIVE = 8000034
#: Assumed number.
DEPLOYMENT_HAS_ALIAS = 8000035
DOMAIN_NOT_FOUND = 8000021
DOMAIN_EXISTS = 8000018

#: From public reports of 2026, like the most deployments of a page. The most projects are assumed: wrangler's pages.
INVALID_LIST_OPTIONS = (8000024, "Invalid list options provided. Review the `page` or `per_page` parameter.")
MAX_PROJECTS, MAX_DEPLOYMENTS = 10, 25

_BUILD_KEYS = ("build_command", "destination_dir", "root_dir", "web_analytics_tag", "web_analytics_token")


def routes(
    projects: Projects, deploying: Deploying, directory: PagesDirectory, tokens: UploadTokens, zones: Zones
) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    def project_of(request: Request) -> Project:
        return projects.find(request.path_params["account_id"], request.path_params["project"])

    def deployment_of(request: Request, project: Project) -> Deployment:
        return projects.deployment(project, request.path_params["deployment"])

    def refresh(project: Project) -> None:
        directory.refresh(project.account_id, project.name)

    # --- projects

    async def list_projects(request: Request) -> Response:
        found = projects.of_account(request.path_params["account_id"])
        page, info = _page_of(found, request, MAX_PROJECTS)
        return envelope([shown_project(projects, project) for project in page], result_info=info)

    async def create_project(request: Request) -> Response:
        body = await object_body(request)
        made = projects.create(
            request.path_params["account_id"],
            check_project_name(body.get("name")),
            production_branch=check_text(body.get("production_branch") or "main", "production_branch"),
            settings=merged(default_settings(), body.get("deployment_configs") or {}),
            build=_build_config({}, body.get("build_config")),
        )
        refresh(made)
        return envelope(shown_project(projects, made))

    async def get_project(request: Request) -> Response:
        return envelope(shown_project(projects, project_of(request)))

    async def change_project(request: Request) -> Response:
        project, body = project_of(request), await object_body(request)
        columns: dict[str, Any] = {}
        if body.get("production_branch"):
            columns["production_branch"] = check_text(body["production_branch"], "production_branch")
        if body.get("deployment_configs") is not None:
            columns["deployment_configs"] = merged(project.settings, body["deployment_configs"])
        if body.get("build_config") is not None:
            columns["build_config"] = _build_config(project.build_config, body["build_config"])
        changed = projects.change(project, **columns)
        refresh(changed)
        return envelope(shown_project(projects, changed))

    async def delete_project(request: Request) -> Response:
        project = project_of(request)
        projects.delete(project)
        refresh(project)
        await deploying.retire(project)
        return envelope(None)

    async def upload_token(request: Request) -> Response:
        return envelope({"jwt": tokens.make(project_of(request).account_id)})

    async def purge_build_cache(request: Request) -> Response:
        project_of(request)
        return envelope(None)

    # --- deployments

    async def list_deployments(request: Request) -> Response:
        project, environment = project_of(request), request.query_params.get("env")
        if environment not in (None, *ENVIRONMENTS):
            raise ApiError(400, INVALID_CONFIGURATION, "env must be production or preview.")
        found = projects.deployments(project, environment)
        page, info = _page_of(found, request, MAX_DEPLOYMENTS)
        return envelope([shown_deployment(project, one) for one in page], result_info=info)

    async def create_deployment(request: Request) -> Response:
        project = project_of(request)
        try:
            form = await request.form(max_files=100, max_fields=100, max_part_size=MAX_UPLOAD_BYTES)
        except MultiPartException as error:
            raise ApiError(400, INVALID_UPLOAD, f"malformed multipart body: {error.message}") from error
        made = await deploying.deploy(project, form)
        project = project_of(request)
        refresh(project)
        return envelope(shown_deployment(project, made))

    async def get_deployment(request: Request) -> Response:
        project = project_of(request)
        return envelope(shown_deployment(project, deployment_of(request, project)))

    async def delete_deployment(request: Request) -> Response:
        project = project_of(request)
        gone = deployment_of(request, project)
        if gone.id == project.canonical:
            raise ApiError(400, DEPLOYMENT_IS_LIVE, "Cannot delete the active production deployment of the project.")
        if _has_alias(projects, project, gone) and request.query_params.get("force", "").lower() != "true":
            message = "Cannot delete a deployment with an active alias without the parameter force."
            raise ApiError(400, DEPLOYMENT_HAS_ALIAS, message)
        projects.delete_deployment(gone)
        refresh(project)
        return envelope(None)

    async def retry_deployment(request: Request) -> Response:
        project = project_of(request)
        old = deployment_of(request, project)
        made = await deploying.add(project, old.environment, old.branch, old.trigger, old.content)
        refresh(project)
        return envelope(shown_deployment(project, made))

    async def roll_back(request: Request) -> Response:
        project = project_of(request)
        wanted = deployment_of(request, project)
        if wanted.environment != "production" or wanted.failure is not None:
            raise ApiError(400, INVALID_CONFIGURATION, "Only successful production deployments can be rolled back to.")
        refresh(projects.change(project, canonical=wanted.id))
        return envelope(shown_deployment(project, wanted))

    async def deployment_logs(request: Request) -> Response:
        one = deployment_of(request, project_of(request))
        lines = ["Success: your site was deployed!" if one.failure is None else f"Error: {one.failure}"]
        data = [{"ts": one.created_on, "line": line} for line in lines]
        return envelope({"total": len(data), "includes_container_logs": False, "data": data})

    # --- domains

    async def list_domains(request: Request) -> Response:
        found = [shown_domain(domain) for domain in project_of(request).domains.values()]
        page, info = page_of(found, request.query_params, default_per_page=20, max_per_page=100)
        return envelope(page, result_info=info)

    async def add_domain(request: Request) -> Response:
        project, body = project_of(request), await object_body(request)
        name = check_text(body.get("name"), "name").lower()
        zone = zones.holding(name)
        if zone is None or zone["account_id"] != project.account_id:
            raise ApiError(400, INVALID_CONFIGURATION, f"The domain {name[:200]!r} is in no zone of this account.")
        if any(name in other.domains for other in projects.all()):
            raise ApiError(409, DOMAIN_EXISTS, "You have already added this custom domain.")
        made = {"id": new_uuid(), "name": name, "zone_tag": zone["id"], "created_on": now()}
        refresh(projects.change(project, domains={**project.domains, name: made}))
        return envelope(shown_domain(made))

    def domain_of(request: Request, project: Project) -> dict[str, Any]:
        found: dict[str, Any] | None = project.domains.get(request.path_params["domain"].lower())
        if found is None:
            raise ApiError(404, DOMAIN_NOT_FOUND, "The custom domain you have specified does not exist.")
        return found

    async def get_domain(request: Request) -> Response:
        return envelope(shown_domain(domain_of(request, project_of(request))))

    async def delete_domain(request: Request) -> Response:
        project = project_of(request)
        gone = domain_of(request, project)["name"]
        changed = projects.change(project, domains={name: one for name, one in project.domains.items() if name != gone})
        refresh(changed)
        return envelope(None)

    root, one = "/pages/projects", "/pages/projects/{project}"
    deployments, deployment = f"{one}/deployments", f"{one}/deployments/{{deployment}}"
    domain = f"{one}/domains/{{domain}}"
    return [
        Route(root, list_projects, methods=["GET"]),
        Route(root, create_project, methods=["POST"]),
        Route(one, get_project, methods=["GET"]),
        Route(one, change_project, methods=["PATCH"]),
        Route(one, delete_project, methods=["DELETE"]),
        Route(f"{one}/upload-token", upload_token, methods=["GET"]),
        Route(f"{one}/purge_build_cache", purge_build_cache, methods=["POST"]),
        Route(deployments, list_deployments, methods=["GET"]),
        Route(deployments, create_deployment, methods=["POST"]),
        Route(deployment, get_deployment, methods=["GET"]),
        Route(deployment, delete_deployment, methods=["DELETE"]),
        Route(f"{deployment}/retry", retry_deployment, methods=["POST"]),
        Route(f"{deployment}/rollback", roll_back, methods=["POST"]),
        Route(f"{deployment}/history/logs", deployment_logs, methods=["GET"]),
        Route(f"{one}/domains", list_domains, methods=["GET"]),
        Route(f"{one}/domains", add_domain, methods=["POST"]),
        Route(domain, get_domain, methods=["GET"]),
        Route(domain, get_domain, methods=["PATCH"]),
        Route(domain, delete_domain, methods=["DELETE"]),
    ]


def _page_of(found: Sequence[Item], request: Request, size: int) -> tuple[Sequence[Item], dict[str, int]]:
    return page_of(
        found,
        request.query_params,
        default_per_page=size,
        max_per_page=size,
        bad_page=INVALID_LIST_OPTIONS,
        bad_per_page=INVALID_LIST_OPTIONS,
    )


def _has_alias(projects: Projects, project: Project, deployment: Deployment) -> bool:
    """Say whether a branch's name leads to a deployment: to its newest preview that didn't fail."""
    alias = branch_alias(deployment.branch)
    shown = (
        one
        for one in projects.deployments(project, "preview")
        if one.failure is None and branch_alias(one.branch) == alias
    )
    newest = next(shown, None)
    return newest is not None and newest.id == deployment.id


def _build_config(known: Any, changes: object) -> dict[str, Any]:
    given = changes if isinstance(changes, dict) else {}
    config: dict[str, Any] = {key: given.get(key, known.get(key) or "") or "" for key in _BUILD_KEYS}
    caching = given.get("build_caching", known.get("build_caching"))
    return config if caching is None else {**config, "build_caching": caching is True}
