"""Projects, their deployments, and the files that were uploaded."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clodo.emulator.clock import new_uuid, now
from clodo.emulator.database import Database, Row
from clodo.emulator.envelope import ApiError
from clodo.emulator.pages.configuration import DEFAULTS, ENVIRONMENTS
from clodo.emulator.pages.names import PAGES_DEV

PROJECT_NOT_FOUND = 8000007
DEPLOYMENT_NOT_FOUND = 8000009
PROJECT_EXISTS = 8000002

STEPS = (
    """CREATE TABLE pages_projects(
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, account_id TEXT NOT NULL, name TEXT NOT NULL,
        subdomain TEXT NOT NULL UNIQUE, created_on TEXT NOT NULL, production_branch TEXT NOT NULL,
        build_config TEXT NOT NULL, deployment_configs TEXT NOT NULL, domains TEXT NOT NULL, canonical TEXT,
        UNIQUE(account_id, name)
    )""",
    """CREATE TABLE pages_deployments(
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        project INTEGER NOT NULL REFERENCES pages_projects(number) ON DELETE CASCADE, environment TEXT NOT NULL,
        branch TEXT NOT NULL, created_on TEXT NOT NULL, trigger_data TEXT NOT NULL, content TEXT NOT NULL, failure TEXT
    )""",
    "CREATE INDEX pages_deployments_of_project ON pages_deployments(project, number)",
    """CREATE TABLE pages_files(
        account_id TEXT NOT NULL, hash TEXT NOT NULL, blob TEXT NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY(account_id, hash)
    ) WITHOUT ROWID""",
)


@dataclass(frozen=True, slots=True)
class Project:
    """
    A project.

    Attributes:
        subdomain: The label below pages.dev: the name, or the name and some letters if somebody else has it.

        settings: By environment, as the API has them in ``deployment_configs``. May hold secrets.

        domains: The project's own, by name.

        canonical: Id of the deployment that production's hostname shows.
    """

    number: int
    id: str
    account_id: str
    name: str
    subdomain: str
    created_on: str
    production_branch: str
    build_config: Mapping[str, Any]
    settings: Mapping[str, Any] = field(repr=False)
    domains: Mapping[str, Any]
    canonical: str | None

    @property
    def hostname(self) -> str:
        """Where production is."""
        return self.subdomain + PAGES_DEV

    def script(self, environment: str) -> str:
        """Return the name of the Worker behind an environment, as the real one names it."""
        return f"pages-worker--{self.number}-{environment}"


@dataclass(frozen=True, slots=True)
class Deployment:
    """
    One deployment of a project.

    Attributes:
        trigger: Branch and commit, as the API has them in ``deployment_trigger.metadata``.

        content: Files by path, modules, bindings (with the values of secrets), headers, redirects, routes.

        failure: Why it can't run; None if it does.
    """

    id: str
    environment: str
    branch: str
    created_on: str
    trigger: Mapping[str, Any]
    content: Mapping[str, Any] = field(repr=False)
    failure: str | None = None

    @property
    def short_id(self) -> str:
        """The label of its own hostname."""
        return self.id[:8]


class Projects:
    """Projects and deployments in the control plane's database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.upgrade("pages", STEPS)

    def all(self) -> list[Project]:
        """Return every project of every account."""
        return [_project(row) for row in self._database.rows("SELECT * FROM pages_projects ORDER BY number")]

    def of_account(self, account_id: str) -> list[Project]:
        """Return the account's projects, newest first."""
        rows = self._database.rows(
            "SELECT * FROM pages_projects WHERE account_id = ? ORDER BY number DESC", (account_id,)
        )
        return [_project(row) for row in rows]

    def find(self, account_id: str, name: str) -> Project:
        """
        Return a project.

        Raises:
            ApiError: 404 with 8000007.
        """
        row = self._database.row("SELECT * FROM pages_projects WHERE account_id = ? AND name = ?", (account_id, name))
        if row is None:
            raise ApiError(
                404,
                PROJECT_NOT_FOUND,
                "Project not found. The specified project name does not match any of your existing projects.",
            )
        return _project(row)

    def create(
        self,
        account_id: str,
        name: str,
        *,
        production_branch: str,
        settings: Mapping[str, Any],
        build: Mapping[str, Any],
    ) -> Project:
        """
        Make a project.

        Raises:
            ApiError: The account has one of this name.
        """
        taken = self._database.value(
            "SELECT 1 FROM pages_projects WHERE account_id = ? AND name = ?", (account_id, name)
        )
        if taken:
            raise ApiError(
                409, PROJECT_EXISTS, "A project with this name already exists. Choose a different project name."
            )
        subdomain = name
        while self._database.value("SELECT 1 FROM pages_projects WHERE subdomain = ?", (subdomain,)):
            subdomain = f"{name}-{secrets.token_hex(2)[:3]}"
        self._database.insert(
            "pages_projects",
            {
                "id": new_uuid(),
                "account_id": account_id,
                "name": name,
                "subdomain": subdomain,
                "created_on": now(),
                "production_branch": production_branch,
                "build_config": dict(build),
                "deployment_configs": dict(settings),
                "domains": {},
            },
        )
        return self.find(account_id, name)

    def change(self, project: Project, **columns: Any) -> Project:
        """Write some columns of a project: production_branch, build_config, deployment_configs, domains, canonical."""
        for name, value in columns.items():
            stored = json.dumps(value) if isinstance(value, Mapping) else value
            self._database.run(f"UPDATE pages_projects SET {name} = ? WHERE number = ?", (stored, project.number))  # noqa: S608
        return self.find(project.account_id, project.name)

    def delete(self, project: Project) -> None:
        """Remove a project and its deployments."""
        self._database.run("DELETE FROM pages_projects WHERE number = ?", (project.number,))

    # --- deployments --------------------------------------------------------------------------------------------------

    def deployments(self, project: Project, environment: str | None = None) -> list[Deployment]:
        """Return the project's deployments, newest first."""
        rows = self._database.rows(
            "SELECT * FROM pages_deployments WHERE project = ? AND (? IS NULL OR environment = ?) ORDER BY number DESC",
            (project.number, environment, environment),
        )
        return [_deployment(row) for row in rows]

    def latest(self, project: Project) -> Deployment | None:
        """Return the project's newest deployment."""
        row = self._database.row(
            "SELECT * FROM pages_deployments WHERE project = ? ORDER BY number DESC LIMIT 1", (project.number,)
        )
        return None if row is None else _deployment(row)

    def deployment(self, project: Project, deployment_id: str) -> Deployment:
        """
        Return one deployment.

        Raises:
            ApiError: 404 with 8000009.
        """
        row = self._database.row(
            "SELECT * FROM pages_deployments WHERE project = ? AND id = ?", (project.number, deployment_id)
        )
        if row is None:
            raise ApiError(
                404,
                DEPLOYMENT_NOT_FOUND,
                "The deployment ID you have specified does not exist. Update the deployment ID and try again.",
            )
        return _deployment(row)

    def add_deployment(self, project: Project, deployment: Deployment) -> None:
        """Keep a deployment; if it is production's and runs, it is what the project shows."""
        with self._database.transaction():
            self._database.insert(
                "pages_deployments",
                {
                    "id": deployment.id,
                    "project": project.number,
                    "environment": deployment.environment,
                    "branch": deployment.branch,
                    "created_on": deployment.created_on,
                    "trigger_data": dict(deployment.trigger),
                    "content": dict(deployment.content),
                    "failure": deployment.failure,
                },
            )
            if deployment.environment == "production" and deployment.failure is None:
                self.change(project, canonical=deployment.id)

    def delete_deployment(self, deployment: Deployment) -> None:
        """Remove a deployment."""
        self._database.run("DELETE FROM pages_deployments WHERE id = ?", (deployment.id,))

    # --- files --------------------------------------------------------------------------------------------------------

    def missing(self, account_id: str, hashes: Iterable[str]) -> list[str]:
        """Return those hashes that the account has no file for."""
        return [one for one in dict.fromkeys(hashes) if self.file(account_id, one) is None]

    def file(self, account_id: str, content_hash: str) -> Row | None:
        """Return ``{blob, size}`` of an uploaded file."""
        return self._database.row(
            "SELECT blob, size FROM pages_files WHERE account_id = ? AND hash = ?", (account_id, content_hash)
        )

    def put_file(self, account_id: str, content_hash: str, blob: str, size: int) -> None:
        """Note an uploaded file."""
        row = {"account_id": account_id, "hash": content_hash, "blob": blob, "size": size}
        self._database.insert("pages_files", row, replace=True)

    def blobs_in_use(self) -> set[str]:
        """Return the blobs of all files and modules."""
        found = {row["blob"] for row in self._database.rows("SELECT blob FROM pages_files")}
        for row in self._database.rows("SELECT content FROM pages_deployments"):
            content = json.loads(row["content"])
            found.update(content["files"].values())
            found.update(module["blob"] for module in content["modules"])
        return found


def default_settings() -> dict[str, Any]:
    """Return the settings of a new project."""
    return {environment: dict(DEFAULTS) for environment in ENVIRONMENTS}


def _project(row: Row) -> Project:
    return Project(
        number=row["number"],
        id=row["id"],
        account_id=row["account_id"],
        name=row["name"],
        subdomain=row["subdomain"],
        created_on=row["created_on"],
        production_branch=row["production_branch"],
        build_config=json.loads(row["build_config"]),
        settings=json.loads(row["deployment_configs"]),
        domains=json.loads(row["domains"]),
        canonical=row["canonical"],
    )


def _deployment(row: Row) -> Deployment:
    return Deployment(
        id=row["id"],
        environment=row["environment"],
        branch=row["branch"],
        created_on=row["created_on"],
        trigger=json.loads(row["trigger_data"]),
        content=json.loads(row["content"]),
        failure=row["failure"],
    )
