"""Zones in the database, with their settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from clodo.emulator.clock import new_id, now
from clodo.emulator.database import Database, Row
from clodo.errors import BadUsage

#: A domain name of at least two labels, in lower case.
DOMAIN = re.compile(r"^(?=.{3,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")

#: What these tables became after the first release of the schema.
STEPS = (
    "ALTER TABLE zones ADD COLUMN modified_on TEXT",
    "ALTER TABLE zones ADD COLUMN activated_on TEXT",
    "ALTER TABLE zones ADD COLUMN paused INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE zones ADD COLUMN type TEXT NOT NULL DEFAULT 'full'",
    "ALTER TABLE zones ADD COLUMN vanity_name_servers TEXT NOT NULL DEFAULT '[]'",
    "UPDATE zones SET modified_on = created_on, activated_on = created_on",
    "CREATE TABLE zone_settings(zone_id TEXT NOT NULL REFERENCES zones(id) ON DELETE CASCADE, id TEXT NOT NULL,"
    " value TEXT NOT NULL, modified_on TEXT NOT NULL, PRIMARY KEY(zone_id, id)) WITHOUT ROWID",
)

#: What goes with a zone: tables that name it in ``zone_id``.
_BELOW = ("dns_records", "routes", "domains")


class Zones:
    """Which zones there are, and whose."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: dict[str, Row] | None = None
        database.upgrade("zones", STEPS)

    def ensure(self, account_id: str, name: str) -> Row:
        """
        Return the account's zone *name*, made and active when there is none.

        Raises:
            BadUsage: It is no domain name, or another account has it.
        """
        name = name.lower().rstrip(".")
        if not DOMAIN.match(name):
            raise BadUsage(f"zone {name!r}: a domain name such as example.com is needed")
        found = self.named(name)
        if found is None:
            return self.add(account_id, name, status="active")
        if found["account_id"] != account_id:
            raise BadUsage(f"zone {name!r}: another account has it")
        return found

    def add(self, account_id: str, name: str, *, kind: str = "full", status: str = "pending") -> Row:
        """Make a zone and return it; nobody has one of that name."""
        moment = now()
        zone_id = new_id()
        row: Row = {
            "id": zone_id,
            "account_id": account_id,
            "name": name,
            "status": status,
            "created_on": moment,
            "modified_on": moment,
            "activated_on": moment if status == "active" else None,
            "paused": 0,
            "type": kind,
            "vanity_name_servers": [],
        }
        self._database.insert("zones", row)
        self._cache = None
        found = self.get(zone_id)
        assert found is not None
        return found

    def change(self, zone_id: str, **columns: Any) -> Row:
        """Change columns of a zone and return it."""
        changed = {**columns, "modified_on": now()}
        values = [json.dumps(value) if isinstance(value, list) else value for value in changed.values()]
        assignments = ", ".join(f"{column} = ?" for column in changed)
        self._database.run(f"UPDATE zones SET {assignments} WHERE id = ?", [*values, zone_id])  # noqa: S608
        self._cache = None
        found = self.get(zone_id)
        assert found is not None
        return found

    def activate(self, zone_id: str) -> Row:
        """Find that a zone's domain leads to its nameservers."""
        return self.change(zone_id, status="active", activated_on=now())

    def delete(self, zone_id: str) -> None:
        """Remove a zone with its records, settings, Worker routes and custom domains."""
        with self._database.transaction():
            for table in _BELOW:
                self._database.run(f"DELETE FROM {table} WHERE zone_id = ?", (zone_id,))  # noqa: S608
            self._database.run("DELETE FROM zones WHERE id = ?", (zone_id,))
        self._cache = None

    def settings(self, zone_id: str) -> Mapping[str, tuple[Any, str]]:
        """Return the settings that were changed: value and time, by id."""
        rows = self._database.rows("SELECT * FROM zone_settings WHERE zone_id = ?", (zone_id,))
        return {row["id"]: (json.loads(row["value"]), row["modified_on"]) for row in rows}

    def set_setting(self, zone_id: str, setting_id: str, value: Any) -> None:
        """Keep the value of a setting."""
        row = {"zone_id": zone_id, "id": setting_id, "value": json.dumps(value), "modified_on": now()}
        self._database.insert("zone_settings", row, replace=True)

    def domains(self, zone_id: str) -> list[Row]:
        """Return the custom domains of Workers in a zone."""
        return self._database.rows("SELECT * FROM domains WHERE zone_id = ? ORDER BY hostname", (zone_id,))

    def get(self, zone_id: str) -> Row | None:
        """Return the zone with this id."""
        return next((row for row in self._all().values() if row["id"] == zone_id), None)

    def named(self, name: str) -> Row | None:
        """Return the zone with this name."""
        return self._all().get(name)

    def holding(self, hostname: str) -> Row | None:
        """Return the zone that *hostname* lies in; the longest name wins."""
        zones = self._all()
        labels = hostname.lower().split(".")
        for start in range(len(labels) - 1):
            if found := zones.get(".".join(labels[start:])):
                return found
        return None

    def of(self, account_id: str) -> list[Row]:
        """Return the zones of one account, by name."""
        return self.of_accounts([account_id])

    def of_accounts(self, account_ids: Sequence[str]) -> list[Row]:
        """Return the zones of those accounts, by name."""
        return sorted((row for row in self._all().values() if row["account_id"] in account_ids), key=_name)

    def _all(self) -> dict[str, Row]:
        if self._cache is None:
            self._cache = {row["name"]: row for row in self._database.rows("SELECT * FROM zones")}
        return self._cache


def _name(row: Row) -> str:
    name: str = row["name"]
    return name
