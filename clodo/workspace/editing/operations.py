"""What can be done to a wrangler config, as values; each says which keys must change, given what the file says now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from clodo.errors import BadUsage
from clodo.workspace.documents import KeyPath
from clodo.workspace.editing.changes import Append, Change, Put, Remove, value_at

PRODUCTION = "production"


class BindingKind(Enum):
    """A kind of binding that operations know, with where its list stands in a section."""

    DATABASE = ("d1_databases",)
    NAMESPACE = ("kv_namespaces",)
    BUCKET = ("r2_buckets",)
    QUEUE = ("queues", "producers")
    SERVICE = ("services",)


class Operation(Protocol):
    """One thing to do to a wrangler config."""

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """
        Give the changes to *data*, the file's values; none when it is done already.

        Raises:
            BadUsage: The file has no such environment, or no such thing to remove.
        """
        ...


def section_of(data: Mapping[str, Any], environment: str | None) -> KeyPath:
    """
    Return where the keys of *environment* stand: ``production`` is the top level unless the file has a section for it.

    Raises:
        BadUsage: The file has no such section.
    """
    if environment is None:
        return ()
    if environment in (data.get("env") or {}):
        return ("env", environment)
    if environment == PRODUCTION:
        return ()
    raise BadUsage(
        f'the file has no section for the environment "{environment}"', hint=f"Add it first: [env.{environment}]."
    )


@dataclass(frozen=True, slots=True)
class EnsureEnvironment:
    """
    Have a section for *environment*.

    Production without a section is the top level, and stays there.

    Attributes:
        values: Keys that a new section begins with; a section that exists is left alone.
    """

    environment: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        if self.environment != PRODUCTION and self.environment not in (data.get("env") or {}):
            yield Put(("env", self.environment), dict(self.values))


@dataclass(frozen=True, slots=True)
class PutBinding:
    """
    Add a binding, or give the one of that name these values; its other keys stay.

    Attributes:
        environment: None for the top level.

        name: The name in the Worker's ``env``.

        values: wrangler's keys, ``binding`` left out; None takes a key away.
    """

    environment: str | None
    kind: BindingKind
    name: str
    values: Mapping[str, Any]

    @classmethod
    def database(cls, environment: str | None, name: str, *, database_name: str, database_id: str | None) -> PutBinding:
        """Bind a D1 database; without an id it is found by its name."""
        values = {"database_name": database_name, "database_id": database_id}
        return cls(environment, BindingKind.DATABASE, name, values)

    @classmethod
    def namespace(cls, environment: str | None, name: str, *, namespace_id: str | None) -> PutBinding:
        """Bind a KV namespace; without an id it is found by its title."""
        return cls(environment, BindingKind.NAMESPACE, name, {"id": namespace_id})

    @classmethod
    def bucket(
        cls, environment: str | None, name: str, *, bucket_name: str, jurisdiction: str | None = None
    ) -> PutBinding:
        """Bind an R2 bucket."""
        values = {"bucket_name": bucket_name, "jurisdiction": jurisdiction}
        return cls(environment, BindingKind.BUCKET, name, values)

    @classmethod
    def queue(cls, environment: str | None, name: str, *, queue: str) -> PutBinding:
        """Bind a queue that the Worker sends to."""
        return cls(environment, BindingKind.QUEUE, name, {"queue": queue})

    @classmethod
    def service(cls, environment: str | None, name: str, *, worker: str, entrypoint: str | None = None) -> PutBinding:
        """Bind another Worker by its name on the account."""
        return cls(environment, BindingKind.SERVICE, name, {"service": worker, "entrypoint": entrypoint})

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        path = (*section_of(data, self.environment), *self.kind.value)
        index = _index(data, path, "binding", self.name)
        given = {key: value for key, value in self.values.items() if value is not None}
        if index is None:
            yield Append(path, {"binding": self.name, **given})
            return
        known = value_at(data, (*path, index))
        yield from (Put((*path, index, key), value) for key, value in given.items() if known.get(key) != value)
        yield from (Remove((*path, index, key)) for key in self.values if key not in given and key in known)


@dataclass(frozen=True, slots=True)
class RemoveBinding:
    """Take a binding away; a list that becomes empty goes too."""

    environment: str | None
    kind: BindingKind
    name: str

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        path = (*section_of(data, self.environment), *self.kind.value)
        yield from _removal(data, path, "binding", self.name)


@dataclass(frozen=True, slots=True)
class PutQueueConsumer:
    """Let the Worker receive from a queue; *settings* are wrangler's keys, and those not named stay."""

    environment: str | None
    queue: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        path = (*section_of(data, self.environment), "queues", "consumers")
        index = _index(data, path, "queue", self.queue)
        if index is None:
            yield Append(path, {"queue": self.queue, **self.settings})
            return
        known = value_at(data, (*path, index))
        yield from (Put((*path, index, key), value) for key, value in self.settings.items() if known.get(key) != value)


