"""What makes a Worker run (routes, domains, schedules, workers.dev) and its unversioned settings, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A pattern of a zone that runs the Worker."""

    pattern: str
    zone_id: str


@dataclass(frozen=True, slots=True, order=True)
class Domain:
    """A hostname that belongs to the Worker as a whole."""

    hostname: str
    zone_id: str


@dataclass(frozen=True, slots=True, order=True)
class Consumer:
    """
    A queue that the Worker receives from.

    What a config leaves out is what Cloudflare gives a new consumer.

    Attributes:
        dead_letter_queue: Where messages go that were retried too often; empty for nowhere.

        max_concurrency: 0 leaves it to Cloudflare.

    Source:
        https://developers.cloudflare.com/queues/configuration/configure-queues/
    """

    queue: str
    dead_letter_queue: str = ""
    batch_size: int = 10
    max_wait_time_ms: int = 5000
    max_retries: int = 3
    retry_delay: int = 0
    max_concurrency: int = 0

    @property
    def settings(self) -> dict[str, int | None]:
        """The settings by Cloudflare's names."""
        return {
            "batch_size": self.batch_size,
            "max_wait_time_ms": self.max_wait_time_ms,
            "max_retries": self.max_retries,
            "retry_delay": self.retry_delay,
            "max_concurrency": self.max_concurrency or None,
        }


