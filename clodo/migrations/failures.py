"""What is said of a file that D1 refused: which statement it was, and whether anything of it stayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from clodo.errors import ApiRefused, MigrationFailed, OutcomeUnknown, TryLater
from clodo.migrations.locating import locate
from clodo.migrations.plan import AppliedRow
from clodo.migrations.rehearsal import describe_failure
from clodo.migrations.sending import Sending, bookmark_of
from clodo.migrations.statements import Statement


def failure_of(
    sending: Sending,
    path: Path,
    statements: Sequence[Statement],
    error: ApiRefused,
    *,
    name: str,
    did_stay: Callable[[AppliedRow | None], bool],
    before: tuple[str, ...] = (),
) -> MigrationFailed:
    """
    Return the error that says which statement failed and, after looking, whether anything of the file stayed.

    Args:
        name: The migration's.

        did_stay: Says so from its row.

        before: Names of the files that were applied before it.
    """
    number = None
    try:
        stored = sending.look()
    except (TryLater, OutcomeUnknown, ApiRefused):
        aftermath = "whether something of it stayed could not be looked up"
    else:
        number = locate(statements, error.message, stored.schema)
        stayed = did_stay(stored.row(name))
        aftermath = "a part of it STAYED in the database" if stayed else "nothing of it stayed in the database"
    what = (
        f"{path}: one of its {len(statements)} statements failed: {error.message}"
        if number is None
        else describe_failure(path, statements, number, error.message)
    )
    kept = f"; applied before it, and kept: {', '.join(before)}" if before else ""
    return MigrationFailed(
        f"{what}; {aftermath}{kept}",
        statement=number,
        applied=before,
        bookmark=bookmark_of(sending.d1, sending.database_id) if before else None,
        hint="Correct the file and run it again.",
    )
