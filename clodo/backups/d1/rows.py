"""Reading the rows of a table, a page at a time, as lines of SQL; the database itself writes them."""

# Names of tables and columns come from the database itself and are quoted.
# ruff: noqa: S608

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple

from clodo.backups.d1.layout import Paging, Query, Table
from clodo.backups.d1.literals import (
    REGULAR_ROW_BYTES,
    key_sql,
    literal,
    quoted_name,
    row_sql,
    size_sql,
    text_literal,
)
from clodo.errors import ApiRefused, Failed

SEPARATOR = ",\n"
PAGES_PER_REQUEST = 4
FIRST_PAGE_ROWS = 64
LARGEST_PAGE_ROWS = 50_000
PAGE_BYTES = 800_000
FASTEST_GROWTH = 16
SPECIAL_ROWS_PER_REQUEST = 20
PIECE_BYTES = 400_000
PIECES_PER_REQUEST = 6
REPLACEMENT = "\ufffd"
_TOO_LARGE = ("TOOBIG", "too big", "too large")


@dataclass(frozen=True, slots=True)
class Lines:
    """Some rows of a table as text: lines ``(1,'a')`` joined by `SEPARATOR`."""

    text: str
    count: int


class Form(Enum):
    """How the text of rows is asked for."""

    PLAIN = auto()
    GUARDED = auto()  # rows whose text might be too long for SQLite are not even begun
    BYTES = auto()  # guarded, and in hexadecimal, since some of it may not be UTF-8


class _Page(NamedTuple):
    """Rows of a page: how many, how many with a text, the texts, and the greatest rowid."""

    rows: int
    regular: int
    text: str
    greatest: str | None


