"""What taking migrations back would do, and what would be lost by it: shown before anybody says yes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from clodo.errors import AmbiguousName, ApiRefused, BadUsage, DatabaseNotFound, NoWayBack
from clodo.migrations import AppliedRow, Schema
from clodo.migrations.drift import replayed, schema_of
from clodo.migrations.files import find_migrations
from clodo.migrations.losses import Losses, counted, lost_between, lost_by_running
from clodo.migrations.reverting import down_files
from clodo.migrations.stored import RECORD_TABLE
from clodo.releases.migrating import Known, known_databases
from clodo.releases.site import Site
from clodo.workspace.targets import Target

if TYPE_CHECKING:
    from clodo.cloudflare import d1 as databases
    from clodo.cloudflare.client import Cloudflare

BOOKMARK = re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{32}")
"""
How Cloudflare writes a bookmark; sorted as text, they are sorted by time.

Source: https://developers.cloudflare.com/d1/reference/time-travel/
"""


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

        bookmark, at: A moment to go back to by Time Travel; one without a time zone is UTC.
    """

    database: str | None = None
    to: str | None = None
    way: Way | None = None
    bookmark: str | None = None
    at: datetime | None = None

    def __post_init__(self) -> None:
        """Give the moment a time zone: the Prefect UI and schedules need not."""
        if self.at is not None and self.at.tzinfo is None:
            object.__setattr__(self, "at", self.at.replace(tzinfo=UTC))


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
        names = ", ".join(self.names)
        if self.way is Way.DOWN_FILES:
            first = f"{self.database}: runs the down files of {names}."
        else:
            before = f", before {names}" if names else ""
            first = f"{self.database}: goes back in time to bookmark {self.bookmark}{before}."
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


def raise_if_impossible(wanted: Wanted, now: datetime) -> None:
    """
    Refuse what can't be meant, whatever the database holds; no request is made.

    Raises:
        BadUsage: Several ways at once, a bookmark that is none, or a moment that is yet to come.
    """
    moments = [item for item in (wanted.bookmark, wanted.at) if item is not None]
    if len(moments) > 1 or (moments and (wanted.to is not None or wanted.way is Way.DOWN_FILES)):
        raise BadUsage("one way back at a time", hint="Give one of --to, --bookmark and --at.")
    if wanted.bookmark is not None and not BOOKMARK.fullmatch(wanted.bookmark):
        raise BadUsage(
            f'--bookmark: "{wanted.bookmark[:60].strip()}" is no bookmark of Time Travel',
            hint="One looks like 00000085-0000024c-00004c6d-8e61117bf38d7adb71b934ebbf891683; each rollback says the"
            " one that leads forward again. A moment is given with --at.",
        )
    if wanted.at is not None and wanted.at > now:
        raise BadUsage(
            f"--at: {wanted.at.isoformat()} is yet to come; it is {now.isoformat(timespec='seconds')}",
            hint="A moment without a time zone is UTC.",
        )


def plan_rollback(site: Site, target: Target, wanted: Wanted) -> RollbackPlan:
    """
    Say what taking migrations back would do, and what would be lost; writes nothing.

    Raises:
        NoWayBack: Nothing is applied, a down file is missing, or the bookmark is out of reach.

        BadUsage: It isn't clear which database or moment is meant.
    """
    return draw_plan(site.account_of(target).cloudflare, target, find_database(site, target, wanted.database), wanted)


def find_database(site: Site, target: Target, name: str | None) -> Known:
    """
    Return the database of *target* that *name*, or its binding, means; its only one without a name.

    Raises:
        DatabaseNotFound: There is none.

        AmbiguousName: There are several.
    """
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


def draw_plan(cloudflare: Cloudflare, target: Target, known: Known, wanted: Wanted) -> RollbackPlan:
    """Do what `plan_rollback` does for a database that was found."""
    raise_if_impossible(wanted, cloudflare.clock.now())
    database_id = known.database.database_id
    now = cloudflare.d1.bookmark(database_id)
    if wanted.bookmark is not None or wanted.at is not None:
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
        bookmark = _bookmark_at(d1, known, _moment_before(d1, known, names[-1]))
    elif wanted.at is not None:
        bookmark = _bookmark_at(d1, known, wanted.at)
        begun = _moments(d1, known)
        names = tuple(row.name for row in reversed(applied) if row.name in begun and begun[row.name] >= wanted.at)
    else:
        bookmark, names = wanted.bookmark or "", ()
        if bookmark > now:
            raise NoWayBack(
                f"{known.database.name} was never at {bookmark}: it is at {now}, and that one would be later",
                hint="Look whose bookmark it is.",
            )
        unknown.append("Whether it ever was at that bookmark is told by Cloudflare only when it is to go there.")
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


def _bookmark_at(d1: databases.D1, known: Known, moment: datetime) -> str:
    try:
        return d1.bookmark(known.database.database_id, at=moment)
    except ApiRefused as error:
        raise NoWayBack(
            f"{known.database.name}: Time Travel doesn't reach {moment.isoformat()}: {error.message}",
            hint="It goes back 30 days (7 on the free plan), and not before the database was made. Older than that is"
            " what snapshots hold: `clodo backup list`.",
        ) from error


def _schema_without(known: Known, applied: Sequence[AppliedRow], names: Sequence[str]) -> Schema | None:
    files = find_migrations(known.binding.migrations_folder, known.binding.migrations_pattern or "*.sql")
    kept = {row.name for row in applied} - set(names)
    return replayed([file for file in files if file.name in kept])


def _moments(d1: databases.D1, known: Known) -> dict[str, datetime]:
    """Return when each migration was applied, as far as we recorded it, to the millisecond."""
    rows = d1.query(known.database.database_id, f"SELECT name, applied_at FROM {RECORD_TABLE}", only_reads=True)  # noqa: S608
    return {str(row["name"]): datetime.fromisoformat(str(row["applied_at"])).astimezone(UTC) for row in rows[0].results}


def _moment_before(d1: databases.D1, known: Known, name: str) -> datetime:
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
