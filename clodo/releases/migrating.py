"""Migrating the databases of a target outside a release, under the same lock as its releases."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from clodo.errors import BadUsage, ClodoError, Refused
from clodo.ledger.owners import Owner
from clodo.migrations import Applied, MigrationStatus, Rehearsal, RowSource, Which
from clodo.migrations import databases as migrations
from clodo.releases.desired import Database, find_databases
from clodo.releases.recovery import interrupted_releases, lock_name, recover
from clodo.releases.resolving import digest_of_migrations
from clodo.releases.site import Account, Site
from clodo.workspace.documents import did_you_mean
from clodo.workspace.effective_config import DatabaseBinding
from clodo.workspace.targets import Target

if TYPE_CHECKING:
    from clodo.cloudflare.client import Cloudflare

MAX_THREADS = 8
"""Databases asked at the same time; the request budget holds the rate in any case."""


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """
    Where one database of a target stands.

    Attributes:
        database_id: None when it wasn't found.

        status: None when it couldn't be read; *error* then says why.
    """

    target: str
    database: str
    database_id: str | None
    status: MigrationStatus | None
    error: ClodoError | None = None


@dataclass(frozen=True, slots=True)
class Migrated:
    """
    What became of one database.

    Attributes:
        applied: Names, in order.

        rehearsal: How the files went on a copy before.

        hazards: What the lint found in the files that were chosen, waived or accepted; one line each.

        waiting: Contract migrations that are pending still.
    """

    database: str
    database_id: str
    applied: tuple[str, ...] = ()
    rehearsal: Rehearsal = field(default_factory=Rehearsal)
    hazards: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object for reports and scripts."""
        rehearsal = self.rehearsal
        return {
            "database": self.database,
            "database_id": self.database_id,
            "applied": list(self.applied),
            "waiting": list(self.waiting),
            "hazards": list(self.hazards),
            "rehearsal": {
                "files": [
                    {
                        "name": item.name,
                        "statements": item.statements,
                        "rows_written": item.rows_written,
                        "seconds": round(item.duration.total_seconds(), 3),
                        "open_questions": list(item.open_questions),
                    }
                    for item in rehearsal.files
                ],
                "rows": {name: list(counts) for name, counts in rehearsal.rows.items()},
                "data_of": rehearsal.data_of.isoformat() if rehearsal.data_of else None,
                "not_copied": list(rehearsal.missing),
            },
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """
    Which pending migrations are wanted, and what a person answers for.

    Attributes:
        accepted: Names of migrations whose problems and hazards somebody looked at and accepts.

        maintenance: Run contract migrations though the version before may still be wanted back.

        source: Where rows for rehearsals come from; by default there are none.
    """

    which: Which = Which.EXPAND
    accepted: Collection[str] = ()
    maintenance: bool = False
    source: RowSource | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A database of a target, its binding, and where it stands."""

    database: Database
    binding: DatabaseBinding
    status: MigrationStatus


def known_databases(site: Site, target: Target, cloudflare: Cloudflare | None = None) -> list[Known]:
    """
    Say where each database of *target* stands, one that is bound twice once; one request each, three at most.

    Raises:
        DatabaseNotFound: The account lacks one.
    """
    account = site.account_of(target)
    config = site.workspace.effective(target)
    d1 = (cloudflare or account.cloudflare).d1
    found: dict[tuple[str, str], Known] = {}
    for database, binding in zip(find_databases(account.databases, config), config.databases, strict=True):
        key = (database.database_id, binding.migrations_table)
        if key not in found:
            status = migrations.status(
                d1,
                database.database_id,
                binding.migrations_folder,
                pattern=binding.migrations_pattern or "*.sql",
                table=binding.migrations_table,
            )
            found[key] = Known(database, binding, status)
    return list(found.values())


def database_status(site: Site, target: Target) -> tuple[DatabaseStatus, ...]:
    """Say which migrations of *target*'s databases are applied and which are pending; writes nothing."""
    return tuple(
        DatabaseStatus(str(target), item.database.name, item.database.database_id, item.status)
        for item in known_databases(site, target)
    )


def statuses(site: Site, targets: Iterable[Target]) -> tuple[DatabaseStatus, ...]:
    """Say the same of many targets, several at a time; what can't be read is told beside the others."""

    def one(target: Target) -> tuple[DatabaseStatus, ...]:
        site.interruption.raise_if_requested()
        try:
            return database_status(site, target)
        except ClodoError as error:
            names = [item.database_name for item in site.workspace.effective(target).databases]
            return tuple(DatabaseStatus(str(target), name, None, None, error) for name in names)

    with ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="status") as pool:
        return tuple(item for found in pool.map(one, list(targets)) for item in found)


def rehearse_target(site: Site, target: Target, choice: Choice) -> tuple[Migrated, ...]:
    """
    Say what `migrate_target` would do, by rehearsing it; writes nothing.

    Raises:
        BadUsage, Refused, MigrationFailed: As `migrate_target`.
    """
    known = known_databases(site, target)
    _raise_if_accepting_nothing(target, known, choice)
    _raise_if_contract_must_wait(site, target, known, choice)
    return tuple(_examined(item, choice) for item in known)


