"""What makes a Worker run, out of one environment's section of a wrangler config: routes, schedules, queues, tails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from clodo.workspace.config_section import Section, word_of
from clodo.workspace.effective_config import QueueConsumer, Route

_ROUTE_KEYS = ("pattern", "zone_name", "zone_id", "custom_domain", "enabled", "previews_enabled")


def routes(section: Section) -> Iterator[Route]:
    """Yield the routes and custom domains."""
    route, routes = section.values.get("route"), section.values.get("routes")
    own = section.own
    if own.get("route") and own.get("routes") is not None:
        raise section.error("route", what='only one of "route" and "routes" may be given')
    if routes is not None:
        if not isinstance(routes, list):
            raise section.error("routes", what=f'"routes" must be a list, not {word_of(routes)}')
        for index, item in enumerate(routes):
            yield _route(section, item, "routes", index)
    elif route:
        yield _route(section, route, "route")


def crons(section: Section) -> tuple[str, ...] | None:
    """Return the cron expressions, None when the section does not speak of them."""
    triggers = section.take("triggers", dict)
    if triggers is None or triggers.get("crons") is None:
        return None
    crons = triggers["crons"]
    if not isinstance(crons, list) or not all(isinstance(cron, str) for cron in crons):
        raise section.error("triggers", "crons", what='"triggers.crons" must be a list of strings')
    return tuple(crons)


def queue_consumers(section: Section) -> Iterator[QueueConsumer]:
    """Yield the queues that are received from."""
    for index, item in section.tables("queues", "consumers"):
        where = ("queues", "consumers", index)
        settings = {name: value for name, value in item.items() if name != "queue"}
        yield QueueConsumer(section.text(item, "queue", *where), settings, section.place(*where))


def tail_consumers(section: Section) -> tuple[str, ...]:
    """Return the Workers that get its tail events."""
    return tuple(
        section.text(item, "service", key, index)
        for key in ("tail_consumers", "streaming_tail_consumers")
        for index, item in section.tables(key)
    )


def _route(section: Section, item: object, *where: str | int) -> Route:
    key, *rest = where
    place = section.place(str(key), *rest)
    if isinstance(item, str) and item:
        return Route(item, False, None, None, None, None, place)
    if not isinstance(item, Mapping):
        raise section.error(str(key), *rest, what="a route must be a pattern, or a table with a pattern")
    unknown = [name for name in item if name not in _ROUTE_KEYS]
    if unknown:
        raise section.error(str(key), *rest, what=f'a route has no key "{unknown[0]}"')
    zone_name, zone_id = (section.maybe_text(item, name, *where) for name in ("zone_name", "zone_id"))
    if zone_name and zone_id:
        raise section.error(str(key), *rest, what='a route has "zone_name" or "zone_id", not both')
    flags = {name: item.get(name) for name in ("custom_domain", "enabled", "previews_enabled")}
    for name, flag in flags.items():
        if flag is not None and not isinstance(flag, bool):
            raise section.error(str(key), *rest, name, what=f'"{name}" must be true or false')
    if flags["custom_domain"] is None and not zone_name and not zone_id:
        raise section.error(
            str(key),
            *rest,
            what="a route given as a table needs zone_name, zone_id or custom_domain",
            hint="Name the zone, or write the pattern alone as a string.",
        )
    return Route(
        pattern=section.text(item, "pattern", *where),
        is_custom_domain=flags["custom_domain"] is True,
        zone_name=zone_name,
        zone_id=zone_id,
        enabled=flags["enabled"],
        previews_enabled=flags["previews_enabled"],
        place=place,
    )
