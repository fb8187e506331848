"""Taking migrations back on purpose: by their down files, or by going back in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clodo.errors import ApiRefused, NoWayBack, OutcomeUnknown, PlanIsStale, VerificationFailed
from clodo.ledger.owners import Owner
from clodo.migrations.drift import schema_of
from clodo.migrations.losses import count_rows
from clodo.migrations.reverting import revert
from clodo.migrations.stored import read_stored
from clodo.releases.database_rollback_plan import RollbackPlan, Wanted, Way, draw_plan, find_database
from clodo.releases.migrating import Known
from clodo.releases.recovery import lock_name
from clodo.releases.site import Site
from clodo.workspace.targets import Target

if TYPE_CHECKING:
    from clodo.cloudflare.client import Cloudflare


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

        NoWayBack: Cloudflare refuses to go there; nothing was changed.

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
        known = find_database(site, target, wanted.database)
        plan = draw_plan(cloudflare, target, known, wanted)
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
        except ApiRefused as error:
            raise NoWayBack(
                f"{plan.database} can't go to {plan.bookmark}: {error.message}; nothing was changed",
                hint="Look whose bookmark it is, and how old: Time Travel goes back 30 days (7 on the free plan).",
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
