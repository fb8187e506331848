"""A D1 that lives in memory: real SQLite, one transaction a call, and answers that can be lost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from clodo.errors import ApiRefused, CloudflareUnavailable, OutcomeUnknown


@dataclass
class Cost:
    """What D1 tells about a statement."""

    size_after: int | None = None


@dataclass
class Answer:
    """What one statement answered."""

    results: list[Mapping[str, Any]] = field(default_factory=list)
    meta: Cost = field(default_factory=Cost)


class InMemoryD1:
    """
    One database, split into statements by SQLite itself.

    `lose_before` and `lose_after` say how many of the next writing calls get no answer: nothing was done, or all of it.
    """

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        self.calls: list[str] = []
        self.lose_before = 0
        self.lose_after = 0
        self.is_down = False
        self.bookmarks = 0
        self.imports = 0
        self.size: int | None = 8192
        self.max_request_bytes = 10_000_000

    def query(self, database_id: str, sql: str, *, only_reads: bool = False) -> list[Answer]:
        assert database_id == "db"
        self.calls.append(sql)
        if len(sql) > self.max_request_bytes:
            raise ApiRefused("statement too long: SQLITE_TOOBIG", status=400, code=7500)
        if self.is_down:
            raise CloudflareUnavailable("down")
        if self.lose_before and not only_reads:
            self.lose_before -= 1
            raise OutcomeUnknown("connection reset")
        answers = self._run(sql, only_reads)
        if self.lose_after and not only_reads:
            self.lose_after -= 1
            raise OutcomeUnknown("timed out")
        return answers

    def import_sql(self, database_id: str, source: Path) -> None:
        self.imports += 1
        limit, self.max_request_bytes = self.max_request_bytes, 10**9
        try:
            self.query(database_id, source.read_text(encoding="utf-8"))
        finally:
            self.max_request_bytes = limit

    def bookmark(self, database_id: str) -> str:
        if self.is_down:
            raise CloudflareUnavailable("down")
        self.bookmarks += 1
        return f"bookmark {self.connection.total_changes()}"

    def rows(self, sql: str) -> list[tuple]:
        return list(self.connection.execute(sql))

    def dump(self) -> list[tuple]:
        """Everything that is in it: schema and rows of every table."""
        schema = self.rows("SELECT type, name, sql FROM sqlite_master ORDER BY name")
        return schema + [(name, *self.rows(f'SELECT * FROM "{name}"')) for kind, name, _ in schema if kind == "table"]

    def _run(self, sql: str, only_reads: bool) -> list[Answer]:
        answers: list[Answer] = []
        cursor = self.connection.cursor()

        def begins(cursor: apsw.Cursor, text: str, bindings: object) -> bool:
            answers.append(Answer())
            return True

        cursor.exec_trace = begins
        before = self.connection.total_changes()
        try:
            with self.connection:
                for row in cursor.execute(sql):
                    names = [column[0] for column in cursor.get_description()]
                    answers[-1].results.append(dict(zip(names, row, strict=True)))
        except apsw.Error as error:
            raise ApiRefused(f"{error}: SQLITE_ERROR", status=400, code=7500) from error
        for answer in answers:
            answer.meta.size_after = self.size
        if only_reads:
            assert self.connection.total_changes() == before, "a read that wrote"
        return answers
