"""A database with D1's rules and limits, without the cloud around it, and strategies for what may be in one."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
from hypothesis import strategies as st

from clodo.emulator.d1.engine import SCHEMA, Engine
from clodo.emulator.d1.history import History
from clodo.emulator.d1.limits import DEFAULT_LIMITS
from clodo.emulator.d1.routes import _with_rows
from clodo.emulator.runtime.ports import Statement, StatementFailed
from clodo.errors import ApiRefused


class D1:
    """A database that answers as D1's API does, JSON and all."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        History.create(folder, 0, SCHEMA)
        self._history = History(folder)
        self._engine = Engine(self._history.database, DEFAULT_LIMITS, on_commit=lambda frames: None)
        self.requests = 0

    def run(self, sql: str, *params: Any) -> None:
        """Run one statement; blobs are lists of numbers, as JSON has them."""
        self._engine.run([Statement(sql, [list(value) if isinstance(value, bytes) else value for value in params])])

    def query(self, statements: Sequence[str]) -> list[list[list[Any]]]:
        """Answer as the query API does."""
        self.requests += 1
        try:
            groups = self._engine.run([Statement(statement, ()) for statement in statements])
        except StatementFailed as error:
            raise ApiRefused(error.message) from error
        return [json.loads(json.dumps(_with_rows(result)))["results"]["rows"] for group in groups for result in group]

    def contents(self) -> dict[str, list[Any]]:
        """Close it, and return schema and rows as SQLite itself has them."""
        self.close()
        return contents(str(self._history.database))

    def close(self) -> None:
        """Close its files."""
        self._engine.close()
        self._history.close()


def contents(file: str) -> dict[str, list[Any]]:
    """Return each table's rows, in the order of their keys, text as bytes and numbers bit by bit; and the schema."""
    connection = apsw.Connection(file, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        names = [
            name
            for name, kind in connection.execute("SELECT name,type FROM pragma_table_list WHERE schema='main'")
            if kind in ("table", "virtual") and not name.startswith(("sqlite_", "_cf_"))
        ]
        found = {name: _rows(connection, name) for name in names}
        found["sqlite_sequence"] = _rows(connection, "sqlite_sequence") if _has_sequences(connection) else []
        schema = connection.execute(
            "SELECT type,name,trim(sql,char(10)||' ') FROM sqlite_schema WHERE sql IS NOT NULL"
            " AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\' AND tbl_name NOT LIKE '%\\_docsize' ESCAPE '\\' ORDER BY 1,2"
        )
        found[""] = list(schema)
        return found
    finally:
        connection.close()


def _has_sequences(connection: apsw.Connection) -> bool:
    return bool(list(connection.execute("SELECT 1 FROM sqlite_schema WHERE name='sqlite_sequence'")))


def _rows(connection: apsw.Connection, table: str) -> list[Any]:
    quoted = '"' + table.replace('"', '""') + '"'
    columns = [
        '"' + name.replace('"', '""') + '"'
        for name, hidden in connection.execute("SELECT name,hidden FROM pragma_table_xinfo(?)", (table,))
        if hidden != 1
    ]
    cells = ",".join(
        f"typeof({column}),CASE typeof({column}) WHEN 'text' THEN CAST({column} AS BLOB) ELSE {column} END"
        for column in columns
    )
    return sorted((tuple(map(_bits, row)) for row in connection.execute(f"SELECT {cells} FROM {quoted}")), key=repr)


def _bits(value: Any) -> Any:
    # The sign of zero can't be seen through SQL.
    return struct.pack(">d", value + 0.0) if isinstance(value, float) else value


TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="a'\"é\n\r\0\x1e\x1f;,()-\\ \U0001f600\ufffd", max_size=12),
    st.sampled_from(["-- clodo: {}", "\n;\nCOMMIT;\n", "(1,'x'),", "0", "1e5", "NULL", ".quit", "x" * 3000]),
)
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-10, 10),
    st.floats(allow_nan=False),
    st.floats(0, 100).map(lambda number: round(number, 2)),
    st.sampled_from([5e-324, 1.7976931348623157e308, 2.0**53, 2.0**62, -(2.0**63), 1e-5, 0.1, float("-inf")]),
)
VALUES = st.one_of(st.none(), TEXTS, NUMBERS, st.binary(max_size=12))
NAMES = st.one_of(
    st.sampled_from(["id", "rowid", "_rowid_", "oid", "order", 'a "b"', "naïve", "x.y", "k", "r", "n", "c0", "c1"]),
    st.text(alphabet="abcXYZ _-'\"é", min_size=1, max_size=6).filter(lambda name: name.strip()),
)
TYPES = st.sampled_from(["", "INT", "INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC", "VARCHAR(9)", "TEXT COLLATE NOCASE"])


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], int, str]:
    """Draw the columns of a table with their types, how many there are to fill, and how it is made."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique_by=str.lower))
    columns = ['"' + name.replace('"', '""') + '"' for name in names]
    declared = [f"{column} {draw(TYPES)}" for column in columns]
    form = draw(st.sampled_from(["plain", "plain", "rowid", "autoincrement", "descending", "without", "generated"]))
    extra = ""
    if form in ("rowid", "autoincrement", "descending"):
        ending = {"rowid": "", "autoincrement": " AUTOINCREMENT", "descending": " DESC"}[form]
        declared[0] = f"{columns[0]} INTEGER PRIMARY KEY{ending}"
    elif form == "without":
        keys = ",".join(columns[: draw(st.integers(1, len(columns)))])
        declared.append(f"PRIMARY KEY({keys})")
        extra = " WITHOUT ROWID"
    elif form == "generated":
        stored = draw(st.sampled_from(["STORED", "VIRTUAL"]))
        declared.append(f'"made by itself" TEXT AS (typeof({columns[0]})) {stored}')
    return columns, len(columns), f"({', '.join(declared)}){extra}"
