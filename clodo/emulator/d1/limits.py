"""
What D1 allows, with where each number comes from.

Sources: [docs] https://developers.cloudflare.com/d1/platform/limits/; [workerd] ``setupSecurity()`` in
https://github.com/cloudflare/workerd/blob/main/src/workerd/util/sqlite.c%2B%2B; [ours] chosen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers a store holds its databases to; tests and rehearsals may pass smaller ones."""

    #: [docs] "Maximum SQL statement length: 100,000 bytes (100 KB)".
    statement_bytes: int = 100_000
    #: [docs] "Maximum bound parameters per query: 100".
    bound_parameters: int = 100
    #: [docs] "Maximum number of columns per table: 100".
    columns: int = 100
    #: [docs] "Maximum string, BLOB or table row size: 2,000,000 bytes (2 MB)".
    value_bytes: int = 2_000_000
    #: [docs] "Maximum characters (bytes) in a LIKE or GLOB pattern: 50 bytes".
    pattern_bytes: int = 50
    #: [docs] "Maximum arguments per SQL function: 32".
    function_arguments: int = 32
    #: [workerd] SQLITE_LIMIT_EXPR_DEPTH.
    expression_depth: int = 100
    #: [workerd] SQLITE_LIMIT_COMPOUND_SELECT; measured by users against the real API: the sixth term is refused.
    compound_terms: int = 5
    #: [workerd] SQLITE_LIMIT_VDBE_OP.
    program_steps: int = 25_000
    #: [workerd] SQLITE_LIMIT_TRIGGER_DEPTH.
    trigger_depth: int = 10

    #: [docs] "Maximum SQL query duration: 30 seconds".
    query_duration: timedelta = timedelta(seconds=30)
    #: [docs] "Maximum database size: 10 GB (Workers Paid)".
    database_bytes: int = 10_000_000_000
    #: [docs] "Databases per account: 50,000 (Workers Paid)".
    databases_per_account: int = 50_000
    #: [docs] "Time Travel duration: 30 days (Workers Paid)".
    horizon: timedelta = timedelta(days=30)
    #: [docs] "Maximum Time Travel restore operations: 10 restores per 10 minutes (per database)".
    restores: int = 10
    restores_within: timedelta = timedelta(minutes=10)

    #: [ours] A single call's statements, so that one request can't hold a database for ever.
    statements_per_call: int = 10_000
    #: [ours] Presigned links: Cloudflare says "available for one hour".
    link_duration: timedelta = timedelta(hours=1)
    #: [ours] An export or import that nobody polls for so long is cancelled ("Cancelled due to no poll() received").
    poll_within: timedelta = timedelta(seconds=10)
    #: [ours] How long a poll waits for the end before it answers "active".
    poll_wait: timedelta = timedelta(seconds=1)
    #: [ours] Largest file for import; the real one's is the database's size.
    import_bytes: int = 5_000_000_000

    #: [ours] Size of the write-ahead log at which a new generation of the history begins.
    generation_bytes: int = 64 * 1024 * 1024
    #: [ours] Generations that may be replayed one after the other before a whole copy is kept again.
    replayed_generations: int = 4
    #: [ours] Databases held open at once; the one used longest ago is closed first.
    open_databases: int = 128


DEFAULT_LIMITS = Limits()
