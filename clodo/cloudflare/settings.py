"""Settings of a Worker that no version holds: logs, tags, tail consumers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clodo.cloudflare.model import Model
from clodo.cloudflare.scripts import worker_missing

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api


class UnversionedSettings(Model):
    """
    What Cloudflare keeps beside a Worker's versions; a rollback doesn't touch it.

    Attributes:
        observability: As Cloudflare has it, so that it can be put back whole.

        tail_consumers: Objects with ``service`` and perhaps ``environment`` and ``namespace``, likewise.
    """

    logpush: bool | None = None
    observability: dict[str, Any] | None = None
    tags: list[str] | None = None
    tail_consumers: list[dict[str, Any]] | None = None


class Settings:
    """Read and change a Worker's unversioned settings."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def get(self, worker: str) -> UnversionedSettings:
        """
        Return the settings.

        Raises:
            WorkerNotFound: The account has no such Worker.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/settings/
        """
        path = self._path(worker)
        return self._api.get(path, UnversionedSettings.model_validate, missing=worker_missing(worker))

    def patch(self, worker: str, settings: UnversionedSettings) -> UnversionedSettings:
        """
        Set those settings that *settings* was made with; the others stay.

        Raises:
            WorkerNotFound: The account has no such Worker.
        """
        changes = settings.model_dump(mode="json", exclude_unset=True)
        return self._api.patch(
            self._path(worker),
            lambda found: UnversionedSettings.model_validate(changes if found is None else found),
            json=changes,
            missing=worker_missing(worker),
            safe_to_repeat=True,
        )

    def _path(self, worker: str) -> str:
        return self._api.account_path("/workers/scripts/{}/script-settings", worker)
