"""Workers as Cloudflare lists them, and the settings of each that belong to its newest version."""

from __future__ import annotations

import builtins
from datetime import datetime
from email.parser import BytesParser
from email.policy import HTTP
from typing import TYPE_CHECKING, Any

from pydantic import Field

from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.errors import WorkerNotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api

NO_SUCH_WORKER = frozenset({10007, 10090})


def worker_missing(worker: str) -> Missing:
    """Say how Cloudflare says that the account has no such Worker."""
    return Missing(
        WorkerNotFound,
        f"The account has no Worker called {worker}",
        codes=NO_SUCH_WORKER,
        hint="`clodo portfolio status` lists what is there.",
    )


class Script(Model):
    """
    A Worker as the list of Workers shows it.

    Attributes:
        id: Its name.

        tag: Its unchanging id; a Worker deleted and made again has another.

        etag: Hash of the content that was uploaded last.

        last_deployed_from: ``wrangler``, ``api``, ``dash`` …
    """

    id: str
    tag: str | None = None
    tags: list[str] | None = None
    etag: str | None = None
    created_on: datetime | None = None
    modified_on: datetime | None = None
    compatibility_date: str | None = None
    compatibility_flags: list[str] | None = None
    handlers: list[str] | None = None
    has_assets: bool | None = None
    has_modules: bool | None = None
    last_deployed_from: str | None = None
    logpush: bool | None = None
    migration_tag: str | None = None
    usage_model: str | None = None


class ScriptSettings(Model):
    """
    Settings and bindings of a Worker's newest version.

    Attributes:
        bindings: As Cloudflare has them, at least ``name`` and ``type``; secrets without their text.
    """

    bindings: list[dict[str, Any]] = Field(default_factory=list)
    compatibility_date: str | None = None
    compatibility_flags: list[str] | None = None
    logpush: bool | None = None
    observability: dict[str, Any] | None = None
    placement: dict[str, Any] | None = None
    limits: dict[str, Any] | None = None
    tags: list[str] | None = None
    usage_model: str | None = None


class Scripts:
    """Read and delete Workers."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(self) -> builtins.list[Script]:
        """
        List all Workers of the account, in one request.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/methods/list/
        """
        return self._api.get(
            self._api.account_path("/workers/scripts"),
            lambda found: [Script.model_validate(item) for item in found or ()],
        )

    def get_settings(self, worker: str) -> ScriptSettings:
        """
        Return settings and bindings of the newest version, deployed or not.

        Raises:
            WorkerNotFound: The account has no such Worker.
        """
        path = self._api.account_path("/workers/scripts/{}/settings", worker)
        return self._api.get(path, ScriptSettings.model_validate, missing=worker_missing(worker))

    def content(self, worker: str) -> dict[str, bytes]:
        """
        Return the modules of what is deployed: name to bytes; a service-worker script has the empty name.

        Raises:
            WorkerNotFound: The account has no such Worker.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/content/
        """
        path = self._api.account_path("/workers/scripts/{}/content/v2", worker)
        return modules_in(self._api.get_bytes(path, missing=worker_missing(worker)))

    def exists(self, worker: str) -> bool:
        """Say whether the account has a Worker of this name."""
        try:
            self.get_settings(worker)
        except WorkerNotFound:
            return False
        return True

    def delete(self, worker: str, *, force: bool = False) -> None:
        """
        Delete a Worker with all its versions.

        Args:
            force: Also when other Workers bind to it, and with its Durable Objects.

        Raises:
            WorkerNotFound: The account has no such Worker.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/methods/delete/
        """
        self._api.delete(
            self._api.account_path("/workers/scripts/{}", worker),
            params={"force": "true"} if force else None,
            missing=worker_missing(worker),
        )


def modules_in(body: bytes) -> dict[str, bytes]:
    """
    Take the multipart form apart in which Cloudflare answers a Worker's code; a body that is no form is the code.

    The boundary is read from the body: its first line is the boundary.
    """
    opening = body.partition(b"\r\n")[0]
    if not opening.startswith(b"--"):
        return {"": body}
    head = b"Content-Type: multipart/form-data; boundary=" + opening[2:] + b"\r\n\r\n"
    form = BytesParser(policy=HTTP).parsebytes(head + body)
    modules: dict[str, bytes] = {}
    for part in form.iter_parts():
        name = part.get_filename() or part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            modules[name] = content
    return modules
