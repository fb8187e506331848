"""Zones in the database."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clodo.emulator.clock import new_id, now
from clodo.emulator.database import Database, Row
from clodo.errors import BadUsage

#: A domain name of at least two labels, in lower case.
DOMAIN = re.compile(r"^(?=.{3,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class Zones:
    """Which zones there are, and whose."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: dict[str, Row] | None = None

    def ensure(self, account_id: str, name: str) -> Row:
        """
        Return the account's zone *name*, made when there is none.

        Raises:
            BadUsage: It is no domain name, or another account has it.
        """
        name = name.lower().rstrip(".")
        if not DOMAIN.match(name):
            raise BadUsage(f"zone {name!r}: a domain name such as example.com is needed")
        found = self.named(name)
        if found is None:
            row = {"id": new_id(), "account_id": account_id, "name": name, "status": "active", "created_on": now()}
            self._database.insert("zones", row)
            self._cache = None
            return row
        if found["account_id"] != account_id:
            raise BadUsage(f"zone {name!r}: another account has it")
        return found

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
