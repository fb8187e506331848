"""Undoing migrations by their down files, each whole and with the removal of its records."""

# Every name goes through quoted() and every text through as_text(): D1 takes no parameters for several statements.
# ruff: noqa: S608

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from clodo.errors import ApiRefused, NoWayBack
from clodo.migrations.failures import failure_of
from clodo.migrations.files import Migration, check_statements, find_migrations, read_text
from clodo.migrations.plan import AppliedRow
from clodo.migrations.rehearsal import rehearse_statements
from clodo.migrations.schema import quoted
from clodo.migrations.sending import Sending, closed, joined
from clodo.migrations.statements import Statement
from clodo.migrations.stored import CREATE_RECORD_TABLE, D1, DEFAULT_TABLE, RECORD_TABLE, as_text, read_stored


def revert(
    d1: D1,
    database_id: str,
    folder: Path,
    names: Sequence[str],
    *,
    pattern: str = "*.sql",
    table: str = DEFAULT_TABLE,
    pause: Callable[[float], None] = time.sleep,
) -> list[str]:
    """
    Run the down files of *names*, the last applied first, each with the removal of its rows, all or nothing.

    They are rehearsed first. Names that are not applied are passed over, so that it may be repeated.

    Returns:
        The names that were reverted, in that order.

    Raises:
        NoWayBack: One of them has no down file; nothing was run.
        BadConfiguration: A down file can't be run as one transaction; nothing was run.
        MigrationFailed: A down file failed and left nothing.
        OutcomeUnknown: An answer was lost and the database can't be asked.
    """
    stored = read_stored(d1, database_id, table)
    todo = down_files(stored.applied, find_migrations(folder, pattern), names)
    rehearse_statements(
        [(file.name, file.path, file.statements) for file in todo], stored.schema, database_id=database_id
    ).raise_if_failed()
    sending = Sending(d1, database_id, table, pause)
    for file in todo:
        _revert_one(sending, file)
    return [file.name for file in todo]


@dataclass(frozen=True, slots=True)
class DownFile:
    """The file that undoes the migration *name*."""

    name: str
    path: Path
    sql: str
    statements: Sequence[Statement]


def down_files(
    applied: Sequence[AppliedRow], migrations: Sequence[Migration], names: Collection[str]
) -> tuple[DownFile, ...]:
    """
    Return what undoes those of *names* that are applied, the last applied first.

    Raises:
        NoWayBack: One of them has no down file.
        BadConfiguration: A down file can't be read, or run as one transaction.
    """
    files = {migration.name: migration.down for migration in migrations}
    found: list[DownFile] = []
    for row in reversed(applied):
        if row.name in names:
            path = files.get(row.name)
            if path is None:
                raise NoWayBack(
                    f"{row.name} has no down file",
                    hint=f"Write {row.name.removesuffix('.sql')}.down.sql beside it, or go back in time"
                    " (--time-travel), which loses what was written since.",
                )
            sql = read_text(path)
            found.append(DownFile(row.name, path, sql, check_statements(path, sql)))
    return tuple(found)


def _revert_one(sending: Sending, file: DownFile) -> None:
    table, name = quoted(sending.table), as_text(file.name)
    whole = joined(
        CREATE_RECORD_TABLE,
        # Malformed JSON is the one error that plain SQL can raise: of two sendings the second must fail.
        f"SELECT json(CASE WHEN EXISTS (SELECT 1 FROM {table} WHERE name = {name}) THEN '1' ELSE 'not applied' END);",
        *closed(file.sql, file.statements),
        f"DELETE FROM {table} WHERE name = {name};",
        f"DELETE FROM {RECORD_TABLE} WHERE name = {name};",
    )
    try:
        sending.run(file.name, whole, len(file.statements), is_done=lambda row: row is None)
    except ApiRefused as error:
        raise failure_of(
            sending, file.path, file.statements, error, did_stay=lambda row: row is None, name=file.name
        ) from error