class _Place(NamedTuple):
    """Where pages begin: after a key, at an offset, each of a size."""

    after: str | None
    offset: int
    size: int

    def page(self, number: int) -> _Place:
        return self._replace(offset=self.offset + number * self.size)

    def last(self) -> _Place:
        return _Place(self.after, self.offset + self.size * PAGES_PER_REQUEST - 1, 1)

    def row(self, number: int) -> _Place:
        return _Place(self.after, self.offset + number, 1)

    def smaller(self) -> _Place:
        return self._replace(size=max(1, self.size // 4))


class TableReader:
    """
    Reads the rows of one table in the order of its key.

    Iterate over it once; then the attributes tell what was read.

    Attributes:
        rows: How many were read.
    """

    def __init__(self, query: Query, table: Table) -> None:
        self.table = table
        self.rows = 0
        self._query = query
        self._regular = hashlib.sha256()
        self._special = hashlib.sha256()
        names = [f"c{number}" for number in range(len(table.written_columns))]
        self._names = names
        self._row = row_sql(names)
        self._guard = size_sql(names)
        aliased = ",".join(
            f"{quoted_name(column)} AS {name}" for column, name in zip(table.written_columns, names, strict=True)
        )
        self._source = f"SELECT {aliased} FROM {quoted_name(table.name)}"
        positions = dict(zip(table.written_columns, names, strict=True))
        self._key_names = [positions[column] for column in table.key]
        self._order = ",".join(quoted_name(column) for column in table.key)

    @property
    def checksum(self) -> str:
        """The SHA-256 of all rows in the order of the key; the same for the same rows in any SQLite."""
        return hashlib.sha256(f"{self._regular.hexdigest()}:{self._special.hexdigest()}".encode()).hexdigest()

    def __iter__(self) -> Iterator[Lines]:
        place = _Place(None, 0, FIRST_PAGE_ROWS)
        form = Form.PLAIN
        while True:
            try:
                pages, key = self._pages(place, form)
            except ApiRefused as error:
                is_too_large = any(word in error.message for word in _TOO_LARGE)
                if form is Form.BYTES and not (is_too_large and place.size > 1):
                    raise
                if not is_too_large or (form is Form.GUARDED and place.size == 1):
                    form = Form.BYTES
                elif form is Form.PLAIN:
                    form = Form.GUARDED
                place = place.smaller()
                continue
            if form is not Form.BYTES and any(REPLACEMENT in page.text for page in pages):
                # Either it is there, or it stands for bytes that are no UTF-8.
                form, place = Form.BYTES, place.smaller()
                continue
            yield from self._lines(place, form, pages)
            read = sum(page.rows for page in pages)
            length = sum(len(page.text) for page in pages)
            self.rows += read
            if read < place.size * PAGES_PER_REQUEST:
                return
            fitting = int(PAGE_BYTES * read / length) if length else place.size
            size = max(1, min(fitting, place.size * FASTEST_GROWTH, LARGEST_PAGE_ROWS))
            by_offset = self.table.paging is Paging.OFFSET
            place = _Place(None if by_offset else key, place.offset + read if by_offset else 0, size)
            form = Form.PLAIN

    def _lines(self, place: _Place, form: Form, pages: Sequence[_Page]) -> Iterator[Lines]:
        for number, page in enumerate(pages):
            text, count, special = (
                _decoded(page.text) if form is Form.BYTES else (page.text, page.regular, tuple[int, ...]())
            )
            if count:
                self._regular.update(text.encode())
                self._regular.update(SEPARATOR.encode())
                yield Lines(text, count)
            if page.regular < page.rows or special:
                yield from self._special_rows(place.page(number), form, special)

    def _pages(self, place: _Place, form: Form) -> tuple[list[_Page], str | None]:
        """Return the next pages, and the key of their last row."""
        is_regular = f"FILTER (WHERE octet_length(r)<={REGULAR_ROW_BYTES})"
        joined = "group_concat(hex(r))" if form is Form.BYTES else "group_concat(r,','||char(10))"
        greatest = "CAST(max(k) AS TEXT)" if self.table.paging is Paging.ROWID else "NULL"
        statements = [
            f"SELECT count(*),count(r) {is_regular},{joined} {is_regular},{greatest}"
            f" FROM ({self._texts(place.page(number), form)})"
            for number in range(PAGES_PER_REQUEST)
        ]
        if self.table.paging is Paging.KEY:
            literals = ",".join(key_sql(name) for name in self._key_names)
            statements.append(f"SELECT {literals} FROM ({self._page_source(place.last())})")
        answers = self._query(statements)
        pages = [_Page(int(row[0]), int(row[1]), str(row[2] or ""), row[3]) for (row,) in answers[:PAGES_PER_REQUEST]]
        if self.table.paging is Paging.KEY:
            return pages, ",".join(str(part) for part in answers[-1][0]) if answers[-1] else None
        return pages, next((page.greatest for page in reversed(pages) if page.greatest is not None), None)

    def _texts(self, place: _Place, form: Form) -> str:
        row = self._row
        if form is not Form.PLAIN:
            row = f"CASE WHEN {self._guard}<={REGULAR_ROW_BYTES} THEN {row} END"
        key = self._key_names[0] if self.table.paging is Paging.ROWID else "NULL"
        # With a limit of its own SQLite computes each row's text once, instead of wherever r is named outside.
        return f"SELECT {key} AS k,{row} AS r FROM ({self._page_source(place)}) LIMIT -1"

    def _page_source(self, place: _Place) -> str:
        where = ""
        if place.after is not None:
            several = len(self.table.key) > 1
            where = f" WHERE ({self._order})>({place.after})" if several else f" WHERE {self._order}>{place.after}"
        # Without a key the table itself must be walked: an index would give another order.
        hint, order = ("", f" ORDER BY {self._order}") if self._order else (" NOT INDEXED", "")
        return f"{self._source}{hint}{where}{order} LIMIT {place.size} OFFSET {place.offset}"

    def _special_rows(self, place: _Place, form: Form, not_text: Sequence[int]) -> Iterator[Lines]:
        """
        Read rows that have no text of their own, cell by cell.

        Args:
            not_text: Which of the page's regular rows hold bytes that are no UTF-8.
        """
        by_bytes = f"octet_length(r)<={REGULAR_ROW_BYTES}"
        (found,) = self._query([f"SELECT coalesce({by_bytes},0) FROM ({self._texts(place, form)})"])
        regular = [number for number, (is_regular,) in enumerate(found) if is_regular]
        places = sorted(
            {number for number, (is_regular,) in enumerate(found) if not is_regular}
            | {regular[number] for number in not_text}
        )
        kinds = ",".join(
            f"typeof({name}),CASE WHEN typeof({name}) IN ('text','blob') THEN octet_length({name}) END,"
            f"CASE typeof({name}) WHEN 'integer' THEN CAST({name} AS TEXT) WHEN 'real' THEN {name} END,{name}>0"
            for name in self._names
        )
        for begin in range(0, len(places), SPECIAL_ROWS_PER_REQUEST):
            batch = places[begin : begin + SPECIAL_ROWS_PER_REQUEST]
            rows = [f"({self._page_source(place.row(number))})" for number in batch]
            answers = self._query([f"SELECT {kinds} FROM {row}" for row in rows])
            for row, answer in zip(rows, answers, strict=True):
                text = self._special_text(row, answer[0])
                self._special.update(f"{text}\n".encode())
                yield Lines(text, 1)

    def _special_text(self, source: str, facts: Sequence[Any]) -> str:
        cells: list[str] = []
        for number, name in enumerate(self._names):
            kind, size, value, is_positive = facts[4 * number : 4 * number + 4]
            if kind == "integer":
                cells.append(str(value))
            elif kind == "real":
                # JSON has no infinity.
                infinity = float("inf") if is_positive else float("-inf")
                cells.append(literal(infinity if value is None else float(value)))
            elif kind in ("text", "blob"):
                content = self._content(source, name, int(size))
                cells.append(literal(content) if kind == "blob" else text_literal(content))
            else:
                cells.append("NULL")
        return f"({','.join(cells)})"

    def _content(self, source: str, name: str, size: int) -> bytes:
        starts = range(1, size + 1, PIECE_BYTES)
        content = bytearray()
        for begin in range(0, len(starts), PIECES_PER_REQUEST):
            pieces = starts[begin : begin + PIECES_PER_REQUEST]
            answers = self._query(
                [f"SELECT hex(substr(CAST({name} AS BLOB),{start},{PIECE_BYTES})) FROM {source}" for start in pieces]
            )
            for ((piece,),) in answers:
                content += bytes.fromhex(piece)
        if len(content) != size:
            raise Failed(f"A value of the table {self.table.name} changed while it was read")
        return bytes(content)


def _decoded(page: str) -> tuple[str, int, tuple[int, ...]]:
    """Return the rows of a page of hexadecimal texts, how many they are, and which others are no UTF-8."""
    rows: list[str] = []
    special: list[int] = []
    for number, row in enumerate(page.split(",") if page else ()):
        try:
            rows.append(bytes.fromhex(row).decode())
        except UnicodeDecodeError:
            special.append(number)
    return SEPARATOR.join(rows), len(rows), tuple(special)
