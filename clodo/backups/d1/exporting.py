"""Reading a database by Cloudflare's export, which makes it unavailable meanwhile."""

# Names of tables come from the database itself and are quoted.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import apsw

from clodo.backups.d1.layout import Layout, Paging, Query, read_layout
from clodo.backups.d1.literals import quoted_name
from clodo.backups.d1.sqlite import opened, query_of
from clodo.cloudflare.d1 import D1
from clodo.errors import ApiRefused

MayExport = Callable[[], bool]
"""Says whether the window is open at this moment."""


class NotFaithful(ApiRefused):
    """An export doesn't hold what the database holds."""


@contextmanager
def exported(d1: D1, database_id: str, beside: Path, source: Query) -> Iterator[Query]:
    """
    Export a database, and give what reads the export as the database itself is read.

    Args:
        beside: A folder where there is room for the export, twice.

        source: Reads the database itself, for a look whether schema, counts and rowids are the same.

    Raises:
        ApiRefused: Cloudflare can't export it, which is so for full-text tables; or what came is not what is there.
    """
    with TemporaryDirectory(dir=beside, prefix="export-") as folder:
        text, file = Path(folder) / "export.sql", Path(folder) / "export.sqlite3"
        d1.download(d1.export(database_id), text)
        with opened(file) as connection:
            _fill(connection, text)
            text.unlink()
            query = query_of(connection)
            _raise_unless_the_same(query, source)
            yield query


def _fill(connection: apsw.Connection, text: Path) -> None:
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF", "ignore_check_constraints=ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN")
    try:
        with text.open(encoding="utf-8", newline="") as lines:
            for statement in _statements(lines):
                connection.execute(statement, can_cache=False)
    except (apsw.Error, UnicodeDecodeError) as error:
        raise NotFaithful(f"The export is not whole: {error}") from error
    connection.execute("COMMIT")


def _statements(lines: IO[str]) -> Iterator[str]:
    """Yield whole statements, holding no more than one of them."""
    held: list[str] = []
    for line in lines:
        held.append(line)
        if line.rstrip().endswith(";") and apsw.complete(text := "".join(held)):
            held.clear()
            yield text
    if rest := "".join(held).strip():
        yield rest


def _raise_unless_the_same(export: Query, source: Query) -> None:
    here, there = read_layout(export), read_layout(source)
    if here.schema_sha256 != there.schema_sha256:
        raise NotFaithful("The export has another schema than the database")
    if _counts(export, here) != _counts(source, there):
        raise NotFaithful("The export has other rows than the database")


def _counts(query: Query, layout: Layout) -> dict[str, tuple[object, ...]]:
    """Return how many rows each table has, and where its rowids begin and end when they are all that names a row."""
    tables = sorted(layout.tables_with_rows, key=lambda table: table.name)
    statements = []
    for table in tables:
        ends = "NULL,NULL"
        if table.keeps_rowid and table.paging is Paging.ROWID:
            ends = ",".join(f"CAST({end}({quoted_name(table.key[0])}) AS TEXT)" for end in ("min", "max"))
        statements.append(f"SELECT CAST(count(*) AS TEXT),{ends} FROM {quoted_name(table.name)}")
    answers = query(statements) if statements else ()
    return {table.name: tuple(answer[0]) for table, answer in zip(tables, answers, strict=True)}
