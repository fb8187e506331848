"""Reading the SQL text of an archive back: statements, and the rows between them, without parsing SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from clodo.backups.d1.dump import FORMAT, MARK
from clodo.errors import SnapshotDamaged

PIECE_BYTES = 1 << 20
_MARK = MARK.encode()


@dataclass(frozen=True, slots=True)
class Statement:
    """
    One statement that is not about rows.

    Attributes:
        kind: table, index, view, trigger or virtual table; empty for what belongs to the one before.

        name: Of what it makes.
    """

    sql: str
    kind: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class RowLines:
    """
    Some rows of a table.

    Attributes:
        insert: What comes before them: ``INSERT INTO "t"("a") VALUES``.

        lines: Each ``(1,'a')``, without commas between them.
    """

    table: str
    insert: str
    lines: tuple[str, ...]

    @property
    def sql(self) -> str:
        """One statement for all of them."""
        return self.insert + "\n" + ",\n".join(self.lines)


def read_script(chunks: Iterable[bytes]) -> Iterator[Statement | RowLines]:
    """
    Yield what a script says, in order, holding no more than one INSERT of it.

    Transactions and pragmas are left out: whoever restores has their own.

    Raises:
        SnapshotDamaged: It is not such a script, or ends early.
    """
    lines = _lines(chunks)
    first = next(lines, b"")
    if not first.startswith(_MARK) or _facts(first).get("format") != FORMAT:
        raise SnapshotDamaged(f"The archive is no script of the format {FORMAT}")
    table = insert = ""
    rows: list[str] = []
    for line in lines:
        if line.startswith(_MARK):
            facts = _facts(line)
            if facts.get("end"):
                return
            if "rows" in facts:
                table, insert = str(facts["rows"]), str(facts["insert"])
                continue
            count = facts.get("lines")
            if not isinstance(count, int):
                raise SnapshotDamaged("The archive has a mark that says nothing")
            text = b"\n".join(next(lines, b"") for _ in range(count)).decode()
            yield Statement(text.rstrip().removesuffix(";"), str(facts.get("schema", "")), str(facts.get("name", "")))
        elif line.startswith(b"("):
            rows.append(line[:-1].decode())
            if line.endswith(b";"):
                yield RowLines(table, insert, tuple(rows))
                rows = []
    raise SnapshotDamaged("The archive ends in the middle")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _facts(line: bytes) -> dict[str, object]:
    try:
        found = json.loads(line[len(_MARK) :])
    except ValueError as error:
        raise SnapshotDamaged("The archive has a mark that can't be read") from error
    return found if isinstance(found, dict) else {}
