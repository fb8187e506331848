"""Which zone serves which target and customer; and what on Cloudflare nobody's config speaks of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from clodo.cloudflare.domains import Domain
from clodo.cloudflare.routes import Route
from clodo.domains.access import Seen, SeenZone
from clodo.workspace.hostnames import host_of_route, hosts_of
from clodo.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Host:
    """
    A hostname of the workspace.

    Attributes:
        targets: That serve it.

        customers: Whose domain it is, or lies below.

        place: ``file:line`` of who says so.
    """

    name: str
    targets: tuple[str, ...]
    customers: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Matched:
    """A zone and the workspace's hosts in it; *zone* is None for those that no zone holds."""

    zone: SeenZone | None
    hosts: tuple[Host, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets it serves."""
        return tuple(sorted({target for host in self.hosts for target in host.targets}))

    @property
    def customers(self) -> tuple[str, ...]:
        """The customers it serves."""
        return tuple(sorted({customer for host in self.hosts for customer in host.customers}))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "zone": None if self.zone is None else self.zone.to_json(),
            "hosts": [host.name for host in self.hosts],
            "targets": list(self.targets),
            "customers": list(self.customers),
        }


def hosts_of_workspace(workspace: Workspace) -> tuple[Host, ...]:
    """Return every hostname that configs and customers' files name, sorted; wildcards are left out."""
    targets: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    for target in workspace.targets:
        for host, place in hosts_of(target, workspace.effective(target)).items():
            targets.setdefault(host, []).append(str(target))
            places.setdefault(host, place)
    domains: dict[str, set[str]] = {}
    for settings in workspace.customers:
        if settings.domain:
            domain = settings.domain.lower()
            domains.setdefault(domain, set()).add(settings.customer)
            places.setdefault(domain, settings.env.place_of("CUSTOMER_DOMAIN"))
    return tuple(
        Host(name, tuple(sorted(targets.get(name, ()))), tuple(sorted(_customers(name, domains))), places[name])
        for name in sorted({*targets, *domains})
    )


def match(seen: Seen, hosts: Iterable[Host]) -> tuple[Matched, ...]:
    """Return each zone with its hosts, by name, and last those hosts that no zone holds, if any."""
    groups: dict[str | None, list[Host]] = {}
    for host in hosts:
        zone = seen.zone_for(host.name)
        groups.setdefault(zone.id if zone else None, []).append(host)
    found = [Matched(zone, tuple(groups.get(zone.id, ()))) for zone in seen.zones]
    if None in groups:
        found.append(Matched(None, tuple(groups[None])))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Discovered:
    """
    A route or custom domain, live, configured, or both.

    Attributes:
        worker: That has it on Cloudflare; None where it is only configured.

        targets: Whose config names it.
    """

    kind: str
    pattern: str
    zone: str
    worker: str | None
    targets: tuple[str, ...]

    @property
    def standing(self) -> str:
        """``as configured``, ``only on Cloudflare`` or ``only configured``."""
        if self.worker is None:
            return "only configured"
        return "as configured" if self.targets else "only on Cloudflare"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "kind": self.kind,
            "pattern": self.pattern,
            "zone": self.zone,
            "worker": self.worker,
            "targets": list(self.targets),
            "standing": self.standing,
        }


def discover(
    workspace: Workspace, zone: SeenZone, routes: Iterable[Route], domains: Iterable[Domain]
) -> Iterator[Discovered]:
    """
    Yield what is live and what is configured in *zone*.

    Args:
        routes: The zone's.

        domains: Custom domains of the zone's account.
    """
    wanted: dict[tuple[str, str], list[str]] = {}
    for target in workspace.targets:
        for route in workspace.effective(target).routes:
            host = host_of_route(route.pattern).lstrip("*.")
            if zone.holds(host):
                kind = "custom domain" if route.is_custom_domain else "route"
                wanted.setdefault((kind, route.pattern), []).append(str(target))
    live = [("route", route.pattern, route.script or "") for route in routes]
    live += [("custom domain", domain.hostname, domain.service) for domain in domains if zone.holds(domain.hostname)]
    for kind, pattern, worker in sorted(live):
        yield Discovered(kind, pattern, zone.name, worker, tuple(wanted.pop((kind, pattern), ())))
    for (kind, pattern), targets in sorted(wanted.items()):
        yield Discovered(kind, pattern, zone.name, None, tuple(targets))


def _customers(host: str, domains: dict[str, set[str]]) -> set[str]:
    fitting = [domain for domain in domains if host == domain or host.endswith("." + domain)]
    best = max(fitting, key=len, default=None)
    return domains[best] if best is not None else set()
