"""What a database remembers of migrations, in wrangler's table and in ours, and what schema it has: one request."""

# Every name goes through quoted() and every text through as_text(): D1 takes no parameters for several statements.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clodo.errors import ApiRefused
from clodo.migrations.plan import AppliedRow
from clodo.migrations.schema import SCHEMA, SchemaRow, quoted

DEFAULT_TABLE = "d1_migrations"
"""wrangler's default for ``migrations_table``."""

RECORD_TABLE = "clodo_migrations"
"""Clodo's own memory beside wrangler's: checksum, duration, release."""

# wrangler's own, to the letter: who comes first makes the table, and either must find what it expects.
CREATE_TABLE = """CREATE TABLE IF NOT EXISTS {table}(
		id         INTEGER PRIMARY KEY AUTOINCREMENT,
		name       TEXT UNIQUE,
		applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
);"""

CREATE_RECORD_TABLE = f"""CREATE TABLE IF NOT EXISTS {RECORD_TABLE}(
  name TEXT PRIMARY KEY,
  sha256 TEXT NOT NULL,
  applied_at TEXT NOT NULL,
  duration_ms INTEGER,
  release_id TEXT
);"""


class Cost(Protocol):
    """What D1 tells about a statement."""

    @property
    def size_after(self) -> int | None:
        """How large the database was then, in bytes; None when Cloudflare doesn't say."""
        ...


class Rows(Protocol):
    """What one statement answered."""

    @property
    def results(self) -> Sequence[Mapping[str, Any]]:
        """Its rows; empty when it gives none."""
        ...

    @property
    def meta(self) -> Cost:
        """What it cost."""
        ...


class D1(Protocol):
    """What applying needs of the D1 client."""

    def query(self, database_id: str, sql: str, *, only_reads: bool = False) -> Sequence[Rows]:
        """
        Run the statements of *sql* in one transaction; one answer per statement.

        Raises:
            ApiRefused: A statement failed and none stayed; the message holds SQLite's.
            OutcomeUnknown: It was sent and no answer came.
        """
        ...

    def import_sql(self, database_id: str, source: Path) -> object:
        """
        Run the statements of a file, whole or not at all; nobody else is answered meanwhile.

        Raises:
            ApiRefused: A statement failed; the message holds SQLite's.
            OutcomeUnknown: It was begun, and its end was not told.
        """
        ...

    def bookmark(self, database_id: str) -> str:
        """Return the Time Travel bookmark of now."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """
    What a database says of itself at one moment.

    Attributes:
        applied: In the order in which it was applied.

        schema: Rows of `clodo.migrations.schema.SCHEMA`.

        size: Bytes; None when Cloudflare doesn't say.
    """

    applied: tuple[AppliedRow, ...] = ()
    schema: tuple[SchemaRow, ...] = ()
    size: int | None = None

    def row(self, name: str) -> AppliedRow | None:
        """Return the row of the migration *name*; None when it isn't applied."""
        return next((row for row in self.applied if row.name == name), None)


def read_stored(d1: D1, database_id: str, table: str) -> Stored:
    """
    Read what *table* and ours remember, and the schema: one request, three at most before anything was applied.

    Reading makes no table: a dry run leaves nothing behind. A database that we have migrated has both tables, and is
    asked once; the others say that there is no such table, and are asked which there are.
    """
    applied = f"SELECT name, applied_at FROM {quoted(table)} ORDER BY id;"
    recorded = f"SELECT name, sha256, release_id FROM {RECORD_TABLE};"
    try:
        answers = d1.query(database_id, f"{SCHEMA};\n{applied}\n{recorded}", only_reads=True)
    except ApiRefused as error:
        if "no such table" not in error.message:
            raise
        answers = d1.query(database_id, f"{SCHEMA};", only_reads=True)
        present = {str(row["name"]).lower() for row in answers[0].results if row["type"] == "table"}
        if table.lower() in present:
            wanted = f"{SCHEMA};\n{applied}\n{recorded}" if RECORD_TABLE in present else f"{SCHEMA};\n{applied}"
            answers = d1.query(database_id, wanted, only_reads=True)
    records = {row["name"]: row for answer in answers[2:] for row in answer.results}
    rows = []
    for row in answers[1].results if len(answers) > 1 else ():
        record = records.get(row["name"], {})
        rows.append(AppliedRow(row["name"], str(row["applied_at"]), record.get("sha256"), record.get("release_id")))
    return Stored(tuple(rows), tuple(answers[0].results), answers[-1].meta.size_after)


def as_text(value: str | None) -> str:
    """Return *value* as an SQL literal."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"
