"""Whether a database has the schema that its files make, and if not, in what it differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import apsw

from clodo.migrations.differences import differences
from clodo.migrations.files import Migration
from clodo.migrations.plan import MigrationStatus
from clodo.migrations.schema import Schema, SchemaRow, empty_copy, normalised
from clodo.migrations.statements import split


@dataclass(frozen=True, slots=True)
class Drift:
    """
    In what a database differs from what is expected of it.

    Attributes:
        sql: Statements that would make it as expected, to be read by a person; empty when there is no difference.

        against: What it was compared with: ``the files``, or ``N others`` that have the same files applied; None when
            there is nothing to compare it with.
    """

    sql: tuple[str, ...] = ()
    against: str | None = None


def replayed(migrations: Iterable[Migration]) -> Schema | None:
    """
    Return the schema that *migrations* make of an empty database.

    None when they don't: databases that were there before their first migration file have tables that no file made.
    """
    connection = empty_copy(())
    try:
        for migration in migrations:
            connection.execute("BEGIN")
            for statement in split(migration.sql):
                try:
                    for _ in connection.execute(statement.text):
                        pass
                except apsw.ConstraintError:
                    # Rows that are not here decide; the schema doesn't depend on them.
                    continue
            connection.execute("COMMIT")
        return Schema.read(connection)
    except apsw.Error:
        return None
    finally:
        connection.close()


def schema_of(rows: Sequence[SchemaRow]) -> Schema:
    """Return a schema as the database's own rows tell it."""
    connection = empty_copy(rows)
    try:
        return Schema.read(connection)
    finally:
        connection.close()


def drift_among(
    found: Sequence[tuple[Sequence[Migration], MigrationStatus]], records: Collection[str]
) -> tuple[Drift, ...]:
    """
    Say of each database of a service, given its files and where it stands, in what it differs from what is expected.

    That is what the files that are applied make; where they don't make it from nothing, it is the schema that most of
    the databases have to which the same files were applied.
    """
    expected: dict[tuple[tuple[str, str], ...], Schema | None] = {}
    actual = [schema_of(status.schema).without(records) for _, status in found]
    keys: list[tuple[tuple[str, str], ...]] = []
    for files, status in found:
        by_name = {migration.name: migration for migration in files}
        applied = [by_name[row.name] for row in status.applied if row.name in by_name]
        key = tuple((migration.name, migration.sha256) for migration in applied)
        keys.append(key)
        if key not in expected:
            schema = replayed(applied)
            expected[key] = schema.without(records) if schema is not None else None
    drifts: list[Drift] = []
    for key, schema in zip(keys, actual, strict=True):
        wanted, against = expected[key], "the files"
        if wanted is None:
            alike = [other for other_key, other in zip(keys, actual, strict=True) if other_key == key]
            if len(alike) < 2:
                drifts.append(Drift())
                continue
            wanted, against = _commonest(alike), f"{len(alike) - 1} others"
        drifts.append(Drift(differences(wanted, schema), against))
    return tuple(drifts)


def _commonest(schemas: Sequence[Schema]) -> Schema:
    texts = [_text(schema) for schema in schemas]
    commonest = Counter(texts).most_common(1)[0][0]
    return schemas[texts.index(commonest)]


def _text(schema: Schema) -> str:
    groups = (schema.tables, schema.views, schema.indexes, schema.triggers)
    return "\n".join(sorted(normalised(item.sql) for group in groups for item in group.values() if item.sql))
