"""Rotations of the secrets in the blocks: released, probed through the running Worker, retired."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import httpx

from clodo.errors import BadConfiguration
from clodo.ledger import Ledger, fingerprints
from clodo.ledger.identifiers import new_identifier
from clodo.ledger.owners import Owner
from clodo.ledger.secret_records import RotationRecord, RotationState
from clodo.logs import register_secret
from clodo.releases.releasing import Wish
from clodo.releases.resolving import addresses_as_configured
from clodo.releases.rollout import Rollout
from clodo.releases.site import Site
from clodo.releases.smoke import Edge
from clodo.secrets.probing import Acceptance, Ask, ProbeRequest, Seen, wait_for
from clodo.secrets.rotating import Rotator
from clodo.workspace.portfolio import Probe, Rotation
from clodo.workspace.targets import Target
from tasks.releases import release as release_task
from tasks.reports import report
from tasks.secrets import BlockKeeper, opened, raise_unless_declared
from tasks.sites import narrator, open_site


def rotate(workspace: str, target: str, name: str, *, at_once: bool, without_probe: bool) -> RotationRecord:
    """
    Rotate one secret; see `Rotator.begin`.

    Raises:
        BadConfiguration: No probe is declared, and *without_probe* is not said; or no address leads to it.
    """
    with _rotator(workspace, target, name, without_probe=without_probe) as rotator:
        return rotator.begin(at_once=at_once)


def finish(workspace: str, record: RotationRecord) -> RotationRecord:
    """Go on with a rotation: retire the value before, or take up again what a dead process began."""
    with _rotator(workspace, record.target, record.name, without_probe=True) as rotator:
        # Somebody may have gone on with it while we waited for the lock.
        now = next(item for item in rotator.records.rotations(target=record.target) if item.id == record.id)
        if now.state is RotationState.BEGUN:
            return rotator.begin(at_once=rotator.declared.previous is None)
        return rotator.retire(now) if now.state is RotationState.OVERLAPPING else now


def due_rotations(ledger: Ledger, now: datetime) -> tuple[RotationRecord, ...]:
    """Return the rotations that something is to be done for: those cut short, and those whose grace is over."""
    return tuple(
        record
        for record in ledger.secrets.rotations(only_open=True)
        if record.retire_at is None or record.retire_at <= now
    )


@contextmanager
def _rotator(workspace: str, target: str, name: str, *, without_probe: bool) -> Iterator[Rotator]:
    with opened(workspace) as (loaded, ledger, key):
        found = loaded.find(target)
        raise_unless_declared(loaded, found, [name])
        declared = loaded.portfolio.settings_of(found.service).rotation.get(name, Rotation())
        if declared.probe is None and not without_probe:
            raise BadConfiguration(
                f"{loaded.portfolio.place_of('services', found.service, 'rotation', name)}: {name} has no probe, so"
                " which values the Worker accepts can't be seen",
                hint=f"Declare [services.{found.service}.rotation.{name}.probe], or say --without-probe.",
            )
        probe = declared.probe
        if probe is not None:
            # Before anything is written: a value that nobody can show to the Worker would only be put back again.
            with open_site(workspace) as site:
                _hostname_for(site, found, probe)
        what = f"rotate {name} of {found}"
        with ledger.locks.acquire(f"secret/{found}/{name}", Owner.current(what), what):
            yield Rotator(
                target=str(found),
                name=name,
                declared=declared,
                keeper=BlockKeeper(loaded, found, ledger, key),
                records=ledger.secrets,
                release=lambda reason, instead: _release(workspace, found, reason, instead),
                watch=_watcher(workspace, found, probe) if probe is not None else None,
                mark=lambda value: fingerprints.fingerprint_of(key, value),
                new_id=lambda: new_identifier("k"),
                tell=narrator(),
            )


def _release(workspace: str, target: Target, reason: str, instead: Mapping[str, str]) -> None:
    """Take *target* to a version with the secrets that are kept, or those *instead*, as any release does."""
    with open_site(workspace, instead={str(target): instead}) as site:
        rollout = Rollout(site, [target], Wish(reason=reason))
        rollout.survey()
        for wave in rollout.waves_to_release():
            for name in wave:
                release_task(rollout, name, return_state=True)
                rollout.note_crash(name, "its task ended without an outcome")
        report(rollout.outcomes, portfolio=site.workspace.portfolio.name)
        rollout.raise_unless_done()


def _watcher(workspace: str, target: Target, probe: Probe) -> Callable[[str, Acceptance], Seen]:
    def watch(value: str, expected: Acceptance) -> Seen:
        register_secret(value)
        with open_site(workspace) as site, _asking(site, target, probe) as ask:
            return wait_for(
                expected,
                probe,
                value,
                ask=ask,
                patience=site.propagation,
                now=time.time,
                monotonic=site.clock.monotonic,
                sleep=site.clock.sleep,
            )

    return watch


@contextmanager
def _asking(site: Site, target: Target, probe: Probe) -> Iterator[Ask]:
    """Give what sends a probe to the running Worker, at the first of its addresses that serves the path."""
    hostname = _hostname_for(site, target, probe)
    edge = Edge(site.account_of(target).keys.edge_url)

    def ask(request: ProbeRequest) -> int | None:
        try:
            answer = edge.request(
                hostname, request.path, method=request.method, headers=request.headers, body=request.body
            )
        except httpx.TransportError:
            return None
        return answer.status_code

    try:
        yield ask
    finally:
        edge.close()


def _hostname_for(site: Site, target: Target, probe: Probe) -> str:
    """
    Return where a probe reaches the Worker, as it is configured: a release is verified to have made it so.

    Raises:
        BadConfiguration: Nowhere.
    """
    addresses = addresses_as_configured(site, target)
    found = next((address.hostname for address in addresses if address.serves(probe.path)), None)
    if found is None:
        place = site.workspace.portfolio.place_of("services", target.service, "rotation")
        raise BadConfiguration(
            f"{place}: {target}: no route, domain or workers.dev address leads to {probe.path} of the Worker, where its"
            " probe should ask",
            hint="Declare a probe with a path that a route serves, or say workers_dev = true in the wrangler config.",
        )
    return found
