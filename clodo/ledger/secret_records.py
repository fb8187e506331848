"""What is known of secrets without knowing them: how old they are, by which fingerprint, and how rotations stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum

from sqlalchemy import delete, insert, select, update

from clodo.ledger.database import Database, insert_unless_there
from clodo.ledger.schema import rotations, secrets


@dataclass(frozen=True, slots=True)
class SecretRecord:
    """
    One secret of a target.

    Attributes:
        kind: What it was made like; empty when somebody else made it.

        fingerprint: Keyed, of the value that is kept.

        made_at: Since when it has that value, as far as we saw.

        live_fingerprint: Of the value that the last release brought to the Worker; empty when none did.

        live_at: When.
    """

    target: str
    name: str
    kind: str
    fingerprint: str
    made_at: datetime
    live_fingerprint: str = ""
    live_at: datetime | None = None


class RotationState(StrEnum):
    """How a rotation stands."""

    BEGUN = "begun"
    OVERLAPPING = "overlapping"
    RETIRED = "retired"
    PUT_BACK = "put-back"


@dataclass(frozen=True, slots=True)
class RotationRecord:
    """
    One rotation of one secret.

    Attributes:
        old_fingerprint, new_fingerprint: Keyed.

        retire_at: When the old value is to be refused; None before both were seen to be accepted.

        ended_at: When the old value was refused, or the rotation was put back.
    """

    id: str
    target: str
    name: str
    state: RotationState
    old_fingerprint: str = field(repr=False)
    new_fingerprint: str = field(repr=False)
    begun_at: datetime
    retire_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether something is still to be done."""
        return self.state in (RotationState.BEGUN, RotationState.OVERLAPPING)


class SecretRecords:
    """The ledger's tables of secrets and rotations; no value is ever in them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, target: str | None = None) -> Sequence[SecretRecord]:
        """Return the records of *target*, or of all targets, by target and name."""
        query = select(secrets).order_by(secrets.c.target, secrets.c.name)
        if target is not None:
            query = query.where(secrets.c.target == target)
        with self._database.read() as connection:
            return [SecretRecord(**row._mapping) for row in connection.execute(query)]

    def note_kept(self, target: str, fingerprints: Mapping[str, str], *, kind: str = "") -> None:
        """
        Note which values are kept for *target*; one that is as before keeps its age and its kind.

        Args:
            fingerprints: By name; names that are not among them stay as they are.
        """
        with self._database.write() as connection:
            now = self._database.now(connection)
            rows = connection.execute(select(secrets).where(secrets.c.target == target))
            known = {row.name: row.fingerprint for row in rows}
            for name, fingerprint in fingerprints.items():
                if known.get(name) == fingerprint:
                    continue
                fresh = {"kind": kind, "fingerprint": fingerprint, "made_at": now}
                row = {"target": target, "name": name, **fresh, "live_fingerprint": "", "live_at": None}
                connection.execute(insert_unless_there(connection, secrets).values(row))
                here = (secrets.c.target == target) & (secrets.c.name == name)
                connection.execute(update(secrets).where(here).values(fresh))

    def note_live(self, target: str, fingerprints: Mapping[str, str]) -> None:
        """Note which values a release brought to *target*'s Worker, by name."""
        self.note_kept(target, fingerprints)
        with self._database.write() as connection:
            now = self._database.now(connection)
            for name, fingerprint in fingerprints.items():
                here = (secrets.c.target == target) & (secrets.c.name == name)
                connection.execute(update(secrets).where(here).values(live_fingerprint=fingerprint, live_at=now))

    def forget(self, target: str, name: str) -> None:
        """Forget a secret that is kept no more."""
        with self._database.write() as connection:
            connection.execute(delete(secrets).where((secrets.c.target == target) & (secrets.c.name == name)))

    def rotations(self, *, target: str | None = None, only_open: bool = False) -> Sequence[RotationRecord]:
        """Return rotations, the newest first."""
        query = select(rotations).order_by(rotations.c.begun_at.desc(), rotations.c.id.desc())
        if target is not None:
            query = query.where(rotations.c.target == target)
        if only_open:
            query = query.where(rotations.c.state.in_([RotationState.BEGUN.value, RotationState.OVERLAPPING.value]))
        with self._database.read() as connection:
            return [
                RotationRecord(**dict(row._mapping) | {"state": RotationState(row.state)})
                for row in connection.execute(query)
            ]

    def put_rotation(self, rotation: RotationRecord) -> None:
        """Write down how a rotation stands, in place of how it stood."""
        values = {item.name: getattr(rotation, item.name) for item in fields(rotation)}
        values["state"] = rotation.state.value
        with self._database.write() as connection:
            found = connection.execute(select(rotations.c.id).where(rotations.c.id == rotation.id)).first()
            if found is None:
                connection.execute(insert(rotations).values(values))
            else:
                connection.execute(update(rotations).where(rotations.c.id == rotation.id).values(values))

    def now(self) -> datetime:
        """Say what time it is for everybody who shares this ledger."""
        with self._database.read() as connection:
            return self._database.now(connection)
