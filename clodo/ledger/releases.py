"""Releases: what was attempted, by whom, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select, update

from clodo.errors import AmbiguousName, Refused, ReleaseNotFound
from clodo.ledger.database import Database, insert_unless_there
from clodo.ledger.schema import releases


class ReleaseKind(StrEnum):
    """What a release sets out to do."""

    FIRST = "first"
    REDEPLOY = "redeploy"
    ADOPT = "adopt"
    ROLLBACK = "rollback"


class ReleaseState(StrEnum):
    """
    How far a release is.

    ``running`` is open: the next run finishes or undoes it. ``failed`` means that undoing was incomplete.
    """

    RUNNING = "running"
    LIVE = "live"
    UNDONE = "undone"
    FAILED = "failed"
    NOTHING_TO_DO = "nothing-to-do"

    @property
    def is_terminal(self) -> bool:
        """Has the release ended?"""
        return self is not ReleaseState.RUNNING


@dataclass(frozen=True, slots=True)
class Release:
    """
    One attempt to take a target to a new version.

    Attributes:
        id: From `new_release_id`.

        target: ``api@production/acme``.

        worker: The Worker's name at Cloudflare.

        account_id: 32 hex digits.

        strategy: ``all-at-once``, …

        reason: Why, in the words of the person or schedule that started it.

        actor: Who started it.

        plan_fingerprint: Of the plan that was approved.

        created_at, finished_at: UTC; *finished_at* is None while it runs.
    """

    id: str
    target: str
    worker: str
    account_id: str
    strategy: str
    reason: str
    actor: str
    kind: ReleaseKind
    plan_fingerprint: str
    created_at: datetime
    state: ReleaseState = ReleaseState.RUNNING
    finished_at: datetime | None = None


class Releases:
    """The releases of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, release: Release) -> None:
        """Record *release*, durably, before its first step; recording the same one again changes nothing."""
        with self._database.write() as connection:
            insert_release(connection, release)

    def set_state(self, release_id: str, state: ReleaseState) -> None:
        """
        Record how a release ended; saying the same twice changes nothing.

        Raises:
            ReleaseNotFound: There is no such release.
            Refused: It had ended in another way; only ``running`` and ``failed`` ones can go on.
        """
        with self._database.write() as connection:
            row = connection.execute(
                select(releases.c.state).where(releases.c.id == release_id).with_for_update()
            ).one_or_none()
            if row is None:
                raise ReleaseNotFound(f"release {release_id}: the ledger has none of that id")
            before = ReleaseState(row.state)
            if before is state:
                return
            if before not in (ReleaseState.RUNNING, ReleaseState.FAILED):
                raise Refused(f"release {release_id}: it ended {before.value} and can't become {state.value}")
            finished_at = self._database.now(connection) if state.is_terminal else None
            connection.execute(
                update(releases).where(releases.c.id == release_id).values(state=state.value, finished_at=finished_at)
            )

    def get(self, release_id: str) -> Release:
        """
        Return one release by its whole id.

        Raises:
            ReleaseNotFound: There is no such release.
        """
        with self._database.read() as connection:
            row = connection.execute(select(releases).where(releases.c.id == release_id)).one_or_none()
        if row is None:
            raise ReleaseNotFound(f"release {release_id}: the ledger has none of that id")
        return _release(row)

    def find(self, beginning: str) -> Release:
        """
        Return the one release whose id opens with *beginning*.

        Raises:
            ReleaseNotFound: None does.
            AmbiguousName: Several do.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                select(releases).where(releases.c.id.startswith(beginning, autoescape=True)).order_by(releases.c.id)
            ).all()
        if not rows:
            raise ReleaseNotFound(f"{beginning}: no such release", hint="`clodo release list` shows them.")
        if len(rows) > 1:
            raise AmbiguousName(
                f"{beginning}: {len(rows)} releases begin so, from {rows[0].id} to {rows[-1].id}",
                hint="Write more of the id.",
            )
        return _release(rows[0])

    def list(self, target: str | None = None, *, limit: int = 50) -> Sequence[Release]:
        """List releases, newest first, of *target* or of all."""
        query = select(releases).order_by(releases.c.created_at.desc(), releases.c.id.desc()).limit(limit)
        if target is not None:
            query = query.where(releases.c.target == target)
        with self._database.read() as connection:
            return [_release(row) for row in connection.execute(query)]

    def open_releases(self) -> Sequence[Release]:
        """List the releases that have not ended, oldest first."""
        query = (
            select(releases)
            .where(releases.c.state == ReleaseState.RUNNING.value)
            .order_by(releases.c.created_at, releases.c.id)
        )
        with self._database.read() as connection:
            return [_release(row) for row in connection.execute(query)]

    def unfinished(self, account_id: str, worker: str) -> Sequence[Release]:
        """
        List the releases of a Worker that still have something to be finished or put back, newest first.

        Those are the open ones, and those that were not wholly undone unless a later release is live: what is there
        now is then that one's, and putting back what was before would break it.
        """
        ours = (releases.c.account_id == account_id, releases.c.worker == worker)
        last_live = select(func.max(releases.c.created_at)).where(*ours, releases.c.state == ReleaseState.LIVE.value)
        is_latest = or_(last_live.scalar_subquery().is_(None), releases.c.created_at > last_live.scalar_subquery())
        is_unfinished = or_(
            releases.c.state == ReleaseState.RUNNING.value,
            and_(releases.c.state == ReleaseState.FAILED.value, is_latest),
        )
        query = (
            select(releases).where(*ours, is_unfinished).order_by(releases.c.created_at.desc(), releases.c.id.desc())
        )
        with self._database.read() as connection:
            return [_release(row) for row in connection.execute(query)]

    def all_unfinished(self) -> Sequence[Release]:
        """List the releases of every Worker that still have something to be finished or put back."""
        return [release for worker in self.unfinished_workers() for release in self.unfinished(*worker)]

    def unfinished_workers(self) -> Sequence[tuple[str, str]]:
        """List the Workers that have unfinished releases, as account id and name."""
        query = (
            select(releases.c.account_id, releases.c.worker)
            .where(releases.c.state.in_((ReleaseState.RUNNING.value, ReleaseState.FAILED.value)))
            .distinct()
            .order_by(releases.c.account_id, releases.c.worker)
        )
        with self._database.read() as connection:
            workers = [(row.account_id, row.worker) for row in connection.execute(query)]
        return [worker for worker in workers if self.unfinished(*worker)]


def insert_release(connection: Connection, release: Release) -> None:
    """Add *release* unless it is there."""
    values = asdict(release) | {"kind": release.kind.value, "state": release.state.value}
    connection.execute(insert_unless_there(connection, releases).values(values))


def close_release(connection: Connection, release: Release) -> None:
    """Let a release that is open in the ledger end as *release* says."""
    if release.state.is_terminal:
        connection.execute(
            update(releases)
            .where(releases.c.id == release.id, releases.c.state == ReleaseState.RUNNING.value)
            .values(state=release.state.value, finished_at=release.finished_at)
        )


def known_releases(connection: Connection) -> set[str]:
    """Return the ids of all releases."""
    return set(connection.execute(select(releases.c.id)).scalars())


def _release(row: Row[Any]) -> Release:
    fields = dict(row._mapping)
    return Release(**fields | {"kind": ReleaseKind(row.kind), "state": ReleaseState(row.state)})
