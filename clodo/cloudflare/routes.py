"""Routes: URL patterns of a zone and the Worker behind each."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

from clodo.cloudflare.calls import fill
from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.errors import NotFound, ZoneNotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api


class Route(Model):
    """A pattern such as ``example.com/*``; *script* None means that no Worker runs there."""

    id: str
    pattern: str
    script: str | None = None


class Routes:
    """Read and change the routes of a zone."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(self, zone_id: str) -> builtins.list[Route]:
        """
        List the zone's routes, whoever owns them.

        Raises:
            ZoneNotFound: The token sees no such zone.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/routes/
        """
        return self._api.get(
            self._path(zone_id),
            lambda found: [Route.model_validate(item) for item in found or ()],
            missing=self._zone_missing(zone_id),
        )

    def create(self, zone_id: str, pattern: str, script: str | None) -> Route:
        """
        Add a route.

        After an unknown outcome the zone's routes are looked at first.

        Raises:
            ApiRefused: The pattern is taken (code 10020) or impossible.
            ZoneNotFound: The token sees no such zone.
        """
        body = {"pattern": pattern} | ({"script": script} if script else {})
        return self._api.post(
            self._path(zone_id),
            # Some answers hold only the id.
            lambda found: Route.model_validate(body | found),
            json=body,
            missing=self._zone_missing(zone_id),
            look=lambda: next(
                (route for route in self.list(zone_id) if route.pattern == pattern and route.script == script), None
            ),
        )

    def update(self, zone_id: str, route_id: str, pattern: str, script: str | None) -> Route:
        """
        Set pattern and Worker of a route.

        Raises:
            NotFound: The zone has no such route.
        """
        body = {"pattern": pattern} | ({"script": script} if script else {})
        return self._api.put(
            self._path(zone_id) + fill("/{}", route_id),
            lambda found: Route.model_validate({"id": route_id} | body | (found or {})),
            json=body,
            missing=self._route_missing(zone_id, route_id),
            safe_to_repeat=True,
        )

    def delete(self, zone_id: str, route_id: str) -> None:
        """
        Remove a route.

        Raises:
            NotFound: The zone has no such route.
        """
        self._api.delete(self._path(zone_id) + fill("/{}", route_id), missing=self._route_missing(zone_id, route_id))

    @staticmethod
    def _path(zone_id: str) -> str:
        return fill("/zones/{}/workers/routes", zone_id)

    @staticmethod
    def _zone_missing(zone_id: str) -> Missing:
        return Missing(ZoneNotFound, f"The token sees no zone {zone_id}", codes=frozenset({7003}))

    @staticmethod
    def _route_missing(zone_id: str, route_id: str) -> Missing:
        return Missing(NotFound, f"The zone {zone_id} has no Worker route {route_id}")
