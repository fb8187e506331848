"""Databases: each step is a task run that an operator sees, and what is left to read afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from clodo.backups.rehearsal_rows import SnapshotRows
from clodo.migrations import RowSource
from clodo.releases.database_creation import Created, create_databases
from clodo.releases.database_rollback import RolledBack, roll_back_database
from clodo.releases.database_rollback_plan import RollbackPlan, Wanted, plan_rollback
from clodo.releases.database_sync import Sync, Synced
from clodo.releases.migrating import Choice, Migrated, migrate_target, rehearse_target
from clodo.releases.site import Site
from clodo.workspace.editing import take_back_interrupted
from clodo.workspace.targets import Target
from clodo.workspace.workspace import STATE_FOLDER
from tasks.backups import open_backups
from tasks.reports import artifact_key
from tasks.sites import narrator, open_site


@contextmanager
def open_site_with_rows(workspace: str, *, with_data: bool) -> Iterator[tuple[Site, RowSource | None]]:
    """
    Open the workspace in the folder *workspace*, and its snapshots if rehearsals are to have rows.

    Raises:
        BadConfiguration: A file or a block is broken, or a block is missing.
    """
    if not with_data:
        with open_site(workspace) as site:
            yield site, None
        return
    with open_backups(workspace) as (site, backups):
        yield site, SnapshotRows(backups)


def take_back_edits(workspace: str) -> None:
    """
    Put back what an edit whose process died left in the files of the workspace in the folder *workspace*, and say so.

    Raises:
        LockHeld: The edit isn't dead.

        UndoIncomplete: Somebody edited one of the files since; it stays, and is named.
    """
    say = narrator()
    root = Path(workspace).expanduser()
    for file in take_back_interrupted(root / STATE_FOLDER):
        say(f"Took back an edit of {file} that was interrupted.")


@task(task_run_name="rehearse migrations of {target}", cache_policy=NO_CACHE, persist_result=False)
def rehearse(site: Site, target: Target, choice: Choice) -> tuple[Migrated, ...]:
    """Run the pending migrations of *target* on copies of its databases."""
    return rehearse_target(site, target, choice)


@task(task_run_name="migrate databases of {target}", cache_policy=NO_CACHE, persist_result=False)
def migrate(site: Site, target: Target, choice: Choice, reason: str, take_over: bool) -> tuple[Migrated, ...]:
    """Apply the pending migrations of *target*'s databases, after they were rehearsed."""
    return migrate_target(site, target, choice, reason=reason, take_over=take_over)


@task(task_run_name="sync databases of {target}", cache_policy=NO_CACHE, persist_result=False)
def sync_target(sync: Sync, target: Target) -> Synced:
    """Bring one target's databases to the schema; what goes wrong is in the answer."""
    return sync.one(target)


@task(task_run_name="plan a rollback of a database of {target}", cache_policy=NO_CACHE, persist_result=False)
def plan_database_rollback(site: Site, target: Target, wanted: Wanted) -> RollbackPlan:
    """Say what taking migrations back would do, and lose."""
    return plan_rollback(site, target, wanted)


@task(task_run_name="roll back a database of {target}", cache_policy=NO_CACHE, persist_result=False)
def take_database_back(
    site: Site, target: Target, wanted: Wanted, approved: str | None, reason: str, take_over: bool
) -> RolledBack:
    """Take migrations back, and verify that they are gone."""
    return roll_back_database(site, target, wanted, approved=approved, reason=reason, take_over=take_over)


@task(task_run_name="create databases of {target}", cache_policy=NO_CACHE, persist_result=False)
def create(
    site: Site, target: Target, names: Sequence[str], location: str | None, jurisdiction: str | None
) -> tuple[Created, ...]:
    """Have a database for each binding of *target*, and its id in the wrangler config."""
    return create_databases(site, target, names=names, location=location, jurisdiction=jurisdiction)


def report_migrated(target: str, done: Sequence[Migrated], *, is_rehearsal: bool) -> None:
    """Leave a page that says what was applied, how the rehearsal went and what still waits, and an event."""
    what = "rehearsed" if is_rehearsal else "migrated"
    create_markdown_artifact(
        markdown=migrations_page(target, done, is_rehearsal=is_rehearsal),
        key=artifact_key("database", target),
        description=f"databases of {target} {what}",
    )
    if not is_rehearsal and any(item.applied for item in done):
        _announce("migrated", target, {"databases": [item.to_json() for item in done]})


