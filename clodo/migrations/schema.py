"""A database's schema as values, and an empty database that has the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw

from clodo.migrations.statements import LEXEMES

SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master"
"""What tells a schema from afar."""

NOT_OURS = ("sqlite_", "_cf_")
"""How names begin of what SQLite and Cloudflare make for themselves."""

SchemaRow = Mapping[str, Any]
"""A row of SCHEMA."""


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column.

    Attributes:
        default: As SQL; None without.

        key: Its place in the primary key, from 1; 0 when it is none of it.

        hidden: As ``PRAGMA table_xinfo`` says: 2 and 3 are generated columns.
    """

    name: str
    type: str
    is_not_null: bool
    default: str | None
    key: int = 0
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: *columns* refer to *table*; *on_delete* is SQLite's word, such as CASCADE."""

    columns: tuple[str, ...]
    table: str
    on_delete: str


@dataclass(frozen=True, slots=True)
class Table:
    """
    A table or a view.

    Attributes:
        root: Page of its root; a table that is renamed keeps it, one that is made anew need not.

        is_inner: Made by a virtual table for itself.
    """

    name: str
    sql: str
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    root: int = 0
    is_inner: bool = False

    def column(self, name: str) -> Column | None:
        """Return the column of this name, whatever its letters' case."""
        return next((column for column in self.columns if column.name.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Index:
    """An index; *columns* has None for an expression, *sql* is None when a constraint made it."""

    name: str
    table: str
    columns: tuple[str | None, ...]
    is_unique: bool
    sql: str | None


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of a table or view."""

    name: str
    table: str
    sql: str


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database has, by name in lower case; what SQLite and Cloudflare keep for themselves is left out."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    views: Mapping[str, Table] = field(default_factory=dict)
    indexes: Mapping[str, Index] = field(default_factory=dict)
    triggers: Mapping[str, Trigger] = field(default_factory=dict)

    @classmethod
    def read(cls, connection: apsw.Connection) -> Schema:
        """Ask an open database."""
        inner = {row[0].lower() for row in connection.execute("SELECT name FROM pragma_table_list WHERE type='shadow'")}
        tables: dict[str, Table] = {}
        views: dict[str, Table] = {}
        indexes: dict[str, Index] = {}
        triggers: dict[str, Trigger] = {}
        rows = list(connection.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema"))
        for kind, name, table, root, sql in rows:
            key = name.lower()
            if kind != "index" and name.startswith(NOT_OURS):
                continue
            if kind == "table":
                keys = () if key in inner else _foreign_keys(connection, name)
                tables[key] = Table(name, sql, _columns(connection, name), keys, root, key in inner)
            elif kind == "view":
                views[key] = Table(name, sql, _columns(connection, name))
            elif kind == "trigger":
                triggers[key] = Trigger(name, table, sql)
            elif not table.startswith(NOT_OURS):
                indexes[key] = _index(connection, name, table, sql)
        return cls(tables, views, indexes, triggers)

    def indexes_of(self, table: str) -> list[Index]:
        """Return the indexes of a table."""
        return [index for index in self.indexes.values() if index.table.lower() == table.lower()]

    def without(self, names: Iterable[str]) -> Schema:
        """Return it without these tables and all that belongs to them, and without what virtual tables made."""
        left_out = {name.lower() for name in names} | {key for key, table in self.tables.items() if table.is_inner}

        def kept(found: Mapping[str, Any]) -> dict[str, Any]:
            return {key: item for key, item in found.items() if item.table.lower() not in left_out}

        tables = {key: table for key, table in self.tables.items() if key not in left_out}
        return Schema(tables, self.views, kept(self.indexes), kept(self.triggers))


def make_copy(connection: apsw.Connection, rows: Sequence[SchemaRow]) -> tuple[str, ...]:
    """
    Give an empty database the schema that *rows* tell.

    Returns:
        Names of what could not be made here, such as a virtual table of a module that is missing; empty when it is a
        whole copy.
    """
    missing: list[str] = []
    for row in sorted(rows, key=_rank):
        name, sql = str(row["name"]), row["sql"]
        if not sql or name.startswith(NOT_OURS):
            continue
        try:
            connection.execute(str(sql))
        except apsw.Error:
            if not _is_there(connection, name):
                missing.append(name)
    return tuple(missing)


def empty_copy(rows: Sequence[SchemaRow]) -> apsw.Connection:
    """Return a database in memory with the schema that *rows* tell, from which nothing reaches the disk."""
    connection = apsw.Connection(":memory:")
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    make_copy(connection, rows)
    return connection


def rows_of(connection: apsw.Connection) -> tuple[SchemaRow, ...]:
    """Return the rows of SCHEMA of an open database."""
    names = ("type", "name", "tbl_name", "sql")
    return tuple(dict(zip(names, row, strict=True)) for row in connection.execute(SCHEMA))


def normalised(sql: str) -> str:
    """Return *sql* without comments, with single blanks, and names the same whether quoted or not."""
    words = []
    for lexeme in LEXEMES.finditer(sql):
        kind, text = lexeme.lastgroup, lexeme.group()
        if kind == "word":
            words.append(text.lower())
        elif kind == "quoted" and text[0] != "'":
            words.append(text[1:-1].lower())
        elif kind != "blank":
            words.append(text)
    return " ".join(words).replace("if not exists ", "")


def quoted(name: str) -> str:
    """Return *name* as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def _rank(row: SchemaRow) -> int:
    # Virtual tables make inner tables, whose own rows must come too late; indexes, views and triggers need tables.
    if row["type"] != "table":
        return {"index": 2, "view": 3}.get(str(row["type"]), 4)
    return 0 if str(row["sql"]).upper().startswith("CREATE VIRTUAL") else 1


def _is_there(connection: apsw.Connection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE lower(name) = lower(?)", (name,))
    return next(found, None) is not None


def _columns(connection: apsw.Connection, table: str) -> tuple[Column, ...]:
    sql = 'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)'
    try:
        found: list[Any] = connection.execute(sql, (table,)).fetchall()
    except apsw.Error:
        # A view of what is gone.
        return ()
    return tuple(
        Column(name, kind, bool(must), default, key, hidden) for name, kind, must, default, key, hidden in found
    )


def _foreign_keys(connection: apsw.Connection, table: str) -> tuple[ForeignKey, ...]:
    keys: dict[int, tuple[str, str, list[str]]] = {}
    sql = 'SELECT id, "table", "from", on_delete FROM pragma_foreign_key_list(?) ORDER BY id, seq'
    for number, parent, column, on_delete in connection.execute(sql, (table,)):
        keys.setdefault(number, (parent, on_delete, []))[2].append(column)
    return tuple(ForeignKey(tuple(columns), parent, on_delete) for parent, on_delete, columns in keys.values())


def _index(connection: apsw.Connection, name: str, table: str, sql: str | None) -> Index:
    columns = tuple(_values(connection, "SELECT name FROM pragma_index_info(?)", name))
    unique = 'SELECT "unique" FROM pragma_index_list(?) WHERE name = ?'
    is_unique = any(row[0] for row in connection.execute(unique, (table, name)))
    return Index(name, table, columns, is_unique, sql)


def _values(connection: apsw.Connection, sql: str, name: str) -> Iterator[Any]:
    for (value,) in connection.execute(sql, (name,)):
        yield value
