"""An archive's rows as statements that D1 takes: 100 KB of text and 25,000 steps at most; larger rows in pieces."""

# Names of tables come from the archive and are quoted there.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clodo.backups.d1.script import RowLines, Statement
from clodo.errors import SnapshotDamaged

STATEMENT_BYTES = 90_000
"""D1 takes 100,000, of the whole statement."""

STATEMENT_STEPS = 10_000
"""SQLite compiles each value of a row into one to three of the 25,000 steps that D1 allows a statement."""

PIECE_BYTES = 40_000
"""Of a value that is too large for a statement; twice as many characters in hexadecimal."""

SCRATCH = '"_clodo_restoring"'
OPENING = ("PRAGMA defer_foreign_keys=ON", "PRAGMA ignore_check_constraints=ON")
"""Rows come as they were: also where what they refer to comes later, or a constraint was added after them."""

_TEXT_OPENING, _TEXT_CLOSING = "CAST(X'", "' AS TEXT)"
_LINES_OPENING, _LINES_CLOSING = "replace(replace('", "',char(30),char(13)),char(31),char(10))"


def statements_of(items: Iterable[Statement | RowLines]) -> Iterator[str]:
    """Yield what is to run, in order, without semicolons."""
    has_scratch = False
    for item in items:
        if isinstance(item, Statement):
            if has_scratch and item.kind == "trigger":
                # A trigger might look at every table there is.
                yield f"DROP TABLE {SCRATCH}"
                has_scratch = False
            yield item.sql
            continue
        for batch in _batches(item):
            if isinstance(batch, RowLines):
                yield batch.sql
                continue
            if not has_scratch:
                yield f"CREATE TABLE {SCRATCH}(number INTEGER PRIMARY KEY, value BLOB)"
                has_scratch = True
            yield from _large_row(item.insert, batch)
    if has_scratch:
        yield f"DROP TABLE {SCRATCH}"


def cells_of(line: str) -> list[str]:
    """
    Return the literals of a row ``(1,'a',X'00')``.

    Raises:
        SnapshotDamaged: It is no row.
    """
    cells: list[str] = []
    start, depth, place, end = 1, 0, 1, len(line) - 1
    while place < end:
        character = line[place]
        if character == "'":
            # A doubled quote closes and opens again.
            place = line.find("'", place + 1)
            if place < 0:
                raise SnapshotDamaged("The archive has a row whose text doesn't end")
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and depth == 0:
            cells.append(line[start:place])
            start = place + 1
        place += 1
    cells.append(line[start:end])
    return cells


def content_of(cell: str) -> tuple[bytes, bool] | None:
    """Return the bytes of a literal and whether they are text; None for a number or NULL."""
    if cell.startswith("'"):
        return _unquoted(cell[1:-1]).encode(), True
    if cell.startswith("X'"):
        return bytes.fromhex(cell[2:-1]), False
    if cell.startswith(_TEXT_OPENING):
        return bytes.fromhex(cell.removeprefix(_TEXT_OPENING).removesuffix(_TEXT_CLOSING)), True
    if cell.startswith(_LINES_OPENING):
        held = _unquoted(cell.removeprefix(_LINES_OPENING).removesuffix(_LINES_CLOSING))
        return held.replace("\x1e", "\r").replace("\x1f", "\n").encode(), True
    return None


def _unquoted(text: str) -> str:
    return text.replace("''", "'")


def _batches(rows: RowLines) -> Iterator[RowLines | str]:
    """Yield rows that fit into a statement together, and as a line those that don't even alone."""
    held: list[str] = []
    room = STATEMENT_BYTES - len(rows.insert.encode())
    size = steps = 0
    for line in rows.lines:
        length = len(line) if line.isascii() else len(line.encode())
        # Commas and brackets in text count too: that is one statement more, and no harm.
        cost = 4 + line.count(",") + 4 * line.count("(")
        if held and (size + length + 2 > room or steps + cost > STATEMENT_STEPS):
            yield RowLines(rows.table, rows.insert, tuple(held))
            held, size, steps = [], 0, 0
        if length > room:
            yield line
            continue
        held.append(line)
        size += length + 2
        steps += cost
    if held:
        yield RowLines(rows.table, rows.insert, tuple(held))


def _large_row(insert: str, line: str) -> Iterator[str]:
    """Yield what puts the large values of a row together in a table of their own, and then writes the row."""
    cells = cells_of(line)
    room = STATEMENT_BYTES - len(insert.encode()) - sum(min(len(cell.encode()), 100) for cell in cells)
    largest_first = sorted(range(len(cells)), key=lambda number: len(cells[number].encode()), reverse=True)
    left = sum(len(cell.encode()) for cell in cells)
    for number in largest_first:
        if left <= room:
            break
        content = content_of(cells[number])
        if content is None:
            break
        value, is_text = content
        yield f"INSERT INTO {SCRATCH} VALUES({number},X'')"
        for start in range(0, len(value), PIECE_BYTES):
            piece = value[start : start + PIECE_BYTES].hex()
            yield f"UPDATE {SCRATCH} SET value=CAST(value||X'{piece}' AS BLOB) WHERE number={number}"
        left -= len(cells[number].encode())
        put = f"(SELECT CAST(value AS {'TEXT' if is_text else 'BLOB'}) FROM {SCRATCH} WHERE number={number})"
        cells[number] = put
    yield f"{insert}\n({','.join(cells)})"
    yield f"DELETE FROM {SCRATCH}"
