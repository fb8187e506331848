"""
Releases of targets: surveyed together, then carried out one by one under a lock.

A single release and each target of a portfolio go through `release_target`; there is no second way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from clodo.errors import (
    BlockedByPolicy,
    ClodoError,
    PlanIsStale,
    Refused,
    ReleaseFailed,
    UndoIncomplete,
)
from clodo.ledger.identifiers import new_release_id
from clodo.ledger.owners import Owner
from clodo.ledger.releases import Release as ReleaseRow
from clodo.ledger.releases import ReleaseKind
from clodo.releases.asking import raise_if_nobody_can_ask_the_first
from clodo.releases.assessment import CODE, Assessment, Standing, assess
from clodo.releases.closer_look import Look, foreign_triggers, look_closer
from clodo.releases.configuration import remember_configuration
from clodo.releases.desired import Desired
from clodo.releases.listing import Listing
from clodo.releases.observed import Observed
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.recovery import close_failed, close_live, interrupted_releases, lock_name, recover, undoing
from clodo.releases.release import Release
from clodo.releases.resolving import resolve
from clodo.releases.securing import note_secrets, raise_if_insecure
from clodo.releases.site import Account, Site
from clodo.releases.story import Take, carry_out, directly
from clodo.releases.triggers import Triggers
from clodo.releases.undo import UndoReport

if TYPE_CHECKING:
    from clodo.cloudflare.scripts import Script
    from clodo.ledger.live import Live
    from clodo.ledger.locks import Lock
    from clodo.workspace.targets import Target


@dataclass(frozen=True, slots=True)
class Wish:
    """
    How a person wants releases done.

    Attributes:
        reason: Why, for ledger and lock.

        overwrite: Go on over what somebody else deployed or edited; it was shown.

        take_over: Take the lock from whoever holds it.

        allow_local_ledger: Release to a protected environment though other machines can't see the ledger.

        skip_tests: Leave out the declared smoke tests; the new version must still answer.
    """

    reason: str = ""
    overwrite: bool = False
    take_over: bool = False
    allow_local_ledger: bool = False
    skip_tests: bool = False


@dataclass(frozen=True, slots=True)
class Surveyed:
    """
    A target as a run finds it, before anything is locked.

    Attributes:
        remembered: What the ledger says is live.

        script: As the account's list has it, None when there is no such Worker.

        look: The closer look, where the first could not tell.
    """

    desired: Desired
    assessment: Assessment
    remembered: Live | None
    script: Script | None = None
    look: Look | None = None

    @property
    def target(self) -> Target:
        """The target."""
        return self.desired.target

    @property
    def is_unchanged(self) -> bool:
        """Whether there is nothing to do."""
        return self.assessment.standing is Standing.UNCHANGED

    @property
    def has_changes(self) -> bool:
        """Whether a release would change anything, as far as was looked."""
        return not self.is_unchanged and (self.look is None or not self.look.is_same)

    def describe(self) -> tuple[str, ...]:
        """Return what would change, one phrase each; empty when nothing would."""
        if self.look is not None:
            return self.look.changes
        return self.assessment.reasons


def survey(site: Site, targets: Iterable[Target]) -> tuple[Surveyed, ...]:
    """
    Compare all *targets* with what is live: lists of an account's scripts, domains and routes, no request a target.

    A target whose last release was left half-way is never unchanged: nobody knows what that release did to it.

    Raises:
        BadConfiguration, NotFound: Something is named that isn't there; the message says where.
    """
    half_way = frozenset(site.ledger.releases.unfinished_workers())
    listings: dict[str, Listing] = {}
    surveyed: list[Surveyed] = []
    for target in targets:
        account = site.account_of(target)
        listing = listings.setdefault(account.keys.account_id, Listing(account.cloudflare))
        # Before anything that takes time: whatever changes later shows as another *modified_on* then.
        listing.read()
        desired = resolve(site, target)
        remembered = site.ledger.live.get(str(target))
        script = listing.script(desired.worker)
        noted = Triggers.from_json(remembered.triggers) if remembered and remembered.triggers else None
        now = listing.triggers(desired.worker, noted) if noted is not None and script is not None else None
        assessment = assess(desired, remembered, script, now)
        is_half_way = (account.keys.account_id, desired.worker) in half_way
        if is_half_way and assessment.standing is Standing.UNCHANGED:
            assessment = Assessment(Standing.CHANGED, ("a release of it was left half-way",))
        surveyed.append(Surveyed(desired, assessment, remembered, script))
    # So that the next run reads only files that changed since.
    site.digests.save()
    return tuple(surveyed)


def release_target(site: Site, surveyed: Surveyed, wish: Wish, *, take: Take = directly) -> Outcome:
    """
    Take one target to what is desired, verified, or leave it as it was.

    Raises:
        ReleaseFailed: It failed and was undone.

        UndoIncomplete: It failed and was not wholly undone.

        LockHeld: Somebody else is at it.

        Refused: A rule forbids it, or it would overwrite what somebody else did.
    """
    started = time.monotonic()
    desired = surveyed.desired
    if surveyed.is_unchanged:
        return replace(_unchanged(surveyed), seconds=time.monotonic() - started)
    raise_if_blocked(site, surveyed, wish)
    account = site.account_of(desired.target)
    site.interruption.raise_if_requested()
    with site.ledger.locks.acquire(
        lock_name(account.keys.account_id, desired.worker),
        Owner.current(f"release {desired.target}"),
        wish.reason or f"release {desired.target}",
        take_over=wish.take_over,
    ) as lock:
        recovered = [
            recover(site, row, lock) for row in interrupted_releases(site, account.keys.account_id, desired.worker)
        ]
        if recovered:
            # What was finished or undone is not what was looked at.
            (surveyed,) = survey(site, [desired.target])
        else:
            _raise_if_stale(site, surveyed)
        outcome = (
            _unchanged(surveyed)
            if surveyed.is_unchanged
            else _release_locked(site, account, surveyed, wish, lock, take)
        )
    notes = "; ".join(f"release {item.release_id} {item.message}" for item in recovered)
    return replace(
        outcome,
        message="; ".join(part for part in (notes, outcome.message) if part),
        seconds=time.monotonic() - started,
    )


def raise_if_blocked(site: Site, surveyed: Surveyed, wish: Wish) -> None:
    """
    Refuse what needs no more than a look to be refused; a plan shows it too.

    Raises:
        BlockedByPolicy: The portfolio or a security rule forbids it.

        Refused: It can't be tested or undone, or it would overwrite what somebody else did.
    """
    raise_if_forbidden(site, surveyed.target, wish)
    raise_if_insecure(site, surveyed.desired)
    _raise_if_objects_migrate(surveyed)
    if surveyed.assessment.standing is Standing.FIRST:
        raise_if_nobody_can_ask_the_first(surveyed.desired)
    if surveyed.look is not None:
        _raise_if_it_overwrites(surveyed.target, surveyed.look, wish)


def raise_if_forbidden(site: Site, target: Target, wish: Wish) -> None:
    """
    Refuse what the portfolio forbids: a freeze, or a protected environment whose ledger other machines can't see.

    Raises:
        BlockedByPolicy: It does.
    """
    environment = site.workspace.portfolio.environments.get(target.environment)
    if environment is None:
        return
    freeze = environment.frozen_at(datetime.now(UTC))
    if freeze is not None:
        because = f": {freeze.reason}" if freeze.reason else ""
        raise BlockedByPolicy(
            f"{target}: {target.environment} is frozen until {freeze.ends.isoformat()}{because}",
            hint="Wait, or take the freeze out of portfolio.toml.",
        )
    if environment.protected and not site.ledger.is_shared and not wish.allow_local_ledger:
        raise BlockedByPolicy(
            f"{target}: {target.environment} is protected, and this ledger is a file that no other machine sees",
            hint="Set CLODO_LEDGER_URL to the team's PostgreSQL, or say --allow-local-ledger.",
        )


def _raise_if_it_overwrites(target: Target, look: Look, wish: Wish) -> None:
    if look.overwrites and not wish.overwrite:
        raise Refused(
            f"{target}: would overwrite what somebody else did: {look.overwrites}",
            hint="Look at it, then repeat with --overwrite.",
        )


def _raise_if_objects_migrate(surveyed: Surveyed) -> None:
    """Cloudflare takes Durable Object migrations only with a version that gets all traffic at once: nothing to test."""
    steps = surveyed.desired.config.durable_object_migrations
    newest = str(steps[-1].get("tag", "")) if steps else ""
    if surveyed.script is not None and newest != (surveyed.script.migration_tag or ""):
        raise Refused(
            f"{surveyed.target}: the Durable Object migration {newest or '(none)'} is pending, and Cloudflare takes it"
            " only with a version that is live at once, so it can't be tested or undone",
            hint="Deploy this step with `wrangler deploy`; `clodo deploy` then adopts what is live.",
        )


def _unchanged(surveyed: Surveyed) -> Outcome:
    return Outcome(
        target=str(surveyed.target),
        ending=Ending.UNCHANGED,
        version_id=surveyed.remembered.version_id if surveyed.remembered else None,
    )


def _raise_if_stale(site: Site, surveyed: Surveyed) -> None:
    """Somebody may have released between our look and our lock."""
    now = site.ledger.live.get(str(surveyed.target))
    before = surveyed.remembered
    if (now and now.release_id) != (before and before.release_id):
        raise PlanIsStale(
            f"{surveyed.target}: released by somebody else meanwhile ({now.release_id if now else 'forgotten'})",
            hint="Run the same command again; it starts from what is live now.",
        )


def _release_locked(site: Site, account: Account, surveyed: Surveyed, wish: Wish, lock: Lock, take: Take) -> Outcome:
    desired = surveyed.desired
    if wish.skip_tests:
        desired = replace(desired, settings=desired.settings.model_copy(update={"smoke_tests": []}))
    if surveyed.assessment.needs_a_look and surveyed.look is None:
        found = look_closer(site, account, desired, surveyed.remembered, surveyed.script)
        surveyed = replace(surveyed, look=found)
    look = surveyed.look
    if look is not None and look.is_same:
        return _adopt(site, account, desired, look)
    if look is not None:
        _raise_if_it_overwrites(desired.target, look, wish)
    # Everything that may fail before the first step is asked for before the release is on record.
    wrangler, subdomain, tester = account.wrangler, account.subdomain, account.tester(desired.worker)
    row = ReleaseRow(
        id=new_release_id(),
        target=str(desired.target),
        worker=desired.worker,
        account_id=account.keys.account_id,
        strategy="all-at-once",
        reason=wish.reason,
        actor=site.actor,
        kind=ReleaseKind.FIRST if surveyed.assessment.standing is Standing.FIRST else ReleaseKind.REDEPLOY,
        plan_fingerprint=desired.input_hash,
        created_at=datetime.now(UTC),
    )
    with site.ledger.at_once():
        site.ledger.releases.create(row)
        remember_configuration(site, row.id, desired.target)
        site.ledger.audit.append(site.actor, "release-begun", row.target, {"release": row.id, "reason": wish.reason})
    release = Release(
        row.id,
        desired,
        cloudflare=account.cloudflare,
        wrangler=wrangler,
        journal=site.ledger.journal,
        lock=lock,
        tester=tester,
        account_subdomain=subdomain,
        scratch=site.workspace.rendered_dir(desired.target),
        known_zones=_zones_of(surveyed.remembered),
        is_ours=surveyed.assessment.standing is Standing.CHANGED,
        expects=_expectation(surveyed, wish),
        interruption=site.interruption,
        tells=lambda line: site.log(f"{desired.target}: {line}"),
    )

    def undo() -> UndoReport:
        report = undoing(site, account, row, lock).run()
        close_failed(site, row, report)
        return report

    verified = carry_out(release, undo, take=take)
    close_live(site, row, verified, desired.inputs, now=lambda: datetime.now(UTC))
    note_secrets(site, desired)
    return Outcome(
        target=str(desired.target),
        ending=Ending.LIVE,
        release_id=row.id,
        version_id=verified.version_id,
        previous_version_id=release.observed.live_version,
        changes=(
            *_changed(surveyed, verified.content_sha256),
            *(f"migration {name}" for names in release.progress.applied.values() for name in names),
        ),
        tests=tuple(f"{result.name} ({result.reason})" for result in (*release.progress.tested, *verified.results)),
    )


def _changed(surveyed: Surveyed, content_sha256: str) -> tuple[str, ...]:
    """Return what the release changed; before the upload nobody knew whether new migrations came with new code."""
    foreseen, remembered = surveyed.describe(), surveyed.remembered
    if surveyed.look is not None or CODE in foreseen or remembered is None:
        return foreseen
    return foreseen if remembered.content_sha256 == content_sha256 else (CODE, *foreseen)


def _expectation(surveyed: Surveyed, wish: Wish) -> Callable[[Observed], None]:
    """
    Return what raises when what is there isn't what was looked at.

    It raises PlanIsStale when somebody deployed since, and Refused when triggers that somebody else set would be
    overwritten.
    """
    remembered, look = surveyed.remembered, surveyed.look
    known = look.observed.deployment_id if look is not None else remembered.deployment_id if remembered else None

    def check(observed: Observed) -> None:
        if surveyed.assessment.standing is Standing.FIRST:
            is_as_looked_at = not observed.exists
        else:
            is_as_looked_at = observed.deployment_id == known
        if not is_as_looked_at:
            live = observed.live_version or "nothing"
            raise PlanIsStale(
                f"{surveyed.target}: somebody deployed meanwhile ({live} is live)",
                hint="Run the same command again; it starts from what is live now.",
            )
        others = foreign_triggers(surveyed.desired, remembered, observed)
        if others and not wish.overwrite:
            raise Refused(
                f"{surveyed.target}: would overwrite what somebody else set: {others}",
                hint="Look at it, then repeat with --overwrite.",
            )

    return check


def _adopt(site: Site, account: Account, desired: Desired, look: Look) -> Outcome:
    """What is live is what we would deploy: remember it, and leave it alone."""
    row = ReleaseRow(
        id=new_release_id(),
        target=str(desired.target),
        worker=desired.worker,
        account_id=account.keys.account_id,
        strategy="adopt",
        reason="what is live is what the workspace says",
        actor=site.actor,
        kind=ReleaseKind.ADOPT,
        plan_fingerprint=desired.input_hash,
        created_at=datetime.now(UTC),
    )
    with site.ledger.at_once():
        site.ledger.releases.create(row)
        remember_configuration(site, row.id, desired.target)
        close_live(site, row, look.as_verified(), desired.inputs, now=lambda: datetime.now(UTC))
    return Outcome(
        target=str(desired.target),
        ending=Ending.ADOPTED,
        release_id=row.id,
        version_id=look.observed.live_version,
        message=_adopted(desired),
    )


def _adopted(desired: Desired) -> str:
    said = "already live; nothing was deployed"
    if desired.secrets:
        said += f"; that its secrets have our values ({', '.join(sorted(desired.secrets))}) is taken on trust"
    return said


def _zones_of(remembered: Live | None) -> frozenset[str]:
    return Triggers.from_json(remembered.triggers).zone_ids if remembered and remembered.triggers else frozenset()


def failed_outcome(target: Target, error: ClodoError) -> Outcome:
    """Return the outcome of a target whose release raised *error*."""
    ending = Ending.UNDONE if isinstance(error, ReleaseFailed) else Ending.FAILED
    return Outcome(
        target=str(target),
        ending=ending,
        release_id=error.release_id if isinstance(error, ReleaseFailed | UndoIncomplete) else None,
        message=error.message,
        hint=error.hint,
        exit_code=error.exit_code,
    )
