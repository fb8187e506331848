"""What a target is now: read once before a release, as the way back, and again to verify."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clodo.errors import Refused, WorkerNotFound
from clodo.releases.consumers import observe_consumers, set_consumers
from clodo.releases.triggers import Domain, Route, Triggers

if TYPE_CHECKING:
    from clodo.cloudflare.client import Cloudflare

SETTINGS = ("observability", "logpush", "tail_consumers")


@dataclass(frozen=True, slots=True)
class Observed:
    """
    A Worker as Cloudflare has it, and with that the way back of a release.

    Attributes:
        exists: Whether there is such a Worker.

        deployment_id: The current deployment; None when nothing is deployed.

        traffic: Version id and percentage, of the current deployment.

        author: Who made the current deployment, as far as Cloudflare says.

        live_tag: The tag of the version that has all the traffic; None without one.

        secret_names: Of the version with the largest share, sorted.

        triggers: Only the parts that were asked for.
    """

    exists: bool
    deployment_id: str | None = None
    traffic: tuple[tuple[str, float], ...] = ()
    author: str | None = None
    live_tag: str | None = None
    secret_names: tuple[str, ...] = ()
    triggers: Triggers = field(default_factory=Triggers)

    @property
    def live_version(self) -> str | None:
        """The version with the largest share of the traffic, None when nothing is deployed."""
        return max(self.traffic, key=lambda share: share[1])[0] if self.traffic else None

    @property
    def is_split(self) -> bool:
        """Whether several versions share the traffic."""
        return len([share for share in self.traffic if share[1] > 0]) > 1

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads back."""
        return {
            "exists": self.exists,
            "deployment_id": self.deployment_id,
            "traffic": [list(share) for share in self.traffic],
            "author": self.author,
            "live_tag": self.live_tag,
            "secret_names": list(self.secret_names),
            "triggers": self.triggers.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Observed:
        """Read what `to_json` wrote."""
        return cls(
            exists=data["exists"],
            deployment_id=data["deployment_id"],
            traffic=tuple((share[0], float(share[1])) for share in data["traffic"]),
            author=data["author"],
            live_tag=data["live_tag"],
            secret_names=tuple(data["secret_names"]),
            triggers=Triggers.from_json(data["triggers"]),
        )


def observe(cloudflare: Cloudflare, worker: str, wanted: Triggers, zone_ids: Iterable[str] = ()) -> Observed:
    """
    Read what *worker* is now, with the parts of its triggers that *wanted* speaks of.

    Three to seven requests, fewer when there is no such Worker.

    Args:
        zone_ids: Where its routes are looked for, beside the zones that *wanted* names.
    """
    try:
        deployment = cloudflare.deployments.current(worker)
    except WorkerNotFound:
        return Observed(exists=False, triggers=observe_triggers(cloudflare, worker, wanted, zone_ids, exists=False))
    triggers = observe_triggers(cloudflare, worker, wanted, zone_ids)
    if deployment is None:
        return Observed(exists=True, triggers=triggers)
    traffic = tuple((share.version_id, share.percentage) for share in deployment.versions)
    live = max(traffic, key=lambda share: share[1])[0] if traffic else None
    version = cloudflare.versions.get(worker, live) if live is not None else None
    return Observed(
        exists=True,
        deployment_id=deployment.id,
        traffic=traffic,
        author=deployment.author_email or deployment.source,
        live_tag=version.tag if version is not None else None,
        secret_names=tuple(sorted(version.secret_names)) if version is not None else (),
        triggers=triggers,
    )


def observe_triggers(
    cloudflare: Cloudflare, worker: str, wanted: Triggers, zone_ids: Iterable[str] = (), *, exists: bool = True
) -> Triggers:
    """Read the parts of *worker*'s triggers that *wanted* speaks of, and always its subdomain."""
    subdomain = cloudflare.subdomains.get(worker) if exists else None
    settings: dict[str, Any] = {}
    if wanted.settings and exists:
        found = cloudflare.settings.get(worker)
        settings = {name: getattr(found, name) for name in SETTINGS if name in wanted.settings}
    return Triggers(
        routes=None if wanted.routes is None else _routes_of(cloudflare, worker, {*wanted.zone_ids, *zone_ids}),
        domains=None if wanted.domains is None else _domains_of(cloudflare, worker),
        schedules=None if wanted.schedules is None else _schedules_of(cloudflare, worker, exists=exists),
        workers_dev=subdomain.enabled if subdomain is not None else False,
        previews=subdomain.previews_enabled if subdomain is not None else False,
        settings=settings,
        consumers=None if wanted.consumers is None else observe_consumers(cloudflare, worker),
    )


def _routes_of(cloudflare: Cloudflare, worker: str, zone_ids: Iterable[str]) -> tuple[Route, ...]:
    """Only zones that a release has to do with are read: reading all would cost a request per zone of the account."""
    return tuple(
        sorted(
            Route(route.pattern, zone_id)
            for zone_id in zone_ids
            for route in cloudflare.routes.list(zone_id)
            if route.script == worker
        )
    )


def _domains_of(cloudflare: Cloudflare, worker: str) -> tuple[Domain, ...]:
    return tuple(
        sorted(
            Domain(domain.hostname, domain.zone_id or "")
            for domain in cloudflare.domains.list(worker=worker)
            if domain.service == worker
        )
    )


def _schedules_of(cloudflare: Cloudflare, worker: str, *, exists: bool) -> tuple[str, ...]:
    return tuple(sorted(schedule.cron for schedule in cloudflare.schedules.get(worker))) if exists else ()


def set_triggers(cloudflare: Cloudflare, worker: str, observed: Triggers, change: Triggers) -> None:
    """
    Write *change* over what is *observed*, from `Triggers.wanted_over` or `Triggers.way_back`.

    Each write is safe to repeat. What *change* does not speak of is left alone.
    """
    if change.settings:
        cloudflare.settings.patch(worker, unversioned_settings(change.settings))
    if change.workers_dev is not None or change.previews is not None:
        cloudflare.subdomains.set(
            worker,
            enabled=bool(observed.workers_dev if change.workers_dev is None else change.workers_dev),
            previews_enabled=bool(observed.previews if change.previews is None else change.previews),
        )
    if change.routes is not None:
        _set_routes(cloudflare, worker, frozenset(observed.routes or ()), frozenset(change.routes))
    if change.domains is not None:
        _set_domains(cloudflare, worker, frozenset(observed.domains or ()), frozenset(change.domains))
    if change.schedules is not None:
        cloudflare.schedules.put(worker, change.schedules)
    if change.consumers is not None:
        set_consumers(cloudflare, worker, change.consumers)


def _set_routes(cloudflare: Cloudflare, worker: str, observed: frozenset[Route], wanted: frozenset[Route]) -> None:
    for route in sorted(wanted - observed):
        cloudflare.routes.create(route.zone_id, route.pattern, worker)
    for route in sorted(observed - wanted):
        for found in cloudflare.routes.list(route.zone_id):
            if found.pattern == route.pattern and found.script == worker:
                cloudflare.routes.delete(route.zone_id, found.id)


def _set_domains(cloudflare: Cloudflare, worker: str, observed: frozenset[Domain], wanted: frozenset[Domain]) -> None:
    for domain in sorted(wanted - observed):
        # Attaching takes a hostname from whichever Worker has it, silently; that is for a person to decide.
        for found in cloudflare.domains.list(hostname=domain.hostname):
            if found.hostname == domain.hostname and found.service != worker:
                raise Refused(
                    f"{domain.hostname} belongs to the Worker {found.service}, not to {worker}",
                    hint=f"Detach it from {found.service} first, or take it out of this config.",
                )
        cloudflare.domains.attach(domain.hostname, worker, zone_id=domain.zone_id)
    gone = {domain.hostname for domain in observed - wanted}
    for found in cloudflare.domains.list(worker=worker) if gone else ():
        if found.hostname in gone and found.service == worker:
            cloudflare.domains.detach(found.id)


def unversioned_settings(settings: Mapping[str, Any]) -> Any:
    """Return *settings* as the client's model."""
    from clodo.cloudflare.settings import UnversionedSettings

    return UnversionedSettings.model_validate(dict(settings))
