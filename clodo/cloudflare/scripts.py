"""Workers as Cloudflare lists them, and the settings of each that belong to its newest version."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from dataclasses import dataclass
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

SERVICE_WORKER_TYPE = "application/javascript"
SERVICE_WORKER_PART = "script"
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


@dataclass(frozen=True, slots=True)
class Module:
    """
    A file of a Worker.

    Attributes:
        type: Such as ``application/javascript+module``, without parameters.
    """

    name: str
    type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Code:
    """
    The code of a Worker.

    Attributes:
        main: Name of the module that it begins with; None when Cloudflare doesn't say.

        modules: In the order of their names.
    """

    main: str | None
    modules: tuple[Module, ...]

    @property
    def is_service_worker(self) -> bool:
        """Is it a script of the old kind, whose main file is no module?"""
        return any(module.name == self.main and module.type == SERVICE_WORKER_TYPE for module in self.modules)

    def parts(self, metadata: Mapping[str, Any]) -> builtins.list[tuple[str, Any]]:
        """Return the parts of an upload, with *metadata* and what names the main file."""
        entry = {"body_part" if self.is_service_worker else "main_module": self.main}
        return [
            ("metadata", (None, json.dumps({**entry, **metadata}))),
            *((module.name, (module.name, module.content, module.type)) for module in self.modules),
        ]


class Scripts:
    """Read, upload and delete Workers."""

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
        code = self.code(worker)
        return {
            "" if code.is_service_worker and len(code.modules) == 1 else item.name: item.content
            for item in code.modules
        }

    def code(self, worker: str) -> Code:
        """
        Return the code of what is deployed; without modules when nothing is.

        Raises:
            WorkerNotFound: The account has no such Worker.

        Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/content/
        """
        path = self._api.account_path("/workers/scripts/{}/content/v2", worker)
        return self._api.get_content(path, code_in, missing=worker_missing(worker))

    def upload(self, worker: str, code: Code, metadata: Mapping[str, Any]) -> None:
        """
        Upload code as a version that gets all traffic at once; makes the Worker if it isn't there.

        Args:
            metadata: Bindings, compatibility and so on, as Cloudflare has them; without the main file's name.

        Raises:
            ApiRefused: A binding leads nowhere, or the code does not start (code 10021).

        Source: https://developers.cloudflare.com/workers/configuration/multipart-upload-metadata/
        """
        self._api.put(
            self._api.account_path("/workers/scripts/{}", worker), lambda found: None, files=code.parts(metadata)
        )

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


def code_in(body: bytes, headers: Mapping[str, str]) -> Code:
    """
    Take the multipart form apart in which Cloudflare answers a Worker's code; a body that is no form is the code.

    The boundary is read from the body: its first line is the boundary.
    """
    opening = body.partition(b"\r\n")[0]
    main = headers.get("cf-entrypoint") or None
    if not opening.startswith(b"--"):
        script = Module(main or SERVICE_WORKER_PART, SERVICE_WORKER_TYPE, body)
        return Code(script.name, (script,)) if body else Code(None, ())
    head = b"Content-Type: multipart/form-data; boundary=" + opening[2:] + b"\r\n\r\n"
    form = BytesParser(policy=HTTP).parsebytes(head + body)
    modules: list[Module] = []
    for part in form.iter_parts():
        name = part.get_filename() or part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            modules.append(Module(name, part.get_content_type(), content))
    if main is None and len(modules) == 1:
        main = modules[0].name
    return Code(main, tuple(sorted(modules, key=lambda module: module.name)))
