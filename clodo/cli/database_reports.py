"""How databases and their migrations are shown to a person or a script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clodo.cli.output import number_of, say, show, show_json, show_table
from clodo.errors import Interrupted

if TYPE_CHECKING:
    from clodo.migrations.drift import Drift
    from clodo.migrations.plan import MigrationStatus
    from clodo.releases.database_rollback_plan import RollbackPlan
    from clodo.releases.database_sync import Synced
    from clodo.releases.migrating import DatabaseStatus, Migrated


def show_status(found: Sequence[DatabaseStatus], drifts: Sequence[Drift | None], *, as_json: bool) -> None:
    """Print where each database stands, one row each."""
    if as_json:
        show_json([_status_json(item, drift) for item, drift in zip(found, drifts, strict=True)])
        return
    show_table(
        ("target", "database", "applied", "pending", "next", "lint", "drift", "wrong"),
        [_status_row(item, drift) for item, drift in zip(found, drifts, strict=True)],
        empty="No databases.",
    )


def _status_row(item: DatabaseStatus, drift: Drift | None) -> tuple[object, ...]:
    status = item.status
    if status is None:
        said = item.error.message if item.error is not None else "not read"
        return item.target, item.database, None, None, None, None, None, said
    # What the next `clodo database migrate` begins with: contract migrations are run only on request.
    first = next(iter((*status.pending_expand, *status.pending_contract)), None)
    failures = _failures(status)
    pending = f"{len(status.pending)}"
    if status.pending_contract:
        pending += f" ({len(status.pending_contract)} contract)"
    return (
        item.target,
        item.database,
        len(status.applied),
        pending,
        first.name if first else None,
        ("fails" if first.name in failures else status.verdict_of(first.name).value) if first else None,
        _drift_words(drift),
        "; ".join((*(finding.message for finding in status.findings), *failures.values())) or None,
    )


def _failures(status: MigrationStatus) -> dict[str, str]:
    from clodo.migrations.databases import failing

    return failing(status)


def _drift_words(drift: Drift | None) -> str | None:
    if drift is None or drift.against is None:
        return None
    return f"{len(drift.sql)} from {drift.against}" if drift.sql else "none"


def _status_json(item: DatabaseStatus, drift: Drift | None) -> dict[str, Any]:
    status = item.status
    known: dict[str, Any] = {
        "target": item.target,
        "database": item.database,
        "database_id": item.database_id,
        "applied": [],
        "pending": [],
        "findings": [],
        "hazards": [],
        "drift": list(drift.sql) if drift is not None else [],
        "drift_against": drift.against if drift is not None else None,
        "error": item.error.message if item.error is not None else None,
    }
    if status is None:
        return known
    failures = _failures(status)
    return known | {
        "applied": [row.name for row in status.applied],
        "pending": [
            {
                "name": migration.name,
                "is_contract": migration.is_contract,
                "verdict": "fails" if migration.name in failures else status.verdict_of(migration.name).value,
            }
            for migration in status.pending
        ],
        "findings": [finding.message for finding in status.findings],
        "hazards": [*(hazard.message for hazard in status.hazards), *failures.values()],
    }


def show_migrated(
    target: str, done: Sequence[Migrated], *, as_json: bool, is_rehearsal: bool, with_data: bool = False
) -> None:
    """
    Print what became of each database of a target.

    Args:
        with_data: Were rows wanted for the rehearsal? Said of a database that no snapshot has.
    """
    if with_data:
        _say_without_rows(done)
    if as_json:
        applied = {item.database: list(item.applied) for item in done}
        show_json({"target": target, "applied": applied, "databases": [item.to_json() for item in done]})
        return
    count = 0
    for item in done:
        for name in item.applied:
            show(f"{item.database}: applied {name}")
            count += 1
        for hazard in item.hazards:
            say(hazard)
        for file in item.rehearsal.files if is_rehearsal else ():
            took = f"{file.duration.total_seconds() * 1000:,.0f} ms"
            show(f"{item.database}: {file.name} passed: {number_of(file.statements, 'statement')}, {took}")
            for question in file.open_questions:
                show(f"{item.database}: only the rows can tell: {question}")
        for name, (before, after) in item.rehearsal.rows.items():
            then = "new" if before is None else f"{number_of(before, 'row')} before"
            show(f"{item.database}: {name}: {then}, {'gone' if after is None else f'{after:,} after'}")
        if item.waiting:
            show(f"{item.database}: contract migrations wait: {', '.join(item.waiting)}")
    if is_rehearsal:
        rehearsed = sum(len(item.rehearsal.files) for item in done)
        said = (
            f"Rehearsed {number_of(rehearsed, 'migration')} of {target}"
            if rehearsed
            else f"{target} has nothing to rehearse"
        )
        show(f"{said}; nothing was written.")
        return
    ending = "has nothing else to apply" if any(item.waiting for item in done) else "was up to date"
    show(f"Applied {number_of(count, 'migration')} to {target}." if count else f"{target} {ending}.")


def _say_without_rows(done: Sequence[Migrated]) -> None:
    for item in done:
        if item.rehearsal.files and item.rehearsal.data_of is None:
            say(f"{item.database}: no snapshot has it, so the rehearsal had no rows. `clodo backup create` takes one.")


def show_synced(
    outcomes: Sequence[Synced], *, as_json: bool, is_rehearsal: bool = False, with_data: bool = False
) -> None:
    """Print how each target ended, and in what its databases differ from the files; *with_data* as above."""
    if with_data:
        _say_without_rows([each for item in outcomes for each in item.databases])
    if as_json:
        ok = all(item.is_synced for item in outcomes)
        show_json({"ok": ok, "targets": [item.to_json() for item in outcomes]})
        return
    show_table(
        ("target", "ending", "would apply" if is_rehearsal else "applied", "differs", "why"),
        [
            (
                item.target,
                _ending(item, is_rehearsal=is_rehearsal),
                sum(len(each.rehearsal.files if is_rehearsal else each.applied) for each in item.databases),
                sum(len(drift.sql) for _, drift in item.drift) or None,
                item.error.message if item.error else None,
            )
            for item in outcomes
        ],
        empty="No databases.",
    )
    for item in outcomes:
        for name, drift in item.drift:
            show_drift(item.target, name, drift)
    if is_rehearsal:
        show("Nothing was written.")


def _ending(item: Synced, *, is_rehearsal: bool) -> str:
    if item.was_skipped:
        return "skipped"
    if isinstance(item.error, Interrupted):
        return "interrupted"
    if item.error is not None:
        return "failed"
    if not item.is_synced:
        return "differs"
    return "rehearsed" if is_rehearsal else "synced"


def show_drift(target: str, database: str, drift: Drift) -> None:
    """Print in what a database differs, as SQL."""
    if drift.sql:
        show(f"\n-- {database} of {target} differs from {drift.against}; this would change it:")
        for line in drift.sql:
            show(line)


def show_plan(plan: RollbackPlan, *, as_json: bool, on_standard_error: bool = False) -> None:
    """Print what a rollback would do and lose."""
    if as_json:
        show_json(plan.to_json())
        return
    for line in plan.describe():
        (say if on_standard_error else show)(line)
