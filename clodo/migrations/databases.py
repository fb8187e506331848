"""Applying migrations to a D1 database: one file a call, all of it or nothing, looked up before it is repeated."""

# Every name goes through _identifier and every text through _text: D1 takes no parameters for several statements.
# ruff: noqa: S608

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from clodo.errors import ApiRefused, MigrationFailed, NoWayBack, OutcomeUnknown, PlanIsStale, TryLater
from clodo.migrations.files import Migration, check_statements, find_migrations, read_text
from clodo.migrations.locating import locate
from clodo.migrations.plan import AppliedRow, MigrationStatus
from clodo.migrations.statements import Statement

DEFAULT_TABLE = "d1_migrations"
"""wrangler's default for ``migrations_table``."""

RECORD_TABLE = "clodo_migrations"
"""Clodo's own memory beside wrangler's: checksum, duration, release."""

ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.5

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

SCHEMA = "SELECT type, name, sql FROM sqlite_master"


class Rows(Protocol):
    """What one statement answered."""

    @property
    def results(self) -> Sequence[Mapping[str, Any]]:
        """Its rows; empty when it gives none."""
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

    def bookmark(self, database_id: str) -> str:
        """Return the Time Travel bookmark of now."""
        ...


class Which(StrEnum):
    """Which of the pending migrations."""

    EXPAND = "expand"
    CONTRACT = "contract"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Applied:
    """
    One migration that was applied.

    Attributes:
        duration: From sending it to its answer.

        was_found: Was the answer lost, and the migration then found applied?

        bookmark: Time Travel's bookmark right after our last statement; only on the last one applied, and None when
            Cloudflare didn't give it: then nobody may go back by Time Travel.
    """

    name: str
    sha256: str
    statements: int
    duration: timedelta
    was_found: bool = False
    bookmark: str | None = None


def status(
    d1: D1, database_id: str, folder: Path, *, pattern: str = "*.sql", table: str = DEFAULT_TABLE
) -> MigrationStatus:
    """
    Say which migrations are applied and which are pending, writing nothing: one request, three at most.

    Raises:
        BadConfiguration: A migration file can't be read.
        DatabaseNotFound: The account has no database *database_id*.
    """
    return MigrationStatus.between(find_migrations(folder, pattern), _applied_rows(d1, database_id, table))