def migrations_page(target: str, done: Iterable[Migrated], *, is_rehearsal: bool) -> str:
    """Return that page in Markdown."""
    lines = [f"# Databases of {target} {'rehearsed' if is_rehearsal else 'migrated'}", ""]
    for item in done:
        lines += [f"## {item.database}", "", f"`{item.database_id}`", ""]
        lines += [f"- applied `{name}`" for name in item.applied]
        lines += [f"- contract migration `{name}` waits" for name in item.waiting]
        lines += [f"- {hazard}" for hazard in item.hazards]
        rehearsal = item.rehearsal
        if rehearsal.files:
            rows = f"the rows of {rehearsal.data_of.isoformat()}" if rehearsal.data_of else "no rows"
            lines += [
                "",
                f"Rehearsed with {rows}:",
                "",
                "| file | statements | rows written | seconds |",
                "|---|---|---|---|",
            ]
            lines += [
                f"| `{each.name}` | {each.statements} | {each.rows_written} | {each.duration.total_seconds():.3f} |"
                for each in rehearsal.files
            ]
            questions = [question for each in rehearsal.files for question in each.open_questions]
            lines += ["", *(f"- only the rows can tell: {question}" for question in questions)]
            lines += [
                f"- `{name}`: {before} rows before, {after} after" for name, (before, after) in rehearsal.rows.items()
            ]
            lines += [f"- not copied: `{name}`" for name in rehearsal.missing]
        elif not item.applied:
            lines.append("Nothing was pending.")
        lines.append("")
    return "\n".join(lines)


def report_synced(service: str, outcomes: Sequence[Synced]) -> None:
    """Leave a table with one row a target, a page for each database whose schema differs, and an event."""
    table: list[dict[str, Any]] = [
        {
            "target": item.target,
            "is_synced": item.is_synced,
            "applied": ", ".join(name for each in item.databases for name in each.applied),
            "drift": sum(len(drift.sql) for _, drift in item.drift),
            "message": "skipped" if item.was_skipped else (item.error.message if item.error else ""),
        }
        for item in outcomes
    ]
    good = sum(1 for item in outcomes if item.is_synced)
    create_table_artifact(
        table=table,
        key=artifact_key("databases", service),
        description=f"{good} of {len(outcomes)} targets have the schema",
    )
    for item in outcomes:
        for name, drift in item.drift:
            if drift.sql:
                sql = "\n".join(drift.sql)
                create_markdown_artifact(
                    markdown=f"# {name} of {item.target} differs from {drift.against}\n\n```sql\n{sql}\n```\n",
                    key=artifact_key("drift", item.target, name),
                    description=f"{name} differs from {drift.against}",
                )
    _announce("synced", service, {"targets": [item.target for item in outcomes], "synced": good})


def report_rolled_back(done: RolledBack) -> None:
    """Leave a page that says what was taken back, what was lost, and the way forward; and an event."""
    plan = done.plan
    lines = [f"# {plan.database} of {plan.target} was rolled back", "", *(f"- {line}" for line in plan.describe()), ""]
    lines += [_counts(name, *counts) for name, counts in done.rows.items()]
    lines += ["", "## The way forward", ""]
    lines.append(f"`clodo database rollback {plan.target} --database {plan.database} --bookmark {done.way_forward}`")
    create_markdown_artifact(
        markdown="\n".join(lines) + "\n",
        key=artifact_key("database-rollback", plan.target, plan.database),
        description=f"{plan.database} was rolled back",
    )
    _announce("rolled-back", plan.target, done.to_json())


def _counts(table: str, before: int | None, after: int | None) -> str:
    def rows(count: int | None) -> str:
        return "not there" if count is None else f"{count} rows"

    return f"- `{table}`: {rows(before)} before, {rows(after)} after"


def _announce(ending: str, subject: str, payload: dict[str, Any]) -> None:
    """Emit ``clodo.database.<ending>``, for automations."""
    resource = {"prefect.resource.id": f"clodo.target.{subject}", "prefect.resource.name": subject}
    emit_event(event=f"clodo.database.{ending}", resource=resource, payload=payload)
