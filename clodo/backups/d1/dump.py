"""A whole database as SQL text that `sqlite3 new.db` takes, section by section."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clodo.backups.d1.layout import Layout, Object, Query, Rows, Table, VirtualTable, read_layout, with_plain_line_ends
from clodo.backups.d1.literals import literal, quoted_name
from clodo.backups.d1.rows import TableReader

FORMAT = "clodo-d1-sql/1"
MARK = "-- clodo: "
"""A line that begins so says in JSON what the next lines are; `lines` counts those of a statement."""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a table held: how many rows, and the SHA-256 of them in the order of their key."""

    rows: int
    checksum: str

    def to_json(self) -> dict[str, Any]:
        """Return it as the manifest has it."""
        return {"rows": self.rows, "sha256": self.checksum}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> TableFacts:
        """Read it from a manifest."""
        return cls(int(found["rows"]), str(found["sha256"]))


@dataclass(slots=True)
class Dump:
    """
    One pass over a database; iterate over it for the text, then read what it found.

    Attributes:
        layout: What the database was made of when the pass began.

        tables: Facts by table, in the archive's order; filled while it is read.
    """

    query: Query
    layout: Layout
    tables: dict[str, TableFacts] = field(default_factory=dict)

    @classmethod
    def of(cls, query: Query) -> Dump:
        """Begin a pass."""
        return cls(query, read_layout(query))

    def __iter__(self) -> Iterator[bytes]:
        layout = self.layout
        yield _mark(format=FORMAT)
        # Rows come as they were, also where a constraint was added, or a trigger changed, after them.
        yield b"PRAGMA foreign_keys=OFF;\nPRAGMA ignore_check_constraints=ON;\nBEGIN;\n"
        for table in layout.tables:
            yield _statement(layout.makers[table.name])
            yield from self._rows(table)
        for item in (*layout.indexes, *layout.views):
            yield _statement(item)
        for virtual in layout.virtual_tables:
            yield from self._virtual(virtual)
        yield from _sequences(layout.sequences)
        for item in layout.triggers:
            yield _statement(item)
        yield _mark(end=True)
        yield b"COMMIT;\n"

    def _rows(self, table: Table) -> Iterator[bytes]:
        columns = ",".join(quoted_name(column) for column in table.written_columns)
        insert = f"INSERT INTO {quoted_name(table.name)}({columns}) VALUES\n"
        yield _mark(rows=table.name, insert=insert.rstrip("\n"))
        reader = TableReader(self.query, table)
        for lines in reader:
            yield f"{insert}{lines.text};\n".encode()
        self.tables[table.name] = TableFacts(reader.rows, reader.checksum)

    def _virtual(self, virtual: VirtualTable) -> Iterator[bytes]:
        yield _statement(virtual.made, kind="virtual table")
        name = quoted_name(virtual.made.name)
        for option, value in virtual.options:
            yield _line(f"INSERT INTO {name}({name},rank) VALUES({literal(option)},{literal(value)});")
        if virtual.table is not None:
            yield from self._rows(virtual.table)
        if virtual.rows is Rows.REBUILT:
            yield _line(f"INSERT INTO {name}({name}) VALUES('rebuild');")


def _sequences(sequences: tuple[tuple[str, int], ...]) -> Iterator[bytes]:
    if not sequences:
        return
    yield _line("DELETE FROM sqlite_sequence;")
    for name, number in sequences:
        yield _line(f"INSERT INTO sqlite_sequence(name,seq) VALUES({literal(name)},{number});")


def _statement(item: Object, *, kind: str | None = None) -> bytes:
    text = with_plain_line_ends(item.sql)
    # A comment at the end would swallow the semicolon.
    text += "\n;\n" if "--" in text.rpartition("\n")[2] else ";\n"
    return _mark(schema=kind or item.kind, name=item.name, lines=text.count("\n")) + text.encode()


def _line(sql: str) -> bytes:
    return _mark(lines=1) + f"{sql}\n".encode()


def _mark(**facts: Any) -> bytes:
    return f"{MARK}{json.dumps(facts, ensure_ascii=False)}\n".encode()
