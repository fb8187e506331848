"""Applications of containers, as the control plane keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from clodo.emulator.clock import new_uuid, now
from clodo.emulator.database import Database, Row
from clodo.emulator.envelope import ApiError

#: Assumed; nobody here has seen the real ones.
APPLICATION_NOT_FOUND = 1600
INVALID_APPLICATION = 1601
APPLICATION_EXISTS = 1602

#: What an application is given as, and the types that are taken.
_SETTINGS: Mapping[str, type] = {
    "affinities": dict,
    "configuration": dict,
    "constraints": dict,
    "durable_objects": dict,
    "instances": int,
    "max_instances": int,
    "observability": dict,
    "rollout_active_grace_period": int,
    "scheduling_policy": str,
}
_POLICIES = ("default", "durable_object")

_SCHEMA = (
    """
    CREATE TABLE container_applications(
        id TEXT PRIMARY KEY, account_id TEXT NOT NULL, name TEXT NOT NULL, created_on TEXT NOT NULL,
        modified_on TEXT NOT NULL, version INTEGER NOT NULL, settings TEXT NOT NULL, UNIQUE(account_id, name)
    ) WITHOUT ROWID
    """,
)


@dataclass(frozen=True, slots=True)
class Application:
    """
    An application of containers.

    Attributes:
        version: Counts its configurations.

        settings: What it was given as: ``configuration``, ``max_instances``, ….
    """

    id: str
    account_id: str
    name: str
    created_on: str
    modified_on: str
    version: int
    settings: Mapping[str, Any]


class Applications:
    """The applications of containers of every account."""

    def __init__(self, database: Database) -> None:
        database.upgrade("containers", _SCHEMA)
        self._database = database

    def of_account(self, account_id: str) -> list[Application]:
        """Return the account's applications by name."""
        sql = "SELECT * FROM container_applications WHERE account_id = ? ORDER BY name"
        return [_application(row) for row in self._database.rows(sql, (account_id,))]

    def find(self, account_id: str, application_id: str) -> Application:
        """
        Return an application.

        Raises:
            ApiError: There is none with this id.
        """
        sql = "SELECT * FROM container_applications WHERE account_id = ? AND id = ?"
        row = self._database.row(sql, (account_id, application_id))
        if row is None:
            raise ApiError(404, APPLICATION_NOT_FOUND, "APPLICATION_NOT_FOUND")
        return _application(row)

    def create(self, account_id: str, body: Mapping[str, Any]) -> Application:
        """
        Make an application.

        Raises:
            ApiError: It has no name, image or Durable Object namespace, or one of a wrong type; or the name is taken.
        """
        name = body.get("name")
        if not isinstance(name, str) or not name:
            raise _invalid("name must be a string")
        settings: dict[str, Any] = {"instances": 0, "scheduling_policy": "default", "configuration": {}} | _settings(
            body
        )
        if not isinstance(settings["configuration"].get("image"), str):
            raise _invalid("configuration.image must be a string")
        if any(known.name == name for known in self.of_account(account_id)):
            raise ApiError(409, APPLICATION_EXISTS, f"There is an application named {name[:100]!r} already.")
        moment = now()
        made = Application(new_uuid(), account_id, name, moment, moment, 1, settings)
        self._write(made)
        return made

    def change(self, application: Application, body: Mapping[str, Any]) -> Application:
        """
        Change the settings that *body* names; a configuration that differs makes a new version.

        Raises:
            ApiError: One is of a wrong type.
        """
        given = _settings(body)
        known = application.settings["configuration"]
        configuration = known | given.pop("configuration", {})
        changed = replace(
            application,
            modified_on=now(),
            version=application.version + (configuration != known),
            settings={**application.settings, **given, "configuration": configuration},
        )
        self._write(changed)
        return changed

    def delete(self, application: Application) -> None:
        """Remove an application; its Worker stays."""
        self._database.run("DELETE FROM container_applications WHERE id = ?", (application.id,))

    def _write(self, application: Application) -> None:
        self._database.insert(
            "container_applications",
            {
                "id": application.id,
                "account_id": application.account_id,
                "name": application.name,
                "created_on": application.created_on,
                "modified_on": application.modified_on,
                "version": application.version,
                "settings": dict(application.settings),
            },
            replace=True,
        )


def _invalid(why: str) -> ApiError:
    return ApiError(400, INVALID_APPLICATION, f"{why}.")


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: body[key] for key in _SETTINGS if body.get(key) is not None}
    for key, value in given.items():
        if not isinstance(value, _SETTINGS[key]) or isinstance(value, bool):
            raise _invalid(f"{key} has the wrong type")
    if given.get("scheduling_policy", "default") not in _POLICIES:
        raise _invalid(f"scheduling_policy must be one of {', '.join(_POLICIES)}")
    if "durable_objects" in given and not isinstance(given["durable_objects"].get("namespace_id"), str):
        raise _invalid("durable_objects.namespace_id must be a string")
    return given


def _application(row: Row) -> Application:
    return Application(
        row["id"],
        row["account_id"],
        row["name"],
        row["created_on"],
        row["modified_on"],
        row["version"],
        json.loads(row["settings"]),
    )
