"""Projects, deployments and domains as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clodo.emulator.pages.configuration import ENVIRONMENTS, shown, shown_variables
from clodo.emulator.pages.names import PAGES_DEV, branch_alias
from clodo.emulator.pages.store import Deployment, Project, Projects

_STAGES = ("queued", "initialize", "clone_repo", "build", "deploy")


def shown_project(projects: Projects, project: Project) -> dict[str, Any]:
    """Return a project with its canonical and its latest deployment."""
    latest = projects.latest(project)
    canonical = None if project.canonical is None else projects.deployment(project, project.canonical)
    return {
        "id": project.id,
        "name": project.name,
        "subdomain": project.hostname,
        "domains": [project.hostname, *project.domains],
        "build_config": project.build_config,
        "deployment_configs": {name: shown(project.settings[name]) for name in ENVIRONMENTS},
        "latest_deployment": None if latest is None else shown_deployment(project, latest),
        "canonical_deployment": None if canonical is None else shown_deployment(project, canonical),
        "created_on": project.created_on,
        "production_branch": project.production_branch,
        "production_script_name": project.script("production"),
        "preview_script_name": project.script("preview"),
        "uses_functions": latest is not None and bool(latest.content["modules"]),
        "framework": "",
        "framework_version": "",
    }


def shown_deployment(project: Project, deployment: Deployment) -> dict[str, Any]:
    """Return a deployment; direct uploads have neither a repository nor a build."""
    return {
        "id": deployment.id,
        "short_id": deployment.short_id,
        "project_id": project.id,
        "project_name": project.name,
        "environment": deployment.environment,
        "url": f"https://{deployment.short_id}.{project.hostname}",
        "created_on": deployment.created_on,
        "modified_on": deployment.created_on,
        "latest_stage": _stage("deploy", deployment),
        "deployment_trigger": {"type": "ad_hoc", "metadata": dict(deployment.trigger)},
        "stages": [_stage(name, deployment) for name in _STAGES],
        "build_config": project.build_config,
        "source": _source(project),
        "env_vars": shown_variables(deployment.content["env_vars"]),
        "compatibility_date": deployment.content["compatibility_date"],
        "compatibility_flags": deployment.content["compatibility_flags"],
        "build_image_major_version": project.settings[deployment.environment]["build_image_major_version"],
        "usage_model": None,
        "aliases": aliases_of(project, deployment),
        "is_skipped": False,
        "production_branch": project.production_branch,
        "uses_functions": bool(deployment.content["modules"]),
    }


def aliases_of(project: Project, deployment: Deployment) -> list[str] | None:
    """Return where else a deployment is shown: a preview at its branch's name."""
    if deployment.environment == "production":
        return None
    return [f"https://{branch_alias(deployment.branch)}.{project.subdomain}{PAGES_DEV}"]


def shown_domain(domain: Mapping[str, Any]) -> dict[str, Any]:
    """Return a domain; certificates take no time here."""
    return {
        "id": domain["id"],
        "domain_id": domain["id"],
        "name": domain["name"],
        "status": "active",
        "verification_data": {"status": "active"},
        "validation_data": {"status": "active", "method": "http"},
        "certificate_authority": "google",
        "zone_tag": domain["zone_tag"],
        "created_on": domain["created_on"],
    }


def _stage(name: str, deployment: Deployment) -> dict[str, Any]:
    moment = deployment.created_on
    if name != "deploy":
        return {"name": name, "started_on": moment, "ended_on": moment, "status": "success"}
    status = "success" if deployment.failure is None else "failure"
    return {"name": name, "started_on": moment, "ended_on": moment, "status": status}


def _source(project: Project) -> dict[str, Any]:
    # The schema has it on every deployment, with GitHub's words for projects that have no repository.
    return {
        "type": "github",
        "config": {
            "owner": "",
            "owner_id": "",
            "repo_name": "",
            "repo_id": "",
            "production_branch": project.production_branch,
            "pr_comments_enabled": False,
            "deployments_enabled": False,
            "production_deployments_enabled": False,
            "preview_deployment_setting": "none",
            "preview_branch_includes": [],
            "preview_branch_excludes": [],
            "path_includes": [],
            "path_excludes": [],
        },
    }
