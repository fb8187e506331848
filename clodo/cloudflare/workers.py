"""Workers as the newer API describes them, and the URLs at which a Worker and its versions answer."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from clodo.cloudflare.model import Model
from clodo.cloudflare.scripts import worker_missing

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api

VERSION_PREFIX_DIGITS = 8


class WorkerAddress(Model):
    """
    Where a Worker answers on workers.dev.

    Attributes:
        url: Its host name or URL there.

        preview_url_suffix: What follows the version's prefix in a preview URL; there even if previews are off.
    """

    enabled: bool | None = None
    previews_enabled: bool | None = None
    url: str | None = None
    preview_url_suffix: str | None = None


class Worker(Model):
    """A Worker; *id* is its unchanging id."""

    id: str | None = None
    name: str | None = None
    created_on: datetime | None = None
    updated_on: datetime | None = None
    deployed_on: datetime | None = None
    tags: list[str] | None = None
    subdomain: WorkerAddress = WorkerAddress()


class Workers:
    """Read Workers from the newer API."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def get(self, worker: str) -> Worker:
        """
        Return one Worker by its name.

        Raises:
            WorkerNotFound: The account has no such Worker.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/beta/subresources/workers/
        """
        path = self._api.account_path("/workers/workers/{}", worker)
        return self._api.get(path, Worker.model_validate, missing=worker_missing(worker))


def worker_hostname(worker: str, account_subdomain: str) -> str:
    """Return the host name of a Worker on workers.dev."""
    return f"{worker}.{account_subdomain}.workers.dev"


def preview_hostname(version_id: str, worker: str, account_subdomain: str) -> str:
    """
    Return the host name that always reaches this one version, live or not, while previews are enabled.

    Source: https://developers.cloudflare.com/workers/configuration/previews/
    """
    return f"{version_id[:VERSION_PREFIX_DIGITS]}-{worker_hostname(worker, account_subdomain)}"
