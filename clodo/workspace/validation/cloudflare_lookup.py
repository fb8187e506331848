"""What an account has, by its API: each kind is listed once, when a rule first asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import TypeVar, cast

from clodo.cloudflare.client import Cloudflare
from clodo.errors import ClodoError

T = TypeVar("T")


class CloudflareLookup:
    """An account's resources, for `account_findings`."""

    def __init__(self, cloudflare: Cloudflare) -> None:
        self._cloudflare = cloudflare
        self._listed: dict[Hashable, Collection[object] | ClodoError] = {}

    def database_ids(self) -> Collection[str]:
        """Return the UUIDs of its D1 databases."""
        return {database.uuid for database in self._once("databases", self._cloudflare.d1.list)}

    def database_names(self) -> Collection[str]:
        """Return the names of its D1 databases."""
        return {database.name for database in self._once("databases", self._cloudflare.d1.list)}

    def namespace_ids(self) -> Collection[str]:
        """Return the ids of its KV namespaces."""
        return {namespace.id for namespace in self._once("namespaces", self._cloudflare.kv.list)}

    def namespace_titles(self) -> Collection[str]:
        """Return the titles of its KV namespaces."""
        return {namespace.title for namespace in self._once("namespaces", self._cloudflare.kv.list)}

    def bucket_names(self, jurisdiction: str | None) -> Collection[str]:
        """Return the names of its R2 buckets in a jurisdiction; None for the default one."""
        return self._once(("buckets", jurisdiction), lambda: self._cloudflare.r2.buckets(jurisdiction))

    def queue_names(self) -> Collection[str]:
        """Return the names of its queues."""
        return {queue.queue_name for queue in self._once("queues", self._cloudflare.queues.list)}

    def zone_ids(self) -> Collection[str]:
        """Return the ids of the zones the token sees."""
        return {zone.id for zone in self._once("zones", self._cloudflare.zones.list)}

    def zone_names(self) -> Collection[str]:
        """Return the names of the zones the token sees."""
        return {zone.name for zone in self._once("zones", self._cloudflare.zones.list)}

    def _once(self, kind: Hashable, read: Callable[[], Iterable[T]]) -> Collection[T]:
        if kind not in self._listed:
            try:
                self._listed[kind] = tuple(read())
            except ClodoError as error:
                self._listed[kind] = error
        found = self._listed[kind]
        if isinstance(found, ClodoError):
            raise found
        return cast("Collection[T]", found)
