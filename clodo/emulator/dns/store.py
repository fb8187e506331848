"""DNS records in the database."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from clodo.emulator.clock import new_id, now
from clodo.emulator.database import Database, Row
from clodo.emulator.dns.limits import MAX_RECORDS, NO_SUCH_RECORD, READ_ONLY, TOO_MANY_RECORDS, refusal
from clodo.emulator.dns.records import Record, raise_if_in_conflict
from clodo.emulator.dns.types import Value, is_proxiable

STEPS = (
    "CREATE TABLE dns_records(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, zone_id TEXT NOT NULL,"
    " name TEXT NOT NULL, type TEXT NOT NULL, content TEXT NOT NULL, data TEXT, priority INTEGER, ttl INTEGER NOT NULL,"
    " proxied INTEGER NOT NULL, comment TEXT, comment_modified_on TEXT, tags TEXT NOT NULL, tags_modified_on TEXT,"
    " settings TEXT NOT NULL, worker TEXT, created_on TEXT NOT NULL, modified_on TEXT NOT NULL)",
    "CREATE INDEX dns_records_of_name ON dns_records(zone_id, name)",
    # However a custom domain ends (by itself, with its Worker, or replaced), its record ends with it.
    "CREATE TRIGGER domain_ends AFTER DELETE ON domains BEGIN DELETE FROM dns_records"
    " WHERE zone_id = old.zone_id AND name = old.hostname AND worker NOT NULL; END",
)

#: What a custom domain's record points to: the address of nobody, since a Worker answers.
PLACEHOLDER = "100::"

#: Records that stand in the way of a custom domain.
_IN_THE_WAY = ("A", "AAAA", "CNAME", "NS")


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """
    A record that is in a zone.

    Attributes:
        worker: The Worker whose custom domain made it and keeps it; None for everybody else's.
    """

    id: str
    record: Record
    created_on: str
    modified_on: str
    comment_modified_on: str | None
    tags_modified_on: str | None
    worker: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the record as the API shows it; recorded in 2025, keys in this order."""
        record = self.record
        shown: dict[str, Any] = {
            "id": self.id,
            "name": record.name,
            "type": record.type,
            "content": record.value.content,
            "proxiable": is_proxiable(record.type, record.value.content),
            "proxied": record.proxied,
            "ttl": record.ttl,
            "settings": dict(record.settings or {}),
            "meta": {"origin_worker_id": self.worker, "read_only": True} if self.worker else {},
            "comment": record.comment,
            "tags": list(record.tags),
            "created_on": self.created_on,
            "modified_on": self.modified_on,
        }
        if record.value.priority is not None:
            shown["priority"] = record.value.priority
        if record.value.data is not None:
            shown["data"] = dict(record.value.data)
        if record.comment is not None:
            shown["comment_modified_on"] = self.comment_modified_on
        if record.tags:
            shown["tags_modified_on"] = self.tags_modified_on
        return shown


