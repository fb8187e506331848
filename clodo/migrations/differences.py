"""Two schemas compared: the SQL that would make one into the other, to be read by a person and never run by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clodo.migrations.schema import Column, Schema, Table, normalised, quoted


def differences(expected: Schema, actual: Schema) -> tuple[str, ...]:
    """
    Return the statements that would give *actual* what *expected* has, and take away what it lacks; empty when equal.

    What no single statement can change, such as another type of a column, is a comment with both declarations.
    """
    lines = [*_tables(expected, actual)]
    for kind, wanted, there in (
        ("INDEX", _with_sql(expected.indexes), _with_sql(actual.indexes)),
        ("VIEW", expected.views, actual.views),
        ("TRIGGER", expected.triggers, actual.triggers),
    ):
        lines += _replaced(kind, wanted, there)
    return tuple(lines)


def _tables(expected: Schema, actual: Schema) -> Iterator[str]:
    for key, table in expected.tables.items():
        found = actual.tables.get(key)
        if found is None:
            yield f"{table.sql};"
        elif normalised(found.sql) != normalised(table.sql):
            yield from _columns(table, found)
    for key, table in actual.tables.items():
        if key not in expected.tables:
            yield f"DROP TABLE {quoted(table.name)};"


def _columns(expected: Table, actual: Table) -> Iterator[str]:
    name = quoted(expected.name)
    missing = [column for column in expected.columns if actual.column(column.name) is None]
    extra = [column for column in actual.columns if expected.column(column.name) is None]
    kept = [actual.column(column.name) for column in expected.columns if actual.column(column.name) is not None]
    same = [column for column in expected.columns if actual.column(column.name) is not None]
    can_be_altered = kept == same and expected.foreign_keys == actual.foreign_keys and bool(missing or extra)
    if not can_be_altered or any(column.key or column.hidden for column in (*missing, *extra)):
        yield f"-- {name} is declared otherwise, which no single statement changes."
        yield f"--   there:    {' '.join(actual.sql.split())}"
        yield f"--   expected: {' '.join(expected.sql.split())}"
        return
    for column in missing:
        yield f"ALTER TABLE {name} ADD COLUMN {_declaration(column)};"
    for column in extra:
        yield f"ALTER TABLE {name} DROP COLUMN {quoted(column.name)};"


def _declaration(column: Column) -> str:
    parts = [quoted(column.name), column.type, "NOT NULL" if column.is_not_null else ""]
    if column.default is not None:
        parts.append(f"DEFAULT {column.default}")
    return " ".join(part for part in parts if part)


def _with_sql(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in found.items() if item.sql}


def _replaced(kind: str, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterator[str]:
    for key, item in actual.items():
        if key not in expected or normalised(expected[key].sql) != normalised(item.sql):
            yield f"DROP {kind} {quoted(item.name)};"
    for key, item in expected.items():
        if key not in actual or normalised(actual[key].sql) != normalised(item.sql):
            yield f"{item.sql};"
