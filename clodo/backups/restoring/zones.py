"""DNS zones out of archives: records compared with those that are there, put back in batches, and taken back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clodo.backups.documents import read_documents
from clodo.cloudflare.client import Cloudflare

Record = Mapping[str, Any]

BATCH_CHANGES = 200
"""What every plan of Cloudflare's takes at once; all of it or nothing."""


@dataclass(frozen=True, slots=True)
class ZoneChanges:
    """
    What makes a zone's records those of a snapshot.

    Attributes:
        created: Records that are missing.

        changed: Records as they are there, and as they are to be.

        deleted: Records that the snapshot doesn't have.

        same: How many are as in the snapshot.

        extra: How many the snapshot doesn't have, and stay.

        managed: How many Cloudflare keeps itself, such as those of custom domains, and are missing or otherwise.
    """

    created: tuple[Record, ...] = ()
    changed: tuple[tuple[Record, Record], ...] = ()
    deleted: tuple[Record, ...] = ()
    same: int = 0
    extra: int = 0
    managed: int = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """Each change for a person; empty when there is nothing to do."""
        return (
            *(f"create {_described(record)}" for record in self.created),
            *(f"change {_described(there)}: {_difference(there, wanted)}" for there, wanted in self.changed),
            *(f"delete {_described(record)}" for record in self.deleted),
        )

    @property
    def summary(self) -> str:
        """How many of each, for a person."""
        parts = [f"{len(self.created)} to create", f"{len(self.changed)} to change", f"{self.same} as they are"]
        if self.deleted:
            parts.append(f"{len(self.deleted)} to delete")
        if self.extra:
            parts.append(f"{self.extra} not in the snapshot")
        return ", ".join(parts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is otherwise than in the snapshot, and how it comes back."""
        if not self.managed:
            return ()
        return (f"{self.managed} records are kept by Cloudflare itself: release the Worker of the custom domain",)

    def batches(self) -> Iterator[dict[str, list[dict[str, Any]]]]:
        """Yield them as the API takes them, deletions first."""
        changes: list[tuple[str, dict[str, Any]]] = [
            *(("deletes", {"id": record["id"]}) for record in self.deleted),
            *(("puts", {"id": there["id"]} | body_of(wanted)) for there, wanted in self.changed),
            *(("posts", body_of(record)) for record in self.created),
        ]
        for start in range(0, len(changes), BATCH_CHANGES):
            batch: dict[str, list[dict[str, Any]]] = {}
            for key, change in changes[start : start + BATCH_CHANGES]:
                batch.setdefault(key, []).append(change)
            yield batch


def records_of(chunks: Iterator[bytes]) -> list[Record]:
    """
    Return the records of an archive.

    Raises:
        SnapshotDamaged: It is not what was written.
    """
    found = [value for what, value in read_documents(chunks) if what == "record"]
    # The archive's hash is compared at its very end.
    for _ in chunks:
        pass
    return found


def compare_records(wanted: Sequence[Record], there: Sequence[Record], *, exact: bool) -> ZoneChanges:
    """
    Say what makes the records *there* those that are *wanted*.

    A record is the same one when it has the same id, or else the same name, type and content; a name has one CNAME.

    Args:
        exact: Whether records that are not wanted go.
    """
    missing, rest = list(wanted), list(there)
    same = len(_matched(missing, rest, _value))
    managed = sum(map(_is_managed, missing))
    missing = [record for record in missing if not _is_managed(record)]
    # Those that Cloudflare keeps itself are nobody else's to change.
    rest = [record for record in rest if not _is_managed(record)]
    changed: list[tuple[Record, Record]] = []
    for key in (_id, _identity, _only_one):
        changed += _matched(missing, rest, key)
    return ZoneChanges(
        created=tuple(missing),
        changed=tuple(changed),
        deleted=tuple(rest) if exact else (),
        same=same,
        extra=0 if exact else len(rest),
        managed=managed,
    )


def compare_back(planned: ZoneChanges, now: Sequence[Record]) -> tuple[ZoneChanges, list[str]]:
    """
    Say what takes *planned* back, as far as it was done and nobody else touched it since, and what stays.

    Args:
        now: The zone's records; some of the plan may be done, or taken back already.
    """
    by_id = {record["id"]: record for record in now}
    values = {_value(record): record for record in now}
    stays: list[str] = []
    changed: list[tuple[Record, Record]] = []
    for before, wanted in planned.changed:
        found = by_id.get(before["id"])
        if found is not None and _value(found) == _value(wanted):
            changed.append((found, before))
        elif found is None or _value(found) != _value(before):
            stays.append(f"{_described(before)}: somebody {'deleted' if found is None else 'changed'} it meanwhile")
    made = [values[_value(record)] for record in planned.created if _value(record) in values]
    gone = [record for record in planned.deleted if record["id"] not in by_id and _value(record) not in values]
    return ZoneChanges(tuple(gone), tuple(changed), tuple(made)), stays


def write_records(cloudflare: Cloudflare, zone_id: str, changes: ZoneChanges) -> None:
    """
    Carry out changes of a zone's records.

    Raises:
        ApiRefused: One of them is impossible; then nothing of its batch was done.
        OutcomeUnknown: Whether a batch was carried out nobody knows.
    """
    for batch in changes.batches():
        cloudflare.dns.batch(zone_id, batch)


def body_of(record: Record) -> dict[str, Any]:
    """Return what a record is written with."""
    body = {"name": record["name"], "type": record["type"], "ttl": record.get("ttl", 1)}
    if record.get("data"):
        # Of these types Cloudflare makes the content itself.
        body["data"] = record["data"]
    else:
        body["content"] = record.get("content")
    if record.get("proxiable", True):
        body["proxied"] = bool(record.get("proxied"))
    given = {name: record.get(name) for name in ("priority", "comment", "tags", "settings")}
    return body | {name: value for name, value in given.items() if value not in (None, "", [], {})}


def _matched(
    wanted: list[Record], there: list[Record], key: Callable[[Record], str | None]
) -> list[tuple[Record, Record]]:
    """Take those that have the same key out of both lists, and return them: as there, and as wanted."""
    by_key = {found: record for record in there if (found := key(record)) is not None}
    pairs: list[tuple[Record, Record]] = []
    for record in list(wanted):
        found = key(record)
        match = by_key.pop(found, None) if found is not None else None
        if match is not None:
            pairs.append((match, record))
            wanted.remove(record)
            there.remove(match)
    return pairs


def _id(record: Record) -> str | None:
    return str(record["id"])


def _value(record: Record) -> str:
    body = body_of(record)
    body["proxied"] = bool(record.get("proxied"))
    body["tags"] = sorted(body.get("tags", ()))
    return json.dumps(body, sort_keys=True)


def _identity(record: Record) -> str | None:
    body = body_of(record)
    return json.dumps([body.get(name) for name in ("name", "type", "content", "data", "priority")], sort_keys=True)


def _only_one(record: Record) -> str | None:
    return str(record["name"]) if record["type"] == "CNAME" else None


def _is_managed(record: Record) -> bool:
    return bool((record.get("meta") or {}).get("read_only"))


def _described(record: Record) -> str:
    return f"{record['type']} {record['name']} {json.dumps(record.get('content'))}"


def _difference(there: Record, wanted: Record) -> str:
    before, after = body_of(there), body_of(wanted)
    names = [name for name in sorted(before | after) if before.get(name) != after.get(name)]
    return ", ".join(f"{name} {json.dumps(before.get(name))} → {json.dumps(after.get(name))}" for name in names)
