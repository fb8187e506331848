"""What an account has, by its API: each kind is listed once, when a rule first asks."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.d1 import Database
from clodo.cloudflare.zones import Zone


class CloudflareLookup:
    """An account's resources, for `account_findings`."""

    def __init__(self, cloudflare: Cloudflare) -> None:
        self._cloudflare = cloudflare

    def database_ids(self) -> Collection[str]:
        """Return the UUIDs of its D1 databases."""
        return {database.uuid for database in self._databases}

    def database_names(self) -> Collection[str]:
        """Return the names of its D1 databases."""
        return {database.name for database in self._databases}

    def namespace_ids(self) -> Collection[str]:
        """Return the ids of its KV namespaces."""
        return self._namespaces

    def zone_ids(self) -> Collection[str]:
        """Return the ids of the zones the token sees."""
        return {zone.id for zone in self._zones}

    def zone_names(self) -> Collection[str]:
        """Return the names of the zones the token sees."""
        return {zone.name for zone in self._zones}

    @cached_property
    def _databases(self) -> tuple[Database, ...]:
        return tuple(self._cloudflare.d1.list())

    @cached_property
    def _namespaces(self) -> frozenset[str]:
        return frozenset(namespace.id for namespace in self._cloudflare.kv.list())

    @cached_property
    def _zones(self) -> tuple[Zone, ...]:
        return tuple(self._cloudflare.zones.list())
