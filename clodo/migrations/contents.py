"""What the tables of a small database hold: the proof that going back in time would lose no row."""

# Names of tables come from the database itself and are quoted.
# ruff: noqa: S608

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from clodo.errors import ApiRefused
from clodo.migrations.schema import NOT_OURS, SCHEMA, SchemaRow, quoted
from clodo.migrations.stored import RECORD_TABLE, Rows

MAX_DATABASE_BYTES = 4 * 1024 * 1024
"""Of a larger database the rows are not compared, so nobody goes back in time without being asked."""

MAX_TABLES = 50


class Readable(Protocol):
    """What comparing needs of the D1 client."""

    def query(self, database_id: str, sql: str, *, only_reads: bool = False) -> Sequence[Rows]:
        """Run the statements of *sql* in one transaction; one answer per statement."""
        ...

    def bookmark(self, database_id: str) -> str:
        """Return the Time Travel bookmark of now."""
        ...


@dataclass(frozen=True, slots=True)
class Table:
    """What one table held: its columns, and the SHA-256 of all rows whatever their order; no column without rows."""

    columns: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Contents:
    """
    What a database held at a bookmark.

    Attributes:
        bookmark: Going back to it brings exactly this back.

        tables: By name, but for those that remember migrations; None when it was not, or could not be, read.
    """

    bookmark: str
    tables: Mapping[str, Table] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads back; no value of a row is in it."""
        return {
            "bookmark": self.bookmark,
            "tables": None
            if self.tables is None
            else {name: [list(table.columns), table.sha256] for name, table in self.tables.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contents:
        """Read what `to_json` wrote."""
        tables = data.get("tables")
        if tables is None:
            return cls(data["bookmark"])
        return cls(
            data["bookmark"], {name: Table(tuple(columns), digest) for name, (columns, digest) in tables.items()}
        )


def read_contents(
    d1: Readable,
    database_id: str,
    *,
    schema: Sequence[SchemaRow],
    size: int | None,
    leaving_out: Collection[str] = (),
) -> Contents:
    """
    Read what a database holds, if it is small and nobody writes meanwhile; its bookmark in any case.

    Three requests; one when the database is too large.

    Args:
        schema, size: As `clodo.migrations.status` has just found them.

        leaving_out: Names of tables that migrations are recorded in.
    """
    bookmark = d1.bookmark(database_id)
    names = _tables(schema, leaving_out)
    if size is None or size > MAX_DATABASE_BYTES or len(names) > MAX_TABLES:
        return Contents(bookmark)
    rows, known = _rows(d1, database_id, names), set(names)
    if rows is None or set(_tables(rows.present, leaving_out)) != known:
        return Contents(bookmark)
    tables = {name: _table(found, tuple(found[0]) if found else ()) for name, found in rows.of.items()}
    # Only what was read between two equal bookmarks is what the bookmark stands for.
    return Contents(bookmark, tables if d1.bookmark(database_id) == bookmark else None)


def holds_the_same(d1: Readable, database_id: str, before: Contents) -> bool:
    """
    Say whether every row that was there is there unchanged, in the columns that it had, and no other in these tables.

    Tables and columns that were added don't matter; False also when nobody had looked before. Two requests.
    """
    if before.tables is None:
        return False
    answer = d1.query(database_id, f"{SCHEMA};", only_reads=True)[0]
    size, present = answer.meta.size_after, set(_tables(answer.results, ()))
    if size is None or size > 2 * MAX_DATABASE_BYTES or not before.tables.keys() <= present:
        return False
    rows = _rows(d1, database_id, sorted(before.tables))
    if rows is None:
        return False
    for name, table in before.tables.items():
        found = rows.of[name]
        if found and not set(table.columns) <= set(found[0]):
            return False
        if bool(found) != bool(table.columns) or _table(found, table.columns) != table:
            return False
    return True


def _tables(schema: Sequence[SchemaRow], leaving_out: Collection[str]) -> list[str]:
    left_out = {name.lower() for name in (*leaving_out, RECORD_TABLE)}
    names = (str(row["name"]) for row in schema if row["type"] == "table")
    return sorted(name for name in names if not name.startswith(NOT_OURS) and name.lower() not in left_out)


@dataclass(frozen=True, slots=True)
class _Read:
    """The rows of tables, by name, and the schema at the same moment."""

    present: Sequence[SchemaRow]
    of: Mapping[str, Sequence[Mapping[str, Any]]]


def _rows(d1: Readable, database_id: str, names: Sequence[str]) -> _Read | None:
    """Read all rows of tables; None when one of them is gone since."""
    # One transaction: all tables, and the list of them, at one moment.
    sql = "\n".join([f"{SCHEMA};", *(f"SELECT * FROM {quoted(name)};" for name in names)])
    try:
        first, *answers = d1.query(database_id, sql, only_reads=True)
    except ApiRefused as error:
        if "no such table" not in error.message:
            raise
        return None
    return _Read(first.results, {name: answer.results for name, answer in zip(names, answers, strict=True)})


def _table(rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...]) -> Table:
    lines = sorted(json.dumps([row.get(column) for column in columns]) for row in rows)
    return Table(columns, hashlib.sha256("\n".join(lines).encode()).hexdigest())