def migrate_target(
    site: Site, target: Target, choice: Choice | None = None, *, reason: str = "", take_over: bool = False
) -> tuple[Migrated, ...]:
    """
    Apply the pending migrations of *target*'s databases, each file all or nothing.

    All of them are rehearsed before the first database is touched.

    Raises:
        BadUsage: A file that was accepted is none of its migrations.

        Refused: Folder and database disagree, a file is hazardous, or contract migrations have to wait.

        MigrationFailed: A file failed and left nothing; those before it stay.

        Interrupted: Somebody asked to stop; no further file was sent, and those before it stay.
    """
    choice = choice or Choice()
    account = site.account_of(target)
    config = site.workspace.effective(target)
    with site.ledger.locks.acquire(
        lock_name(account.keys.account_id, config.worker_name),
        Owner.current(f"migrate {target}"),
        reason or f"migrate {target}",
        take_over=take_over,
    ) as lock:
        for row in interrupted_releases(site, account.keys.account_id, config.worker_name):
            recover(site, row, lock)

        def guard() -> None:
            site.interruption.raise_if_requested()
            lock.check()

        guarded = account.cloudflare.with_guard(guard)
        known = known_databases(site, target, guarded)
        _raise_if_accepting_nothing(target, known, choice)
        _raise_if_contract_must_wait(site, target, known, choice)
        examined = [_examined(item, choice) for item in known]
        done: list[Migrated] = []
        for item, plan in zip(known, examined, strict=True):
            applied = _apply(site, target, item, guarded, choice, reason=reason)
            done.append(Migrated(plan.database, plan.database_id, applied, plan.rehearsal, plan.hazards, plan.waiting))
    return tuple(done)


def _examined(item: Known, choice: Choice) -> Migrated:
    rehearsal = migrations.examine(
        item.status,
        which=choice.which,
        accepted=choice.accepted,
        source=choice.source,
        database_id=item.database.database_id,
    )
    chosen = {migration.name for migration in migrations.chosen_of(item.status, choice.which)}
    return Migrated(
        item.database.name,
        item.database.database_id,
        rehearsal=rehearsal,
        hazards=tuple(hazard.message for hazard in item.status.hazards if hazard.migration in chosen),
        waiting=tuple(each.name for each in item.status.pending_contract if each.name not in chosen),
    )


def _apply(
    site: Site, target: Target, item: Known, cloudflare: Cloudflare, choice: Choice, *, reason: str
) -> tuple[str, ...]:
    names: list[str] = []

    def note(applied: Applied) -> None:
        names.append(applied.name)
        site.log(f"{target}: applied {applied.name} to {item.database.name}")

    try:
        migrations.apply(
            cloudflare.d1,
            item.database.database_id,
            item.binding.migrations_folder,
            which=choice.which,
            pattern=item.binding.migrations_pattern or "*.sql",
            table=item.binding.migrations_table,
            known=item.status,
            on_applied=note,
            tells=lambda line: site.log(f"{target}: {line}"),
            pause=site.clock.sleep,
        )
    finally:
        # Also of a run that fails half-way: those files stay.
        if names:
            detail = {"database": item.database.name, "files": names, "reason": reason}
            site.ledger.audit.append(site.actor, "migrated", str(target), detail)
    return tuple(names)


def _raise_if_accepting_nothing(target: Target, known: Iterable[Known], choice: Choice) -> None:
    """Refuse to accept what isn't there: whoever mistypes a name would think that it was accepted."""
    names = sorted({name for item in known for name in item.status.names})
    unknown = [name for name in choice.accepted if name not in names]
    if unknown:
        raise BadUsage(
            f'{target} has no migration "{unknown[0]}" to accept{did_you_mean(unknown[0], names)}',
            hint=f"`clodo database status {target}` lists them.",
        )


def _raise_if_contract_must_wait(site: Site, target: Target, known: Iterable[Known], choice: Choice) -> None:
    """
    Refuse contract migrations while a version may be wanted back that might not survive them.

    That is: until the version that was released with these very files is live, verified and past its way-back window.
    Which columns old code reads can't be known, so nobody guesses: only the files' age counts.
    """
    names = [item.name for each in known for item in each.status.pending_contract]
    if choice.which is Which.EXPAND or choice.maintenance or not names:
        return
    wait = f"{target}: the contract migrations {', '.join(names)} have to wait"
    hint = "In a maintenance window, when nobody needs the version before, say --maintenance."
    live = site.ledger.live.get(str(target))
    if live is None:
        raise Refused(
            f"{wait}: no release of it is known to be live", hint=f"Run `clodo deploy {target}` first. {hint}"
        )
    if live.migrations_digest != digest_of_migrations(site.workspace.effective(target)):
        raise Refused(
            f"{wait}: version {live.version_id} is live, which was released without these files",
            hint=f"Run `clodo deploy {target}` first. {hint}",
        )
    ends = live.recorded_at + timedelta(hours=site.workspace.portfolio.settings_of(target.service).way_back_hours)
    if site.clock.now() < ends:
        raise Refused(
            f"{wait}: version {live.version_id} went live at {live.recorded_at.isoformat()}, and its way back is open"
            f" until {ends.isoformat()}",
            hint=f"Run it then, or lower way_back_hours of {target.service} in portfolio.toml. {hint}",
        )
    _raise_if_another_is_live(
        site.account_of(target), site.workspace.effective(target).worker_name, live.version_id, wait
    )


def _raise_if_another_is_live(account: Account, worker: str, version_id: str, wait: str) -> None:
    current = account.cloudflare.deployments.current(worker)
    if current is None or current.only_version != version_id:
        shares = ", ".join(current.shares) if current is not None else "nothing"
        raise Refused(
            f"{wait}: Cloudflare reports {shares} as live, not {version_id}",
            hint="Look with `clodo portfolio status`, and release again.",
        )
