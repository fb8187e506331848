"""Answers as Cloudflare gave them, also what we know nothing of: what a backup keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from clodo.cloudflare.calls import fill
from clodo.cloudflare.refusals import Missing
from clodo.cloudflare.scripts import worker_missing
from clodo.errors import ZoneNotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api

RECORDS_PER_PAGE = 1000


class Originals:
    """Read Workers, zones and DNS records whole."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def worker(self, worker: str, rest: str, *parts: str) -> Any:
        """
        Return what is at a path below ``/workers/scripts/{worker}``.

        Args:
            rest: Such as ``/settings`` or ``/versions/{}``, each ``{}`` filled with a part.

        Raises:
            WorkerNotFound: The account has no such Worker.
        """
        path = self._api.account_path("/workers/scripts/{}" + rest, worker, *parts)
        return self._api.get(path, _as_it_is, missing=worker_missing(worker))

    def custom_domains(self, worker: str | None = None) -> list[Any]:
        """Return the custom domains of a Worker, or of the whole account."""
        found = self._api.get(self._api.account_path("/workers/domains"), _as_it_is, params={"service": worker})
        return list(found or ())

    def routes(self, zone_id: str) -> list[Any]:
        """Return all routes of a zone."""
        return list(
            self._api.get(fill("/zones/{}/workers/routes", zone_id), _as_it_is, missing=_missing(zone_id)) or ()
        )

    def zone(self, zone_id: str) -> Any:
        """
        Return a zone.

        Raises:
            ZoneNotFound: The token sees no such zone.
        """
        return self._api.get(fill("/zones/{}", zone_id), _as_it_is, missing=_missing(zone_id))

    def dns_records(self, zone_id: str) -> Iterator[dict[str, Any]]:
        """
        Yield the DNS records of a zone, a page at a time.

        Raises:
            ZoneNotFound: The token sees no such zone.

        Source: https://developers.cloudflare.com/api/resources/dns/subresources/records/methods/list/
        """
        path = fill("/zones/{}/dns_records", zone_id)
        return self._api.pages(path, dict, per_page=RECORDS_PER_PAGE, missing=_missing(zone_id))


def _as_it_is(found: Any) -> Any:
    return found


def _missing(zone_id: str) -> Missing:
    return Missing(ZoneNotFound, f"The token sees no zone {zone_id}", codes=frozenset({1001, 7003}))