@dataclass(frozen=True, slots=True)
class Triggers:
    """
    Everything of a Worker that Cloudflare does not version.

    As a wish, None means "leave it as it is"; as an observation, None means "not looked at".

    Attributes:
        routes: Sorted; the empty tuple means none at all.

        domains: Sorted custom domains.

        schedules: Cron expressions, sorted.

        consumers: Queues that it receives from, sorted.

        workers_dev: Whether ``<worker>.<subdomain>.workers.dev`` answers.

        previews: Whether versions have preview URLs.

        settings: Script settings (observability, logpush, tail_consumers), by Cloudflare's names.
    """

    routes: tuple[Route, ...] | None = None
    domains: tuple[Domain, ...] | None = None
    schedules: tuple[str, ...] | None = None
    workers_dev: bool | None = None
    previews: bool | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    consumers: tuple[Consumer, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads back."""
        return {
            "routes": None if self.routes is None else [[route.pattern, route.zone_id] for route in self.routes],
            "domains": None if self.domains is None else [[item.hostname, item.zone_id] for item in self.domains],
            "schedules": None if self.schedules is None else list(self.schedules),
            "workers_dev": self.workers_dev,
            "previews": self.previews,
            "settings": dict(self.settings),
            "consumers": None if self.consumers is None else [list(astuple(item)) for item in self.consumers],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Triggers:
        """Read what `to_json` wrote."""
        return cls(
            routes=None if data["routes"] is None else tuple(Route(*pair) for pair in data["routes"]),
            domains=None if data["domains"] is None else tuple(Domain(*pair) for pair in data["domains"]),
            schedules=None if data["schedules"] is None else tuple(data["schedules"]),
            workers_dev=data["workers_dev"],
            previews=data["previews"],
            settings=data["settings"],
            consumers=None
            if data.get("consumers") is None
            else tuple(Consumer(*values) for values in data["consumers"]),
        )

    def wanted_over(self, observed: Triggers) -> Triggers:
        """Return what differs between this wish and *observed*; whatever agrees or isn't wished for is None."""
        settings = {
            name: value for name, value in self.settings.items() if not _agrees(value, observed.settings.get(name))
        }
        return Triggers(
            routes=_if_other(self.routes, observed.routes),
            domains=_if_other(self.domains, observed.domains),
            schedules=_if_other(self.schedules, observed.schedules),
            workers_dev=_if_other(self.workers_dev, observed.workers_dev),
            previews=_if_other(self.previews, observed.previews),
            settings=settings,
            consumers=_if_other(self.consumers, observed.consumers),
        )

    def restricted_to(self, change: Triggers) -> Triggers:
        """Return only those parts of this observation that *change* touches: the way back from *change*."""
        return Triggers(
            routes=None if change.routes is None else self.routes or (),
            domains=None if change.domains is None else self.domains or (),
            schedules=None if change.schedules is None else self.schedules or (),
            workers_dev=None if change.workers_dev is None else bool(self.workers_dev),
            previews=None if change.previews is None else bool(self.previews),
            settings={name: self.settings.get(name) for name in change.settings},
            consumers=None if change.consumers is None else self.consumers or (),
        )

    def way_back(self, change: Triggers, now: Triggers) -> Triggers:
        """
        Return what to write to take *change* back: this is what was before it, *now* what is.

        What somebody else added or set since stays; a change that was written in part is taken back in part.
        """
        before = self.restricted_to(change)
        # What was there before had Cloudflare's defaults in it already, so here nothing less than equal will do.
        settings = {
            name: value
            for name, value in before.settings.items()
            if _agrees(change.settings[name], now.settings.get(name)) and value != now.settings.get(name)
        }
        back = Triggers(
            routes=_without(before.routes, change.routes, now.routes),
            domains=_without(before.domains, change.domains, now.domains),
            schedules=_without(before.schedules, change.schedules, now.schedules),
            workers_dev=before.workers_dev,
            previews=before.previews,
            consumers=_consumers_back(before.consumers, change.consumers, now.consumers),
        )
        return replace(back.wanted_over(now), settings=settings)

    def set_elsewhere(self, remembered: Triggers, observed: Triggers) -> Triggers:
        """Return the parts of *observed* that somebody else set since *remembered*, and that this wish would change."""
        change, drift = self.wanted_over(observed), remembered.wanted_over(observed)
        return observed.restricted_to(
            Triggers(
                routes=None if drift.routes is None else change.routes,
                domains=None if drift.domains is None else change.domains,
                schedules=None if drift.schedules is None else change.schedules,
                workers_dev=None if drift.workers_dev is None else change.workers_dev,
                previews=None if drift.previews is None else change.previews,
                settings={name: value for name, value in change.settings.items() if name in drift.settings},
                consumers=None if drift.consumers is None else change.consumers,
            )
        )

    @property
    def zone_ids(self) -> frozenset[str]:
        """The zones of its routes."""
        return frozenset(route.zone_id for route in self.routes or ())

    @property
    def is_empty(self) -> bool:
        """Whether nothing is wished for."""
        return self == Triggers()

    def describe(self) -> tuple[str, ...]:
        """Return one short phrase for each thing wished for."""
        phrases: list[str] = []
        if self.routes is not None:
            phrases.append("routes " + (", ".join(route.pattern for route in self.routes) or "none"))
        if self.domains is not None:
            phrases.append("domains " + (", ".join(domain.hostname for domain in self.domains) or "none"))
        if self.schedules is not None:
            phrases.append("schedules " + (", ".join(self.schedules) or "none"))
        if self.consumers is not None:
            phrases.append("queues " + (", ".join(consumer.queue for consumer in self.consumers) or "none"))
        if self.workers_dev is not None:
            phrases.append(f"workers.dev {'on' if self.workers_dev else 'off'}")
        if self.previews is not None:
            phrases.append(f"preview URLs {'on' if self.previews else 'off'}")
        phrases.extend(f"setting {name}" for name in sorted(self.settings))
        return tuple(phrases)


def _if_other(wish: T | None, observed: T | None) -> T | None:
    return None if wish is None or wish == observed else wish


def _without(before: tuple[T, ...] | None, added: tuple[T, ...] | None, now: tuple[T, ...] | None) -> Any:
    """Return *now* without what was added to *before*, and with what was taken from it."""
    if before is None or added is None:
        return None
    kept = set(now or ()) - (set(added) - set(before))
    return tuple(sorted(kept | (set(before) - set(added))))


def _consumers_back(
    before: tuple[Consumer, ...] | None, change: tuple[Consumer, ...] | None, now: tuple[Consumer, ...] | None
) -> tuple[Consumer, ...] | None:
    """Return *now* with each queue that is still as *change* set it as it was before; a queue has one consumer."""
    if before is None or change is None:
        return None
    was, set_to, back = ({item.queue: item for item in items} for items in (before, change, now or ()))
    for queue in was.keys() | set_to.keys():
        if back.get(queue) == set_to.get(queue):
            back.pop(queue, None)
            back.update({queue: was[queue]} if queue in was else {})
    return tuple(sorted(back.values()))


def _agrees(wish: Any, observed: Any) -> bool:
    """Cloudflare fills settings up with its defaults, so an object agrees when all that was wished for is in it."""
    if isinstance(wish, Mapping) and isinstance(observed, Mapping):
        return all(key in observed and _agrees(value, observed[key]) for key, value in wish.items())
    if isinstance(wish, list | tuple) and isinstance(observed, list | tuple):
        return len(wish) == len(observed) and all(_agrees(*pair) for pair in zip(wish, observed, strict=True))
    return bool(wish == observed)
