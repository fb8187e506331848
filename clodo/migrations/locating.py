"""Which statement of a failed file it was: D1 doesn't say, so an empty copy of the schema is asked."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apsw

from clodo.migrations.schema import empty_copy
from clodo.migrations.statements import Statement

PATIENCE_SECONDS = 2.0
INSTRUCTIONS_BETWEEN_LOOKS = 10_000


def locate(
    statements: Sequence[Statement],
    message: str,
    schema: Sequence[Mapping[str, Any]],
    *,
    elapsed: Callable[[], float] = time.monotonic,
) -> int | None:
    """
    Find the statement that gave *message*.

    First the statements are run on an empty database with the same schema, which finds mistakes of words and of names.
    A broken constraint needs the rows to show: it is laid to the one statement that writes to the table it names.

    Args:
        schema: Rows of D1's ``sqlite_master``, with ``type``, ``name`` and ``sql``.

    Returns:
        Its number, counted from 1; None when nothing proves which it was.
    """
    if len(statements) == 1:
        return 1
    return _by_running(statements, message, schema, elapsed) or _by_table(statements, message)


def _by_running(
    statements: Sequence[Statement], message: str, schema: Sequence[Mapping[str, Any]], elapsed: Callable[[], float]
) -> int | None:
    connection = empty_copy(schema)
    try:
        gives_up_at = elapsed() + PATIENCE_SECONDS
        connection.set_progress_handler(lambda: elapsed() > gives_up_at, INSTRUCTIONS_BETWEEN_LOOKS)
        connection.execute("BEGIN")
        for number, statement in enumerate(statements, start=1):
            try:
                for _ in connection.execute(statement.text):
                    pass
            except apsw.Error as error:
                # Another message means that this SQLite trips over something else than D1 did.
                return number if str(error) and str(error) in message else None
        return None
    finally:
        connection.close()


def _by_table(statements: Sequence[Statement], message: str) -> int | None:
    broken = re.search(r"constraint failed: (\w+)\.", message)
    if not broken:
        return None
    name = re.compile(rf"(?<!\w){re.escape(broken[1])}(?!\w)", re.IGNORECASE)
    writers = [
        number
        for number, statement in enumerate(statements, start=1)
        if statement.first_word in ("INSERT", "UPDATE", "REPLACE", "WITH") and name.search(statement.text)
    ]
    return writers[0] if len(writers) == 1 else None
