"""Pending files run on a copy of the database on this machine, within D1's limits, before the real one is touched."""

# Names of tables come from the database itself and are quoted.
# ruff: noqa: S608

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import apsw

from clodo.emulator.d1.engine import Engine
from clodo.emulator.d1.limits import DEFAULT_LIMITS
from clodo.emulator.runtime.ports import Statement as Call
from clodo.emulator.runtime.ports import StatementFailed
from clodo.errors import MigrationFailed
from clodo.migrations.files import Migration
from clodo.migrations.schema import SchemaRow, make_copy, quoted
from clodo.migrations.statements import Statement, split

MAX_TOLD = 20
"""So many broken references or damaged pages are told, not more."""


class RowSource(Protocol):
    """Where the rows of a rehearsal come from: the latest snapshot of a database."""

    def fill(self, database_id: str, file: Path) -> datetime | None:
        """Make *file*, which isn't there yet, an SQLite database with all that was saved; return when that was.

        None, and no file, when there is no snapshot of *database_id*.
        """
        ...


@dataclass(frozen=True, slots=True)
class RehearsedFile:
    """
    How one file went.

    Attributes:
        rows_written: As D1 would count them, about.

        duration: Of all its statements, on this machine.

        failure: What the file failed with, opening with its place; None when it passed.

        open_questions: What only the rows can tell, when there were none: constraints that failed on an empty copy.
    """

    name: str
    statements: int
    rows_written: int
    duration: timedelta
    failure: str | None = None
    open_questions: tuple[str, ...] = ()
    failed_statement: int | None = None


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """
    How the pending files of a database went on a copy.

    Attributes:
        rows: Of each table, how many before and after; None for a table that wasn't there. Only with data.

        broken: References and pages that are damaged afterwards and were not before; empty when all is well.

        missing: What of the schema could not be copied here; with something missing a failure proves nothing.

        data_of: When the rows were saved; None when there were none.
    """

    files: tuple[RehearsedFile, ...] = ()
    rows: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    data_of: datetime | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """What went wrong, one line each; empty when all went well."""
        return (*(item.failure for item in self.files if item.failure), *self.broken)

    def raise_if_failed(self) -> None:
        """
        Refuse what can't work, unless the copy is too poor to tell.

        Raises:
            MigrationFailed: A file failed on the copy, or left it damaged.
        """
        failures = self.failures
        if failures and not self.missing:
            what = "with the rows of a snapshot" if self.data_of else "without rows"
            raise MigrationFailed(
                f"{'; '.join(failures)}. This was found in a rehearsal {what}; the database was not touched",
                statement=next((item.failed_statement for item in self.files if item.failure), None),
                hint="Correct the file and run it again.",
            )


def rehearse(
    migrations: Sequence[Migration],
    schema: Sequence[SchemaRow],
    *,
    source: RowSource | None = None,
    database_id: str = "",
    earlier: Sequence[Migration] = (),
    table: str = "",
    elapsed: Callable[[], float] = time.perf_counter,
) -> Rehearsal:
    """
    Run *migrations* in this order on a copy of a database; the first that fails ends it, as it would in earnest.

    Args:
        schema: The database's.

        source: Where rows come from; by default the copy is empty, which is quick and leaves open what rows decide.

        database_id: Whose rows.

        earlier: What is applied to the database; what of it was applied after its rows were saved is run first.

        table: Where the saved database remembers what was applied.

    Raises:
        BadConfiguration: A file can't be run as one transaction.
    """
    files = [(migration.name, migration.path, migration.statements()) for migration in migrations]
    before = [(migration.name, migration.path, split(migration.sql)) for migration in earlier]
    return rehearse_statements(
        files, schema, source=source, database_id=database_id, earlier=before, table=table, elapsed=elapsed
    )


Split = tuple[str, Path, Sequence[Statement]]
"""A file by name and path, with its statements."""


