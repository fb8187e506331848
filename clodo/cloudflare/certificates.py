"""Certificates that a zone presents to visitors."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

from clodo.cloudflare.calls import fill
from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.errors import ZoneNotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api


class CertificatePack(Model):
    """Certificates for some hosts, ``*.example.com`` among them; *status* is active when they are in use."""

    id: str
    hosts: tuple[str, ...] = ()
    status: str | None = None
    type: str | None = None


class Certificates:
    """Read certificates."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(self, zone_id: str) -> builtins.list[CertificatePack]:
        """
        List a zone's certificate packs, those that are not active yet too.

        Raises:
            ZoneNotFound: The token sees no such zone.

        Source: https://developers.cloudflare.com/api/resources/ssl/subresources/certificate_packs/methods/list/
        """
        missing = Missing(ZoneNotFound, f"The token sees no zone {zone_id}", codes=frozenset({7003}))
        path = fill("/zones/{}/ssl/certificate_packs", zone_id)
        return list(
            self._api.pages(path, CertificatePack.model_validate, {"status": "all"}, per_page=50, missing=missing)
        )
