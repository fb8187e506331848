"""D1 databases out of archives: written in one transaction, and compared with the manifest table by table."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from clodo.backups.d1.layout import Query, read_layout
from clodo.backups.d1.literals import literal, quoted_name
from clodo.backups.d1.script import RowLines, Statement, read_script
from clodo.backups.d1.sqlite import Comparison, compare_contents
from clodo.backups.restoring.statements import OPENING, statements_of
from clodo.cloudflare.client import Cloudflare
from clodo.errors import BadUsage, NoSpaceLeft, Refused, SnapshotDamaged

QUERY_BYTES = 500_000
QUERY_STATEMENTS = 1_000
"""What is larger goes by import, which takes some requests more, and any size."""

IMPORT_BYTES = 4_000_000_000
"""Cloudflare takes files of 5 GB; a larger database comes in several."""

_END = b";\n"
Items = Iterator[Statement | RowLines]


@dataclass(frozen=True, slots=True)
class Part:
    """
    What of a database is restored when it isn't all of it.

    Attributes:
        tables: The tables, full-text ones included.

        objects: Names of everything that is made: these tables, their indexes and triggers.
    """

    tables: frozenset[str]
    objects: frozenset[str]

    def of(self, items: Iterable[Statement | RowLines]) -> Items:
        """Yield what belongs to it."""
        is_wanted = False
        for item in items:
            if isinstance(item, RowLines):
                if item.table in self.tables:
                    yield item
                continue
            if item.kind:
                is_wanted = item.name in self.objects
            elif "INTO sqlite_sequence" in item.sql or "FROM sqlite_sequence" in item.sql:
                yield from self._sequence(item)
                continue
            if is_wanted:
                yield item

    def _sequence(self, item: Statement) -> Items:
        """Yield the last number that AUTOINCREMENT gave out, if it is that of one of these tables."""
        for table in self.tables:
            if item.sql.startswith(f"INSERT INTO sqlite_sequence(name,seq) VALUES({literal(table)},"):
                yield Statement(f"DELETE FROM sqlite_sequence WHERE name={literal(table)}")  # noqa: S608
                yield item


def part_of(items: Iterable[Statement | RowLines], table: str, *, alone: bool) -> Part:
    """
    Return what belongs to *table*, found by making the schema on this machine.

    Args:
        alone: Only the table with its indexes and triggers; otherwise with the tables that it refers to, and
            without triggers, since those may need tables that aren't there.

    Raises:
        BadUsage: The archive has no such table.
    """
    connection = apsw.Connection(":memory:")
    try:
        for item in items:
            if isinstance(item, Statement) and item.kind:
                try:
                    connection.execute(item.sql)
                except apsw.Error as error:
                    raise SnapshotDamaged(f"A statement of the archive doesn't run: {error}") from error
        names = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type='table'")}
        if table not in names:
            raise BadUsage(f'the database has no table "{table}" in this snapshot', hint=f"It has: {_listed(names)}.")
        tables = {table} if alone else _with_referred(connection, table, names)
        kinds = ("index", "trigger") if alone else ("index",)
        found = connection.execute("SELECT type,name,tbl_name FROM sqlite_schema WHERE sql IS NOT NULL")
        objects = {str(name) for kind, name, owner in found if kind in kinds and owner in tables}
        return Part(frozenset(tables), frozenset(tables | objects))
    finally:
        connection.close()


def write_database(
    cloudflare: Cloudflare,
    database_id: str,
    items: Callable[[], Items],
    scratch: Path,
    *,
    drops: Sequence[str] = (),
    file_bytes: int = IMPORT_BYTES,
) -> int:
    """
    Run *drops* and then what *items* say; with *drops* all of it in one transaction.

    Returns:
        How many requests of the import's or query's size it took.

    Raises:
        NoSpaceLeft: This machine's disk doesn't hold the SQL text.
        ApiRefused: A statement failed; nothing of that request stayed.
        OutcomeUnknown: No answer came.
        Refused: It is too large to be replaced in one transaction.
    """
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    sent = 0
    with tempfile.TemporaryDirectory(prefix="restore-", dir=scratch) as folder:
        statements = (*OPENING, *drops)
        running = statements_of(items())
        is_over = False
        while not is_over:
            file = Path(folder) / f"{sent}.sql"
            count, size, is_over = _spool(file, statements, running, file_bytes)
            if not is_over and drops:
                raise Refused(
                    f"The database is larger than the {file_bytes:,} bytes that can be replaced in one piece",
                    hint="Restore it into a new database, and point the service at that.",
                )
            if count > len(statements) or drops:
                if size <= QUERY_BYTES and count <= QUERY_STATEMENTS:
                    cloudflare.d1.query(database_id, file.read_text(encoding="utf-8"))
                else:
                    cloudflare.d1.import_sql(database_id, file)
                sent += 1
            file.unlink()
            statements = OPENING
    return sent


def drops_of(cloudflare: Cloudflare, database_id: str, tables: Collection[str] | None = None) -> list[str]:
    """
    Return what takes everything out of a database that archives know of; children before what they refer to.

    Args:
        tables: Only these.
    """
    layout = read_layout(query_of(cloudflare, database_id))
    virtual = [item.made.name for item in layout.virtual_tables]
    plain = [table.name for table in reversed(layout.tables)]
    if tables is not None:
        return [f"DROP TABLE {quoted_name(name)}" for name in (*virtual, *plain) if name in tables]
    drops = [f"DROP TRIGGER {quoted_name(item.name)}" for item in layout.triggers]
    drops += [f"DROP VIEW {quoted_name(item.name)}" for item in layout.views]
    return drops + [f"DROP TABLE {quoted_name(name)}" for name in (*virtual, *plain)]


def verify_database(
    cloudflare: Cloudflare, database_id: str, facts: Mapping[str, Any], *, part: Part | None = None
) -> Comparison:
    """Compare a database with what the manifest says of its source: schema, counts, and every row by its checksum."""
    return compare_contents(query_of(cloudflare, database_id), facts, tables=part.tables if part is not None else None)


def contents_of(cloudflare: Cloudflare, database_id: str) -> str:
    """Say what is in a database, in a few words."""
    layout = read_layout(query_of(cloudflare, database_id))
    return f"{len(layout.tables_with_rows)} tables"


def query_of(cloudflare: Cloudflare, database_id: str) -> Query:
    """Return what reads a database of the account."""

    def query(statements: Sequence[str]) -> Sequence[Sequence[Sequence[Any]]]:
        answers = cloudflare.d1.raw(database_id, ";\n".join(statements), only_reads=True)
        return [answer.results.rows for answer in answers]

    return query


def script_of(chunks: Iterator[bytes]) -> Items:
    """Yield what an archive's text says; its hash is compared at the very end."""
    yield from read_script(chunks)
    for _ in chunks:
        pass


