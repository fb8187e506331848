"""What the statements of a migration file do, seen by running them on an empty copy of the schema."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import apsw

from clodo.migrations.schema import ForeignKey, Schema
from clodo.migrations.statements import LEXEMES, Statement

_CHANGES = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE})
_SCHEMA_WORDS = frozenset({"CREATE", "DROP", "ALTER"})
_NO_TABLE = re.compile(r"SCAN (CONSTANT ROW|\d+-ROW VALUES CLAUSE|\d+ CONSTANT ROWS)")
_ROW_WORDS = frozenset({"DELETE", "UPDATE", "INSERT", "REPLACE", "WITH"})


@dataclass(frozen=True, slots=True)
class RowsTouched:
    """
    A statement that reads or writes rows.

    Attributes:
        changed, read: Tables that the statement itself names, in lower case.

        scans: Is all of a table read?

        deletes_all: Is it a DELETE without a WHERE?
    """

    line: int
    changed: frozenset[str]
    read: frozenset[str]
    scans: bool
    deletes_all: bool


@dataclass(frozen=True, slots=True)
class Drop:
    """A table that was dropped while foreign keys of others, by the child's name, referred to it."""

    line: int
    table: str
    referring: tuple[tuple[str, ForeignKey], ...]
    is_deferred: bool


@dataclass(slots=True)
class Effects:
    """
    What one file does.

    Attributes:
        lines: Where each thing came, went or changed, by kind (``table``, ``new index``, ``column of users``) and name
            in lower case, tables by their names before the file.

        renamed_tables: Name before to name after, both in lower case.

        renamed_columns: Table and name before, in lower case, to the name after.

        pragmas: Those that were set, with the line of each.

        last_line: Of the last statement that ran.
    """

    before: Schema
    after: Schema
    lines: dict[tuple[str, str], int] = field(default_factory=dict)
    renamed_tables: dict[str, str] = field(default_factory=dict)
    renamed_columns: dict[tuple[str, str], str] = field(default_factory=dict)
    drops: list[Drop] = field(default_factory=list)
    rows: list[RowsTouched] = field(default_factory=list)
    pragmas: dict[str, int] = field(default_factory=dict)
    last_line: int = 1

    def line_of(self, kind: str, name: str, otherwise: int = 0) -> int:
        """Return where something happened; *otherwise*, or the last line, when nobody noted it."""
        return self.lines.get((kind, name.lower())) or otherwise or self.last_line

    def name_before(self, name: str) -> str:
        """Return what a table was called before the file, in lower case."""
        return next((old for old, new in self.renamed_tables.items() if new == name.lower()), name.lower())


def watch(connection: apsw.Connection, statements: Iterable[Statement]) -> Effects:
    """
    Run *statements* in one transaction on an empty copy, and tell what they do; nothing stays when one of them fails.

    Those before it are told all the same.
    """
    watching = _Watching(connection)
    connection.authorizer = watching.note
    connection.execute("BEGIN")
    try:
        for statement in statements:
            watching.run(statement)
    except (apsw.Error, ValueError):
        connection.execute("ROLLBACK")
    else:
        connection.execute("COMMIT")
    finally:
        connection.authorizer = None
    watching.effects.after = watching.schema
    return watching.effects


