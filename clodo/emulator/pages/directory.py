"""Who answers below pages.dev: the data plane's `Directory`, with projects beside Workers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from clodo.emulator.blobs import Blobs
from clodo.emulator.pages.headers import headers_of
from clodo.emulator.pages.names import PAGES_DEV, branch_alias, label_and_project
from clodo.emulator.pages.store import Deployment, Project, Projects
from clodo.emulator.runtime.ports import Assets, Directory, Module, Resolved, Traffic, VersionSpec

#: Workers behind projects are named so.
_PREFIX = "pages-worker--"


class PagesDirectory:
    """
    Projects' hostnames and deployments from memory, and everything else from the Workers' directory.

    Whoever changes a project or its deployments calls `refresh`.
    """

    def __init__(self, projects: Projects, blobs: Blobs, workers: Directory) -> None:
        self._projects = projects
        self._blobs = blobs
        self._workers = workers
        self._subdomains: dict[str, Project] = {}
        self._domains: dict[str, Project] = {}
        self._labels: dict[int, dict[str, Deployment]] = {}
        self._deployments: dict[str, tuple[Project, Deployment]] = {}
        self._specs: dict[str, VersionSpec] = {}
        for project in projects.all():
            self._read(project)

    def refresh(self, account_id: str, name: str) -> None:
        """Read one project again: after a deployment, a change, or its deletion."""
        for project in [*self._subdomains.values()]:
            if (project.account_id, project.name) == (account_id, name):
                self._forget(project)
        for project in self._projects.of_account(account_id):
            if project.name == name:
                self._read(project)

    def knows(self, host: str) -> bool:
        """Say whether *host* is a project's or below one."""
        found = label_and_project(host)
        return host in self._domains or (found is not None and found[1] in self._subdomains)

    def files_at(self, host: str) -> Collection[str]:
        """Return the paths of the files that are shown at *host*; empty if it is no project's."""
        label, subdomain = label_and_project(host) or ("", "")
        project = self._subdomains.get(subdomain) or self._domains.get(host)
        deployment = None if project is None else self._labels[project.number].get(label)
        return () if deployment is None else deployment.content["files"].keys()

    # --- the port

    def resolve(self, host: str, path: str) -> Resolved | None:
        """Say who answers *path* at *host* (lower case, without port); None if *host* isn't this cloud's at all."""
        found = label_and_project(host)
        if found is None and host not in self._domains:
            return self._workers.resolve(host, path)
        label, subdomain = found or ("", "")
        project = self._subdomains.get(subdomain) if found else self._domains[host]
        if project is None:
            return None
        deployment = self._labels[project.number].get(label)
        if deployment is None:
            return Resolved(project.account_id, project.script("production"), "none", (), "no_worker")
        script = project.script(deployment.environment)
        return Resolved(project.account_id, script, "preview", ((deployment.id, 100.0),))

    def spec(self, account_id: str, script: str, version_id: str) -> VersionSpec | None:
        """Return what is needed to run this version; None if there is no such version."""
        if not script.startswith(_PREFIX):
            return self._workers.spec(account_id, script, version_id)
        project, deployment = self._deployments.get(version_id, (None, None))
        if project is None or deployment is None or project.account_id != account_id:
            return None
        if version_id not in self._specs:
            self._specs[version_id] = spec_of(project, deployment, self._blobs)
        return self._specs[version_id]

    def live_traffic(self, account_id: str, script: str) -> Traffic | None:
        """Return the current deployment of *script*, for service bindings; None if it is not deployed or unknown."""
        return self._workers.live_traffic(account_id, script)

    def tail_consumers(self, account_id: str, script: str) -> Sequence[str]:
        """Return the names of the tail Workers that are given the events of *script*."""
        return self._workers.tail_consumers(account_id, script)

    # --- inside

    def _read(self, project: Project) -> None:
        labels: dict[str, Deployment] = {}
        # Newest first: a branch shows its newest deployment.
        for deployment in self._projects.deployments(project):
            self._deployments[deployment.id] = project, deployment
            if deployment.failure is not None:
                continue
            labels[deployment.short_id] = deployment
            if deployment.environment == "preview":
                labels.setdefault(branch_alias(deployment.branch), deployment)
            if deployment.id == project.canonical:
                labels[""] = deployment
        self._labels[project.number] = labels
        self._subdomains[project.subdomain] = project
        for domain in project.domains:
            self._domains[domain] = project

    def _forget(self, project: Project) -> None:
        self._subdomains.pop(project.subdomain, None)
        self._labels.pop(project.number, None)
        for domain in project.domains:
            self._domains.pop(domain, None)
        gone = [key for key, (owner, _) in self._deployments.items() if owner.number == project.number]
        for deployment_id in gone:
            del self._deployments[deployment_id]
            self._specs.pop(deployment_id, None)


def spec_of(project: Project, deployment: Deployment, blobs: Blobs) -> VersionSpec:
    """Return what is needed to run a deployment: a Worker with static assets."""
    content = deployment.content
    files: dict[str, str] = content["files"]
    has_functions = content["main_module"] is not None
    # Without a 404 page a site is taken for one page whose script routes: every path gives it, with 200.
    not_found: Literal["404-page", "single-page-application"] = (
        "404-page" if any(path.rpartition("/")[2] == "404.html" for path in files) else "single-page-application"
    )
    config: dict[str, Any] = {
        "html_handling": "auto-trailing-slash",
        "not_found_handling": not_found,
        "_headers": headers_of(content["headers"]),
        "_redirects": content["redirects"],
    }
    if has_functions:
        config["run_worker_first"] = content["routes"]
    bindings = [*content["bindings"]]
    if has_functions:
        bindings += [
            {"type": "assets", "name": "ASSETS"},
            {"type": "plain_text", "name": "CF_PAGES", "text": "1"},
            {"type": "plain_text", "name": "CF_PAGES_BRANCH", "text": deployment.branch},
            {"type": "plain_text", "name": "CF_PAGES_COMMIT_SHA", "text": deployment.trigger.get("commit_hash", "")},
            {
                "type": "plain_text",
                "name": "CF_PAGES_URL",
                "text": f"https://{deployment.short_id}.{project.subdomain}{PAGES_DEV}",
            },
        ]
    return VersionSpec(
        account_id=project.account_id,
        script=project.script(deployment.environment),
        version_id=deployment.id,
        main_module=content["main_module"],
        modules=tuple(Module(one["name"], one["type"], blobs.path(one["blob"])) for one in content["modules"]),
        compatibility_date=content["compatibility_date"] or "",
        compatibility_flags=tuple(content["compatibility_flags"]),
        bindings=tuple(bindings),
        assets=Assets(
            {path: blobs.path(blob) for path, blob in files.items()},
            {key: value for key, value in config.items() if value is not None},
            "ASSETS" if has_functions else None,
        ),
        created_on=deployment.created_on,
    )
