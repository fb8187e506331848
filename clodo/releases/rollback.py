"""Going back to an earlier version on purpose: with the ledger, or without it and without Prefect (`--direct`)."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from clodo.cloudflare.budget import Lane
from clodo.cloudflare.client import Cloudflare
from clodo.errors import AmbiguousName, NoWayBack, Refused, VersionNotFound
from clodo.ledger.identifiers import new_release_id
from clodo.ledger.journal import FileJournal, Phase
from clodo.ledger.owners import Owner
from clodo.ledger.releases import Release as ReleaseRow
from clodo.ledger.releases import ReleaseKind, ReleaseState
from clodo.releases.assessment import is_as_remembered
from clodo.releases.desired import Desired, triggers_of
from clodo.releases.interruption import Interruption
from clodo.releases.observed import Observed, observe
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.recovery import close_failed, close_live, interrupted_releases, lock_name, recover, undoing
from clodo.releases.release import Release, verified_from_json
from clodo.releases.releasing import Wish
from clodo.releases.site import AccountKeys, Site
from clodo.releases.smoke import UNDECLARED, Edge, SmokeTester
from clodo.releases.steps import Step, detail_of
from clodo.releases.story import ROLLBACK, Take, carry_out, directly
from clodo.releases.triggers import Triggers
from clodo.releases.undo import UNDOES, Undoing, UndoReport
from clodo.wrangler.commands import Uploaded

if TYPE_CHECKING:
    from clodo.cloudflare.deployments import Deployment
    from clodo.cloudflare.zones import Zone
    from clodo.workspace.effective_config import EffectiveConfig
    from clodo.workspace.portfolio import ServiceSettings
    from clodo.workspace.targets import Target


MANY_RELEASES = 50
ROLLED_BACK = "rolled back"
MARK = ".lock"
"""How the file beside a journal ends that shows that somebody works on it."""


class NoLock:
    """Stands in for a lock where the ledger is gone: nobody can be asked, and a person has decided."""

    def check(self) -> None:
        """Let the write pass."""


@contextmanager
def at_work_on(journal: Path) -> Iterator[bool]:
    """
    Show that this process works on *journal*, a file; the system lets go of it when the process dies.

    Yields whether nobody else does.
    """
    with journal.with_suffix(MARK).open("w") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@dataclass(frozen=True, slots=True)
class Version:
    """A version to go back to, and why it is thought good."""

    version_id: str
    because: str


def roll_back(site: Site, target: Target, wish: Wish, *, to: str | None = None, take: Take = directly) -> Outcome:
    """
    Give all traffic of *target* back to an earlier version, verified; databases and triggers stay as they are.

    Args:
        to: The version's id, or how it begins; by default the last one that a release verified, that isn't live now,
            and that nobody went back from since.

    Returns:
        The rollback; or, when a release had been left half-way, the undo of that one, if it was what had to be gone
        back from.

    Raises:
        NoWayBack: There is no earlier good version.

        VersionNotFound: The Worker has no version *to*.

        ReleaseFailed: The earlier version failed too; what was live before is live again.
    """
    started = time.monotonic()
    account = site.account_of(target)
    config = site.workspace.effective(target)
    worker = config.worker_name
    with site.ledger.locks.acquire(
        lock_name(account.keys.account_id, config.worker_name),
        Owner.current(f"roll back {target}"),
        wish.reason or f"roll back {target}",
        take_over=wish.take_over,
    ) as lock:
        cloudflare = account.cloudflare.with_lane(Lane.UNDO)
        found = observe(cloudflare, worker, Triggers())
        recovered = [recover(site, row, lock) for row in interrupted_releases(site, account.keys.account_id, worker)]
        observed = observe(cloudflare, worker, Triggers()) if recovered else found
        _raise_unless_deployed(observed, str(target))
        wanted = _version_called(cloudflare, worker, to, str(target)) if to is not None else None
        if recovered and observed.traffic != found.traffic and wanted in (None, observed.live_version):
            return _went_back_already(target, recovered, found, observed, seconds=time.monotonic() - started)
        deployed = _deployed_before(cloudflare, worker) if wanted is None else ()
        chosen = _chosen(
            wanted, observed, _known_good(site, target), _without_failed(site, target, deployed), str(target)
        )
        row = _row(site.actor, target, config.worker_name, account.keys.account_id, wish, ReleaseKind.ROLLBACK)
        site.ledger.releases.create(row)
        release = Release(
            row.id,
            _bare(
                target,
                config,
                site.workspace.portfolio.settings_of(target.service),
                account.zones if config.routes else (),
            ),
            cloudflare=cloudflare,
            wrangler=None,
            journal=site.ledger.journal,
            lock=lock,
            checks_triggers=False,
            is_ours=_is_as_remembered(site, target, cloudflare, worker),
            verb=ROLLED_BACK,
            tester=account.tester(worker),
            account_subdomain=account.subdomain,
            scratch=site.workspace.rendered_dir(target),
            interruption=site.interruption,
            tells=lambda line: site.log(f"{target}: {line}"),
        )
        release.progress.uploaded = _as_uploaded(chosen)

        def undo() -> UndoReport:
            report = undoing(site, account, row, lock).run()
            close_failed(site, row, report)
            return report

        verified = carry_out(release, undo, take=take, story=ROLLBACK)
        # Inputs are left open: what is live is no longer what the workspace says, and the next release must see that.
        close_live(site, row, verified, {}, now=lambda: datetime.now(UTC))
    return Outcome(
        target=str(target),
        ending=Ending.LIVE,
        release_id=row.id,
        version_id=verified.version_id,
        previous_version_id=observed.live_version,
        changes=(f"traffic from version {observed.live_version} to {chosen.version_id} ({chosen.because})",),
        tests=tuple(f"{result.name} ({result.reason})" for result in verified.results),
        seconds=time.monotonic() - started,
    )


def roll_back_directly(
    target: Target,
    config: EffectiveConfig,
    settings: ServiceSettings,
    keys: AccountKeys,
    *,
    folder: Path,
    actor: str,
    wish: Wish,
    to: str | None = None,
) -> Outcome:
    """
    Do what `roll_back` does with neither Prefect nor the ledger; what was done is journaled to a file in *folder*.

    Raises:
        NoWayBack: No earlier deployment had all the traffic with another version; name one with *to*.
    """
    started = time.monotonic()
    row = _row(actor, target, config.worker_name, keys.account_id, wish, ReleaseKind.ROLLBACK)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    journal = FileJournal(folder / f"{row.id}.jsonl")
    with ExitStack() as exits:
        exits.enter_context(at_work_on(journal.path))
        cloudflare = exits.enter_context(Cloudflare(keys.account_id, keys.token, keys.base_url, lane=Lane.UNDO))
        edge = Edge(keys.edge_url)
        exits.callback(edge.close)
        tester = SmokeTester(
            edge,
            lambda probe: cloudflare.tails.stream(
                config.worker_name, filters=[{"header": {"key": "x-clodo-probe", "query": probe}}]
            ),
        )
        observed = observe(cloudflare, config.worker_name, Triggers())
        _raise_unless_deployed(observed, str(target))
        wanted = _version_called(cloudflare, config.worker_name, to, str(target)) if to is not None else None
        before = _deployed_before(cloudflare, config.worker_name) if wanted is None else ()
        chosen = _chosen(wanted, observed, (), before, str(target))
        journal.record_release(row)
        subdomain = cloudflare.subdomains.account()
        release = Release(
            row.id,
            _bare(target, config, settings, cloudflare.zones.list() if config.routes else ()),
            cloudflare=cloudflare,
            wrangler=None,
            journal=journal,
            lock=NoLock(),
            checks_triggers=False,
            verb=ROLLED_BACK,
            tester=tester,
            account_subdomain=subdomain,
            scratch=folder / row.id,
            interruption=Interruption(),
        )
        release.progress.uploaded = _as_uploaded(chosen)

        def undo() -> UndoReport:
            report = Undoing(
                row.id,
                worker=config.worker_name,
                cloudflare=cloudflare,
                journal=journal,
                lock=NoLock(),
                tester=tester,
                account_subdomain=subdomain,
            ).run()
            journal.record_state(row.id, ReleaseState.UNDONE if report.is_complete else ReleaseState.FAILED)
            return report

        verified = carry_out(release, undo, story=ROLLBACK)
        journal.record_state(row.id, ReleaseState.LIVE)
    return Outcome(
        target=str(target),
        ending=Ending.LIVE,
        release_id=row.id,
        version_id=verified.version_id,
        previous_version_id=observed.live_version,
        changes=(f"traffic from version {observed.live_version} to {chosen.version_id} ({chosen.because})",),
        message=f"journaled to {journal.path}; `clodo reconcile` takes it into the ledger",
        tests=tuple(f"{result.name} ({result.reason})" for result in verified.results),
        seconds=time.monotonic() - started,
    )


def _raise_unless_deployed(observed: Observed, target: str) -> None:
    if not observed.exists or observed.live_version is None:
        raise NoWayBack(f"{target}: nothing is deployed, so there is nothing to go back from")


def _chosen(
    to: str | None, observed: Observed, known_good: Sequence[Version], deployed: Sequence[Version], target: str
) -> Version:
    """Choose where to go: as said, else the last verified version, else the last that had all the traffic."""
    if to is not None:
        if observed.traffic == ((to, 100.0),):
            raise Refused(f"{target}: version {to} is live already")
        return Version(to, "as asked")
    for version in (*known_good, *deployed):
        if version.version_id != observed.live_version:
            return version
    raise NoWayBack(
        f"{target}: no version was live before {observed.live_version}",
        hint="Name one with --to; `wrangler versions list` shows them.",
    )


def _version_called(cloudflare: Cloudflare, worker: str, name: str, target: str) -> str:
    """
    Return the id of the version that *name* is the beginning of.

    Raises:
        VersionNotFound: There is none.

        AmbiguousName: There are several.
    """
    found = [version.id for version in cloudflare.versions.iterate(worker) if version.id.startswith(name)]
    if not found:
        raise VersionNotFound(
            f"{target}: the Worker {worker} has no version {name}", hint="`wrangler versions list` shows them."
        )
    if len(found) > 1:
        raise AmbiguousName(f"{target}: {len(found)} versions begin with {name}", hint="Give more of the id.")
    return found[0]


def _went_back_already(
    target: Target, recovered: Sequence[Outcome], found: Observed, observed: Observed, *, seconds: float
) -> Outcome:
    """What had to be gone back from was a release that had died half-way, and it is undone now."""
    return Outcome(
        target=str(target),
        ending=Ending.LIVE if all(item.ending is not Ending.FAILED for item in recovered) else Ending.FAILED,
        release_id=recovered[0].release_id,
        version_id=observed.live_version,
        previous_version_id=found.live_version,
        changes=(f"traffic from version {found.live_version} to {observed.live_version}",),
        message="; ".join(f"release {item.release_id} {item.message}" for item in recovered),
        exit_code=max(item.exit_code if item.ending is Ending.FAILED else 0 for item in recovered),
        seconds=seconds,
    )


def _known_good(site: Site, target: Target) -> tuple[Version, ...]:
    """Versions that releases of *target* verified, the newest first, without those that were gone back from since."""

    def versions() -> Iterator[Version]:
        given_up: set[str | None] = set()
        for row in site.ledger.releases.list(str(target), limit=MANY_RELEASES):
            if row.state is not ReleaseState.LIVE or row.kind is ReleaseKind.ADOPT:
                continue
            entries = tuple(site.ledger.journal.entries(row.id))
            noted = detail_of(entries, Step.VERIFY, Phase.DONE)
            if noted is not None and (version_id := verified_from_json(noted).version_id) not in given_up:
                yield Version(version_id, f"verified by release {row.id}")
            before = detail_of(entries, Step.NOTE_WAY_BACK, Phase.DONE)
            if row.kind is ReleaseKind.ROLLBACK and before is not None:
                given_up.add(Observed.from_json(before["observed"]).live_version)

    return tuple(versions())


def _deployed_before(cloudflare: Cloudflare, worker: str) -> tuple[Version, ...]:
    """Versions that had all the traffic, the last one first, without those that were gone back from since."""
    given_up: set[str] = set()
    found: list[Version] = []
    newer: Deployment | None = None
    for deployment in cloudflare.deployments.list(worker):
        if newer is not None and _is_way_back(newer):
            given_up.update(set(deployment.shares) - set(newer.shares))
        if deployment.only_version is not None and deployment.only_version not in given_up:
            found.append(Version(deployment.only_version, f"had all traffic since {deployment.created_on}"))
        newer = deployment
    return tuple(found)


def _is_way_back(deployment: Deployment) -> bool:
    """Whether it was made to get rid of the one before: by Clodo, or as Cloudflare says by anybody."""
    said = deployment.message or ""
    triggered_by = deployment.annotations.triggered_by if deployment.annotations else None
    return triggered_by == "rollback" or ROLLED_BACK in said or UNDOES in said


def _without_failed(site: Site, target: Target, deployed: Sequence[Version]) -> tuple[Version, ...]:
    """Leave out what releases uploaded that failed."""
    failed: set[str] = set()
    for row in site.ledger.releases.list(str(target), limit=MANY_RELEASES):
        if row.state in (ReleaseState.UNDONE, ReleaseState.FAILED):
            uploaded = detail_of(site.ledger.journal.entries(row.id), Step.UPLOAD, Phase.DONE) or {}
            failed.add(str(uploaded.get("version_id")))
    return tuple(version for version in deployed if version.version_id not in failed)


def _is_as_remembered(site: Site, target: Target, cloudflare: Cloudflare, worker: str) -> bool:
    """Whether nobody touched the Worker since we last looked: as `assess` sees it."""
    remembered = site.ledger.live.get(str(target))
    script = next((item for item in cloudflare.scripts.list() if item.id == worker), None)
    return remembered is not None and script is not None and is_as_remembered(remembered, script)


def _row(actor: str, target: Target, worker: str, account_id: str, wish: Wish, kind: ReleaseKind) -> ReleaseRow:
    return ReleaseRow(
        id=new_release_id(),
        target=str(target),
        worker=worker,
        account_id=account_id,
        strategy="all-at-once",
        reason=wish.reason,
        actor=actor,
        kind=kind,
        plan_fingerprint="",
        created_at=datetime.now(UTC),
    )


def _bare(target: Target, config: EffectiveConfig, settings: ServiceSettings, zones: Iterable[Zone]) -> Desired:
    """
    Only traffic moves, no databases, no secrets; triggers are named only to know where the Worker answers.

    An old version is not asked what the workspace's tests ask of the new one, only that it answers and is no server
    error.
    """
    return Desired(
        target=target,
        config=config,
        settings=settings.model_copy(update={"smoke_tests": [UNDECLARED]}),
        triggers=replace(triggers_of(config, zones), settings={}),
        databases=(),
        namespace_ids={},
        secrets={},
        secrets_fingerprint="",
        input_hash="",
        is_certain=False,
        migrations_digest="",
    )


def _as_uploaded(chosen: Version) -> Uploaded:
    return Uploaded(
        version_id=chosen.version_id,
        tag="",
        content_sha256="",
        has_preview=False,
        startup_time_ms=None,
        was_found=True,
        requests=0,
        seconds=0.0,
    )
