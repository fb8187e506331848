"""
What is hazardous in migration files: rules over what SQLite says that they do.

Next door: `rules` names the rules, `effects` watches a file run, `rehearsal` runs files within D1's limits.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clodo.errors import BadConfiguration
from clodo.migrations import rules
from clodo.migrations.effects import Effects, watch
from clodo.migrations.files import Migration
from clodo.migrations.rules import RULES, Rule, Verdict
from clodo.migrations.schema import Column, ForeignKey, Index, Schema, SchemaRow, Table, empty_copy
from clodo.migrations.statements import split

PATIENCE_SECONDS = 5.0
INSTRUCTIONS_BETWEEN_LOOKS = 10_000

SMALL_DATABASE_BYTES = 16 * 1024 * 1024
"""In a database of up to this size no rewrite is long."""

PASSED_ON = {"CASCADE": "deletes", "SET NULL": "changes", "SET DEFAULT": "changes"}
"""What ON DELETE does to the rows that refer to one that goes."""


@dataclass(frozen=True, slots=True)
class Hazard:
    """
    Something hazardous in a migration file.

    Attributes:
        migration: Its name.

        path, line: Where the statement stands.

        what: What it does, in a few words.

        waived_because: The reason with which the file waives the rule; None when it doesn't.
    """

    rule: Rule
    migration: str
    path: Path
    line: int
    what: str
    waived_because: str | None = None

    @property
    def message(self) -> str:
        """One line: place, rule, what, and why that is hazardous."""
        waived = "" if self.waived_because is None else f" (waived: {self.waived_because})"
        return f"{self.path}:{self.line}: {self.rule.name}: {self.what}. {self.rule.why}{waived}"


def lint(
    migrations: Sequence[Migration],
    schema: Sequence[SchemaRow],
    *,
    records: Collection[str] = (),
    database_bytes: int | None = None,
    elapsed: Callable[[], float] = time.monotonic,
) -> tuple[Hazard, ...]:
    """
    Say what is hazardous in *migrations*, run in this order on an empty database with *schema*.

    A file that fails there is left at the statement that failed: the rehearsal says why. Tables that the files
    themselves make are new: nobody reads them yet, and few rows are in them.

    Args:
        records: Tables that record what was applied.

        database_bytes: How large the database is; None when nobody knows.

    Raises:
        BadConfiguration: A file waives a rule that doesn't exist.
    """
    for migration in migrations:
        _raise_if_waivers_are_unknown(migration)
    if not migrations:
        return ()
    is_small = database_bytes is not None and database_bytes <= SMALL_DATABASE_BYTES
    hazards: list[Hazard] = []
    connection = empty_copy(schema)
    try:
        gives_up_at = elapsed() + PATIENCE_SECONDS
        connection.set_progress_handler(lambda: elapsed() > gives_up_at, INSTRUCTIONS_BETWEEN_LOOKS)
        new: set[str] = set()
        for migration in migrations:
            effects = watch(connection, split(migration.sql))
            waivers = {waiver.rule: waiver.reason for waiver in migration.waivers}
            found = dict.fromkeys(_judge(effects, new, {name.lower() for name in records}, is_small=is_small))
            hazards += [
                Hazard(rule, migration.name, migration.path, line, what, waivers.get(rule.name))
                for rule, line, what in sorted(found, key=lambda item: item[1])
            ]
            come = effects.after.tables.keys() - effects.before.tables.keys() - set(effects.renamed_tables.values())
            new = {effects.renamed_tables.get(name, name) for name in new} | come
    finally:
        connection.close()
    return tuple(hazards)


def verdict_of(name: str, hazards: Sequence[Hazard]) -> Verdict:
    """Return what becomes of the migration *name*; hazards that it waives don't count."""
    verdicts = {item.rule.verdict for item in hazards if item.migration == name and item.waived_because is None}
    return next((item for item in (Verdict.REFUSED, Verdict.NEEDS_APPROVAL) if item in verdicts), Verdict.SAFE)


def takes_something_away(name: str, hazards: Sequence[Hazard]) -> bool:
    """Say whether the migration *name* takes away what an older version may use, and doesn't waive that."""
    return any(item.rule.is_contract and item.waived_because is None for item in hazards if item.migration == name)


Found = Iterator[tuple[Rule, int, str]]


