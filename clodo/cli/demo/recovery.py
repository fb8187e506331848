"""The demo's last act: back up, drop a database, restore it, and let the service use what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clodo.cloudflare.client import Cloudflare
from clodo.errors import ClodoError, Interrupted
from clodo.releases.interruption import times_asked

IDENTITY = "identity.txt"
_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_cf_*'"

Rows = Mapping[str, frozenset[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Recovery:
    """
    A database that was dropped and restored.

    Attributes:
        snapshot: What it was restored from.

        dropped: Its id; no longer there.

        restored: The id of what came back.

        rows: Every row that it had when it was dropped, by table.

        version: The version of the service that uses what came back.
    """

    snapshot: str
    dropped: str
    restored: str
    rows: Rows = field(repr=False)
    version: str

    @property
    def count(self) -> int:
        """How many rows there were."""
        return sum(len(rows) for rows in self.rows.values())


def recover(folder: Path, cloudflare: Cloudflare, service: str, database: str) -> Recovery:
    """
    Back the workspace up, drop *database*, restore it, and release *service* with the one that came back.

    Raises:
        Interrupted: Somebody asked to stop meanwhile.
        ClodoError: A step failed.
    """
    from clodo.backups.identity_files import write_identity
    from flows.back_up import back_up
    from flows.restore_snapshot import restore_snapshot

    asked_before = times_asked()
    recipient = write_identity(folder / IDENTITY)
    portfolio = folder / "portfolio.toml"
    portfolio.write_text(f'{portfolio.read_text()}\n[backups]\nrecipients = ["{recipient}"]\n')
    manifest = back_up(workspace=str(folder), reason="demo, last act")
    _raise_if_asked(asked_before)
    dropped = cloudflare.d1.get_by_name(database).uuid
    rows = rows_of(cloudflare, dropped)
    cloudflare.d1.delete(dropped)
    try:
        done = restore_snapshot(
            workspace=str(folder),
            snapshot=manifest["id"],
            only=[f"d1/{database}"],
            identity=str(folder / IDENTITY),
            rebind=True,
            reason="demo, last act",
        )
    except ClodoError:
        # A release that somebody stopped ends as a failed one.
        _raise_if_asked(asked_before)
        raise
    _raise_if_asked(asked_before)
    current = cloudflare.deployments.current(service)
    version = current.only_version if current is not None else None
    return Recovery(manifest["id"], dropped, done["restored"]["resources"][0]["id"], rows, version or "")


def rows_of(cloudflare: Cloudflare, database: str) -> Rows:
    """Return every row of a database, by table."""
    tables = [str(name) for (name,) in cloudflare.d1.raw(database, _TABLES, only_reads=True)[0].results.rows]
    read = "; ".join(f'SELECT * FROM "{table}"' for table in tables)  # noqa: S608 -- the names are the database's own
    answers = cloudflare.d1.raw(database, read, only_reads=True)
    return {
        table: frozenset(tuple(row) for row in answer.results.rows)
        for table, answer in zip(tables, answers, strict=True)
    }


def _raise_if_asked(before: int) -> None:
    if times_asked() > before:
        raise Interrupted("Interrupted; what had been begun was put back.")
