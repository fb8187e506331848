"""Versions: what was uploaded, deployed or not."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices, Field

from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.cloudflare.scripts import Code, worker_missing
from clodo.errors import VersionNotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api

VERSIONS_PER_PAGE = 100
SECRET_TYPES = frozenset({"secret_text", "secret_key"})


class VersionAnnotations(Model):
    """What an uploader wrote on a version; a tag holds at most 100 bytes."""

    message: str | None = Field(default=None, validation_alias="workers/message")
    tag: str | None = Field(default=None, validation_alias="workers/tag")
    triggered_by: str | None = Field(default=None, validation_alias="workers/triggered_by")


class VersionMetadata(Model):
    """Who made a version, when, and whether it has a preview URL."""

    author_email: str | None = None
    author_id: str | None = None
    created_on: datetime | None = None
    modified_on: datetime | None = None
    source: str | None = None
    # The SDK reads "hasPreview", wrangler "has_preview".
    has_preview: bool | None = Field(default=None, validation_alias=AliasChoices("has_preview", "hasPreview"))


class VersionScript(Model):
    """The code of a version."""

    etag: str | None = None
    handlers: list[str] | None = None
    last_deployed_from: str | None = None


class VersionRuntime(Model):
    """How the runtime treats a version."""

    compatibility_date: str | None = None
    compatibility_flags: list[str] | None = None
    limits: dict[str, Any] | None = None
    migration_tag: str | None = None
    usage_model: str | None = None


class VersionResources(Model):
    """Code, runtime and bindings of a version; bindings as Cloudflare has them, secrets without their text."""

    bindings: list[dict[str, Any]] = Field(default_factory=list)
    script: VersionScript | None = None
    script_runtime: VersionRuntime | None = None


class Version(Model):
    """
    A version of a Worker.

    Attributes:
        id: UUID.

        number: Counts up from 1.

        resources: None in lists; `Versions.get` has them.
    """

    id: str
    number: int | None = None
    metadata: VersionMetadata = VersionMetadata()
    annotations: VersionAnnotations | None = None
    resources: VersionResources | None = None

    @property
    def tag(self) -> str | None:
        """What the uploader tagged it with."""
        return self.annotations.tag if self.annotations else None

    @property
    def message(self) -> str | None:
        """What the uploader said about it."""
        return self.annotations.message if self.annotations else None

    @property
    def created_on(self) -> datetime | None:
        """When it was uploaded."""
        return self.metadata.created_on

    @property
    def secret_names(self) -> tuple[str, ...]:
        """Names of its secrets, sorted; empty for a version out of a list."""
        bindings = self.resources.bindings if self.resources else []
        return tuple(sorted(binding["name"] for binding in bindings if binding.get("type") in SECRET_TYPES))


class Versions:
    """Read and upload the versions of a Worker."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(self, worker: str, *, limit: int | None = None, deployable: bool = False) -> builtins.list[Version]:
        """
        List versions, the newest first.

        Args:
            limit: At most so many; all by default.

            deployable: Only those that may still be deployed (Cloudflare then shows few).

        Raises:
            WorkerNotFound: The account has no such Worker.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/versions/
        """
        return list(islice(self.iterate(worker, deployable=deployable), limit))

    def iterate(self, worker: str, *, deployable: bool = False) -> Iterator[Version]:
        """Yield versions, the newest first, a page at a time."""
        return self._api.pages(
            self._api.account_path("/workers/scripts/{}/versions", worker),
            Version.model_validate,
            {"deployable": "true"} if deployable else None,
            per_page=VERSIONS_PER_PAGE,
            key="items",
            missing=worker_missing(worker),
        )

    def get(self, worker: str, version_id: str) -> Version:
        """
        Return one version with its bindings.

        Raises:
            VersionNotFound: The Worker has no such version.
            WorkerNotFound: The account has no such Worker.
        """
        gone = Missing(VersionNotFound, f"The Worker {worker} has no version {version_id}")
        return self._api.get(
            self._api.account_path("/workers/scripts/{}/versions/{}", worker, version_id),
            Version.model_validate,
            missing=(worker_missing(worker).by_code_only(), gone),
        )

    def upload(self, worker: str, code: Code, metadata: Mapping[str, Any]) -> Version:
        """
        Upload a version that gets no traffic; one that was uploaded twice does no harm.

        Args:
            metadata: Bindings, compatibility and so on, as Cloudflare has them; without the main file's name.

        Raises:
            WorkerNotFound: The account has no such Worker.
            ApiRefused: A binding leads nowhere, or the code does not start (code 10021).

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/versions/
        """
        return self._api.post(
            self._api.account_path("/workers/scripts/{}/versions", worker),
            Version.model_validate,
            files=code.parts(metadata),
            missing=worker_missing(worker),
            safe_to_repeat=True,
        )

    def find_by_tag(self, worker: str, tag: str, *, among: int = VERSIONS_PER_PAGE) -> Version | None:
        """
        Return the newest version with this tag, or None.

        Args:
            among: Look at so many of the newest versions.

        Raises:
            WorkerNotFound: The account has no such Worker.
        """
        return next((version for version in islice(self.iterate(worker), among) if version.tag == tag), None)
