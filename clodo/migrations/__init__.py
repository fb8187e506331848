"""Finding, ordering, checking and applying SQL migration files to D1, beside wrangler and not against it."""

from clodo.migrations.databases import (
    D1,
    DEFAULT_TABLE,
    RECORD_TABLE,
    Applied,
    Rows,
    Which,
    apply,
    revert,
    status,
)
from clodo.migrations.files import Migration, digest, find_migrations
from clodo.migrations.marks import CONTRACT_MARK, Waiver
from clodo.migrations.plan import AppliedRow, Finding, MigrationStatus, Problem
from clodo.migrations.statements import Statement, split

__all__ = [
    "CONTRACT_MARK",
    "D1",
    "DEFAULT_TABLE",
    "RECORD_TABLE",
    "Applied",
    "AppliedRow",
    "Finding",
    "Migration",
    "MigrationStatus",
    "Problem",
    "Rows",
    "Statement",
    "Waiver",
    "Which",
    "apply",
    "digest",
    "find_migrations",
    "revert",
    "split",
    "status",
]