def apply(
    d1: D1,
    database_id: str,
    folder: Path,
    *,
    which: Which = Which.EXPAND,
    pattern: str = "*.sql",
    table: str = DEFAULT_TABLE,
    release_id: str | None = None,
    accepted: Collection[str] = (),
    on_applied: Callable[[Applied], None] = lambda applied: None,
    elapsed: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> list[Applied]:
    """
    Apply pending migrations one after the other, each all or nothing; stop at the first that fails.

    Every file is read and checked before the first is sent.

    Args:
        which: A release applies EXPAND before its new version is live, CONTRACT long after.

        accepted: Names of migrations whose problems a person has looked at and accepts.

        on_applied: Told of each one, right after it.

        elapsed: Seconds on a clock that never goes back.

        pause: Waits seconds between an unknown outcome and looking.

    Returns:
        What was applied, in order; empty when nothing was pending.

    Raises:
        BadConfiguration: A file can't be run as one transaction; nothing was applied.
        Refused: Folder and database disagree; nothing was applied.
        PlanIsStale: Somebody else applied one of them meanwhile.
        MigrationFailed: A file failed and left nothing; says file, line and statement, and which were applied before.
        OutcomeUnknown: An answer was lost and the database can't be asked.
    """
    found = status(d1, database_id, folder, pattern=pattern, table=table)
    found.raise_if_unsafe(accepted)
    chosen = {Which.EXPAND: found.pending_expand, Which.CONTRACT: found.pending_contract, Which.ALL: found.pending}
    todo = [(migration, migration.statements()) for migration in chosen[which]]
    done: list[Applied] = []
    for migration, statements in todo:
        call = _Call(d1, database_id, table, elapsed, pause)
        applied = _apply_one(call, migration, statements, release_id, before=tuple(one.name for one in done))
        done.append(applied)
        on_applied(applied)
    if done:
        done[-1] = replace(done[-1], bookmark=_bookmark(d1, database_id))
    return done


def revert(
    d1: D1,
    database_id: str,
    folder: Path,
    names: Sequence[str],
    *,
    pattern: str = "*.sql",
    table: str = DEFAULT_TABLE,
    elapsed: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> list[str]:
    """
    Run the down files of *names*, the last applied first, each with the removal of its rows, all or nothing.

    Names that are not applied are passed over, so that it may be repeated.

    Returns:
        The names that were reverted, in that order.

    Raises:
        NoWayBack: One of them has no down file; nothing was run.
        BadConfiguration: A down file can't be run as one transaction; nothing was run.
        MigrationFailed: A down file failed and left nothing.
        OutcomeUnknown: An answer was lost and the database can't be asked.
    """
    files = {migration.name: migration.down for migration in find_migrations(folder, pattern)}
    todo: list[tuple[str, Path, str, Sequence[Statement]]] = []
    for row in reversed(_applied_rows(d1, database_id, table)):
        if row.name in names:
            path = files.get(row.name)
            if path is None:
                raise NoWayBack(
                    f"{row.name} has no down file", hint=f"Write {row.name.removesuffix('.sql')}.down.sql beside it."
                )
            sql = read_text(path)
            todo.append((row.name, path, sql, check_statements(path, sql)))
    reverted = []
    for name, path, sql, statements in todo:
        _revert_one(_Call(d1, database_id, table, elapsed, pause), name, path, sql, statements)
        reverted.append(name)
    return reverted


@dataclass(frozen=True, slots=True)
class _Call:
    d1: D1
    database_id: str
    table: str
    elapsed: Callable[[], float]
    pause: Callable[[float], None]

    def run(self, name: str, sql: str, *, is_done: Callable[[AppliedRow | None], bool]) -> bool:
        """
        Send *sql* until its outcome is known; say whether it was found done after its answer was lost.

        Two sendings never both take effect: each opens with a statement that fails when the other one was first.
        """
        was_lost = False
        for attempt in range(ATTEMPTS):
            try:
                self.d1.query(self.database_id, sql)
            except OutcomeUnknown as error:
                was_lost = True
                self.pause(FIRST_PAUSE_SECONDS * 2**attempt)
                if is_done(self._look(name, error)):
                    return True
            except ApiRefused as error:
                if was_lost and is_done(self._look(name, error)):
                    return True
                raise
            else:
                return False
        raise OutcomeUnknown(
            f"{name}: sent {ATTEMPTS} times without an answer; when last asked the database did not have it",
            hint="Run the same command again: it looks first.",
        )

    def _look(self, name: str, error: Exception) -> AppliedRow | None:
        try:
            rows = _applied_rows(self.d1, self.database_id, self.table)
        except (TryLater, OutcomeUnknown) as silence:
            raise OutcomeUnknown(
                f"{name}: sent without an answer, and the database can't be asked: {silence.message}",
                hint="Run the same command again: it looks first.",
            ) from error
        return next((row for row in rows if row.name == name), None)


def _apply_one(
    call: _Call,
    migration: Migration,
    statements: Sequence[Statement],
    release_id: str | None,
    *,
    before: tuple[str, ...],
) -> Applied:
    table, name = _identifier(call.table), _text(migration.name)
    sql = _joined(
        CREATE_TABLE.format(table=table),
        CREATE_RECORD_TABLE,
        # First, so that of two who send the same file the second fails before it touches anything.
        f"INSERT INTO {table} (name) VALUES ({name});",
        f"INSERT OR REPLACE INTO {RECORD_TABLE} (name, sha256, applied_at, release_id) VALUES"
        f" ({name}, {_text(migration.sha256)}, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), {_text(release_id)});",
        *_closed(migration.sql, statements),
        f"UPDATE {RECORD_TABLE} SET duration_ms ="
        " CAST(round((julianday('now') - julianday(applied_at)) * 86400000) AS INTEGER)"
        f" WHERE name = {name};",
    )
    started_at = call.elapsed()
    try:
        was_found = call.run(
            migration.name,
            sql,
            is_done=lambda row: row is not None and (row.sha256, row.release_id) == (migration.sha256, release_id),
        )
    except ApiRefused as error:
        if f"UNIQUE constraint failed: {call.table}.name" in error.message:
            raise PlanIsStale(
                f"{migration.name}: somebody else applied it meanwhile", hint="Look with `clodo database status`."
            ) from error
        raise _failed(
            call,
            migration.path,
            statements,
            error,
            name=migration.name,
            did_stay=lambda row: row is not None,
            before=before,
        ) from error
    return Applied(
        name=migration.name,
        sha256=migration.sha256,
        statements=len(statements),
        duration=timedelta(seconds=call.elapsed() - started_at),
        was_found=was_found,
    )


def _revert_one(call: _Call, name: str, path: Path, sql: str, statements: Sequence[Statement]) -> None:
    table, quoted = _identifier(call.table), _text(name)
    whole = _joined(
        CREATE_RECORD_TABLE,
        # Malformed JSON is the one error that plain SQL can raise: of two sendings the second must fail.
        f"SELECT json(CASE WHEN EXISTS (SELECT 1 FROM {table} WHERE name = {quoted}) THEN '1' ELSE 'not applied' END);",
        *_closed(sql, statements),
        f"DELETE FROM {table} WHERE name = {quoted};",
        f"DELETE FROM {RECORD_TABLE} WHERE name = {quoted};",
    )
    try:
        call.run(name, whole, is_done=lambda row: row is None)
    except ApiRefused as error:
        raise _failed(call, path, statements, error, did_stay=lambda row: row is None, name=name) from error


def _failed(
    call: _Call,
    path: Path,
    statements: Sequence[Statement],
    error: ApiRefused,
    *,
    name: str,
    did_stay: Callable[[AppliedRow | None], bool],
    before: tuple[str, ...] = (),
) -> MigrationFailed:
    number = None
    try:
        schema = call.d1.query(call.database_id, SCHEMA, only_reads=True)[0].results
        rows = _applied_rows(call.d1, call.database_id, call.table)
    except (TryLater, OutcomeUnknown, ApiRefused):
        aftermath = "whether something of it stayed could not be looked up"
    else:
        number = locate(statements, error.message, schema)
        stayed = did_stay(next((row for row in rows if row.name == name), None))
        aftermath = "a part of it STAYED in the database" if stayed else "nothing of it stayed in the database"
    if number is None:
        place = f"{path}: one of its {len(statements)} statements failed"
    else:
        statement = statements[number - 1]
        text = " ".join(statement.text.split())
        text = text if len(text) <= 100 else text[:99] + "…"
        place = f"{path}:{statement.line}: statement {number} of {len(statements)} failed ({text})"
    kept = f"; applied before it, and kept: {', '.join(before)}" if before else ""
    return MigrationFailed(
        f"{place}: {error.message}; {aftermath}{kept}",
        statement=number,
        applied=before,
        bookmark=_bookmark(call.d1, call.database_id) if before else None,
        hint="Correct the file and run it again.",
    )


def _applied_rows(d1: D1, database_id: str, table: str) -> tuple[AppliedRow, ...]:
    # Reading makes no table: a dry run leaves nothing behind. A database that we have migrated has both tables, and is
    # asked once; the others say that there is no such table, and are asked which there are.
    own, ours = _identifier(table), RECORD_TABLE
    applied, recorded = (
        f"SELECT name, applied_at FROM {own} ORDER BY id;",
        f"SELECT name, sha256, release_id FROM {ours};",
    )
    try:
        answers = d1.query(database_id, f"{applied}\n{recorded}", only_reads=True)
    except ApiRefused as error:
        if "no such table" not in error.message:
            raise
        present = {str(row["name"]).lower() for row in _tables(d1, database_id, table)}
        if table.lower() not in present:
            return ()
        wanted = f"{applied}\n{recorded}" if RECORD_TABLE in present else applied
        answers = d1.query(database_id, wanted, only_reads=True)
    records = {row["name"]: row for answer in answers[1:] for row in answer.results}
    rows = []
    for row in answers[0].results:
        record = records.get(row["name"], {})
        rows.append(AppliedRow(row["name"], str(row["applied_at"]), record.get("sha256"), record.get("release_id")))
    return tuple(rows)


def _tables(d1: D1, database_id: str, table: str) -> Iterable[Mapping[str, Any]]:
    sql = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        f" AND lower(name) IN (lower({_text(table)}), {_text(RECORD_TABLE)})"
    )
    return d1.query(database_id, sql, only_reads=True)[0].results


def _bookmark(d1: D1, database_id: str) -> str | None:
    try:
        return d1.bookmark(database_id)
    except (TryLater, OutcomeUnknown, ApiRefused):
        # What was applied stays applied; without a bookmark nobody goes back by Time Travel.
        return None


def _closed(sql: str, statements: Sequence[Statement]) -> tuple[str, ...]:
    # A file may end in a comment without a line end, or in a statement without a semicolon.
    return (sql, ";") if statements and not statements[-1].is_closed else (sql,)


def _joined(*parts: str) -> str:
    return "\n".join(parts)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str | None) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"
