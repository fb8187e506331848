"""An archive of a database, as a SQLite file on this machine: restored, and compared with what the manifest says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from clodo.backups.d1.dump import TableFacts
from clodo.backups.d1.layout import Query, read_layout
from clodo.backups.d1.rows import TableReader
from clodo.backups.d1.script import read_script
from clodo.errors import ApiRefused, SnapshotDamaged


@dataclass(slots=True)
class Comparison:
    """
    How a restored database differs from what the manifest says of its source.

    Attributes:
        rows: How many rows were compared.

        findings: What is wrong; empty when all is as it was.

        notes: What was wrong in the source already.
    """

    rows: int = 0
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def restore_to_file(chunks: Iterable[bytes], target: Path) -> None:
    """
    Make the SQLite file *target* of the text of an archive.

    Raises:
        SnapshotDamaged: A statement doesn't run, or the text ends early.
    """
    with opened(target) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF", "ignore_check_constraints=ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        try:
            for item in read_script(chunks):
                connection.execute(item.sql, can_cache=False)
        except apsw.Error as error:
            raise SnapshotDamaged(f"A statement of the archive doesn't run: {error}") from error
        connection.execute("COMMIT")


def compare(file: Path, facts: Mapping[str, Any]) -> Comparison:
    """Compare a restored database with the facts of its archive, table by table and row by row."""
    found = Comparison()
    with opened(file) as connection:
        found.findings += [str(said) for (said,) in connection.execute("PRAGMA integrity_check") if said != "ok"]
        try:
            broken = sum(1 for _ in connection.execute("PRAGMA foreign_key_check"))
        except apsw.SQLError as error:
            found.notes.append(f"foreign keys can't be checked: {error}")
        else:
            if broken:
                found.notes.append(f"{broken} rows refer to rows that were not in the source either")
        contents = compare_contents(query_of(connection), facts)
        found.rows += contents.rows
        found.findings += contents.findings
    return found


def compare_contents(query: Query, facts: Mapping[str, Any], *, tables: Collection[str] | None = None) -> Comparison:
    """
    Compare what *query* reads with the facts of an archive, table by table and row by row.

    Args:
        tables: Only these, and not the schema.
    """
    found = Comparison()
    layout = read_layout(query)
    expected = {name: TableFacts.from_json(table) for name, table in facts["tables"].items()}
    there = {table.name: table for table in layout.tables_with_rows}
    if tables is None:
        if layout.schema_sha256 != facts["schema_sha256"]:
            found.findings.append("its schema is not that of the source")
    else:
        expected = {name: table for name, table in expected.items() if name in tables}
        there = {name: table for name, table in there.items() if name in tables}
    for name in expected.keys() ^ there.keys():
        found.findings.append(f"the table {name} is only in {'the source' if name in expected else 'the archive'}")
    for name in expected.keys() & there.keys():
        reader = TableReader(query, there[name])
        for _ in reader:
            pass
        found.rows += reader.rows
        if reader.rows != expected[name].rows:
            found.findings.append(f"the table {name} has {reader.rows} rows instead of {expected[name].rows}")
        elif reader.checksum != expected[name].checksum:
            found.findings.append(f"the rows of the table {name} are not those of the source")
    return found


def query_of(connection: apsw.Connection) -> Query:
    """Return what reads *connection* as D1 is read."""

    def query(statements: Sequence[str]) -> Sequence[Sequence[Sequence[Any]]]:
        try:
            return [connection.execute(statement, can_cache=False).fetchall() for statement in statements]
        except UnicodeDecodeError as error:
            raise ApiRefused("text that is not UTF-8") from error
        except apsw.TooBigError as error:
            raise ApiRefused("string or blob too big") from error
        except apsw.Error as error:
            raise SnapshotDamaged(f"The restored database can't be read: {error}") from error

    return query


@contextmanager
def opened(file: Path) -> Iterator[apsw.Connection]:
    """Open a SQLite file, and close it."""
    connection = apsw.Connection(str(file))
    try:
        yield connection
    finally:
        connection.close()