class _Watching:
    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.schema = Schema.read(connection)
        self.effects = Effects(self.schema, self.schema)
        self._touched: set[tuple[int, str]] = set()
        self._pragmas: set[str] = set()
        self._is_deferred = False

    def run(self, statement: Statement) -> None:
        self.effects.last_line = statement.line
        scans, deletes_all = self._ways(statement)
        self._touched, self._pragmas = set(), set()
        # Without the cache, so that the authorizer is asked about every statement.
        for _ in self._connection.execute(statement.text, can_cache=False):
            pass
        for pragma in self._pragmas:
            self.effects.pragmas.setdefault(pragma, statement.line)
            self._is_deferred = self._is_deferred or pragma == "defer_foreign_keys"
        if statement.first_word in _SCHEMA_WORDS:
            before, self.schema = self.schema, Schema.read(self._connection)
            self._compare(before, self.schema, statement)
            return
        changed = frozenset(table for action, table in self._touched if action in _CHANGES)
        read = frozenset(table for action, table in self._touched if action == apsw.SQLITE_READ)
        if changed or read:
            self.effects.rows.append(RowsTouched(statement.line, changed, read, scans, deletes_all))

    def note(self, action: int, one: str | None, two: str | None, database: str | None, by: str | None) -> int:
        """Answer SQLite's authorizer, and remember what it asked about; what a trigger does is not the file's word."""
        if action in (apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH):
            return apsw.SQLITE_DENY
        if action == apsw.SQLITE_PRAGMA and one and two:
            self._pragmas.add(one.lower())
        elif (action in _CHANGES or action == apsw.SQLITE_READ) and one and by is None:
            self._touched.add((action, one.lower()))
        return apsw.SQLITE_OK

    def _ways(self, statement: Statement) -> tuple[bool, bool]:
        if statement.first_word not in _ROW_WORDS:
            return False, False
        plan = [str(row[3]) for row in self._connection.execute(f"EXPLAIN QUERY PLAN {statement.text}")]
        scans = any(detail.startswith("SCAN ") and not _NO_TABLE.match(detail) for detail in plan)
        words = {lexeme.group().upper() for lexeme in LEXEMES.finditer(statement.text) if lexeme.lastgroup == "word"}
        return scans, statement.first_word == "DELETE" and "WHERE" not in words

    def _compare(self, before: Schema, after: Schema, statement: Statement) -> None:
        effects, line = self.effects, statement.line
        gone = [table for key, table in before.tables.items() if key not in after.tables and not table.is_inner]
        come = [table for key, table in after.tables.items() if key not in before.tables and not table.is_inner]
        if statement.first_word == "ALTER" and len(gone) == len(come) == 1:
            self._rename(gone[0].name.lower(), come[0].name.lower(), line)
            return
        for table in gone:
            effects.lines["table", effects.name_before(table.name)] = line
            referring = tuple(
                (child.name, key)
                for child in before.tables.values()
                for key in child.foreign_keys
                if key.table.lower() == table.name.lower() and child.name != table.name
            )
            effects.drops.append(Drop(line, effects.name_before(table.name), referring, self._is_deferred))
        for table in come:
            effects.lines["new table", table.name.lower()] = line
        for kind, old, new in (
            ("view", set(before.views), set(after.views)),
            ("index", set(before.indexes), set(after.indexes)),
            ("trigger", set(before.triggers), set(after.triggers)),
        ):
            effects.lines |= {(kind, name): line for name in old - new}
            effects.lines |= {(f"new {kind}", name): line for name in new - old}
        self._compare_columns(before, after, statement)

    def _rename(self, old: str, new: str, line: int) -> None:
        effects = self.effects
        original = effects.name_before(old)
        if original in effects.before.tables and ("new table", old) not in effects.lines:
            effects.renamed_tables[original] = new
            effects.lines["table", original] = line
        else:
            # It is of this file: nobody knew it by its first name.
            effects.lines["new table", new] = effects.lines.pop(("new table", old), line)

    def _compare_columns(self, before: Schema, after: Schema, statement: Statement) -> None:
        for key, table in after.tables.items():
            old = before.tables.get(key)
            if old is None or old.columns == table.columns:
                continue
            original = self.effects.name_before(table.name)
            lost = [column.name.lower() for column in old.columns if table.column(column.name) is None]
            new = [column.name for column in table.columns if old.column(column.name) is None]
            for name in (*lost, *new):
                self.effects.lines[f"column of {original}", name.lower()] = statement.line
            if len(lost) == len(new) == 1:
                self.effects.renamed_columns[original, lost[0]] = new[0]
