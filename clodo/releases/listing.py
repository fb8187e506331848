"""What an account lists of all its Workers at once: a first look at many targets costs a few requests in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from clodo.releases.triggers import Domain, Route, Triggers

if TYPE_CHECKING:
    from clodo.cloudflare.client import Cloudflare
    from clodo.cloudflare.scripts import Script


class Listing:
    """
    Lists of one account, each read when it is first asked for: scripts, custom domains, and the routes of a zone.

    They are as old as the first look at them; make another one for the next survey.
    """

    def __init__(self, cloudflare: Cloudflare) -> None:
        self._cloudflare = cloudflare
        self._scripts: Mapping[str, Script] | None = None
        self._domains: list[tuple[str, Domain]] | None = None
        self._routes: dict[str, list[tuple[str | None, Route]]] = {}

    def read(self) -> Mapping[str, Script]:
        """Return the scripts by name; read now unless they were."""
        if self._scripts is None:
            self._scripts = {script.id: script for script in self._cloudflare.scripts.list()}
        return self._scripts

    def script(self, worker: str) -> Script | None:
        """Return *worker* as it is listed, None when there is no such Worker."""
        return self.read().get(worker)

    def triggers(self, worker: str, remembered: Triggers) -> Triggers:
        """
        Return *remembered* with the routes and domains that *worker* has now, as far as they were looked at before.

        Schedules, workers.dev and settings are listed nowhere for all Workers: they stay as they are remembered.
        """
        routes, domains = remembered.routes, remembered.domains
        if routes is not None:
            routes = tuple(
                sorted(
                    route
                    for zone_id in remembered.zone_ids
                    for script, route in self._routes_of(zone_id)
                    if script == worker
                )
            )
        if domains is not None:
            domains = tuple(sorted(domain for service, domain in self._all_domains() if service == worker))
        return replace(remembered, routes=routes, domains=domains)

    def _routes_of(self, zone_id: str) -> list[tuple[str | None, Route]]:
        if zone_id not in self._routes:
            found = self._cloudflare.routes.list(zone_id)
            self._routes[zone_id] = [(route.script, Route(route.pattern, zone_id)) for route in found]
        return self._routes[zone_id]

    def _all_domains(self) -> list[tuple[str, Domain]]:
        if self._domains is None:
            found = self._cloudflare.domains.list()
            self._domains = [(item.service or "", Domain(item.hostname, item.zone_id or "")) for item in found]
        return self._domains
