"""What a database is made of, as far as a snapshot must know it."""

# Names of tables come from the database itself and are quoted.
# ruff: noqa: S608

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clodo.backups.d1.literals import quoted_name

Query = Callable[[Sequence[str]], Sequence[Sequence[Sequence[Any]]]]
"""Runs statements that only read, in one transaction; returns the rows of each."""

_ROWID_NAMES = ("rowid", "_rowid_", "oid")
_OURS = "name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'"
_TABLES = f"(SELECT name FROM sqlite_schema WHERE type='table' AND {_OURS})"
_SCHEMA_QUERIES = (
    f"SELECT type,name,tbl_name,sql FROM sqlite_schema WHERE {_OURS} ORDER BY rowid",
    f"SELECT name,type,wr FROM pragma_table_list WHERE schema='main' AND {_OURS}",
    f"SELECT t.name,x.name,x.type,x.pk,x.hidden FROM {_TABLES} AS t, pragma_table_xinfo(t.name) AS x ORDER BY 1,x.cid",
    f"SELECT t.name FROM {_TABLES} AS t, pragma_index_list(t.name) AS i WHERE i.origin='pk'",
    f'SELECT t.name,f."table" FROM {_TABLES} AS t, pragma_foreign_key_list(t.name) AS f',
    "SELECT count(*) FROM sqlite_schema WHERE name='sqlite_sequence'",
)
_SEQUENCES = "SELECT name,CAST(CAST(seq AS INTEGER) AS TEXT) FROM sqlite_sequence ORDER BY name"
_MODULE = re.compile(r"\bUSING\s+[\"'`\[]?(\w+)", re.IGNORECASE)
_CONTENT = re.compile(
    r"[(,]\s*content\s*=\s*('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]|[^\s,)]*)", re.IGNORECASE
)


class Paging(StrEnum):
    """By what the rows of a table are read a page at a time."""

    ROWID = "rowid"
    KEY = "key"
    OFFSET = "offset"


class Rows(StrEnum):
    """How a table gets its rows back."""

    WRITTEN = "written"
    REBUILT = "rebuilt"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Table:
    """
    A table whose rows are read.

    Attributes:
        name: As it is called.

        columns: Those that are stored, in order; generated ones make themselves.

        key: What it is paged by: the rowid's name, or the columns of the primary key; empty for OFFSET.

        keeps_rowid: The rowid is written too, because no column is it.
    """

    name: str
    columns: tuple[str, ...]
    paging: Paging
    key: tuple[str, ...]
    keeps_rowid: bool = False

    @property
    def written_columns(self) -> tuple[str, ...]:
        """What an INSERT names."""
        return (*self.key, *self.columns) if self.keeps_rowid else self.columns


@dataclass(frozen=True, slots=True)
class Object:
    """Something that a CREATE statement made: table, index, view, trigger or virtual table."""

    kind: str
    name: str
    table: str
    sql: str


@dataclass(frozen=True, slots=True)
class VirtualTable:
    """A full-text table: its statement, and how it gets its rows back."""

    made: Object
    rows: Rows
    table: Table | None
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """
    A database without its rows.

    Attributes:
        tables: In an order in which those that are referred to come first, as far as there is one.

        makers: Table name to its CREATE statement.

        sequences: Table name to the last number that AUTOINCREMENT gave out.

        left_out: What can't be backed up, with the reason.
    """

    tables: tuple[Table, ...]
    makers: Mapping[str, Object]
    indexes: tuple[Object, ...]
    views: tuple[Object, ...]
    virtual_tables: tuple[VirtualTable, ...]
    triggers: tuple[Object, ...]
    sequences: tuple[tuple[str, int], ...]
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def tables_with_rows(self) -> tuple[Table, ...]:
        """All whose rows are in the archive, full-text tables included."""
        return (*self.tables, *(virtual.table for virtual in self.virtual_tables if virtual.table is not None))

    @property
    def schema_sha256(self) -> str:
        """The SHA-256 of all CREATE statements, whatever their order and line ends, and blanks at their end."""
        made = [*self.makers.values(), *self.indexes, *self.views, *self.triggers]
        made += [virtual.made for virtual in self.virtual_tables]
        texts = sorted(f"{item.kind}\0{item.name}\0{with_plain_line_ends(item.sql).rstrip()}" for item in made)
        return hashlib.sha256("\0\0".join(texts).encode()).hexdigest()


def with_plain_line_ends(sql: str) -> str:
    """Return *sql* with the line ends that the `sqlite3` program keeps."""
    return sql.replace("\r\n", "\n")


