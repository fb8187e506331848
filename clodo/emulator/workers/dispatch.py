"""Dispatch namespaces of Workers for Platforms, as the control plane keeps them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from clodo.emulator.clock import new_uuid, now
from clodo.emulator.database import Database, Row
from clodo.emulator.envelope import ApiError
from clodo.emulator.workers.bindings import DISPATCH_NAMESPACE_NOT_FOUND
from clodo.emulator.workers.limits import MAX_NAMESPACE_NAME
from clodo.emulator.workers.store import Scripts

#: The number is from public clients' observations.
NAMESPACE_EXISTS = 100120
INVALID_NAMESPACE = 10021

_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_-]*\Z")

_SCHEMA = (
    """
    CREATE TABLE dispatch_namespaces(
        id TEXT PRIMARY KEY, account_id TEXT NOT NULL, name TEXT NOT NULL, created_on TEXT NOT NULL,
        created_by TEXT NOT NULL, modified_on TEXT NOT NULL, modified_by TEXT NOT NULL,
        trusted_workers INTEGER NOT NULL, UNIQUE(account_id, name)
    ) WITHOUT ROWID
    """,
)


@dataclass(frozen=True, slots=True)
class DispatchNamespace:
    """A namespace of an account's customers' Workers."""

    id: str
    account_id: str
    name: str
    created_on: str
    created_by: str
    modified_on: str
    modified_by: str
    trusted_workers: bool

    @property
    def scope(self) -> str:
        """What its Workers are kept under, as an account's own are kept under the account's id."""
        return f"{self.account_id}.{self.id}"


def owner_of(scope: str) -> str:
    """Return the account whose databases, buckets, … the Workers of a scope are bound to."""
    return scope.partition(".")[0]


class DispatchNamespaces:
    """The dispatch namespaces of every account."""

    def __init__(self, database: Database, scripts: Scripts) -> None:
        database.upgrade("dispatch namespaces", _SCHEMA)
        self._database = database
        self._scripts = scripts

    def of_account(self, account_id: str) -> list[DispatchNamespace]:
        """Return the account's namespaces by name."""
        sql = "SELECT * FROM dispatch_namespaces WHERE account_id = ? ORDER BY name"
        return [_namespace(row) for row in self._database.rows(sql, (account_id,))]

    def named(self, account_id: str, name: str) -> DispatchNamespace | None:
        """Return a namespace by name."""
        sql = "SELECT * FROM dispatch_namespaces WHERE account_id = ? AND name = ?"
        row = self._database.row(sql, (account_id, name))
        return None if row is None else _namespace(row)

    def find(self, account_id: str, name: str) -> DispatchNamespace:
        """
        Return a namespace by name.

        Raises:
            ApiError: There is none.
        """
        found = self.named(account_id, name)
        if found is None:
            raise ApiError(
                404, DISPATCH_NAMESPACE_NOT_FOUND, "The specified dispatch namespace does not exist on this account."
            )
        return found

    def create(self, account_id: str, name: Any, author_id: str) -> DispatchNamespace:
        """
        Make a namespace.

        Raises:
            ApiError: The name can't be one, or is taken.
        """
        moment = now()
        row: Row = {
            "id": new_uuid(),
            "account_id": account_id,
            "name": self._free_name(account_id, name),
            "created_on": moment,
            "created_by": author_id,
            "modified_on": moment,
            "modified_by": author_id,
            "trusted_workers": False,
        }
        self._database.insert("dispatch_namespaces", row)
        return _namespace(row)

    def change(
        self, namespace: DispatchNamespace, name: Any, *, trusted_workers: bool, author_id: str
    ) -> DispatchNamespace:
        """
        Rename a namespace, and say whether its Workers may trust each other.

        Raises:
            ApiError: The name can't be one, or is taken.
        """
        if name != namespace.name:
            name = self._free_name(namespace.account_id, name)
        self._database.run(
            "UPDATE dispatch_namespaces SET name = ?, trusted_workers = ?, modified_on = ?, modified_by = ?"
            " WHERE id = ?",
            (name, trusted_workers, now(), author_id, namespace.id),
        )
        return self.find(namespace.account_id, name)

    def delete(self, namespace: DispatchNamespace) -> None:
        """Remove a namespace that has no Workers any more."""
        self._database.run("DELETE FROM dispatch_namespaces WHERE id = ?", (namespace.id,))

    def _free_name(self, account_id: str, name: Any) -> str:
        if not isinstance(name, str) or not _NAME.match(name) or len(name) > MAX_NAMESPACE_NAME:
            raise ApiError(400, INVALID_NAMESPACE, f"Invalid dispatch namespace name: {str(name)[:100]!r}.")
        if self.named(account_id, name) is not None:
            raise ApiError(400, NAMESPACE_EXISTS, f"A dispatch namespace named '{name}' already exists.")
        return name


def _namespace(row: Row) -> DispatchNamespace:
    return DispatchNamespace(
        row["id"],
        row["account_id"],
        row["name"],
        row["created_on"],
        row["created_by"],
        row["modified_on"],
        row["modified_by"],
        bool(row["trusted_workers"]),
    )