@dataclass(frozen=True, slots=True)
class RemoveQueueConsumer:
    """Let the Worker no longer receive from a queue."""

    environment: str | None
    queue: str

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        path = (*section_of(data, self.environment), "queues", "consumers")
        yield from _removal(data, path, "queue", self.queue)


@dataclass(frozen=True, slots=True)
class SetValue:
    """
    Give a key of a section a value, such as ``compatibility_date``, ``workers_dev`` or ``account_id``; None removes it.

    Attributes:
        key: Dotted where it lies deeper: ``observability.enabled``.
    """

    environment: str | None
    key: str
    value: Any

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        path = (*section_of(data, self.environment), *self.key.split("."))
        yield from _setting(data, path, self.value)


def set_account_id(account_id: str) -> SetValue:
    """Name the account where all environments inherit it: at the top level."""
    return SetValue(None, "account_id", account_id)


def set_crons(environment: str | None, crons: tuple[str, ...] | None) -> SetValue:
    """Set the schedules; empty to have none, None to leave them to whoever set them on Cloudflare."""
    return SetValue(environment, "triggers.crons", None if crons is None else list(crons))


@dataclass(frozen=True, slots=True)
class SetVariables:
    """Give vars values, and take those away whose value is None."""

    environment: str | None
    values: Mapping[str, Any]

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        section = section_of(data, self.environment)
        for name, value in self.values.items():
            yield from _setting(data, (*section, "vars", name), value)


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
                yield from _setting(data, (*section, "route"), wanted)
                return
            yield Remove((*section, "route"))
            yield Put((*section, "routes"), [single, wanted])
            return
        routes = own.get("routes") or []
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
        else:
            yield from _setting(data, (*section, "routes", index), wanted)

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
        routes = own.get("routes") or []
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
            yield from _setting(data, (*section, "zone_id"), self.zone_id)
        places: list[tuple[KeyPath, Any]] = [
            ((*section, "routes", index), route) for index, route in enumerate(own.get("routes") or [])
        ]
        if own.get("route"):
            places.append(((*section, "route"), own["route"]))
        if not places and "zone_id" not in own:
            raise BadUsage("no route stands here that could name a zone", hint="Add a route first.")
        for path, route in places:
            if isinstance(route, str):
                yield Put(path, {"pattern": route, "zone_id": self.zone_id})
            elif not route.get("custom_domain"):
                if "zone_name" in route:
                    yield Remove((*path, "zone_name"))
                yield from _setting(data, (*path, "zone_id"), self.zone_id)


def _pattern(route: Any) -> str | None:
    return route.get("pattern") if isinstance(route, Mapping) else route


def _index(data: Mapping[str, Any], path: KeyPath, key: str, name: str) -> int | None:
    found = _maybe(data, path) or []
    return next((index for index, item in enumerate(found) if item.get(key) == name), None)


def _maybe(data: Any, path: KeyPath) -> Any:
    for step in path:
        if isinstance(step, str) and (not isinstance(data, Mapping) or step not in data):
            return None
        data = data[step]
    return data


def _setting(data: Mapping[str, Any], path: KeyPath, value: Any) -> Iterator[Change]:
    *above, last = path
    parent = _maybe(data, tuple(above))
    known = parent[last] if parent is not None and (isinstance(last, int) or last in parent) else None
    if value is None:
        if known is not None:
            yield Remove(path)
    elif known != value or type(known) is not type(value):
        yield Put(path, value)


def _removal(data: Mapping[str, Any], path: KeyPath, key: str, name: str) -> Iterator[Change]:
    index = _index(data, path, key, name)
    if index is None:
        known = ", ".join(str(item.get(key)) for item in _maybe(data, path) or []) or "none"
        raise BadUsage(f'{".".join(map(str, path))} has no "{name}"', hint=f"It has {known}.")
    if len(value_at(data, path)) > 1:
        yield Remove((*path, index))
    elif path[-2:-1] == ("queues",) and len(value_at(data, path[:-1])) == 1:
        yield Remove(path[:-1])
    else:
        yield Remove(path)
