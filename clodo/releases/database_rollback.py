"""Taking migrations back on purpose: by their down files, or by going back in time; shown and asked for first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from clodo.errors import (
    AmbiguousName,
    BadUsage,
    DatabaseNotFound,
    NoWayBack,
    OutcomeUnknown,
    PlanIsStale,
    VerificationFailed,
)
from clodo.ledger.owners import Owner
from clodo.migrations import AppliedRow
from clodo.migrations.drift import replayed, schema_of
from clodo.migrations.files import find_migrations
from clodo.migrations.losses import Losses, count_rows, counted, lost_between, lost_by_running
from clodo.migrations.reverting import down_files, revert
from clodo.migrations.stored import RECORD_TABLE, read_stored
from clodo.releases.migrating import Known, known_databases
from clodo.releases.recovery import lock_name
from clodo.releases.site import Site
from clodo.workspace.targets import Target

if TYPE_CHECKING:
    from clodo.cloudflare.client import Cloudflare


class Way(StrEnum):
    """How migrations are taken back."""

    DOWN_FILES = "down-files"
    TIME_TRAVEL = "time-travel"


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    Where a person wants a database to go back to.

    Attributes:
        database: Name or binding; None when the target has one only.

        to: The last migration that stays; None to take back just the last one.

        way: None chooses down files, unless a moment or a bookmark is given.

        bookmark, at: A moment to go back to by Time Travel.
    """

    database: str | None = None
    to: str | None = None
    way: Way | None = None
    bookmark: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """
    What would be done, and what would be lost by it.

    Attributes:
        names: Migrations that would be taken back, the last applied first.

        bookmark: Where Time Travel goes; None with down files.

        now: Time Travel's bookmark when this was drawn.

        losses: What can be known of it, with rows counted.

        unknown: What can't be known beforehand, one sentence each.
    """

    target: str
    database: str
    database_id: str
    way: Way
    names: tuple[str, ...]
    bookmark: str | None
    now: str
    losses: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Tells this plan from another; rows that are written meanwhile don't change it."""
        facts = [self.target, self.database_id, self.way, list(self.names), self.bookmark]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def describe(self) -> tuple[str, ...]:
        """Return what a person must know before saying yes, one sentence each."""
        names = ", ".join(self.names) or "no migration"
        if self.way is Way.DOWN_FILES:
            first = f"{self.database}: runs the down files of {names}."
        else:
            first = f"{self.database}: goes back in time to bookmark {self.bookmark}, before {names}."
        if self.way is Way.TIME_TRAVEL and self.bookmark == self.now:
            return first, "Nothing was written since; nothing is lost."
        lost = [f"Lost: {phrase}." for phrase in self.losses]
        return first, *(lost or ["No table and no column is lost."]), *self.unknown

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object for scripts."""
        return {
            "target": self.target,
            "database": self.database,
            "database_id": self.database_id,
            "way": self.way.value,
            "migrations": list(self.names),
            "bookmark": self.bookmark,
            "now": self.now,
            "losses": list(self.losses),
            "unknown": list(self.unknown),
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True, slots=True)
class RolledBack:
    """
    What was done.

    Attributes:
        rows: Of each table, how many before and after; only tables in which that differs.

        way_forward: Time Travel's bookmark of right before; going there takes this back.
    """

    plan: RollbackPlan
    way_forward: str
    rows: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object for scripts."""
        rows = {name: list(counts) for name, counts in self.rows.items()}
        return {**self.plan.to_json(), "rows": rows, "way_forward": self.way_forward}


def plan_rollback(site: Site, target: Target, wanted: Wanted) -> RollbackPlan:
    """
    Say what taking migrations back would do, and what would be lost; writes nothing.

    Raises:
        NoWayBack: Nothing is applied, a down file is missing, or the bookmark is out of reach.

        BadUsage: It isn't clear which database or moment is meant.
    """
    return _plan(site.account_of(target).cloudflare, target, _one(site, target, wanted.database), wanted)


