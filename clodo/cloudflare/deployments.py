"""Deployments: which versions get what share of a Worker's traffic."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field

from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.cloudflare.scripts import worker_missing
from clodo.errors import NotFound, VersionNotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api

NEVER = datetime.min.replace(tzinfo=UTC)


class DeploymentAnnotations(Model):
    """What was said about a deployment."""

    message: str | None = Field(default=None, validation_alias="workers/message")
    triggered_by: str | None = Field(default=None, validation_alias="workers/triggered_by")


class TrafficShare(Model):
    """A version and its share of the traffic, 0 to 100."""

    version_id: str
    percentage: float


class Deployment(Model):
    """
    A deployment of a Worker.

    Attributes:
        versions: One or two, with shares that sum to 100.
    """

    id: str
    created_on: datetime | None = None
    source: str | None = None
    strategy: str | None = None
    author_email: str | None = None
    annotations: DeploymentAnnotations | None = None
    versions: list[TrafficShare] = Field(default_factory=list)

    @property
    def shares(self) -> dict[str, float]:
        """Version id to percentage."""
        return {share.version_id: share.percentage for share in self.versions}

    @property
    def only_version(self) -> str | None:
        """The version that gets all traffic, None if it is split."""
        full = [share.version_id for share in self.versions if share.percentage == 100]
        return full[0] if len(full) == 1 else None

    @property
    def message(self) -> str | None:
        """What was said about it."""
        return self.annotations.message if self.annotations else None


def _read_list(found: Any) -> list[Deployment]:
    items = found.get("deployments") if isinstance(found, dict) else found
    deployments = [Deployment.model_validate(item) for item in items or ()]
    # Cloudflare answers the newest first, but says so nowhere; wrangler sorts them too. Equal ones keep order.
    return sorted(deployments, key=lambda deployment: deployment.created_on or NEVER, reverse=True)


class Deployments:
    """Read and create the deployments of a Worker."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(self, worker: str) -> builtins.list[Deployment]:
        """
        List deployments, the newest first; the first one is live.

        Raises:
            WorkerNotFound: The account has no such Worker.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/deployments/
        """
        return self._api.get(self._path(worker), _read_list, missing=worker_missing(worker))

    def current(self, worker: str) -> Deployment | None:
        """
        Return what is live now, None for a Worker that was never deployed.

        Raises:
            WorkerNotFound: The account has no such Worker.
        """
        found = self.list(worker)
        return found[0] if found else None

    def get(self, worker: str, deployment_id: str) -> Deployment:
        """
        Return one deployment.

        Raises:
            NotFound: The Worker has no such deployment.
            WorkerNotFound: The account has no such Worker.
        """
        gone = Missing(NotFound, f"The Worker {worker} has no deployment {deployment_id}")
        return self._api.get(
            self._api.account_path("/workers/scripts/{}/deployments/{}", worker, deployment_id),
            Deployment.model_validate,
            missing=(worker_missing(worker).by_code_only(), gone),
        )

    def create(
        self,
        worker: str,
        shares: Mapping[str, float],
        *,
        message: str | None = None,
        triggered_by: str | None = None,
        force: bool = False,
    ) -> Deployment:
        """
        Give each version its share of the traffic.

        After an unknown outcome the current deployment is looked at first; it is only sent again if it isn't this one.

        Args:
            shares: Version id to percentage, one or two versions, sum 100.

            message: Annotation ``workers/message``: who did it, and why.

            triggered_by: Annotation ``workers/triggered_by``; Cloudflare fills it in by itself.

            force: Also if secrets changed since that version (code 10220).

        Raises:
            VersionNotFound: The Worker has no such version.
            WorkerNotFound: The account has no such Worker.
            OutcomeUnknown: Cloudflare gave no answer, and the current deployment could not be read either.
        """
        annotations = {"workers/message": message, "workers/triggered_by": triggered_by}
        body: dict[str, object] = {
            "strategy": "percentage",
            "versions": [{"version_id": version, "percentage": share} for version, share in shares.items()],
        }
        if any(annotations.values()):
            body["annotations"] = {key: text for key, text in annotations.items() if text}
        names = ", ".join(shares)
        return self._api.post(
            self._path(worker),
            # Some answers hold only the id.
            lambda found: Deployment.model_validate({"versions": body["versions"]} | found),
            json=body,
            params={"force": "true"} if force else None,
            missing=(
                worker_missing(worker).by_code_only(),
                Missing(VersionNotFound, f"The Worker {worker} lacks one of the versions {names}"),
            ),
            look=lambda: self._if_current_is(worker, shares, message),
        )

    def _if_current_is(self, worker: str, shares: Mapping[str, float], message: str | None) -> Deployment | None:
        current = self.current(worker)
        if current is None or current.shares != dict(shares):
            return None
        # Cloudflare cuts long messages; somebody else's deployment of the same shares isn't ours.
        said = current.message or ""
        return current if message is None or (said and message.startswith(said)) else None

    def _path(self, worker: str) -> str:
        return self._api.account_path("/workers/scripts/{}/deployments", worker)