def _judge(effects: Effects, new: Collection[str], records: Collection[str], *, is_small: bool) -> Found:
    yield from _tables(effects, {*new, *records}, is_small=is_small)
    yield from _views(effects)
    yield from _indexes_and_triggers(effects, new)
    yield from _foreign_keys(effects)
    yield from _unique_indexes(effects, new)
    yield from _drops(effects, new)
    yield from _rows(effects, new, records, is_small=is_small)
    if "foreign_keys" in effects.pragmas:
        yield rules.PRAGMA_WITHOUT_EFFECT, effects.pragmas["foreign_keys"], "sets PRAGMA foreign_keys"


def _tables(effects: Effects, new: Collection[str], *, is_small: bool) -> Found:
    dropped = {drop.table for drop in effects.drops}
    for key, table in effects.before.tables.items():
        if key in new or table.is_inner:
            continue
        line = effects.line_of("table", key)
        now = effects.after.tables.get(key)
        if now is None:
            renamed = effects.after.tables.get(effects.renamed_tables.get(key, ""))
            if renamed is None:
                yield rules.DROP_TABLE, line, f"drops the table {table.name}"
                continue
            now = renamed
            yield rules.RENAME_TABLE, line, f"renames the table {table.name} to {now.name}"
        elif key in dropped and not is_small:
            yield rules.REBUILD_TABLE, line, f"rebuilds the table {table.name}"
        yield from _columns(effects, table, now, line, is_rebuilt=key in dropped)


def _columns(effects: Effects, before: Table, after: Table, line: int, *, is_rebuilt: bool) -> Found:
    key = before.name.lower()
    kind = f"column of {key}"
    for column in before.columns:
        at = effects.line_of(kind, column.name, line)
        now = after.column(column.name)
        if now is not None:
            if now.is_not_null and not column.is_not_null and now.default is None:
                yield rules.TIGHTENED_COLUMN, at, f"makes the column {column.name} of {before.name} NOT NULL"
            continue
        name = effects.renamed_columns.get((key, column.name.lower()))
        if name is not None and after.column(name) is not None:
            yield rules.RENAME_COLUMN, at, f"renames the column {column.name} of {before.name} to {name}"
        else:
            yield rules.DROP_COLUMN, at, f"drops the column {column.name} of {before.name}"
    renamed = {name.lower() for (table, _), name in effects.renamed_columns.items() if table == key}
    for column in after.columns:
        if before.column(column.name) is None and column.name.lower() not in renamed and _needs_a_value(column):
            rule = rules.TIGHTENED_COLUMN if is_rebuilt else rules.NOT_NULL_WITHOUT_DEFAULT
            what = f"adds the column {column.name} to {before.name}, NOT NULL and without a default"
            yield rule, effects.line_of(kind, column.name, line), what


def _needs_a_value(column: Column) -> bool:
    return column.is_not_null and column.hidden == 0 and (column.default or "NULL").upper() == "NULL"


def _views(effects: Effects) -> Found:
    for key, view in effects.before.views.items():
        again = effects.after.views.get(key)
        if again is None:
            yield rules.DROP_VIEW, effects.line_of("view", key), f"drops the view {view.name}"
            continue
        for column in view.columns:
            if again.sql != view.sql and again.column(column.name) is None:
                what = f"takes the column {column.name} out of the view {view.name}"
                yield rules.DROP_COLUMN, effects.line_of("new view", key), what


def _indexes_and_triggers(effects: Effects, new: Collection[str]) -> Found:
    """Tell which indexes and triggers are gone of tables that are still there."""
    before, after = effects.before, effects.after
    for key, index in before.indexes.items():
        if index.sql is None or _table_after(effects, index.table, new) is None:
            continue
        again = after.indexes.get(key)
        was_dropped = ("index", key) in effects.lines or ("table", index.table.lower()) in effects.lines
        is_same = again is not None and (again.columns, again.is_unique) == (index.columns, index.is_unique)
        # What nobody dropped was at most adjusted by SQLite, when a column of it was renamed.
        if not is_same and (again is None or was_dropped):
            line = effects.line_of("index", key, effects.line_of("table", index.table))
            yield rules.DROP_INDEX, line, f"drops the index {index.name} of {index.table}"
    for key, trigger in before.triggers.items():
        if key not in after.triggers and _table_after(effects, trigger.table, new) is not None:
            line = effects.line_of("trigger", key, effects.line_of("table", trigger.table))
            yield rules.DROP_TRIGGER, line, f"drops the trigger {trigger.name} of {trigger.table}"


