"""Applying migrations to a D1 database: one file a call, all of it or nothing, looked up before it is repeated."""

# Every name goes through quoted() and every text through as_text(): D1 takes no parameters for several statements.
# ruff: noqa: S608

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from clodo.errors import ApiRefused, BadConfiguration, PlanIsStale
from clodo.migrations.failures import failure_of
from clodo.migrations.files import Migration, find_migrations
from clodo.migrations.plan import MigrationStatus
from clodo.migrations.rehearsal import Rehearsal, RowSource, rehearse
from clodo.migrations.schema import quoted
from clodo.migrations.sending import Sending, bookmark_of, closed, joined
from clodo.migrations.statements import Statement
from clodo.migrations.stored import (
    CREATE_RECORD_TABLE,
    CREATE_TABLE,
    D1,
    DEFAULT_TABLE,
    RECORD_TABLE,
    Stored,
    as_text,
    read_stored,
)


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
    return _status(read_stored(d1, database_id, table), find_migrations(folder, pattern), table)


def chosen_of(found: MigrationStatus, which: Which) -> tuple[Migration, ...]:
    """Return the pending migrations of a kind, in the order to apply them."""
    kinds = {Which.EXPAND: found.pending_expand, Which.CONTRACT: found.pending_contract, Which.ALL: found.pending}
    return kinds[which]


def examine(
    found: MigrationStatus,
    *,
    which: Which = Which.EXPAND,
    accepted: Collection[str] = (),
    source: RowSource | None = None,
    database_id: str = "",
) -> Rehearsal:
    """
    Refuse what must not be applied, and rehearse the rest; no request is made, and nothing is written.

    Args:
        accepted: Names of migrations whose problems and hazards a person has looked at and accepts.

        source: Where rows for the rehearsal come from; by default there are none.

    Raises:
        BadConfiguration: A file can't be run as one transaction.
        Refused: Folder and database disagree, or a file is hazardous and nobody accepted that.
        MigrationFailed: A file fails in the rehearsal.
    """
    found.raise_if_unsafe(accepted)
    chosen = chosen_of(found, which)
    found.raise_if_hazardous(chosen, accepted)
    rehearsal = rehearse(
        chosen,
        found.schema,
        source=source,
        database_id=database_id,
        earlier=found.applied_files,
        table=found.records[0] if found.records else DEFAULT_TABLE,
    )
    rehearsal.raise_if_failed()
    return rehearsal


def failing(found: MigrationStatus) -> dict[str, str]:
    """
    Return which pending files can't run as they stand, by name, and why; found on an empty copy, without a request.

    The first one ends it, as it would in earnest: what comes after it was not tried.
    """
    try:
        rehearsal = rehearse(found.pending, found.schema)
    except BadConfiguration as error:
        named = [migration.name for migration in found.pending if str(migration.path) in error.message]
        return dict.fromkeys(named, error.message)
    if rehearsal.missing:
        return {}
    return {file.name: file.failure for file in rehearsal.files if file.failure}


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
    known: MigrationStatus | None = None,
    source: RowSource | None = None,
    on_rehearsed: Callable[[Rehearsal], None] = lambda rehearsal: None,
    on_applied: Callable[[Applied], None] = lambda applied: None,
    tells: Callable[[str], None] = lambda line: None,
    elapsed: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> list[Applied]:
    """
    Apply pending migrations one after the other, each all or nothing; stop at the first that fails.

    Every file is read, checked and rehearsed on a local copy before the first is sent.

    Args:
        which: A release applies EXPAND before its new version is live, CONTRACT long after.

        accepted: Names of migrations whose problems and hazards a person has looked at and accepts.

        known: What `status` said a moment ago, and `examine` refused nothing of; by default both are done now. What
            somebody else applies in between is found out by the database itself.

        source: Where rows for the rehearsal come from; by default there are none.

        on_rehearsed: Told how the rehearsal went, before anything is sent.

        on_applied: Told of each one, right after it.

        tells: Gets a line about what takes long.

        elapsed: Seconds on a clock that never goes back.

        pause: Waits seconds between an unknown outcome and looking.

    Returns:
        What was applied, in order; empty when nothing was pending.

    Raises:
        BadConfiguration: A file can't be run as one transaction; nothing was applied.
        Refused: Folder and database disagree, or a file is hazardous; nothing was applied.
        PlanIsStale: Somebody else applied one of them meanwhile.
        MigrationFailed: A file failed and left nothing; says file, line and statement, and which were applied before.
        OutcomeUnknown: An answer was lost and the database can't be asked.
    """
    found = known
    if found is None:
        found = status(d1, database_id, folder, pattern=pattern, table=table)
        rehearsal = examine(found, which=which, accepted=accepted, source=source, database_id=database_id)
        on_rehearsed(rehearsal)
    todo = [(migration, migration.statements()) for migration in chosen_of(found, which)]
    sending = Sending(d1, database_id, table, pause, tells)
    done: list[Applied] = []
    for migration, statements in todo:
        before = tuple(one.name for one in done)
        applied = _apply_one(sending, migration, statements, release_id, before=before, elapsed=elapsed)
        done.append(applied)
        on_applied(applied)
    if done:
        done[-1] = replace(done[-1], bookmark=bookmark_of(d1, database_id))
    return done


def _status(stored: Stored, migrations: Sequence[Migration], table: str) -> MigrationStatus:
    return MigrationStatus.between(
        migrations, stored.applied, schema=stored.schema, records=(table, RECORD_TABLE), database_bytes=stored.size
    )


def _apply_one(
    sending: Sending,
    migration: Migration,
    statements: Sequence[Statement],
    release_id: str | None,
    *,
    before: tuple[str, ...],
    elapsed: Callable[[], float],
) -> Applied:
    table, name = quoted(sending.table), as_text(migration.name)
    sql = joined(
        CREATE_TABLE.format(table=table),
        CREATE_RECORD_TABLE,
        # First, so that of two who send the same file the second fails before it touches anything.
        f"INSERT INTO {table} (name) VALUES ({name});",
        f"INSERT OR REPLACE INTO {RECORD_TABLE} (name, sha256, applied_at, release_id) VALUES"
        f" ({name}, {as_text(migration.sha256)}, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), {as_text(release_id)});",
        *closed(migration.sql, statements),
        f"UPDATE {RECORD_TABLE} SET duration_ms ="
        " CAST(round((julianday('now') - julianday(applied_at)) * 86400000) AS INTEGER)"
        f" WHERE name = {name};",
    )
    started_at = elapsed()
    try:
        was_found = sending.run(
            migration.name,
            sql,
            len(statements),
            is_done=lambda row: row is not None and (row.sha256, row.release_id) == (migration.sha256, release_id),
        )
    except ApiRefused as error:
        if f"UNIQUE constraint failed: {sending.table}.name" in error.message:
            raise PlanIsStale(
                f"{migration.name}: somebody else applied it meanwhile", hint="Look with `clodo database status`."
            ) from error
        raise failure_of(
            sending,
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
        duration=timedelta(seconds=elapsed() - started_at),
        was_found=was_found,
    )
