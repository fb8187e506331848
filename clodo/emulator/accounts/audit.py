"""The audit log: who did what in an account, kept from the calls that were really made."""

from __future__ import annotations

import errno
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from clodo.emulator.access import Call
from clodo.emulator.accounts.caller import Caller
from clodo.emulator.database import Database, Row
from clodo.emulator.zones.store import Zones

logger = structlog.get_logger(__name__)

#: Entries of an account that are kept; Cloudflare keeps them for 18 months.
KEPT_ENTRIES = 20_000

#: How often what is too old is thrown away.
_SWEPT_EVERY = 1_000

STEPS = (
    "CREATE TABLE audit_log(number INTEGER PRIMARY KEY AUTOINCREMENT, account_id TEXT NOT NULL, time TEXT NOT NULL,"
    " action TEXT NOT NULL, entry TEXT NOT NULL)",
    "CREATE INDEX audit_log_of_account ON audit_log(account_id, time)",
)

_ACTIONS = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
_IDENTIFIER = re.compile(r"^([0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f-]{27})$")


class AuditLog:
    """Every call that concerned an account, or a zone of it."""

    def __init__(self, database: Database, zones: Zones) -> None:
        self._database = database
        self._zones = zones
        self._added = 0
        database.upgrade("audit log", STEPS)

    def note(self, call: Call, notes: Mapping[str, Any]) -> None:
        """Keep one call, if somebody known made it and it concerned an account."""
        whose: Caller | None = notes.get("caller")
        zone = self._zone(call.path)
        account_id = zone["account_id"] if zone else call.account_id
        if whose is None or account_id not in whose.account_ids:
            return
        entry = _entry(call, whose, zone, str(notes.get("address", "")))
        try:
            self._database.insert(
                "audit_log",
                {"account_id": account_id, "time": call.time, "action": entry["action"], "entry": json.dumps(entry)},
            )
            self._sweep(account_id)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            # The call itself was answered: that it can't be noted must not undo that.
            logger.warning("audit log is full", path=call.path)

    def entries(self, account_id: str, *, changes_only: bool = False) -> list[dict[str, Any]]:
        """Return what was done in an account, newest first."""
        rows = self._database.rows(
            "SELECT entry FROM audit_log WHERE account_id = ? AND (? = 0 OR action != 'view') ORDER BY number DESC",
            (account_id, int(changes_only)),
        )
        return [json.loads(row["entry"]) for row in rows]

    def _zone(self, path: str) -> Row | None:
        match = re.match(r"/zones/([0-9a-f]{32})(/|$)", path)
        return self._zones.get(match[1]) if match else None

    def _sweep(self, account_id: str) -> None:
        self._added += 1
        if self._added % _SWEPT_EVERY == 0:
            self._database.run(
                "DELETE FROM audit_log WHERE account_id = ? AND number <= (SELECT number FROM audit_log"
                " WHERE account_id = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (account_id, account_id, KEPT_ENTRIES),
            )


def _entry(call: Call, whose: Caller, zone: Row | None, address: str) -> dict[str, Any]:
    segments = [part for part in call.path.split("/") if part]
    below = segments[2:]
    kinds = [part for part in below if not _IDENTIFIER.match(part)]
    identifiers = [part for part in below if _IDENTIFIER.match(part)]
    return {
        "id": str(uuid.uuid4()),
        "time": call.time,
        "action": _ACTIONS.get(call.method, "view"),
        "succeeded": 200 <= call.status < 400,
        "actor": {
            "id": whose.user_id,
            "email": whose.email,
            "type": whose.owner,
            "token_id": whose.token_id,
            "token_name": whose.token_name,
            "address": address,
        },
        "zone": {"id": zone["id"], "name": zone["name"]} if zone else None,
        "resource": {
            "id": identifiers[-1] if identifiers else (below[-1] if below else segments[1]),
            "product": kinds[0] if kinds else segments[0],
            "type": ".".join(kinds[:2]) if kinds else segments[0].rstrip("s"),
        },
        "method": call.method,
        "uri": call.path,
        "status": call.status,
        "user_agent": call.headers.get("user-agent", ""),
    }


