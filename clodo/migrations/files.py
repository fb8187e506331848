"""Migration files: found, ordered and read as wrangler finds and orders them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clodo.migrations.statements import Statement

CONTRACT_MARK = "-- clodo: contract"
"""A file with this line among its first comments is a contract migration."""


@dataclass(frozen=True, slots=True)
class Migration:
    """
    One migration file.

    Attributes:
        name: As ``d1_migrations`` has it: relative to the folder, with ``.sql`` and forward slashes.

        path: The file.

        number: The digits the name opens with; None without.

        sql: Its text.

        sha256: Of its bytes; 64 hex digits.

        is_contract: Does it drop or rename what the version before still needs?

        down: The file that undoes it; None without.
    """

    name: str
    path: Path
    number: int | None
    sql: str = field(repr=False)
    sha256: str
    is_contract: bool = False
    down: Path | None = None

    def statements(self) -> Sequence[Statement]:
        """
        Split the file and check that D1 can run it as one transaction.

        Raises:
            BadConfiguration: A statement opens or ends a transaction, is cut off, or is longer than D1 takes; the
                message opens with file:line.
        """
        raise NotImplementedError


def find_migrations(folder: Path, pattern: str = "*.sql") -> Sequence[Migration]:
    """
    Find the migrations of *folder*, in the order in which wrangler applies them.

    Files ending in ``.down.sql`` are the way back of the migration they are named after, never migrations.

    Args:
        pattern: wrangler's ``migrations_pattern`` without its leading folder.

    Returns:
        The migrations; empty when there are none or the folder is missing.

    Raises:
        BadConfiguration: A file isn't UTF-8 text or can't be read, or a down file has no migration.
    """
    raise NotImplementedError


def digest(folder: Path, pattern: str = "*.sql") -> str:
    """Return one SHA-256 (64 hex digits) over names and contents of the migrations; the same for an empty and a missing folder."""
    raise NotImplementedError
