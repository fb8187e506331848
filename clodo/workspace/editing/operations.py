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
    if environment in (table_at(data, ("env",)) or {}):
        # A section that is no table can't be edited.
        table_at(data, ("env", environment))
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
        if self.environment != PRODUCTION and self.environment not in (table_at(data, ("env",)) or {}):
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
        yield from setting(data, path, self.value)


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
            yield from setting(data, (*section, "vars", name), value)


def _index(data: Mapping[str, Any], path: KeyPath, key: str, name: str) -> int | None:
    found = list_at(data, path)
    return next(
        (index for index, item in enumerate(found) if isinstance(item, Mapping) and item.get(key) == name), None
    )


def list_at(data: Mapping[str, Any], path: KeyPath) -> list[Any]:
    """
    Return the list at *path*; empty when there is none.

    Raises:
        BadUsage: Something else stands there.
    """
    found = _maybe(data, path)
    if found is not None and not isinstance(found, list):
        raise _not_a("list", path)
    return found or []


def table_at(data: Mapping[str, Any], path: KeyPath) -> Mapping[str, Any] | None:
    """
    Return the table at *path*; None when there is none.

    Raises:
        BadUsage: Something else stands there.
    """
    found = _maybe(data, path)
    if found is not None and not isinstance(found, Mapping):
        raise _not_a("table", path)
    return found


def setting(data: Mapping[str, Any], path: KeyPath, value: Any) -> Iterator[Change]:
    """Yield what gives the key of a table at *path* its *value*, or takes it away when that is None."""
    above = table_at(data, path[:-1])
    known = None if above is None else above.get(str(path[-1]))
    if value is None:
        if known is not None:
            yield Remove(path)
    elif known != value or type(known) is not type(value):
        yield Put(path, value)


def _maybe(data: Any, path: KeyPath) -> Any:
    for index, step in enumerate(path):
        if isinstance(step, int):
            data = data[step]
            continue
        if not isinstance(data, Mapping):
            raise _not_a("table", path[:index])
        if step not in data:
            return None
        data = data[step]
    return data


def _not_a(kind: str, path: KeyPath) -> BadUsage:
    return BadUsage(f'"{".".join(map(str, path))}" is no {kind}, as wrangler wants it', hint="Correct that first.")


def _removal(data: Mapping[str, Any], path: KeyPath, key: str, name: str) -> Iterator[Change]:
    index = _index(data, path, key, name)
    if index is None:
        known = ", ".join(str(item.get(key)) for item in list_at(data, path) if isinstance(item, Mapping)) or "none"
        raise BadUsage(f'{".".join(map(str, path))} has no "{name}"', hint=f"It has {known}.")
    if len(value_at(data, path)) > 1:
        yield Remove((*path, index))
    elif path[-2:-1] == ("queues",) and len(value_at(data, path[:-1])) == 1:
        yield Remove(path[:-1])
    else:
        yield Remove(path)