def _spool(file: Path, opening: Sequence[str], running: Iterator[str], limit: int) -> tuple[int, int, bool]:
    """Write statements into *file*; return how many, their bytes, and whether there are no more."""
    count = size = 0
    try:
        with file.open("wb") as target:
            for sql in opening:
                size += target.write(sql.encode() + _END)
                count += 1
            for sql in running:
                # A comment at the end would swallow the semicolon.
                end = b"\n" + _END if "--" in sql.rpartition("\n")[2] else _END
                size += target.write(sql.encode() + end)
                count += 1
                if size >= limit:
                    return count, size, False
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpaceLeft(f"No space left for the SQL text of a database in {file.parent.parent}") from error
        raise
    return count, size, True


def _with_referred(connection: apsw.Connection, table: str, names: Collection[str]) -> set[str]:
    found: set[str] = set()
    waiting = [table]
    by_lower = {name.lower(): name for name in names}
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        referred = connection.execute('SELECT "table" FROM pragma_foreign_key_list(?)', (name,))
        waiting += [by_lower[str(other).lower()] for (other,) in referred if str(other).lower() in by_lower]
    return found


def _listed(names: Collection[str]) -> str:
    shown = sorted(name for name in names if not name.startswith("sqlite_"))
    return ", ".join(shown[:10]) + (" …" if len(shown) > 10 else "")
