"""One open database: what may be said to it, how statements run, and what D1 tells about each."""

from __future__ import annotations

import math
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw

from clodo.emulator.d1.history import PAGE_BYTES, open_quietly
from clodo.emulator.d1.limits import Limits
from clodo.emulator.d1.sql import split
from clodo.emulator.runtime.ports import SqlValue, Statement, StatementFailed

#: Every D1 database has this table, and refuses names that begin so; lists of tables show it, also in the docs.
SCHEMA = "CREATE TABLE _cf_KV (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"
RESERVED = "_cf_"

#: Largest integer that JavaScript, and so D1's JSON, holds exactly.
MAX_SAFE_INTEGER = 2**53 - 1

NO_TRANSACTIONS = (
    "To execute a transaction, please use the state.storage.transaction() or state.storage.transactionSync() APIs"
    " instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. The JavaScript API is safer because it will"
    " automatically roll back on exceptions, and because it interacts correctly with Durable Objects' automatic atomic"
    " write coalescing."
)
OUT_OF_TIME = "D1 DB exceeded its CPU time limit and was reset."
TOO_LARGE = "Exceeded maximum DB size."

#: With less room than this it is the disk that is full, not the database that is too large.
_ROOM_BYTES = 16 * 1024 * 1024

#: Looked at after so many steps of SQLite's virtual machine: about a millisecond.
_STEPS_BETWEEN_LOOKS = 50_000

# Source: ALLOWED_SQLITE_FUNCTIONS, ALLOWED_PRAGMAS and isAuthorized() in src/workerd/util/sqlite.c++ of workerd; each
# name was tried on workerd 1.20261117 itself. The last two lines are what ALTER TABLE uses inside.
_FUNCTIONS = frozenset(
    """
    abs changes char coalesce concat concat_ws format glob hex ifnull iif instr last_insert_rowid length like likelihood
    likely load_extension lower ltrim max min nullif octet_length printf quote random randomblob replace round rtrim
    sign soundex substr substring total_changes trim typeof unhex unicode unlikely upper zeroblob
    date time datetime julianday unixepoch strftime timediff current_date current_time current_timestamp
    avg count group_concat string_agg sum total
    row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
    acos acosh asin asinh atan atan2 atanh ceil cos cosh degrees exp floor ln log log2 mod pi pow power radians
    sin sinh sqrt tan tanh trunc
    -> ->> json json_array json_array_length json_extract json_insert json_object json_patch json_quote json_remove
    json_replace json_set json_type json_valid json_group_array json_group_object json_each json_tree
    jsonb jsonb_array jsonb_extract jsonb_insert jsonb_object jsonb_patch jsonb_remove jsonb_replace jsonb_set
    jsonb_group_array jsonb_group_object
    match highlight bm25 snippet fts5_locale
    sqlite_rename_column sqlite_rename_table sqlite_rename_test sqlite_drop_column sqlite_rename_quotefix
    sqlite_add_constraint sqlite_drop_constraint sqlite_find_constraint sqlite_fail
    """.split()  # noqa: SIM905
)
_SWITCHES = frozenset(
    """
    case_sensitive_like foreign_keys defer_foreign_keys ignore_check_constraints legacy_alter_table recursive_triggers
    reverse_unordered_selects
    """.split()  # noqa: SIM905
)
_INSPECTIONS = frozenset(
    """
    data_version foreign_key_check foreign_key_list index_info index_list index_xinfo quick_check optimize
    table_info table_xinfo table_list
    """.split()  # noqa: SIM905
)
_SWITCH_VALUES = frozenset({"0", "1", "on", "off", "true", "false", "yes", "no"})
_MODULES = frozenset({"fts5", "fts5vocab"})
_READS = re.compile(r"(?:SELECT|VALUES|EXPLAIN)\b", re.IGNORECASE)


class OutOfTime(StatementFailed):
    """A statement ran longer than D1 lets it."""


class DatabaseTooLarge(StatementFailed):
    """The database would outgrow D1's limit."""


class DiskFull(StatementFailed):
    """The disk of this machine is full; nothing was changed."""


@dataclass(slots=True)
class Result:
    """
    What one statement gave.

    Attributes:
        rows: Each as long as `columns`. Blobs are bytes; numbers are as JavaScript would hold them.

        meta: D1's: duration (milliseconds), changes, last_row_id, changed_db, size_after (bytes), rows_read,
            rows_written.
    """

    sql: str
    columns: tuple[str, ...]
    rows: list[tuple[SqlValue, ...]]
    meta: dict[str, Any]


