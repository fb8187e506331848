"""Schedules: the cron triggers of a Worker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from clodo.cloudflare.model import Model
from clodo.cloudflare.scripts import worker_missing

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api


class Schedule(Model):
    """A cron expression, in UTC."""

    cron: str
    created_on: datetime | None = None
    modified_on: datetime | None = None


def _read_list(found: Any) -> list[Schedule]:
    items = found.get("schedules") if isinstance(found, dict) else found
    return [Schedule.model_validate(item) for item in items or ()]


class Schedules:
    """Read and set the cron triggers of a Worker."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def get(self, worker: str) -> list[Schedule]:
        """
        List the Worker's schedules.

        Raises:
            WorkerNotFound: The account has no such Worker.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/schedules/
        """
        return self._api.get(self._path(worker), _read_list, missing=worker_missing(worker))

    def put(self, worker: str, crons: Sequence[str]) -> None:
        """
        Replace all schedules of the Worker; an empty sequence clears them.

        Raises:
            ApiRefused: A cron expression is impossible.
            WorkerNotFound: The account has no such Worker.
        """
        self._api.put(
            self._path(worker),
            lambda _: None,
            json=[{"cron": cron} for cron in crons],
            missing=worker_missing(worker),
            safe_to_repeat=True,
        )

    def _path(self, worker: str) -> str:
        return self._api.account_path("/workers/scripts/{}/schedules", worker)