def roll_back_database(
    site: Site,
    target: Target,
    wanted: Wanted,
    *,
    approved: str | None = None,
    reason: str = "",
    take_over: bool = False,
) -> RolledBack:
    """
    Take migrations back, and verify that they are gone.

    Args:
        approved: The fingerprint of the plan that a person said yes to.

    Raises:
        PlanIsStale: What would be done now is not what was approved.

        MigrationFailed: A down file failed and left nothing.

        VerificationFailed: The database still remembers them.

        OutcomeUnknown: No answer came; the message names the bookmark of before.
    """
    account = site.account_of(target)
    worker = site.workspace.effective(target).worker_name
    with site.ledger.locks.acquire(
        lock_name(account.keys.account_id, worker),
        Owner.current(f"roll back a database of {target}"),
        reason or f"roll back a database of {target}",
        take_over=take_over,
    ) as lock:
        cloudflare = account.cloudflare.with_guard(lock.check)
        known = _one(site, target, wanted.database)
        plan = _plan(cloudflare, target, known, wanted)
        if approved is not None and plan.fingerprint != approved:
            raise PlanIsStale(
                f"{target}: {plan.database} was migrated since the plan {approved} was shown",
                hint="Run the same command again, and look at what it would do now.",
            )
        detail = {**plan.to_json(), "reason": reason}
        # Before, so that the way forward is known even if this process dies on the way.
        site.ledger.audit.append(site.actor, "database-rollback-begun", str(target), detail)
        done = _carry_out(site, cloudflare, known, plan)
        site.ledger.audit.append(
            site.actor, "database-rolled-back", str(target), {**detail, "way_forward": done.way_forward}
        )
    return done


def _one(site: Site, target: Target, name: str | None) -> Known:
    known = known_databases(site, target)
    if name is not None:
        known = [item for item in known if name in (item.database.name, item.binding.binding)]
        if not known:
            raise DatabaseNotFound(f'{target} has no database called "{name}"')
    if not known:
        raise DatabaseNotFound(f"{target} has no database")
    if len(known) > 1:
        names = ", ".join(item.database.name for item in known)
        raise AmbiguousName(f"{target} has {len(known)} databases", hint=f"Name one with --database: {names}.")
    return known[0]


def _plan(cloudflare: Cloudflare, target: Target, known: Known, wanted: Wanted) -> RollbackPlan:
    moments = [item for item in (wanted.bookmark, wanted.at) if item is not None]
    if len(moments) > 1 or (moments and (wanted.to is not None or wanted.way is Way.DOWN_FILES)):
        raise BadUsage("one way back at a time", hint="Give one of --to, --bookmark and --at.")
    database_id = known.database.database_id
    now = cloudflare.d1.bookmark(database_id)
    if moments:
        return _plan_travel(cloudflare, target, known, wanted, now, names=None)
    names = _names_after(known, wanted.to)
    if wanted.way is Way.TIME_TRAVEL:
        return _plan_travel(cloudflare, target, known, wanted, now, names=names)
    files = find_migrations(known.binding.migrations_folder, known.binding.migrations_pattern or "*.sql")
    downs = down_files(known.status.applied, files, names)
    statements = [statement for file in downs for statement in file.statements]
    losses = counted(cloudflare.d1, database_id, lost_by_running(statements, known.status.schema))
    return _as_plan(target, known, Way.DOWN_FILES, tuple(file.name for file in downs), None, now, losses, ())


def _names_after(known: Known, to: str | None) -> tuple[str, ...]:
    applied = [row.name for row in known.status.applied]
    if not applied:
        raise NoWayBack(f"{known.database.name}: no migration is applied")
    if to is None:
        return (applied[-1],)
    if to not in applied:
        raise NoWayBack(f"{known.database.name}: {to} is not applied", hint="`clodo database status` shows what is.")
    names = tuple(reversed(applied[applied.index(to) + 1 :]))
    if not names:
        raise NoWayBack(f"{known.database.name}: {to} is the last one applied; there is nothing to take back")
    return names


