"""Custom domains: host names that Cloudflare gives to a Worker, DNS record and certificate included."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.errors import NotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api


class Domain(Model):
    """A host name and the Worker (*service*) that answers there."""

    id: str
    hostname: str
    service: str
    zone_id: str | None = None
    zone_name: str | None = None
    environment: str | None = None
    cert_id: str | None = None


class Domains:
    """Read and change the custom domains of the account."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(
        self, *, worker: str | None = None, hostname: str | None = None, zone_id: str | None = None
    ) -> builtins.list[Domain]:
        """
        List custom domains, all of the account by default, in one request.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/domains/
        """
        filters = {"service": worker, "hostname": hostname, "zone_id": zone_id}
        return self._api.get(
            self._api.account_path("/workers/domains"),
            lambda found: [Domain.model_validate(item) for item in found or ()],
            params={key: value for key, value in filters.items() if value},
        )

    def attach(self, hostname: str, worker: str, *, zone_id: str | None = None, zone_name: str | None = None) -> Domain:
        """
        Give *hostname* to *worker*, taking it from any other Worker that had it.

        Raises:
            ApiRefused: The zone isn't ours, or a DNS record is in the way.
        """
        given = {"hostname": hostname, "service": worker, "zone_id": zone_id, "zone_name": zone_name}
        body = {key: value for key, value in given.items() if value}
        return self._api.put(
            self._api.account_path("/workers/domains"),
            lambda found: Domain.model_validate(body | found),
            json=body,
            safe_to_repeat=True,
        )

    def detach(self, domain_id: str) -> None:
        """
        Take a host name from its Worker.

        Raises:
            NotFound: The account has no such custom domain.
        """
        missing = Missing(NotFound, f"The account has no custom domain {domain_id}")
        self._api.delete(self._api.account_path("/workers/domains/{}", domain_id), missing=missing)
