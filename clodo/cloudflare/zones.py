"""Zones: the domains of the account."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

from clodo.cloudflare.calls import fill
from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.errors import AmbiguousName, ZoneNotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api


class ZoneAccount(Model):
    """The account that owns a zone."""

    id: str | None = None
    name: str | None = None


class Zone(Model):
    """A zone; *id* is 32 hex digits, *name* its apex domain, *name_servers* those that Cloudflare wants."""

    id: str
    name: str
    status: str | None = None
    paused: bool | None = None
    type: str | None = None
    account: ZoneAccount | None = None
    name_servers: tuple[str, ...] | None = None


class Zones:
    """Find zones."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(self, *, name: str | None = None) -> builtins.list[Zone]:
        """
        List the account's zones, all pages of them.

        Args:
            name: Only the zone of exactly this name.

        Source: https://developers.cloudflare.com/api/resources/zones/methods/list/
        """
        filters = {"account.id": self._api.account_id} | ({"name": name} if name else {})
        return list(self._api.pages("/zones", Zone.model_validate, filters, per_page=50))

    def list_everywhere(self) -> builtins.list[Zone]:
        """
        List the zones of all accounts that the token sees, all pages of them.

        Source: https://developers.cloudflare.com/api/resources/zones/methods/list/
        """
        return list(self._api.pages("/zones", Zone.model_validate, per_page=50))

    def get(self, zone_id: str) -> Zone:
        """
        Return one zone.

        Raises:
            ZoneNotFound: The token sees no such zone.
        """
        missing = Missing(ZoneNotFound, f"The token sees no zone {zone_id}", codes=frozenset({1001, 7003}))
        return self._api.get(fill("/zones/{}", zone_id), Zone.model_validate, missing=missing)

    def get_by_name(self, name: str) -> Zone:
        """
        Return the zone of exactly this name.

        Raises:
            ZoneNotFound: The account has none.
            AmbiguousName: It has more than one (a pending copy beside the active one).
        """
        wanted = name.casefold().rstrip(".")
        found = [zone for zone in self.list(name=wanted) if zone.name.casefold() == wanted]
        if not found:
            raise ZoneNotFound(
                f"The account {self._api.account_id} has no zone {name} that the token may see",
                hint="Check the spelling, and that the token has Zone: Read for it.",
            )
        active = [zone for zone in found if zone.status == "active"] or found
        if len(active) > 1:
            ids = ", ".join(zone.id for zone in active)
            raise AmbiguousName(f"More than one zone is called {name}: {ids}", hint="Say which by its zone_id.")
        return active[0]

    def for_hostname(self, hostname: str) -> Zone:
        """
        Return the zone that *hostname* belongs to: the one with the longest name that it ends with.

        Raises:
            ZoneNotFound: None does.
        """
        wanted = hostname.casefold().rstrip(".")
        fitting = [
            zone
            for zone in self.list()
            if wanted == zone.name.casefold() or wanted.endswith("." + zone.name.casefold())
        ]
        if not fitting:
            raise ZoneNotFound(f"No zone of the account {self._api.account_id} holds {hostname}")
        return max(fitting, key=lambda zone: len(zone.name))
