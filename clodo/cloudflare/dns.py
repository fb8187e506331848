"""DNS records: where the names of a zone lead."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clodo.cloudflare.calls import fill
from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.errors import ZoneNotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api


class DnsRecord(Model):
    """A record; *proxied* says whether requests come through Cloudflare, which Workers need."""

    id: str
    name: str
    type: str
    content: str | None = None
    proxied: bool | None = None


class Dns:
    """Read and change DNS records."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(self, zone_id: str, *, name: str | None = None) -> builtins.list[DnsRecord]:
        """
        List a zone's records, all pages of them.

        Args:
            name: Only those of exactly this name, ``*.example.com`` for the wildcard itself.

        Raises:
            ZoneNotFound: The token sees no such zone.

        Source: https://developers.cloudflare.com/api/resources/dns/subresources/records/methods/list/
        """
        missing = _zone_missing(zone_id)
        filters = {"name": name} if name else {}
        path = fill("/zones/{}/dns_records", zone_id)
        return list(self._api.pages(path, DnsRecord.model_validate, filters, per_page=1000, missing=missing))

    def batch(self, zone_id: str, changes: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """
        Change records, all of them or none: ``deletes``, then ``patches``, ``puts`` and ``posts``.

        Raises:
            ApiRefused: One of the changes is impossible, or they are too many; nothing was done.
            OutcomeUnknown: Whether they were made nobody knows; reading the records tells.
            ZoneNotFound: The token sees no such zone.

        Source: https://developers.cloudflare.com/dns/manage-dns-records/how-to/batch-record-changes/
        """
        path = fill("/zones/{}/dns_records/batch", zone_id)
        self._api.post(path, lambda _: None, json=changes, missing=_zone_missing(zone_id))


def _zone_missing(zone_id: str) -> Missing:
    return Missing(ZoneNotFound, f"The token sees no zone {zone_id}", codes=frozenset({7003}))
