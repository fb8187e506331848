"""What the workspace says a target should be, with everything looked up that a release needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clodo.errors import AmbiguousName, BadConfiguration
from clodo.releases.addresses import Address
from clodo.releases.consumers import consumers_of
from clodo.releases.triggers import Domain, Route, Triggers
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.portfolio import ServiceSettings
from clodo.workspace.targets import Target

if TYPE_CHECKING:
    from clodo.cloudflare.zones import Zone


@dataclass(frozen=True, slots=True)
class Database:
    """
    A D1 database of a target, found on the account.

    Attributes:
        database_id: UUID.

        migrations: Its binding in the config, with the migrations' folder, table and pattern.
    """

    name: str
    database_id: str
    binding: str


@dataclass(frozen=True, slots=True)
class Desired:
    """
    What a target should become.

    Attributes:
        config: The effective wrangler config.

        settings: What the portfolio says about the service.

        triggers: Only what the config speaks of.

        databases: By binding.

        namespace_ids: KV binding to namespace id.

        secrets: Names and values; never printed.

        secrets_fingerprint: Keyed, of *secrets*.

        input_hash: Of everything that goes into the release.

        is_certain: False when the hash may miss an input, so that only a comparison can say "unchanged".

        migrations_digest: Of all migration files.

        through: Addresses of another Worker, which passes smoke tests on; asked when none leads to this one.
    """

    target: Target
    config: EffectiveConfig
    settings: ServiceSettings
    triggers: Triggers
    databases: tuple[Database, ...]
    namespace_ids: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    secrets_fingerprint: str
    input_hash: str
    is_certain: bool
    migrations_digest: str
    through: tuple[Address, ...] = ()

    @property
    def inputs(self) -> dict[str, str]:
        """The hashes to remember of what was released."""
        return {
            "input_hash": self.input_hash,
            "secrets_fingerprint": self.secrets_fingerprint,
            "migrations_digest": self.migrations_digest,
        }

    @property
    def worker(self) -> str:
        """The Worker's name on the account."""
        return self.config.worker_name


def triggers_of(config: EffectiveConfig, zones: Iterable[Zone]) -> Triggers:
    """
    Return the triggers that *config* asks for, with the zones looked up by exact name.

    Raises:
        BadConfiguration: A route's zone is not among *zones*.
    """
    known = tuple(zones)
    routes: list[Route] = []
    domains: list[Domain] = []
    for route in config.routes:
        zone_id = route.zone_id or _zone_id(route.zone_name or _hostname(route.pattern), known, route.place)
        if route.is_custom_domain:
            domains.append(Domain(route.pattern, zone_id))
        else:
            routes.append(Route(route.pattern, zone_id))
    settings: dict[str, Any] = {}
    if config.observability is not None:
        settings["observability"] = dict(config.observability)
    if config.logpush is not None:
        settings["logpush"] = config.logpush
    if config.tail_consumers:
        settings["tail_consumers"] = [{"service": service} for service in config.tail_consumers]
    return Triggers(
        routes=tuple(sorted(routes)) if routes else None,
        domains=tuple(sorted(domains)) if domains else None,
        schedules=None if config.crons is None else tuple(sorted(config.crons)),
        workers_dev=config.is_on_workers_dev,
        previews=config.preview_urls,
        settings=settings,
        consumers=consumers_of(config.queue_consumers) if config.queue_consumers else None,
    )


def _hostname(pattern: str) -> str:
    return (pattern.partition("://")[2] or pattern).partition("/")[0].lstrip("*.")


def _zone_id(hostname: str, zones: tuple[Zone, ...], place: str) -> str:
    """The longest zone whose name is *hostname* or a parent of it, at a dot."""
    fitting = [zone for zone in zones if hostname == zone.name or hostname.endswith("." + zone.name)]
    if not fitting:
        raise BadConfiguration(
            f"{place}: no zone of this account serves {hostname}",
            hint="Add the zone to the account, give its zone_id, or let the token read it (Zone: read).",
        )
    longest = max(len(zone.name) for zone in fitting)
    best = [zone for zone in fitting if len(zone.name) == longest]
    if len(best) > 1:
        raise AmbiguousName(f"{place}: {len(best)} zones are named {best[0].name}", hint="Give the zone_id.")
    return best[0].id


def find_databases(ids: Callable[[str], str], config: EffectiveConfig) -> tuple[Database, ...]:
    """
    Find the D1 databases of *config*: by id when it gives one, else by exact name.

    Args:
        ids: Exact name to UUID; raises DatabaseNotFound or AmbiguousName.
    """
    return tuple(
        Database(item.database_name, item.database_id or ids(item.database_name), item.binding)
        for item in config.databases
    )


def find_namespaces(ids: Callable[[str], str], config: EffectiveConfig) -> dict[str, str]:
    """
    Find the KV namespaces of *config*, by binding: by id when it gives one, else by exact title.

    Args:
        ids: Exact title to id; raises NamespaceNotFound.
    """
    return {item.binding: item.namespace_id or ids(item.title) for item in config.namespaces}