def _table_after(effects: Effects, name: str, new: Collection[str]) -> str | None:
    """Return what a table or view that was there before is called now; None when it is gone, or new."""
    key = name.lower()
    if key in new:
        return None
    return key if key in effects.after.tables or key in effects.after.views else effects.renamed_tables.get(key)


def _foreign_keys(effects: Effects) -> Found:
    for key, table in effects.after.tables.items():
        old = effects.before.tables.get(effects.name_before(key))
        known = set() if old is None else {(item.columns, item.on_delete) for item in old.foreign_keys}
        for foreign_key in table.foreign_keys:
            if (foreign_key.columns, foreign_key.on_delete) in known or _has_index(effects.after, table, foreign_key):
                continue
            line = effects.line_of(f"column of {key}", foreign_key.columns[0], effects.line_of("new table", key))
            columns = ", ".join(foreign_key.columns)
            what = f"no index of {table.name} begins with {columns}, which refers to {foreign_key.table}"
            yield rules.FOREIGN_KEY_WITHOUT_INDEX, line, what


def _has_index(schema: Schema, table: Table, key: ForeignKey) -> bool:
    wanted = sorted(column.lower() for column in key.columns)
    primary = sorted((column for column in table.columns if column.key), key=lambda column: column.key)
    lists = [[column.name.lower() for column in primary]]
    lists += [[(column or "").lower() for column in index.columns] for index in schema.indexes_of(table.name)]
    return any(sorted(columns[: len(wanted)]) == wanted for columns in lists)


def _unique_indexes(effects: Effects, new: Collection[str]) -> Found:
    for key, index in effects.after.indexes.items():
        table = effects.name_before(index.table)
        if not index.is_unique or index.sql is None or table in new or table not in effects.before.tables:
            continue
        if not any(_is_as_strict(other, index, table) for other in effects.before.indexes.values()):
            line = effects.line_of("new index", key)
            yield rules.UNIQUE_INDEX, line, f"makes the unique index {index.name} on rows of {index.table}"


def _is_as_strict(other: Index, index: Index, table: str) -> bool:
    return other.is_unique and other.table.lower() == table and other.columns == index.columns


def _drops(effects: Effects, new: Collection[str]) -> Found:
    for drop in effects.drops:
        if drop.table in new or drop.table not in effects.before.tables:
            continue
        for child, key in drop.referring:
            if child.lower() in new or child.lower() not in effects.before.tables:
                continue
            if key.on_delete in PASSED_ON:
                verb = PASSED_ON[key.on_delete]
                yield rules.DROP_CASCADES, drop.line, f"dropping {drop.table} {verb} rows of {child}"
            elif not drop.is_deferred:
                what = f"rows of {child} may refer to {drop.table}; write PRAGMA defer_foreign_keys = on above it"
                yield rules.DROP_REFERENCED, drop.line, what


def _rows(effects: Effects, new: Collection[str], records: Collection[str], *, is_small: bool) -> Found:
    old = effects.before.tables.keys() - set(new)
    rebuilt = {drop.table for drop in effects.drops}
    for drop in effects.drops:
        if drop.table in records:
            yield rules.TOUCHES_RECORD, drop.line, f"drops the table {drop.table}"
    for touched in effects.rows:
        for record in sorted(touched.changed & set(records)):
            yield rules.TOUCHES_RECORD, touched.line, f"changes the rows of {record}"
        changed = touched.changed & old
        if touched.deletes_all:
            for table in sorted(changed):
                yield rules.DELETE_EVERY_ROW, touched.line, f"deletes every row of {table}"
        elif touched.scans and touched.changed and not is_small:
            for table in sorted(changed or (touched.read & old) - rebuilt):
                verb = "changes" if changed else "copies"
                yield rules.LONG_REWRITE, touched.line, f"{verb} {table} and reads all of a table for it"


def _raise_if_waivers_are_unknown(migration: Migration) -> None:
    for waiver in migration.waivers:
        if waiver.rule not in RULES:
            close = difflib.get_close_matches(waiver.rule, RULES, n=1)
            raise BadConfiguration(
                f'{migration.path}:{waiver.line}: no rule is called "{waiver.rule}"',
                hint=f"Did you mean {close[0]}?" if close else "The rules are " + ", ".join(sorted(RULES)) + ".",
            )
