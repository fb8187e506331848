"""What goes with it when migrations are taken back: tables and columns that would be dropped, rows counted."""

# Names of tables come from the database itself and are quoted.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clodo.migrations.effects import Effects, watch
from clodo.migrations.schema import Schema, SchemaRow, empty_copy, quoted
from clodo.migrations.statements import Statement
from clodo.migrations.stored import D1


@dataclass(frozen=True, slots=True)
class Losses:
    """
    What would be lost.

    Attributes:
        tables: Name to number of rows.

        columns: Table and column to number of rows that have a value there.

        changed: Tables whose rows are changed in ways that can't be counted beforehand.
    """

    tables: Mapping[str, int]
    columns: Mapping[tuple[str, str], int]
    changed: tuple[str, ...] = ()

    def describe(self) -> tuple[str, ...]:
        """Return one phrase each; empty when nothing would be lost."""
        return (
            *(f"the table {name} with {_rows(count)}" for name, count in self.tables.items()),
            *(
                f"the column {column} of {table}, which has a value in {_rows(count)}"
                for (table, column), count in self.columns.items()
            ),
            *(f"rows of {name} are changed, how many can't be known" for name in self.changed),
        )


def lost_by_running(statements: Sequence[Statement], schema: Sequence[SchemaRow]) -> Losses:
    """Return what *statements* take away from a database with *schema*; nothing is counted yet."""
    connection = empty_copy(schema)
    try:
        effects = watch(connection, statements)
    finally:
        connection.close()
    lost = lost_between(effects.before, effects.after, effects)
    touched = {table for rows in effects.rows for table in rows.changed}
    kept = {table.name for key, table in effects.before.tables.items() if key in touched}
    return Losses(lost.tables, lost.columns, tuple(sorted(kept - lost.tables.keys())))


def lost_between(before: Schema, after: Schema, effects: Effects | None = None) -> Losses:
    """Return the tables and columns of *before* that *after* lacks, those that were renamed left out."""
    renamed = effects.renamed_tables if effects is not None else {}
    renamed_columns = effects.renamed_columns if effects is not None else {}
    tables: dict[str, int] = {}
    columns: dict[tuple[str, str], int] = {}
    for key, table in before.tables.items():
        now = after.tables.get(key) or after.tables.get(renamed.get(key, ""))
        if table.is_inner:
            continue
        if now is None:
            tables[table.name] = 0
            continue
        for column in table.columns:
            if now.column(column.name) is None and (key, column.name.lower()) not in renamed_columns:
                columns[table.name, column.name] = 0
    return Losses(tables, columns)


def counted(d1: D1, database_id: str, losses: Losses) -> Losses:
    """Count the rows of *losses*, in one request; none when there is nothing to count."""
    sql = [f"SELECT count(*) AS rows FROM {quoted(name)};" for name in losses.tables]
    sql += [f"SELECT count({quoted(column)}) AS rows FROM {quoted(table)};" for table, column in losses.columns]
    if not sql:
        return losses
    counts = [int(answer.results[0]["rows"]) for answer in d1.query(database_id, "\n".join(sql), only_reads=True)]
    tables = dict(zip(losses.tables, counts, strict=False))
    columns = dict(zip(losses.columns, counts[len(tables) :], strict=True))
    return Losses(tables, columns, losses.changed)


def count_rows(d1: D1, database_id: str, schema: Schema) -> dict[str, int]:
    """Return how many rows each table has, at one moment; one request."""
    names = [table.name for table in schema.tables.values() if not table.is_inner]
    return dict(counted(d1, database_id, Losses(dict.fromkeys(names, 0), {})).tables)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
