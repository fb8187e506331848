"""Finding, ordering, checking, rehearsing and applying SQL migration files to D1, beside wrangler, not against it."""

from clodo.migrations.databases import Applied, Which, apply, examine, status
from clodo.migrations.differences import differences
from clodo.migrations.files import Migration, digest, find_migrations
from clodo.migrations.lint import Hazard, lint
from clodo.migrations.marks import CONTRACT_MARK, Waiver
from clodo.migrations.plan import AppliedRow, Finding, MigrationStatus, Problem
from clodo.migrations.rehearsal import Rehearsal, RowSource, rehearse
from clodo.migrations.reverting import revert
from clodo.migrations.rules import RULES, Rule, Verdict
from clodo.migrations.schema import Schema
from clodo.migrations.statements import Statement, split
from clodo.migrations.stored import D1, DEFAULT_TABLE, RECORD_TABLE, Rows

__all__ = [
    "CONTRACT_MARK",
    "D1",
    "DEFAULT_TABLE",
    "RECORD_TABLE",
    "RULES",
    "Applied",
    "AppliedRow",
    "Finding",
    "Hazard",
    "Migration",
    "MigrationStatus",
    "Problem",
    "Rehearsal",
    "RowSource",
    "Rows",
    "Rule",
    "Schema",
    "Statement",
    "Verdict",
    "Waiver",
    "Which",
    "apply",
    "differences",
    "digest",
    "examine",
    "find_migrations",
    "lint",
    "rehearse",
    "revert",
    "split",
    "status",
]