def rehearse_statements(
    files: Sequence[Split],
    schema: Sequence[SchemaRow],
    *,
    source: RowSource | None = None,
    database_id: str = "",
    earlier: Sequence[Split] = (),
    table: str = "",
    elapsed: Callable[[], float] = time.perf_counter,
) -> Rehearsal:
    """Do the same with files that are split already; down files are rehearsed so."""
    if not files:
        return Rehearsal()
    with tempfile.TemporaryDirectory(prefix="clodo-rehearsal-") as folder:
        database = Path(folder) / "copy.sqlite3"
        data_of = source.fill(database_id, database) if source is not None else None
        missing = _complete(database, () if data_of else schema)
        with _opened(database) as engine:
            late = _not_in(engine, table, earlier) if data_of else []
            caught_up = [_run(engine, *file, elapsed, has_rows=True) for file in late]
            before = _counts(engine) if data_of else {}
            was_broken = tuple(_broken(engine)) if data_of else ()
            done = [item for item in caught_up if item.failure]
            for file in files:
                if any(item.failure for item in done):
                    break
                done.append(_run(engine, *file, elapsed, has_rows=data_of is not None))
            after = _counts(engine) if data_of else {}
            broken = tuple(_broken(engine))
    rows = {name: (before.get(name), after.get(name)) for name in sorted({*before, *after})}
    return Rehearsal(tuple(done), rows, _newly(broken, was_broken), missing, data_of)


def _not_in(engine: Engine, table: str, files: Sequence[Split]) -> list[Split]:
    """Return those of *files* that the copy doesn't remember: they were applied after its rows were saved."""
    try:
        known = {row[0] for row in engine.rows(f"SELECT name FROM {quoted(table)}")}
    except apsw.SQLError:
        # It was saved before anything was applied.
        known = set()
    return [file for file in files if file[0] not in known]


def _complete(database: Path, schema: Sequence[SchemaRow]) -> tuple[str, ...]:
    connection = apsw.Connection(str(database))
    try:
        connection.execute("PRAGMA synchronous = off")
        connection.execute("PRAGMA journal_mode = wal")
        return make_copy(connection, schema)
    finally:
        connection.close()


@contextmanager
def _opened(database: Path) -> Iterator[Engine]:
    engine = Engine(database, DEFAULT_LIMITS, on_commit=lambda frames: None)
    try:
        yield engine
    finally:
        engine.close()


def _run(
    engine: Engine,
    name: str,
    path: Path,
    statements: Sequence[Statement],
    elapsed: Callable[[], float],
    *,
    has_rows: bool,
) -> RehearsedFile:
    started_at = elapsed()
    written, number = 0, 0
    failure: str | None = None
    questions: list[str] = []
    try:
        with engine.limited(), engine.transaction():
            for number, statement in enumerate(statements, start=1):
                try:
                    written += int(engine.execute(Call(statement.text)).meta["rows_written"])
                except StatementFailed as error:
                    if has_rows or not _rows_decide(error.message):
                        raise
                    questions.append(describe_failure(path, statements, number, error.message))
    except StatementFailed as error:
        if has_rows or not _rows_decide(error.message):
            failure = describe_failure(path, statements, number, error.message)
        else:
            questions.append(describe_failure(path, statements, number, error.message))
    return RehearsedFile(
        name,
        len(statements),
        written,
        timedelta(seconds=elapsed() - started_at),
        failure,
        tuple(questions),
        number if failure else None,
    )


def describe_failure(path: Path, statements: Sequence[Statement], number: int, message: str) -> str:
    """Say which statement of a file failed: place, number, text and SQLite's own words."""
    statement = statements[number - 1]
    text = " ".join(statement.text.split())
    text = text if len(text) <= 100 else text[:99] + "…"
    return f"{path}:{statement.line}: statement {number} of {len(statements)} failed ({text}): {message}"


def _rows_decide(message: str) -> bool:
    # On an empty copy a constraint may fail for want of the row that it needs; and a trigger's RAISE is one too.
    return "SQLITE_CONSTRAINT" in message


def _counts(engine: Engine) -> dict[str, int]:
    tables = [str(row[0]) for row in engine.rows(_TABLES)]
    return {name: int(next(engine.rows(f"SELECT count(*) FROM {quoted(name)}"))[0]) for name in tables}


_TABLES = (
    "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')"
    " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'"
)


def _newly(broken: Sequence[str], before: Sequence[str]) -> tuple[str, ...]:
    # What was broken before may be called otherwise now, after a rename: only more of it is the files' fault.
    if len(broken) <= len(before):
        return ()
    return tuple([line for line in broken if line not in before][:MAX_TOLD])


def _broken(engine: Engine) -> Iterator[str]:
    """Yield what is damaged: references to rows that aren't there, and what SQLite finds in its pages."""
    try:
        found: list[tuple[Any, ...]] = list(engine.rows("PRAGMA foreign_key_check"))
    except apsw.Error as error:
        yield f"foreign keys can't be checked: {error}"
        found = []
    for table, row, parent, _ in found:
        yield f"row {row} of {table} refers to a row of {parent} that isn't there"
    for (line,) in engine.rows(f"PRAGMA integrity_check({MAX_TOLD})"):
        if line != "ok":
            yield f"integrity check: {line}"
