"""D1's binding: statements in, results out, as the SQL API that is bundled with workerd writes and reads them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Sequence

import orjson

from clodo.emulator.runtime.bindings.calls import JSON, Answer, Call
from clodo.emulator.runtime.ports import (
    Answers,
    BindingRefused,
    DatabaseBackend,
    SqlValue,
    Statement,
    StatementFailed,
)

#: The D1 session's bookmark, in both directions.
BOOKMARK_HEADER = b"x-cf-d1-session-commit-token"
#: Asked for by `run` of what only writes, and by `exec`.
_WITHOUT_ROWS = b"resultsFormat=NONE"


def _bytes_as_numbers(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return list(bytes(value))
    raise TypeError(f"{type(value).__name__} has no place in D1's answer")


def parameter(value: object) -> SqlValue:
    """Return a bound value as the store takes it: arrays of numbers are blobs, booleans are 0 and 1."""
    match value:
        case bool():
            return int(value)
        case None | int() | float() | str():
            return value
        case list():
            try:
                return bytes(value)
            except (TypeError, ValueError) as error:
                raise StatementFailed("Type 'object' not supported for a bound value: SQLITE_ERROR") from error
        case _:
            raise StatementFailed(f"Type '{type(value).__name__}' not supported for a bound value: SQLITE_ERROR")


def statements_of(body: bytes) -> list[Statement]:
    """Return the statements of a binding's request: one, or an array of them."""
    parsed = json.loads(body)
    items = parsed if isinstance(parsed, list) else [parsed]
    return [Statement(str(item["sql"]), [parameter(value) for value in item.get("params") or ()]) for item in items]


def serve_d1(
    databases: DatabaseBackend | None, account_id: str, database_id: str, call: Call
) -> Answer | Awaitable[Answer]:
    """Answer one call of a D1 binding in HTTP mode. Failures have status 200: the binding only reads the body."""
    if databases is None:
        return _failure("D1 is not served by this embedded cloud")
    if call.raw_path == b"/dump":
        # Only databases of D1's alpha had it: "D1_DUMP_ERROR: Status + 400", say public reports.
        return Answer(400)
    try:
        statements = statements_of(call.body)
        answers = databases.run_at_once(account_id, database_id, statements)
    except (StatementFailed, BindingRefused) as error:
        return _failure(error.message)
    if answers is None:
        return _serve_later(databases, account_id, database_id, call, statements)
    return _success(call, answers)


async def _serve_later(
    databases: DatabaseBackend, account_id: str, database_id: str, call: Call, statements: Sequence[Statement]
) -> Answer:
    bookmark = call.header(BOOKMARK_HEADER)
    try:
        answers = await databases.run(
            account_id, database_id, statements, bookmark=bookmark.decode("latin-1") if bookmark else None
        )
    except (StatementFailed, BindingRefused) as error:
        return _failure(error.message)
    return _success(call, answers)


def _success(call: Call, answers: Answers) -> Answer:
    results = list(answers.results)
    if _WITHOUT_ROWS in call.target:
        results = [{**result, "results": []} for result in results]
    is_batch = call.body.lstrip()[:1] == b"["
    body = orjson.dumps(results if is_batch else results[0], default=_bytes_as_numbers)
    return Answer(200, body, (JSON, (BOOKMARK_HEADER, answers.bookmark.encode())))


def _failure(message: str) -> Answer:
    return Answer(200, json.dumps({"success": False, "error": message}).encode(), (JSON,))
