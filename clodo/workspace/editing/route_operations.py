"""What can be done to the routes and custom domains of a wrangler config, as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clodo.errors import BadUsage
from clodo.workspace.documents import KeyPath
from clodo.workspace.editing.changes import Append, Change, Put, Remove, value_at
from clodo.workspace.editing.operations import list_at, section_of, setting


@dataclass(frozen=True, slots=True)
class PutRoute:
    """
    Have requests for *pattern* come to the Worker; a route of that pattern is given these values.

    Attributes:
        pattern: ``example.com/api/*``, or a host name with *is_custom_domain*.

        zone_id: At most one of *zone_id* and *zone_name*.
    """

    environment: str | None
    pattern: str
    is_custom_domain: bool = False
    zone_id: str | None = None
    zone_name: str | None = None

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        section = section_of(data, self.environment)
        own = value_at(data, section)
        wanted = self._written()
        if own.get("route") and not own.get("routes"):
            # wrangler takes one of the two keys.
            single = own["route"]
            if _pattern(single) == self.pattern:
                yield from setting(data, (*section, "route"), wanted)
                return
            yield Remove((*section, "route"))
            yield Put((*section, "routes"), [single, wanted])
            return
        routes = list_at(data, (*section, "routes"))
        index = next((number for number, route in enumerate(routes) if _pattern(route) == self.pattern), None)
        if index is None:
            yield Append((*section, "routes"), wanted)
        elif isinstance(routes[index], Mapping) and isinstance(wanted, Mapping):
            at = (*section, "routes", index)
            yield from (Put((*at, key), value) for key, value in wanted.items() if routes[index].get(key) != value)
            yield from (
                Remove((*at, key))
                for key in ("zone_id", "zone_name", "custom_domain")
                if key in routes[index] and key not in wanted
            )
        elif routes[index] != wanted:
            yield Put((*section, "routes", index), wanted)

    def _written(self) -> Any:
        if self.is_custom_domain:
            return {"pattern": self.pattern, "custom_domain": True}
        if self.zone_id:
            return {"pattern": self.pattern, "zone_id": self.zone_id}
        return {"pattern": self.pattern, "zone_name": self.zone_name} if self.zone_name else self.pattern


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Take a route or custom domain away, by its pattern."""

    environment: str | None
    pattern: str

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        section = section_of(data, self.environment)
        own = value_at(data, section)
        routes = list_at(data, (*section, "routes"))
        index = next((number for number, route in enumerate(routes) if _pattern(route) == self.pattern), None)
        if index is not None:
            # An empty list is kept: it says that there are none, where an inherited one would say otherwise.
            yield Remove((*section, "routes", index)) if len(routes) > 1 else Put((*section, "routes"), [])
        elif own.get("route") and _pattern(own["route"]) == self.pattern:
            yield Remove((*section, "route"))
        else:
            raise BadUsage(f'there is no route "{self.pattern}"')


@dataclass(frozen=True, slots=True)
class SetZoneId:
    """
    Name the zone of an environment by its id: in each of its routes that names a zone, or says nothing of one.

    An older file's own ``zone_id`` key is changed where it stands.
    """

    environment: str | None
    zone_id: str

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        section = section_of(data, self.environment)
        own = value_at(data, section)
        if "zone_id" in own:
            yield from setting(data, (*section, "zone_id"), self.zone_id)
        places: list[tuple[KeyPath, Any]] = [
            ((*section, "routes", index), route) for index, route in enumerate(list_at(data, (*section, "routes")))
        ]
        if own.get("route"):
            places.append(((*section, "route"), own["route"]))
        if not places and "zone_id" not in own:
            raise BadUsage("no route stands here that could name a zone", hint="Add a route first.")
        for path, route in places:
            if isinstance(route, str):
                yield Put(path, {"pattern": route, "zone_id": self.zone_id})
            elif isinstance(route, Mapping) and not route.get("custom_domain"):
                if "zone_name" in route:
                    yield Remove((*path, "zone_name"))
                yield from setting(data, (*path, "zone_id"), self.zone_id)


def _pattern(route: Any) -> str | None:
    return route.get("pattern") if isinstance(route, Mapping) else route