class Records:
    """Which records there are in which zone; every change is checked against those beside it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.upgrade("dns records", STEPS)

    def all(self, zone: Row) -> list[StoredRecord]:
        """Return the zone's records, oldest first."""
        return [
            _stored(row)
            for row in self._database.rows("SELECT * FROM dns_records WHERE zone_id = ? ORDER BY number", (zone["id"],))
        ]

    def get(self, zone: Row, record_id: str) -> StoredRecord:
        """
        Return one record.

        Raises:
            ApiError: It isn't in this zone.
        """
        row = self._database.row("SELECT * FROM dns_records WHERE zone_id = ? AND id = ?", (zone["id"], record_id))
        if row is None:
            raise refusal(*NO_SUCH_RECORD, 404)
        return _stored(row)

    def named(self, zone: Row, name: str) -> list[StoredRecord]:
        """Return the records with one name."""
        rows = self._database.rows(
            "SELECT * FROM dns_records WHERE zone_id = ? AND name = ? ORDER BY number", (zone["id"], name)
        )
        return [_stored(row) for row in rows]

    def add(self, zone: Row, record: Record, *, worker: str | None = None) -> StoredRecord:
        """
        Put a record into the zone.

        Raises:
            ApiError: It is there, can't be beside what is there, or the zone is full.
        """
        self._raise_if_in_conflict(zone, record)
        count: int = self._database.value("SELECT COUNT(*) FROM dns_records WHERE zone_id = ?", (zone["id"],))
        if count >= MAX_RECORDS:
            raise refusal(*TOO_MANY_RECORDS)
        moment = now()
        row = {
            "id": new_id(),
            "zone_id": zone["id"],
            **_columns(record),
            "comment_modified_on": moment if record.comment is not None else None,
            "tags_modified_on": moment if record.tags else None,
            "worker": worker,
            "created_on": moment,
            "modified_on": moment,
        }
        self._database.insert("dns_records", row)
        return self.get(zone, row["id"])

    def replace(self, zone: Row, record_id: str, record: Record) -> StoredRecord:
        """
        Make a record another one; its id and the time it was made stay.

        Raises:
            ApiError: It isn't there, is a custom domain's, or can't be beside what is there.
        """
        known = self.get(zone, record_id)
        _raise_if_read_only(known)
        self._raise_if_in_conflict(zone, record, besides=record_id)
        moment = now()
        row = {
            **_columns(record),
            "comment_modified_on": known.comment_modified_on if record.comment == known.record.comment else moment,
            "tags_modified_on": known.tags_modified_on if record.tags == known.record.tags else moment,
            "modified_on": moment,
        }
        changes = ", ".join(f"{column} = ?" for column in row)
        values = [json.dumps(value) if isinstance(value, (dict, list)) else value for value in row.values()]
        self._database.run(f"UPDATE dns_records SET {changes} WHERE id = ?", [*values, record_id])  # noqa: S608
        return self.get(zone, record_id)

    def delete(self, zone: Row, record_id: str) -> StoredRecord:
        """
        Take a record out of the zone and return it.

        Raises:
            ApiError: It isn't there, or is a custom domain's.
        """
        known = self.get(zone, record_id)
        _raise_if_read_only(known)
        self._database.run("DELETE FROM dns_records WHERE id = ?", (record_id,))
        return known

    # --- custom domains

    def in_the_way_of(self, zone: Row, hostname: str) -> list[StoredRecord]:
        """Return the records that a custom domain of this hostname would have to replace."""
        return [
            known
            for known in self.named(zone, hostname)
            if known.worker is None
            and known.record.type in _IN_THE_WAY
            and not (known.record.type == "NS" and hostname == zone["name"])
        ]

    def put_worker(self, zone: Row, hostname: str, worker: str) -> None:
        """Lead a hostname to a Worker, in place of whatever led it elsewhere; ends with the custom domain's row."""
        with self._database.transaction():
            for known in self.in_the_way_of(zone, hostname):
                self._database.run("DELETE FROM dns_records WHERE id = ?", (known.id,))
            changed = self._database.run(
                "UPDATE dns_records SET worker = ?, modified_on = ? WHERE zone_id = ? AND name = ? AND worker NOT NULL",
                (worker, now(), zone["id"], hostname),
            )
            if not changed:
                self.add(zone, Record(hostname, "AAAA", Value(PLACEHOLDER), proxied=True), worker=worker)

    def _raise_if_in_conflict(self, zone: Row, record: Record, *, besides: str | None = None) -> None:
        others: Collection[Record] = [known.record for known in self.named(zone, record.name) if known.id != besides]
        raise_if_in_conflict(record, others, zone["name"])


def _raise_if_read_only(known: StoredRecord) -> None:
    if known.worker is not None:
        raise refusal(*READ_ONLY)


def _columns(record: Record) -> Row:
    data = record.value.data
    return {
        "name": record.name,
        "type": record.type,
        "content": record.value.content,
        "data": None if data is None else dict(data),
        "priority": record.value.priority,
        "ttl": record.ttl,
        "proxied": int(record.proxied),
        "comment": record.comment,
        "tags": list(record.tags),
        "settings": dict(record.settings or {}),
    }


def _stored(row: Row) -> StoredRecord:
    data = None if row["data"] is None else json.loads(row["data"])
    return StoredRecord(
        id=row["id"],
        record=Record(
            name=row["name"],
            type=row["type"],
            value=Value(row["content"], data, row["priority"]),
            ttl=row["ttl"],
            proxied=bool(row["proxied"]),
            comment=row["comment"],
            tags=tuple(json.loads(row["tags"])),
            settings=json.loads(row["settings"]),
        ),
        created_on=row["created_on"],
        modified_on=row["modified_on"],
        comment_modified_on=row["comment_modified_on"],
        tags_modified_on=row["tags_modified_on"],
        worker=row["worker"],
    )