def as_change(entry: Mapping[str, Any], account_id: str) -> dict[str, Any]:
    """Return an entry as ``audit_logs`` shows it."""
    actor, resource = entry["actor"], entry["resource"]
    return {
        "action": {"result": entry["succeeded"], "type": entry["action"]},
        "actor": {"id": actor["id"], "email": actor["email"], "ip": actor["address"], "type": "user"},
        "id": entry["id"],
        "interface": "API",
        "metadata": {
            "token_name": actor["token_name"],
            **({"zone_name": entry["zone"]["name"]} if entry["zone"] else {}),
        },
        "newValue": "",
        "oldValue": "",
        "owner": {"id": account_id},
        "resource": {"id": resource["id"], "type": resource["type"]},
        "when": entry["time"][:19] + "Z",
    }


def as_event(entry: Mapping[str, Any], account_id: str, account_name: str) -> dict[str, Any]:
    """Return an entry as ``logs/audit`` shows it."""
    actor, resource, zone = entry["actor"], entry["resource"], entry["zone"]
    event: dict[str, Any] = {
        "account": {"id": account_id, "name": account_name},
        "action": {
            "description": f"{entry['method']} {resource['type']}",
            "result": "success" if entry["succeeded"] else "failure",
            "time": entry["time"],
            "type": entry["action"],
        },
        "actor": {
            "context": "api_token",
            "email": actor["email"],
            "id": actor["id"],
            "ip_address": actor["address"],
            "token_id": actor["token_id"],
            "token_name": actor["token_name"],
            "type": actor["type"],
        },
        "id": entry["id"],
        "raw": {
            "cf_ray_id": entry["id"].replace("-", "")[:16],
            "method": entry["method"],
            "status_code": entry["status"],
            "uri": entry["uri"],
            "user_agent": entry["user_agent"],
        },
        "resource": {
            "id": resource["id"],
            "product": resource["product"],
            "scope": "zones" if zone else "accounts",
            "type": resource["type"],
        },
    }
    if zone:
        event["zone"] = dict(zone)
    return event


#: The filters of ``logs/audit``: their names, and where in an event the value stands.
FILTERS: Mapping[str, Sequence[str]] = {
    "id": ("id",),
    "audit_log_id": ("id",),
    "account_name": ("account", "name"),
    "action_result": ("action", "result"),
    "action_type": ("action", "type"),
    "actor_context": ("actor", "context"),
    "actor_email": ("actor", "email"),
    "actor_id": ("actor", "id"),
    "actor_ip_address": ("actor", "ip_address"),
    "actor_token_id": ("actor", "token_id"),
    "actor_token_name": ("actor", "token_name"),
    "actor_type": ("actor", "type"),
    "raw_cf_ray_id": ("raw", "cf_ray_id"),
    "raw_method": ("raw", "method"),
    "raw_status_code": ("raw", "status_code"),
    "raw_uri": ("raw", "uri"),
    "resource_id": ("resource", "id"),
    "resource_product": ("resource", "product"),
    "resource_scope": ("resource", "scope"),
    "resource_type": ("resource", "type"),
    "zone_id": ("zone", "id"),
    "zone_name": ("zone", "name"),
}


def fits(event: Mapping[str, Any], query: Sequence[tuple[str, str]]) -> bool:
    """Say whether an event fits the filters of a query: ``name`` must, ``name.not`` must not be among its values."""
    for name, path in FILTERS.items():
        value: Any = event
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        wanted = [text for key, text in query if key == name]
        unwanted = [text for key, text in query if key == f"{name}.not"]
        if (wanted and str(value) not in wanted) or str(value) in unwanted:
            return False
    return True
