"""The Workflows of every account and their versions, as the control plane keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clodo.emulator.clock import new_uuid, now
from clodo.emulator.database import Database, Row
from clodo.emulator.envelope import ApiError
from clodo.emulator.workflows.definitions import Definition

#: The numbers and messages are those that public clients got from Cloudflare.
WORKFLOW_NOT_FOUND = 10200
JURISDICTION_IMMUTABLE = 10209
VERSION_NOT_FOUND = 10300

_SCHEMA = (
    """
    CREATE TABLE workflows(
        id TEXT PRIMARY KEY, account_id TEXT NOT NULL, name TEXT NOT NULL, script TEXT NOT NULL, class TEXT NOT NULL,
        created_on TEXT NOT NULL, modified_on TEXT NOT NULL, schedules TEXT NOT NULL, jurisdiction TEXT,
        UNIQUE(account_id, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE workflow_versions(
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        workflow_id TEXT NOT NULL REFERENCES workflows(id) ON DELETE CASCADE, class TEXT NOT NULL,
        created_on TEXT NOT NULL, settings TEXT NOT NULL
    )
    """,
    "CREATE INDEX versions_of_workflow ON workflow_versions(workflow_id, number)",
)


@dataclass(frozen=True, slots=True)
class Workflow:
    """
    A Workflow of an account.

    Attributes:
        script: The Worker that it is implemented in; it may be gone by now.

        schedules: Cron expressions.
    """

    id: str
    account_id: str
    name: str
    script: str
    class_name: str
    created_on: str
    modified_on: str
    schedules: tuple[str, ...]
    jurisdiction: str | None


@dataclass(frozen=True, slots=True)
class WorkflowVersion:
    """What a Workflow was deployed as once; `settings` are those of its definition."""

    id: str
    workflow_id: str
    class_name: str
    created_on: str
    settings: Mapping[str, Any]


class Workflows:
    """The Workflows of every account."""

    def __init__(self, database: Database) -> None:
        database.upgrade("workflows", _SCHEMA)
        self._database = database

    def of_account(self, account_id: str) -> list[Workflow]:
        """Return the account's Workflows by name."""
        sql = "SELECT * FROM workflows WHERE account_id = ? ORDER BY name"
        return [_workflow(row) for row in self._database.rows(sql, (account_id,))]

    def find(self, account_id: str, name: str) -> Workflow:
        """
        Return a Workflow by name.

        Raises:
            ApiError: There is none.
        """
        found = self._named(account_id, name)
        if found is None:
            raise ApiError(404, WORKFLOW_NOT_FOUND, "workflows.api.error.workflow.not_found")
        return found

    def put(self, account_id: str, name: str, definition: Definition) -> tuple[Workflow, WorkflowVersion]:
        """
        Deploy a Workflow: make it if there is none, and a version of it each time.

        Raises:
            ApiError: It is in another jurisdiction.
        """
        moment = now()
        with self._database.transaction():
            known = self._named(account_id, name)
            if known is None:
                workflow_id, created_on, jurisdiction = new_uuid(), moment, definition.jurisdiction
            else:
                workflow_id, created_on, jurisdiction = known.id, known.created_on, known.jurisdiction
            if definition.jurisdiction not in (None, jurisdiction):
                raise ApiError(400, JURISDICTION_IMMUTABLE, "workflows.api.error.workflow.jurisdiction_immutable")
            self._database.run(
                "INSERT INTO workflows(id, account_id, name, script, class, created_on, modified_on, schedules,"
                " jurisdiction) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET script ="
                " excluded.script, class = excluded.class, modified_on = excluded.modified_on,"
                " schedules = excluded.schedules",
                (
                    workflow_id,
                    account_id,
                    name,
                    definition.script,
                    definition.class_name,
                    created_on,
                    moment,
                    json.dumps(definition.schedules),
                    jurisdiction,
                ),
            )
            version = WorkflowVersion(new_uuid(), workflow_id, definition.class_name, moment, definition.settings)
            self._database.insert(
                "workflow_versions",
                {
                    "id": version.id,
                    "workflow_id": workflow_id,
                    "class": version.class_name,
                    "created_on": moment,
                    "settings": dict(version.settings),
                },
            )
        return self.find(account_id, name), version

    def delete(self, workflow: Workflow) -> None:
        """Remove a Workflow and its versions; its Worker stays."""
        self._database.run("DELETE FROM workflows WHERE id = ?", (workflow.id,))

    def versions(self, workflow: Workflow) -> list[WorkflowVersion]:
        """Return the Workflow's versions, newest first."""
        sql = "SELECT * FROM workflow_versions WHERE workflow_id = ? ORDER BY number DESC"
        return [_version(row) for row in self._database.rows(sql, (workflow.id,))]

    def version(self, workflow: Workflow, version_id: str) -> WorkflowVersion:
        """
        Return one version of the Workflow.

        Raises:
            ApiError: It has none with this id.
        """
        sql = "SELECT * FROM workflow_versions WHERE workflow_id = ? AND id = ?"
        row = self._database.row(sql, (workflow.id, version_id))
        if row is None:
            raise ApiError(404, VERSION_NOT_FOUND, "workflows.api.error.version.not_found")
        return _version(row)

    def _named(self, account_id: str, name: str) -> Workflow | None:
        row = self._database.row("SELECT * FROM workflows WHERE account_id = ? AND name = ?", (account_id, name))
        return None if row is None else _workflow(row)


def _workflow(row: Row) -> Workflow:
    return Workflow(
        row["id"],
        row["account_id"],
        row["name"],
        row["script"],
        row["class"],
        row["created_on"],
        row["modified_on"],
        tuple(json.loads(row["schedules"])),
        row["jurisdiction"],
    )


def _version(row: Row) -> WorkflowVersion:
    return WorkflowVersion(row["id"], row["workflow_id"], row["class"], row["created_on"], json.loads(row["settings"]))