def _plan_travel(
    cloudflare: Cloudflare, target: Target, known: Known, wanted: Wanted, now: str, *, names: Sequence[str] | None
) -> RollbackPlan:
    d1, database_id = cloudflare.d1, known.database.database_id
    applied = known.status.applied
    unknown: list[str] = []
    if names is not None:
        bookmark = d1.bookmark(database_id, at=_moment_before(d1, known, names[-1]))
    elif wanted.at is not None:
        bookmark = d1.bookmark(database_id, at=wanted.at)
        begun = _moments(d1, known)
        names = tuple(row.name for row in reversed(applied) if row.name in begun and begun[row.name] >= wanted.at)
    else:
        bookmark, names = wanted.bookmark or "", ()
        unknown.append("Which migrations were applied since that bookmark can't be told beforehand.")
    if bookmark == now:
        return _as_plan(target, known, Way.TIME_TRAVEL, (), bookmark, now, Losses({}, {}), ())
    losses = Losses({}, {})
    before = _schema_without(known, applied, names)
    if before is None:
        unknown.append("Which tables and columns came since can't be told: the files alone don't make the schema.")
    elif names:
        records = (known.binding.migrations_table, RECORD_TABLE)
        losses = counted(d1, database_id, lost_between(schema_of(known.status.schema).without(records), before))
    unknown.append(
        "Every row of the other tables that was written, changed or deleted since is lost too; how many can't be known"
        " beforehand. They are counted before and after."
    )
    return _as_plan(target, known, Way.TIME_TRAVEL, tuple(names), bookmark, now, losses, tuple(unknown))


def _schema_without(known: Known, applied: Sequence[AppliedRow], names: Sequence[str]) -> Any:
    files = find_migrations(known.binding.migrations_folder, known.binding.migrations_pattern or "*.sql")
    kept = {row.name for row in applied} - set(names)
    return replayed([file for file in files if file.name in kept])


def _moments(d1: Any, known: Known) -> dict[str, datetime]:
    """Return when each migration was applied, as far as we recorded it, to the millisecond."""
    rows = d1.query(known.database.database_id, f"SELECT name, applied_at FROM {RECORD_TABLE}", only_reads=True)  # noqa: S608
    return {str(row["name"]): datetime.fromisoformat(str(row["applied_at"])).astimezone(UTC) for row in rows[0].results}


def _moment_before(d1: Any, known: Known, name: str) -> datetime:
    if known.status.applied and all(row.sha256 is None for row in known.status.applied if row.name == name):
        raise NoWayBack(
            f"{known.database.name}: {name} was applied by wrangler, so nobody knows the moment before it",
            hint="Give the moment yourself: --at 2026-01-31T12:00:00Z.",
        )
    # What is recorded is the moment at which the migration's transaction ran, and a commit may share its millisecond.
    return _moments(d1, known)[name] - timedelta(milliseconds=1)


def _as_plan(
    target: Target,
    known: Known,
    way: Way,
    names: tuple[str, ...],
    bookmark: str | None,
    now: str,
    losses: Losses,
    unknown: tuple[str, ...],
) -> RollbackPlan:
    return RollbackPlan(
        str(target),
        known.database.name,
        known.database.database_id,
        way,
        names,
        bookmark,
        now,
        losses.describe(),
        unknown,
    )


def _carry_out(site: Site, cloudflare: Cloudflare, known: Known, plan: RollbackPlan) -> RolledBack:
    d1, binding = cloudflare.d1, known.binding
    before = count_rows(d1, plan.database_id, schema_of(known.status.schema))
    way_forward = plan.now
    if plan.way is Way.DOWN_FILES:
        revert(
            d1,
            plan.database_id,
            binding.migrations_folder,
            plan.names,
            pattern=binding.migrations_pattern or "*.sql",
            table=binding.migrations_table,
            pause=site.clock.sleep,
        )
    elif plan.bookmark is not None and plan.bookmark != plan.now:
        try:
            way_forward = d1.restore(plan.database_id, bookmark=plan.bookmark).previous_bookmark
        except OutcomeUnknown as error:
            raise OutcomeUnknown(
                f"{plan.database}: Cloudflare was asked to go back to {plan.bookmark} and did not answer; before it the"
                f" database was at {plan.now}",
                hint=f"Look at the database. To go forward again: --bookmark {plan.now}.",
            ) from error
    stored = read_stored(d1, plan.database_id, binding.migrations_table)
    left = [row.name for row in stored.applied if row.name in plan.names]
    if left:
        raise VerificationFailed(
            f"{plan.database}: {', '.join(left)} is still applied",
            hint=f"To go forward again: `clodo database rollback {plan.target} --bookmark {way_forward}`.",
        )
    after = count_rows(d1, plan.database_id, schema_of(stored.schema))
    rows = {
        name: (before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    }
    return RolledBack(plan, way_forward, rows)
