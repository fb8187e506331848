"""Sending a whole file to D1 so that it takes effect once or not at all, whatever becomes of the answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clodo.errors import ApiRefused, OutcomeUnknown, TryLater
from clodo.migrations.plan import AppliedRow
from clodo.migrations.statements import Statement
from clodo.migrations.stored import D1, Stored, read_stored

ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.5

MAX_REQUEST_BYTES = 1_000_000
MAX_REQUEST_STATEMENTS = 5_000
"""A file beyond these goes by import; Cloudflare names no limit of a query's size, and answers TOOBIG or 413 at it."""

BUSY = "Currently processing a long-running"
"""How D1 refuses everything while an import or export runs."""

LOOKS_WHILE_BUSY = 12
PAUSE_WHILE_BUSY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sending:
    """
    The sending of one file to one database.

    Attributes:
        pause: Waits seconds between an unknown outcome and looking.

        tells: Gets a line about what takes long.
    """

    d1: D1
    database_id: str
    table: str
    pause: Callable[[float], None]
    tells: Callable[[str], None] = lambda line: None

    def run(self, name: str, sql: str, statements: int, *, is_done: Callable[[AppliedRow | None], bool]) -> bool:
        """
        Send *sql* until its outcome is known; say whether it was found done after its answer was lost.

        Two sendings never both take effect: each opens with a statement that fails when the other one was first.

        Raises:
            ApiRefused: A statement failed, and nothing stayed.

            OutcomeUnknown: Nobody can tell; the next run looks first.
        """
        by_import = len(sql.encode()) > MAX_REQUEST_BYTES or statements > MAX_REQUEST_STATEMENTS
        was_lost = False
        for attempt in range(ATTEMPTS):
            try:
                self._send(name, sql, by_import=by_import)
            except OutcomeUnknown as error:
                was_lost = True
                self.pause(FIRST_PAUSE_SECONDS * 2**attempt)
                if is_done(self._look(name, error)):
                    return True
            except ApiRefused as error:
                if not by_import and _is_too_large(error):
                    by_import = True
                    continue
                if was_lost and is_done(self._look(name, error)):
                    return True
                raise
            else:
                return False
        raise OutcomeUnknown(
            f"{name}: sent {ATTEMPTS} times without an answer; when last asked the database did not have it",
            hint="Run the same command again: it looks first.",
        )

    def look(self) -> Stored:
        """Read what the database says, waiting while an import keeps it."""
        for _ in range(LOOKS_WHILE_BUSY):
            try:
                return read_stored(self.d1, self.database_id, self.table)
            except ApiRefused as error:
                if BUSY not in error.message:
                    raise
                self.pause(PAUSE_WHILE_BUSY_SECONDS)
        return read_stored(self.d1, self.database_id, self.table)

    def _send(self, name: str, sql: str, *, by_import: bool) -> None:
        if not by_import:
            self.d1.query(self.database_id, sql)
            return
        bookmark = bookmark_of(self.d1, self.database_id) or "unknown"
        self.tells(
            f"{name}: {len(sql.encode()):,} bytes go by import, all of it or nothing; the database answers nobody"
            f" meanwhile. Before it: bookmark {bookmark}"
        )
        with tempfile.TemporaryDirectory(prefix="clodo-import-") as folder:
            file = Path(folder) / "migration.sql"
            file.write_text(sql, encoding="utf-8")
            self.d1.import_sql(self.database_id, file)

    def _look(self, name: str, error: Exception) -> AppliedRow | None:
        try:
            return self.look().row(name)
        except (TryLater, OutcomeUnknown, ApiRefused) as silence:
            raise OutcomeUnknown(
                f"{name}: sent without an answer, and the database can't be asked: {silence.message}",
                hint="Run the same command again: it looks first.",
            ) from error


def bookmark_of(d1: D1, database_id: str) -> str | None:
    """Return the bookmark of now; None when Cloudflare doesn't give it: then nobody goes back by Time Travel."""
    try:
        return d1.bookmark(database_id)
    except (TryLater, OutcomeUnknown, ApiRefused):
        return None


def _is_too_large(error: ApiRefused) -> bool:
    # Each statement was measured already, so it is the request.
    return error.status == 413 or "SQLITE_TOOBIG" in error.message


def closed(sql: str, statements: Sequence[Statement]) -> tuple[str, ...]:
    """Return *sql*, closed so that more may follow."""
    # A file may end in a comment without a line end, or in a statement without a semicolon.
    return (sql, ";") if statements and not statements[-1].is_closed else (sql,)


def joined(*parts: str) -> str:
    """Return *parts*, each on lines of its own."""
    return "\n".join(parts)
