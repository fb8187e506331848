"""workers.dev: the account's subdomain, and whether a Worker answers there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.cloudflare.scripts import NO_SUCH_WORKER, worker_missing
from clodo.errors import NotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api

# Without it Cloudflare keeps `previews_enabled` as it was when the field is missing, and wrangler sends it too.
API_DATE = {"Cloudflare-Workers-Script-Api-Date": "2025-08-01"}


class AccountSubdomain(Model):
    """The account's name under workers.dev."""

    subdomain: str


class WorkerSubdomain(Model):
    """Whether a Worker answers on workers.dev, and its versions on preview URLs."""

    enabled: bool = False
    previews_enabled: bool = False


class Subdomains:
    """Read and set what answers on workers.dev."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def account(self) -> str | None:
        """
        Return the account's subdomain (``acme`` of ``acme.workers.dev``), None if it has none.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/subdomains/methods/get/
        """
        missing = Missing(NotFound, "The account has no workers.dev subdomain", codes=NO_SUCH_WORKER)
        path = self._api.account_path("/workers/subdomain")
        try:
            return self._api.get(path, AccountSubdomain.model_validate, missing=missing).subdomain or None
        except NotFound:
            return None

    def get(self, worker: str) -> WorkerSubdomain:
        """
        Return whether the Worker answers on workers.dev.

        Raises:
            WorkerNotFound: The account has no such Worker.
        """
        return self._api.get(self._path(worker), WorkerSubdomain.model_validate, missing=worker_missing(worker))

    def set(self, worker: str, *, enabled: bool, previews_enabled: bool) -> WorkerSubdomain:
        """
        Set whether the Worker answers on workers.dev, and its versions on preview URLs.

        Raises:
            WorkerNotFound: The account has no such Worker.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/subdomain/
        """
        body = {"enabled": enabled, "previews_enabled": previews_enabled}
        return self._api.post(
            self._path(worker),
            lambda found: WorkerSubdomain.model_validate(body | (found or {})),
            json=body,
            headers=API_DATE,
            missing=worker_missing(worker),
            # It sets the whole state, although it is a POST.
            safe_to_repeat=True,
        )

    def _path(self, worker: str) -> str:
        return self._api.account_path("/workers/scripts/{}/subdomain", worker)
