"""Names of a Worker's secrets; their values can't be read."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

from clodo.cloudflare.model import Model
from clodo.cloudflare.scripts import worker_missing

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api


class Secret(Model):
    """A secret's name, and its kind: secret_text or secret_key."""

    name: str
    type: str


class Secrets:
    """Read the names of secrets."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(self, worker: str) -> builtins.list[Secret]:
        """
        List the secrets of the Worker's newest version, deployed or not.

        Raises:
            WorkerNotFound: The account has no such Worker.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/secrets/
        """
        return self._api.get(
            self._api.account_path("/workers/scripts/{}/secrets", worker),
            lambda found: [Secret.model_validate(item) for item in found or ()],
            missing=worker_missing(worker),
        )
