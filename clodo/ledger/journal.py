"""The journal of a release: what is about to be done, written before; what came of it, written after."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, insert, select

from clodo.errors import LedgerUnavailable, ReleaseNotFound
from clodo.ledger.clocks import Clock, from_text, to_text, utc_now
from clodo.ledger.database import Database, insert_unless_there, renamed_file_error
from clodo.ledger.identifiers import new_identifier
from clodo.ledger.releases import Release, ReleaseKind, ReleaseState
from clodo.ledger.schema import canonical, journal, releases


class Phase(StrEnum):
    """Where a step stands."""

    INTENT = "intent"
    DONE = "done"
    FAILED = "failed"
    UNDO_INTENT = "undo-intent"
    UNDONE = "undone"
    UNDO_FAILED = "undo-failed"


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One line of a journal.

    Attributes:
        id: Unique and time-sortable; the same in a file and in the ledger it was imported into.

        step: Name of the step: ``upload``, ``migrate``, …

        detail: What is needed to finish or undo the step; small, JSON, never a secret.
    """

    id: str
    release_id: str
    step: str
    phase: Phase
    at: datetime
    detail: Mapping[str, Any] = field(default_factory=dict)


class Journal(Protocol):
    """Where a release writes down its steps."""

    def append(self, release_id: str, step: str, phase: Phase, detail: Mapping[str, Any] | None = None) -> Entry:
        """
        Write one entry; it survives a power cut once this returns.

        Raises:
            ReleaseNotFound: The ledger has no such release (a file journal takes any).
            BadUsage: *detail* is not JSON or too large.
            NoSpaceLeft: The disk is full.
            LedgerUnavailable: It can't be written.
        """
        ...

    def entries(self, release_id: str) -> Sequence[Entry]:
        """Return the entries of one release in the order they were written; empty when there are none."""
        ...