def is_plain_read(statement: Statement) -> bool:
    """Say whether *statement* is a single SELECT, by its first word; anything else it may be only waits longer."""
    text = statement.sql.strip()
    return text[:6].upper() == "SELECT" and ";" not in text[:-1]


@dataclass(slots=True)
class _Facts:
    """What preparing a statement showed: asked for by the authorizer, kept per text."""

    written: dict[str, set[str] | None] = field(default_factory=dict)  # table → updated columns, None for whole rows
    reads: bool = False
    counts: bool = False  # reads a table and none of its columns, as count(*) does
    changes_schema: bool = False
    creates: bool = False
    sets_switch: bool = False


class Engine:
    """
    A database file, open for one thread.

    Args:
        path: A first file of a generation.

        on_commit: Called with the length of the write-ahead log in frames after each commit.

        on_schema_change: Called after a commit that changed the schema.
    """

    def __init__(
        self,
        path: Path,
        limits: Limits,
        *,
        on_commit: Callable[[int], None],
        on_schema_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.limits = limits
        self._on_commit = on_commit
        self._on_schema_change = on_schema_change
        self._connection = open_quietly(path)
        self._trusted = True
        self._refusal: str | None = None
        self._facts: _Facts | None = None
        self._facts_by_sql: dict[str, _Facts] = {}
        self._weights: dict[tuple[str, frozenset[str] | None], int] = {}
        self._columns: tuple[str, ...] = ()
        self._scanned = 0
        self._deadline = math.inf
        self._schema_changed = False
        # Our own statements share apsw's cache with the users': nobody may be able to write the same text.
        self._mark = f"/*{secrets.token_hex(8)}*/"
        self._set_up()
        self._size = self._measured_size()
        self.frames = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)[0]

    def _set_up(self) -> None:
        connection, limits = self._connection, self.limits
        # In WAL mode NORMAL survives kill -9: what was committed is with the kernel.
        for pragma in ("synchronous=NORMAL", "cache_size=-8192", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}", can_cache=False)
        connection.execute(f"PRAGMA max_page_count={limits.database_bytes // PAGE_BYTES}", can_cache=False)
        self._reset_switches()
        for option, value in (
            (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
            (apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, 0),
        ):
            connection.config(option, value)
        for category, limit in (
            (apsw.SQLITE_LIMIT_LENGTH, limits.value_bytes),
            (apsw.SQLITE_LIMIT_SQL_LENGTH, limits.statement_bytes),
            (apsw.SQLITE_LIMIT_COLUMN, limits.columns),
            (apsw.SQLITE_LIMIT_EXPR_DEPTH, limits.expression_depth),
            (apsw.SQLITE_LIMIT_COMPOUND_SELECT, limits.compound_terms),
            (apsw.SQLITE_LIMIT_VDBE_OP, limits.program_steps),
            (apsw.SQLITE_LIMIT_FUNCTION_ARG, limits.function_arguments),
            (apsw.SQLITE_LIMIT_ATTACHED, 0),
            (apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits.pattern_bytes),
            (apsw.SQLITE_LIMIT_VARIABLE_NUMBER, limits.bound_parameters),
            (apsw.SQLITE_LIMIT_TRIGGER_DEPTH, limits.trigger_depth),
            (apsw.SQLITE_LIMIT_WORKER_THREADS, 0),
        ):
            connection.limit(category, limit)
        connection.drop_modules([*_MODULES, "json_each", "json_tree"])
        connection.set_wal_hook(self._committed)
        connection.set_exec_trace(self._begun)
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._ended)
        connection.set_progress_handler(self._is_late, _STEPS_BETWEEN_LOOKS)
        connection.authorizer = self._authorize

    def close(self) -> None:
        """Close the file; its write-ahead log stays as it is."""
        self._connection.close()

    def interrupt(self) -> None:
        """Make the statement that runs now fail; may be called from another thread."""
        self._connection.interrupt()

    @property
    def size(self) -> int:
        """Size of the database in bytes."""
        return self._size

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self, statements: Sequence[Statement], *, patience: timedelta | None = None) -> list[list[Result]]:
        """
        Run *statements* in one transaction, all or none.

        Each may hold several, separated by semicolons; then only the last of them may have parameters.

        Args:
            patience: How long it may take; None for D1's own limit.

        Returns:
            For each of *statements*, the results of the single statements in it.

        Raises:
            StatementFailed: One failed, and nothing was changed.
        """
        groups: list[list[Statement]] = []
        for statement in statements:
            texts = split(statement.sql)
            if not texts:
                raise StatementFailed("No SQL statements detected.")
            groups.append([*map(Statement, texts[:-1]), Statement(texts[-1], statement.params)])
        count = sum(map(len, groups))
        if count > self.limits.statements_per_call:
            raise StatementFailed(f"too many statements: {count} of at most {self.limits.statements_per_call}")
        with self.limited(patience):
            if count == 1 and is_plain_read(groups[0][0]):
                # SQLite makes a transaction of it by itself.
                return [[self.execute(groups[0][0])]]
            with self.transaction():
                return [[self.execute(piece) for piece in group] for group in groups]

    @contextmanager
    def limited(self, patience: timedelta | None = None) -> Iterator[None]:
        """Hold what is run inside to *patience*, by default to D1's limit on a query's duration."""
        self._deadline = time.monotonic() + (patience or self.limits.query_duration).total_seconds()
        try:
            yield
        finally:
            self._deadline = math.inf

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done inside, or undo it all when it fails."""
        self._schema_changed = False
        switched = self._switched = False
        try:
            self._ours("BEGIN")
            try:
                yield
                switched = self._switched
                with _errors(self):
                    self._ours("COMMIT")
            except BaseException:
                switched = self._switched
                self._deadline = math.inf
                if self._connection.in_transaction:
                    self._ours("ROLLBACK")
                self._size = self._measured_size()
                self._weights.clear()
                raise
        finally:
            if switched:
                # "These PRAGMA statements only apply to the current transaction", says D1's documentation.
                self._reset_switches()
        if self._schema_changed:
            self._on_schema_change()

    def execute(self, statement: Statement) -> Result:
        """
        Run one statement inside a `transaction`.

        Raises:
            StatementFailed: SQLite, or D1's rules, refuse it.
        """
        sql = statement.sql
        if (
            len(sql) * 4 > self.limits.statement_bytes
            and len(sql.encode("utf-8", "replace")) > self.limits.statement_bytes
        ):
            raise StatementFailed("statement too long: SQLITE_TOOBIG")
        connection = self._connection
        params = tuple(map(_bound, statement.params))
        self._facts = None
        self._refusal = None
        self._columns = ()
        self._scanned = 0
        before = connection.total_changes()
        started = time.perf_counter()
        self._trusted = False
        try:
            with _errors(self):
                rows = connection.execute(sql, params).fetchall()
        finally:
            self._trusted = True
        duration = (time.perf_counter() - started) * 1000
        facts = self._remembered(sql)
        changes = connection.total_changes() - before
        written = 0
        if changes:
            written = changes * self._weight(facts)
        elif facts.creates:
            written = 2
        if facts.written or facts.changes_schema:
            self._size = self._measured_size()
        if facts.changes_schema:
            self._schema_changed = True
            self._weights.clear()
        meta = {
            "duration": round(duration, 4),
            "changes": changes,
            "last_row_id": connection.last_insert_rowid(),
            "changed_db": bool(changes) or facts.changes_schema,
            "size_after": self._size,
            # Approximations: SQLite counts steps of full scans only, and the real D1 runs a patched one.
            "rows_read": max(self._scanned, changes or _read(facts, rows)),
            "rows_written": written,
        }
        return Result(sql, self._columns, [_as_javascript(row) for row in rows], meta)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Run a statement of our own: limits and refusals don't count, and rows come as they are asked for."""
        self._trusted = True
        yield from self._connection.execute(f"{sql}{self._mark}", tuple(params))

    def tables(self) -> int:
        """Return how many tables users made."""
        sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        (count,) = next(self.rows(f"{sql} AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'"))
        return int(count)

    def _ours(self, sql: str) -> None:
        self._trusted = True
        self._connection.execute(sql + self._mark)

    def _measured_size(self) -> int:
        (pages,) = next(self.rows("PRAGMA page_count"))
        return int(pages) * PAGE_BYTES

    def _reset_switches(self) -> None:
        self._trusted = True
        for pragma in (
            "foreign_keys=1",
            "case_sensitive_like=0",
            "ignore_check_constraints=0",
            "legacy_alter_table=0",
            "recursive_triggers=0",
            "reverse_unordered_selects=0",
        ):
            self._connection.execute(f"PRAGMA {pragma}", can_cache=False)

    # --- what SQLite asks and tells -----------------------------------------------------------------------------------

    def _committed(self, connection: apsw.Connection, database: str, frames: int) -> int:
        self.frames = frames
        self._on_commit(frames)
        return apsw.SQLITE_OK

    def _begun(self, cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
        if not self._trusted:
            self._columns = tuple(column[0] for column in cursor.get_description())
        return True

    def _ended(self, event: Mapping[str, Any]) -> None:
        if not self._trusted:
            steps = event["stmt_status"]["SQLITE_STMTSTATUS_FULLSCAN_STEP"]
            if steps:
                self._scanned += steps + 1

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def _remembered(self, sql: str) -> _Facts:
        if self._facts is not None:
            if len(self._facts_by_sql) > 500:
                self._facts_by_sql.clear()
            self._facts_by_sql[sql] = self._facts
        facts = self._facts_by_sql.get(sql)
        if facts is None:
            # apsw had it in its cache and we did not: nothing is known, so assume that it writes.
            facts = _Facts(written={} if _READS.match(sql) else {"": None})
        if facts.sets_switch:
            self._switched = True
        return facts

    def _weight(self, facts: _Facts) -> int:
        """Return how many rows a change writes: the row itself and its index entries."""
        table, columns = next(iter(facts.written.items()), ("", None))
        key = (table, None if columns is None else frozenset(columns))
        weight = self._weights.get(key)
        if weight is None:
            weight = self._weights[key] = self._measured_weight(table, columns)
        return weight

    def _measured_weight(self, table: str, columns: set[str] | None) -> int:
        indexes: dict[str, set[str]] = {}
        sql = (
            "SELECT indexes.name, columns.name FROM pragma_index_list(?) AS indexes"
            " LEFT JOIN pragma_index_info(indexes.name) AS columns"
        )
        for index, column in self.rows(sql, (table,)):
            indexes.setdefault(index, set()).add(column)
        touched = [index for index, over in indexes.items() if columns is None or over & columns]
        sql = "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?"
        without_rowid = any(wr for (wr,) in self.rows(sql, (table,)))
        # The primary key's index is the table itself then.
        return 1 + len(touched) - (1 if without_rowid and touched else 0)

    def _authorize(self, action: int, one: str | None, two: str | None, database: str | None, by: str | None) -> int:
        if self._trusted:
            return apsw.SQLITE_OK
        if self._facts is None:
            self._facts = _Facts()
        return apsw.SQLITE_OK if self._is_allowed(self._facts, action, one, two, database) else apsw.SQLITE_DENY

    def _is_allowed(self, facts: _Facts, action: int, one: str | None, two: str | None, database: str | None) -> bool:
        if action in (apsw.SQLITE_TRANSACTION, apsw.SQLITE_SAVEPOINT):
            self._refusal = NO_TRANSACTIONS
            return False
        if action == apsw.SQLITE_FUNCTION:
            return two is not None and two.lower() in _FUNCTIONS
        if action == apsw.SQLITE_PRAGMA:
            return self._is_allowed_pragma(facts, (one or "").lower(), two)
        if action in (apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH) or action in _TEMPORARY:
            return False
        if database == "temp":
            # ALTER TABLE looks for what to rename there too; users can't make anything there.
            return action in (apsw.SQLITE_READ, apsw.SQLITE_UPDATE, apsw.SQLITE_SELECT)
        if action in _SCHEMA_ACTIONS:
            facts.changes_schema = True
            facts.creates = facts.creates or action in _CREATIONS
            if action == apsw.SQLITE_CREATE_VTABLE and (two or "").lower() not in _MODULES:
                return False
        if action == apsw.SQLITE_READ:
            facts.reads = True
            facts.counts = facts.counts or two == ""
            return not (one or "").lower().startswith(RESERVED)
        if action == apsw.SQLITE_INSERT:
            facts.written[one or ""] = None
        elif action == apsw.SQLITE_DELETE:
            # Index entries that go are not counted.
            facts.written.setdefault(one or "", set())
        elif action == apsw.SQLITE_UPDATE:
            columns = facts.written.setdefault(one or "", set())
            if columns is not None:
                columns.add(two or "")
        if action == apsw.SQLITE_ANALYZE:
            return True
        return not any(name is not None and name.lower().startswith(RESERVED) for name in (one, two))

    def _is_allowed_pragma(self, facts: _Facts, name: str, value: str | None) -> bool:
        if name in _SWITCHES:
            if value is None:
                return True
            facts.sets_switch = True
            return value.lower() in _SWITCH_VALUES
        return name in _INSPECTIONS


_TEMPORARY = frozenset(
    {
        apsw.SQLITE_CREATE_TEMP_INDEX,
        apsw.SQLITE_CREATE_TEMP_TABLE,
        apsw.SQLITE_CREATE_TEMP_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_VIEW,
        apsw.SQLITE_DROP_TEMP_INDEX,
        apsw.SQLITE_DROP_TEMP_TABLE,
        apsw.SQLITE_DROP_TEMP_TRIGGER,
        apsw.SQLITE_DROP_TEMP_VIEW,
    }
)
_CREATIONS = frozenset(
    {
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_CREATE_TABLE,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_CREATE_VIEW,
        apsw.SQLITE_CREATE_VTABLE,
    }
)
_SCHEMA_ACTIONS = frozenset(
    {
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_CREATE_TABLE,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_CREATE_VIEW,
        apsw.SQLITE_CREATE_VTABLE,
        apsw.SQLITE_DROP_INDEX,
        apsw.SQLITE_DROP_TABLE,
        apsw.SQLITE_DROP_TRIGGER,
        apsw.SQLITE_DROP_VIEW,
        apsw.SQLITE_DROP_VTABLE,
        apsw.SQLITE_ALTER_TABLE,
    }
)


def _read(facts: _Facts, rows: list[tuple[Any, ...]]) -> int:
    """Guess how many rows were read by a statement that neither scanned nor changed any."""
    if not facts.reads:
        return 0
    if facts.counts and len(rows) == 1 and len(rows[0]) == 1 and isinstance(rows[0][0], int):
        return rows[0][0]
    return len(rows)


@contextmanager
def _errors(engine: Engine) -> Iterator[None]:
    """Rename SQLite's errors as D1 says them."""
    try:
        yield
    except apsw.InterruptError as error:
        raise OutOfTime(OUT_OF_TIME) from error
    except apsw.FullError as error:
        if shutil.disk_usage(engine.path.parent).free < _ROOM_BYTES:
            raise DiskFull("database or disk is full: SQLITE_FULL") from error
        raise DatabaseTooLarge(TOO_LARGE) from error
    except apsw.AuthError as error:
        raise StatementFailed(engine._refusal or f"{error}: SQLITE_AUTH") from error
    except apsw.BindingsError as error:
        raise StatementFailed("Wrong number of parameter bindings for SQL query.") from error
    except apsw.Error as error:
        raise StatementFailed(_message(error)) from error
    except UnicodeDecodeError as error:
        raise StatementFailed("text that is not UTF-8: SQLITE_MISMATCH") from error
    except (ValueError, OverflowError) as error:
        # "null character in query": SQLite itself would stop reading there.
        raise StatementFailed(f"{error}: SQLITE_ERROR") from error


def _message(error: apsw.Error) -> str:
    code = getattr(error, "result", apsw.SQLITE_ERROR)
    name = apsw.mapping_result_codes.get(code & 0xFF, "SQLITE_ERROR")
    offset = getattr(error, "error_offset", -1)
    place = f" at offset {offset}" if offset is not None and offset >= 0 else ""
    extended = apsw.mapping_extended_result_codes.get(getattr(error, "extendedresult", code))
    # As workerd writes it since 2025.
    more = f" (extended: {extended})" if extended and code == apsw.SQLITE_CONSTRAINT else ""
    return f"{error}{place}: {name}{more}"


def _bound(value: Any) -> SqlValue:
    """Return a parameter as SQLite takes it."""
    if value is None or isinstance(value, bytes | float):
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        # JavaScript has no larger integers: they come as floating point.
        return value if -(2**63) <= value < 2**63 else float(value)
    if isinstance(value, str):
        if value.isascii():
            return value
        # A lone surrogate is not UTF-8; JavaScript's encoder replaces it too.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Sequence) and all(isinstance(item, int) and 0 <= item <= 255 for item in value):
        return bytes(value)
    raise StatementFailed(f"D1_TYPE_ERROR: Type 'object' not supported for value '{str(value)[:100]}'")


def _as_javascript(row: tuple[Any, ...]) -> tuple[SqlValue, ...]:
    for value in row:
        if isinstance(value, int):
            if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
                break
        elif isinstance(value, float) and not math.isfinite(value):
            break
    else:
        return row
    return tuple(map(_number, row))


def _number(value: Any) -> SqlValue:
    if isinstance(value, int) and not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # as JSON.stringify writes it
    return value  # type: ignore[no-any-return]
