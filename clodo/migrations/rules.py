"""The rules of the lint, by name: what each finds, how grave it is, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What becomes of a migration file."""

    SAFE = "safe"
    NEEDS_APPROVAL = "needs-approval"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One rule.

    Attributes:
        is_contract: What it finds may be what an older version still reads, so a file in which it finds something is a
            contract one. Which columns old code reads can't be known.

        why: One sentence.
    """

    name: str
    verdict: Verdict
    why: str
    is_contract: bool = False


def _contract(name: str, why: str) -> Rule:
    return Rule(name, Verdict.NEEDS_APPROVAL, why, is_contract=True)


def _approval(name: str, why: str) -> Rule:
    return Rule(name, Verdict.NEEDS_APPROVAL, why)


def _refused(name: str, why: str) -> Rule:
    return Rule(name, Verdict.REFUSED, why)


DROP_TABLE = _contract("drop-table", "An older version may still read it, and its rows are gone.")
RENAME_TABLE = _contract("rename-table", "An older version still calls it by its old name.")
DROP_COLUMN = _contract("drop-column", "An older version may still read it, and its values are gone.")
RENAME_COLUMN = _contract("rename-column", "An older version still calls it by its old name.")
DROP_VIEW = _contract("drop-view", "An older version may still read it.")
DROP_INDEX = _contract(
    "drop-index",
    "An older version may name it, upsert on it or need its speed; a rebuilt table loses its own.",
)
DROP_TRIGGER = _contract("drop-trigger", "An older version may rely on it; a rebuilt table loses its own.")
TIGHTENED_COLUMN = _contract("tightened-column", "What an older version inserts may have no value for it.")

NOT_NULL_WITHOUT_DEFAULT = _refused(
    "not-null-without-default", "SQLite adds such a column to an empty table only, and a rehearsal without rows is one."
)
DROP_CASCADES = _refused(
    "drop-cascades", "Dropping a table deletes its rows first, and foreign keys pass that on to the rows of others."
)
TOUCHES_RECORD = _refused("touches-record", "The record of what was applied is kept by wrangler and Clodo.")

DROP_REFERENCED = _approval(
    "drop-referenced", "Dropping a table that rows refer to fails, unless foreign keys are checked at the end."
)
FOREIGN_KEY_WITHOUT_INDEX = _approval(
    "foreign-key-without-index", "Without one each change of the parent's rows reads the whole child table."
)
UNIQUE_INDEX = _approval(
    "unique-index", "It fails when rows are there twice, and an older version may write such rows."
)
DELETE_EVERY_ROW = _approval("delete-every-row", "All rows of a table are gone.")
LONG_REWRITE = _approval("long-rewrite", "Every row is read or written in one request, which D1 ends after 30 seconds.")
REBUILD_TABLE = _approval("rebuild-table", "Every row is copied in one request, which D1 ends after 30 seconds.")
PRAGMA_WITHOUT_EFFECT = _approval(
    "pragma-without-effect", "Foreign keys can't be switched off inside the transaction that every file runs in."
)

RULES = {
    rule.name: rule
    for rule in (
        DROP_TABLE,
        RENAME_TABLE,
        DROP_COLUMN,
        RENAME_COLUMN,
        DROP_VIEW,
        DROP_INDEX,
        DROP_TRIGGER,
        TIGHTENED_COLUMN,
        NOT_NULL_WITHOUT_DEFAULT,
        DROP_CASCADES,
        TOUCHES_RECORD,
        DROP_REFERENCED,
        FOREIGN_KEY_WITHOUT_INDEX,
        UNIQUE_INDEX,
        DELETE_EVERY_ROW,
        LONG_REWRITE,
        REBUILD_TABLE,
        PRAGMA_WITHOUT_EFFECT,
    )
}
