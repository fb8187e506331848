"""What is done to a wrangler config for a customer, as operations on its values."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clodo.errors import BadUsage
from clodo.workspace.customers import SERVICE_DOMAIN
from clodo.workspace.documents import KeyPath
from clodo.workspace.editing import Change, Remove, section_of
from clodo.workspace.editing.changes import Put, value_at
from clodo.workspace.editing.operations import list_at, setting
from clodo.workspace.hostnames import host_of_route
from clodo.workspace.inheritance import NOT_INHERITED

DEFAULT_BINDING = "DB"
# What the customer gets of its own, or what only one Worker can have.
_OWN = frozenset({"name", "route", "routes", "zone_id", "d1_databases"})
_SHARED: Mapping[str, tuple[str, str]] = {
    "kv_namespaces": ("KV namespace", "binding"),
    "r2_buckets": ("R2 bucket", "binding"),
    "vectorize": ("Vectorize index", "binding"),
    "hyperdrive": ("Hyperdrive configuration", "binding"),
}


@dataclass(frozen=True, slots=True)
class Database:
    """
    The D1 database of a customer.

    Attributes:
        id: UUID; None to have it found by its name.
    """

    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class CopyEnvironment:
    """
    Give a customer a section of its own, with the bindings of the environment that serves everybody.

    Wrangler inherits no bindings, so a section that doesn't repeat them would lose them. A section that exists stays.
    """

    environment: str
    section: str
    customer: str

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        if self.section not in (data.get("env") or {}):
            yield Put(("env", self.section), self.values(data))

    def values(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the new section begins with."""
        values = shared_values(data, self.environment)
        if isinstance(values.get("queues"), dict):
            values["queues"].pop("consumers", None)
            if not values["queues"]:
                del values["queues"]
        for workflow in values.get("workflows") or []:
            # Names of workflows are the account's.
            workflow["name"] = f"{workflow.get('name', 'workflow')}-{self.customer}"
        if isinstance(values.get("vars"), dict):
            values["vars"].pop(SERVICE_DOMAIN, None)
        return values


@dataclass(frozen=True, slots=True)
class SetDatabase:
    """
    Bind the customer's D1 database, or none, under the name that the environment for everybody has for its own.

    Attributes:
        database: None to have no database.
    """

    environment: str
    section: str
    database: Database | None

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        path: KeyPath = (*section_of(data, self.section), "d1_databases")
        known = list_at(data, path)
        if self.database is None:
            if known:
                yield Remove(path)
            return
        models = known or list_at(data, (*section_of(data, self.environment), "d1_databases"))
        model = models[0] if models and isinstance(models[0], Mapping) else {}
        wanted = {"binding": model.get("binding", DEFAULT_BINDING), "database_name": self.database.name}
        if self.database.id is not None:
            wanted["database_id"] = self.database.id
        wanted |= {key: value for key, value in model.items() if key.startswith("migrations_")}
        if not known:
            yield Put(path, [wanted])
            return
        at = (*path, 0)
        yield from (Put((*at, key), value) for key, value in wanted.items() if model.get(key) != value)
        yield from (
            Remove((*at, key)) for key in ("database_id", "preview_database_id") if key in model and key not in wanted
        )


@dataclass(frozen=True, slots=True)
class MoveRoutes:
    """
    Take the routes of a section from one domain to another: those of the domain itself and of names below it.

    Attributes:
        section: Its name, or ``production`` for the top level of a file without such a section.

        zone_id: Of the new domain; None to have it found by its name.
    """

    section: str
    before: str
    after: str
    zone_id: str | None

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        section = section_of(data, self.section)
        own = value_at(data, section)
        if "zone_id" in own:
            yield from setting(data, (*section, "zone_id"), self.zone_id)
        if own.get("route"):
            moved = self._moved(own["route"])
            if moved != own["route"]:
                yield Put((*section, "route"), moved)
        path: KeyPath = (*section, "routes")
        routes = list_at(data, path)
        wanted = [self._moved(route) for route in routes]
        if all(isinstance(new, type(old)) for new, old in zip(wanted, routes, strict=True)):
            for index, (new, old) in enumerate(zip(wanted, routes, strict=True)):
                yield from _item_changes((*path, index), old, new)
        else:
            # TOML can't turn one [[routes]] into a string.
            yield Put(path, wanted)

    def _moved(self, route: Any) -> Any:
        pattern = route if isinstance(route, str) else str(route.get("pattern"))
        moved = moved_pattern(pattern, self.before, self.after)
        if moved == pattern:
            return route
        if isinstance(route, str):
            return moved
        rest = {key: value for key, value in route.items() if key not in ("pattern", "zone_id", "zone_name")}
        if self.zone_id and not route.get("custom_domain"):
            return {"pattern": moved, "zone_id": self.zone_id, **rest}
        return {"pattern": moved, **rest} if route.get("custom_domain") else moved


@dataclass(frozen=True, slots=True)
class RemoveSection:
    """Take a customer's section away; one that isn't there is gone already."""

    section: str

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        sections = data.get("env") or {}
        if self.section in sections:
            # An empty table would be left of the last one.
            yield Remove(("env", self.section) if len(sections) > 1 else ("env",))


@dataclass(frozen=True, slots=True)
class SetAccount:
    """Name the account at the top, where all environments inherit it; another one that stands there is not changed."""

    account_id: str

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        known = data.get("account_id")
        if known and known != self.account_id:
            raise BadUsage(
                f"account_id is {known}, not {self.account_id}",
                hint="A service's environments share one account; choose a domain of that one.",
            )
        yield from setting(data, ("account_id",), self.account_id)


def _item_changes(path: KeyPath, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if not isinstance(before, Mapping):
        yield Put(path, after)
        return
    yield from (Put((*path, key), value) for key, value in after.items() if before.get(key) != value)
    yield from (Remove((*path, key)) for key in before if key not in after)


def shared_values(data: Mapping[str, Any], environment: str) -> dict[str, Any]:
    """Return what a new section repeats of the environment that serves everybody."""
    path = section_of(data, environment)
    repeated = {
        key: value
        for key, value in value_at(data, path).items()
        # The top level's other keys are inherited.
        if key not in _OWN and (path or key in NOT_INHERITED)
    }
    return copy.deepcopy(repeated)


def shared_resources(data: Mapping[str, Any], environment: str) -> Iterator[tuple[str, str]]:
    """Yield kind and name of what a new section would share with everybody: data of customers would lie together."""
    values = shared_values(data, environment)
    for key, (kind, name) in _SHARED.items():
        for item in values.get(key) or []:
            if isinstance(item, Mapping):
                yield kind, str(item.get(name))
    queues = values.get("queues")
    for item in (queues.get("producers") if isinstance(queues, Mapping) else None) or []:
        yield "queue", str(item.get("binding"))


def moved_pattern(pattern: str, before: str, after: str) -> str:
    """Return a route's pattern at *after* where it was at *before* or below it; as it is otherwise."""
    host = host_of_route(pattern)
    if host == before or host.endswith("." + before):
        moved = host.removesuffix(before) + after
        start = pattern.lower().index(host)
        return pattern[:start] + moved + pattern[start + len(host) :]
    return pattern