def read_layout(query: Query) -> Layout:
    """Read what the database is made of, in at most two requests."""
    schema, listed, columns, keyed, references, has_sequences = query(_SCHEMA_QUERIES)
    made = [Object(kind, name, table, sql) for kind, name, table, sql in schema if sql]
    kinds = {name: (kind, bool(without_rowid)) for name, kind, without_rowid in listed}
    stored: dict[str, list[tuple[str, str, int]]] = {}
    for table, column, declared, part, hidden in columns:
        if not hidden:
            stored.setdefault(table, []).append((column, declared, part))
    with_index = {name for (name,) in keyed}
    makers = {item.name: item for item in made if item.kind == "table" and kinds[item.name][0] == "table"}
    tables = [_table(name, stored[name], kinds[name][1], name in with_index) for name in makers]
    virtual = [item for item in made if item.kind == "table" and kinds[item.name][0] == "virtual"]
    names = {item.name.lower() for item in made if item.kind in ("table", "view")}
    plans = [(item, *_rows_of(item, names)) for item in virtual]
    asked = [_SEQUENCES] if has_sequences[0][0] else []
    with_options = [item for item, rows, why in plans if rows is not Rows.NONE and not why]
    asked += [
        f"SELECT k,v FROM {quoted_name(item.name + '_config')} WHERE k<>'version' ORDER BY k" for item in with_options
    ]
    answers = list(query(asked)) if asked else []
    sequences = [(str(name), int(number)) for name, number in answers.pop(0)] if has_sequences[0][0] else []
    options = {item.name: tuple((str(k), v) for k, v in rows) for item, rows in zip(with_options, answers, strict=True)}
    return Layout(
        tables=tuple(_with_parents_first(tables, references)),
        makers=makers,
        indexes=tuple(item for item in made if item.kind == "index"),
        views=tuple(item for item in made if item.kind == "view"),
        virtual_tables=tuple(
            VirtualTable(
                item,
                rows,
                _full_text_table(item.name, stored[item.name]) if rows is Rows.WRITTEN else None,
                options.get(item.name, ()),
            )
            for item, rows, why in plans
            if not why
        ),
        triggers=tuple(item for item in made if item.kind == "trigger"),
        sequences=tuple(sequences),
        left_out=tuple((item.name, why) for item, _, why in plans if why),
    )


def _table(name: str, columns: Sequence[tuple[str, str, int]], without_rowid: bool, has_key_index: bool) -> Table:
    names = tuple(column for column, _, _ in columns)
    key = tuple(column for column, _, part in sorted(columns, key=lambda column: column[2]) if part)
    if without_rowid:
        return Table(name, names, Paging.KEY, key)
    if len(key) == 1 and not has_key_index:
        # INTEGER PRIMARY KEY: the column is the rowid. (With DESC it is not, and there is an index.)
        return Table(name, names, Paging.ROWID, key)
    taken = {column.lower() for column in names}
    free = [alias for alias in _ROWID_NAMES if alias not in taken]
    if free:
        return Table(name, names, Paging.ROWID, (free[0],), keeps_rowid=True)
    return Table(name, names, Paging.OFFSET, ())


def _full_text_table(name: str, columns: Sequence[tuple[str, str, int]]) -> Table:
    return Table(name, tuple(column for column, _, _ in columns), Paging.ROWID, ("rowid",), keeps_rowid=True)


def _rows_of(item: Object, names: Iterable[str]) -> tuple[Rows, str | None]:
    """Return how a virtual table gets its rows back, and why it can't."""
    module = _MODULE.search(item.sql)
    kind = module[1].lower() if module else ""
    if kind == "fts5vocab":
        return Rows.NONE, None
    if kind != "fts5":
        return Rows.NONE, f"a virtual table of the module {kind or 'unknown'} can't be read back"
    given = _CONTENT.search(item.sql)
    if given is None:
        return Rows.WRITTEN, None
    content = given[1].strip("'\"`[]").lower()
    if not content:
        return Rows.NONE, "a contentless full-text table keeps no text that could be read back"
    if content not in names:
        return Rows.NONE, None
    return Rows.REBUILT, None


def _with_parents_first(tables: Sequence[Table], references: Sequence[Sequence[Any]]) -> list[Table]:
    by_name = {table.name.lower(): table for table in tables}
    parents: dict[str, list[str]] = {}
    for child, parent in references:
        parents.setdefault(str(child).lower(), []).append(str(parent).lower())
    ordered: dict[str, Table] = {}
    # Depth first without recursion: a chain of references may be as long as D1 allows tables.
    for first in by_name:
        waiting = [(first, False)]
        under_way: set[str] = set()
        while waiting:
            name, has_parents = waiting.pop()
            if name in ordered or name not in by_name:
                continue
            if has_parents:
                ordered[name] = by_name[name]
            elif name not in under_way:
                under_way.add(name)
                waiting.append((name, True))
                waiting += [(parent, False) for parent in parents.get(name, ()) if parent not in under_way]
    return list(ordered.values())