class LedgerJournal:
    """The journal in the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, release_id: str, step: str, phase: Phase, detail: Mapping[str, Any] | None = None) -> Entry:
        """
        Write one entry; it survives a power cut once this returns.

        Raises:
            ReleaseNotFound: The ledger has no such release.
            BadUsage: *detail* is not JSON or too large.
        """
        canonical(detail, what=f"detail of step {step}")
        with self._database.write() as connection:
            known = connection.execute(select(releases.c.id).where(releases.c.id == release_id)).one_or_none()
            if known is None:
                raise ReleaseNotFound(f"release {release_id}: the ledger has none of that id, so it can't have steps")
            entry = _new_entry(release_id, step, phase, detail, self._database.now(connection))
            # Not by `insert_entry`: the id is new, and SQLAlchemy compiles a plain INSERT once, one with a conflict
            # clause each time.
            connection.execute(insert(journal), _values(entry))
        return entry

    def entries(self, release_id: str) -> Sequence[Entry]:
        """Return the entries of one release in the order they were written; empty when there are none."""
        query = select(journal).where(journal.c.release_id == release_id).order_by(journal.c.sequence)
        with self._database.read() as connection:
            return [
                Entry(row.id, row.release_id, row.step, Phase(row.phase), row.at, row.detail)
                for row in connection.execute(query)
            ]


def insert_entry(connection: Connection, entry: Entry) -> bool:
    """Add *entry* unless it is there; say whether it was added."""
    added = insert_unless_there(connection, journal).values(_values(entry)).returning(journal.c.id)
    return connection.execute(added).one_or_none() is not None


def _values(entry: Entry) -> dict[str, Any]:
    return {field.name: getattr(entry, field.name) for field in fields(entry)} | {"phase": entry.phase.value}


class FileJournal:
    """
    A journal in a file, for ``clodo rollback --direct`` when the ledger is out of reach.

    One JSON object a line, each forced to the disk. A last line that was cut off by a crash was never acknowledged:
    reading passes over it, the next append removes it. Safe to share between processes.
    """

    def __init__(self, path: Path, *, clock: Clock = utc_now) -> None:
        self.path = path
        self._clock = clock

    def record_release(self, release: Release) -> None:
        """Write down the release itself, so that it can be imported into a ledger later."""
        record = asdict(release) | {
            "created_at": to_text(release.created_at),
            "finished_at": release.finished_at and to_text(release.finished_at),
        }
        self._write({"record": "release", **record})

    def record_state(self, release_id: str, state: ReleaseState) -> None:
        """Write down how a release ended."""
        self._write({"record": "state", "id": release_id, "state": state.value, "at": to_text(self._clock())})

    def append(self, release_id: str, step: str, phase: Phase, detail: Mapping[str, Any] | None = None) -> Entry:
        """
        Write one entry and force it to the disk.

        Raises:
            BadUsage: *detail* is not JSON or too large.
            NoSpaceLeft: The disk is full.
            LedgerUnavailable: The file can't be written.
        """
        canonical(detail, what=f"detail of step {step}")
        entry = _new_entry(release_id, step, phase, detail, self._clock())
        record = asdict(entry) | {"at": to_text(entry.at), "detail": dict(entry.detail)}
        self._write({"record": "entry", **record})
        return entry

    def entries(self, release_id: str) -> Sequence[Entry]:
        """
        Return the entries of one release in the order they were written; empty when there are none.

        Raises:
            LedgerUnavailable: The file can't be read, or a line other than the last is damaged.
        """
        return [entry for entry in self.all_entries() if entry.release_id == release_id]

    def all_entries(self) -> Sequence[Entry]:
        """Return the entries of every release in the order they were written."""
        return [
            Entry(
                line["id"],
                line["release_id"],
                line["step"],
                Phase(line["phase"]),
                from_text(line["at"]),
                line["detail"],
            )
            for line in self._lines("entry")
        ]

    def releases(self) -> Sequence[Release]:
        """Return the releases the file tells of, each in its last recorded state."""
        found: dict[str, Release] = {}
        for line in self._lines("release", "state"):
            if line["record"] == "release":
                found[line["id"]] = Release(
                    **{name: value for name, value in line.items() if name != "record"}
                    | {
                        "kind": ReleaseKind(line["kind"]),
                        "state": ReleaseState(line["state"]),
                        "created_at": from_text(line["created_at"]),
                        "finished_at": line["finished_at"] and from_text(line["finished_at"]),
                    }
                )
            elif line["id"] in found:
                state = ReleaseState(line["state"])
                found[line["id"]] = replace(
                    found[line["id"]], state=state, finished_at=from_text(line["at"]) if state.is_terminal else None
                )
        return list(found.values())

    def _write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_new = not self.path.exists()
            with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", 0) as file:
                # Between looking for a torn line and writing, nobody else may write a whole one.
                fcntl.flock(file, fcntl.LOCK_EX)
                _remove_torn_line(file)
                written = file.write(line)
                if written != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            if is_new:
                _force_folder(self.path.parent)
        except OSError as error:
            raise renamed_file_error(error, f"journal {self.path}") from error

    def _lines(self, *records: str) -> list[dict[str, Any]]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise renamed_file_error(error, f"journal {self.path}") from error
        whole, _, _torn = content.rpartition(b"\n")
        lines = []
        for number, text in enumerate(whole.split(b"\n") if whole else [], start=1):
            try:
                line = json.loads(text)
            except ValueError as error:
                raise LedgerUnavailable(
                    f"{self.path}:{number}: damaged: not a line of a journal",
                    hint="Look at the file; what stands before that line is whole.",
                ) from error
            if line["record"] in records:
                lines.append(line)
        return lines


def _new_entry(release_id: str, step: str, phase: Phase, detail: Mapping[str, Any] | None, at: datetime) -> Entry:
    return Entry(new_identifier("j", now=at), release_id, step, Phase(phase), at, dict(detail or {}))


def _remove_torn_line(file: io.FileIO) -> None:
    size = file.seek(0, os.SEEK_END)
    position = size
    while position > 0:
        start = max(0, position - 4096)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            position = start + newline + 1
            break
        position = start
    if position != size:
        file.truncate(position)


def _force_folder(folder: Path) -> None:
    # A new file's name is on the disk only once its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
