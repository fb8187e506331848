"""A direct upload becomes a deployment: its parts are read, its files found, its Functions tried."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.types import Message

from clodo.emulator.blobs import Blobs
from clodo.emulator.clock import new_uuid, now
from clodo.emulator.envelope import ApiError, parse_json
from clodo.emulator.pages.configuration import ENVIRONMENTS, Objects, bindings_of
from clodo.emulator.pages.configuration_file import bindings_of_file, settings_of_file
from clodo.emulator.pages.directory import spec_of
from clodo.emulator.pages.names import check_text
from clodo.emulator.pages.store import Deployment, Project, Projects
from clodo.emulator.pages.tokens import MAX_FILES
from clodo.emulator.runtime.ports import ScriptInvalid
from clodo.emulator.runtime.runtime import Runtime
from clodo.emulator.workers.upload import Upload, UploadedModule, read_upload

NO_MANIFEST = 8000096
INVALID_UPLOAD = 8000003

#: What file systems take.
MAX_NAME_BYTES = 255
MAX_PATH_CHARACTERS = 1024
_SCRIPTS = ("_worker.bundle", "_worker.js")


class Deploying:
    """
    Makes deployments.

    Args:
        blobs: Where files and modules are kept.

        runtime: Tries Functions before anybody visits them.

        objects: Tells which namespaces of Durable Objects an account has.
    """

    def __init__(self, projects: Projects, blobs: Blobs, runtime: Runtime, objects: Callable[[str], Objects]) -> None:
        self._projects = projects
        self._blobs = blobs
        self._runtime = runtime
        self._objects = objects

    async def deploy(self, project: Project, form: FormData) -> Deployment:
        """
        Make a deployment of what was uploaded.

        Raises:
            ApiError: A part is missing or malformed, or a file of the manifest was not uploaded.
        """
        texts = {name: await _text(value) for name, value in form.multi_items() if name not in _SCRIPTS}
        files = self._files(project, texts.get("manifest"))
        branch = check_text(texts.get("branch") or project.production_branch, "branch")
        environment = "production" if branch == project.production_branch else "preview"
        settings: Mapping[str, Any] = project.settings[environment]
        upload = await _functions(form)
        metadata = upload.metadata if upload else {}
        objects = self._objects(project.account_id)
        bindings = bindings_of(settings, objects)
        if metadata.get("bindings") or (upload and "wrangler_config_hash" in texts):
            listed = bindings_of_file(metadata)
            settings = settings_of_file(settings, metadata, objects)
            named = {binding["name"] for binding in listed}
            bindings = [*listed, *(known for known in bindings_of(settings, objects) if known["name"] not in named)]
        if file_hash := texts.get("wrangler_config_hash"):
            settings = {**settings, "wrangler_config_hash": file_hash}
            build = {**project.build_config, "destination_dir": texts.get("pages_build_output_dir", "")}
            configs = {**project.settings, environment: settings}
            project = self._projects.change(project, deployment_configs=configs, build_config=build)
        content: dict[str, Any] = {
            "files": files,
            "headers": texts.get("_headers"),
            "redirects": texts.get("_redirects"),
            "routes": _routes(texts.get("_routes.json")),
            "main_module": upload.main_module if upload else None,
            "modules": await self._kept(upload.modules if upload else ()),
            "env_vars": settings.get("env_vars") or {},
            "bindings": bindings,
            "compatibility_date": settings.get("compatibility_date"),
            "compatibility_flags": settings.get("compatibility_flags") or [],
        }
        # What wrangler knows from the project's own configuration file goes before the dashboard's.
        for name in ("compatibility_date", "compatibility_flags"):
            content[name] = metadata.get(name) or content[name]
        return await self.add(project, environment, branch, _trigger(texts, branch), content)

    async def retire(self, project: Project) -> None:
        """End what runs of a project that was deleted."""
        for environment in ENVIRONMENTS:
            await self._runtime.remove(project.account_id, project.script(environment))

    async def add(
        self, project: Project, environment: str, branch: str, trigger: Mapping[str, Any], content: Mapping[str, Any]
    ) -> Deployment:
        """Try a deployment's Functions and keep it; one that can't run is kept as failed and shown nowhere."""
        deployment_id = new_uuid()
        made = Deployment(deployment_id, environment, branch, now(), trigger, content)
        try:
            await self._runtime.validate(spec_of(project, made, self._blobs))
        except ScriptInvalid as error:
            made = Deployment(deployment_id, environment, branch, made.created_on, trigger, content, error.message)
        self._projects.add_deployment(project, made)
        return made

    def _files(self, project: Project, manifest: str | None) -> dict[str, str]:
        if manifest is None:
            raise ApiError(
                400, NO_MANIFEST, "A 'manifest' field was expected in the request body but was not provided."
            )
        parsed = parse_json(manifest.encode(), code=INVALID_UPLOAD, message="The manifest is not valid JSON.")
        if not isinstance(parsed, dict) or not all(isinstance(one, str) for one in parsed.values()):
            raise ApiError(400, INVALID_UPLOAD, "The manifest must be an object of paths and hashes.")
        if len(parsed) > MAX_FILES:
            raise ApiError(400, INVALID_UPLOAD, f"{len(parsed)} files exceed the limit of {MAX_FILES}.")
        files: dict[str, str] = {}
        for path, content_hash in parsed.items():
            check_text(content_hash, "A hash")
            if not _is_plain(path):
                raise ApiError(400, INVALID_UPLOAD, f"The path {path[:200]!r} must be absolute and plain.")
            found = self._projects.file(project.account_id, content_hash)
            if found is None:
                raise ApiError(400, INVALID_UPLOAD, f"The file {path[:200]!r} was not uploaded.")
            files[path] = found["blob"]
        return files

    async def _kept(self, modules: tuple[UploadedModule, ...]) -> list[dict[str, Any]]:
        return [
            {
                "name": module.name,
                "type": module.content_type,
                "blob": await asyncio.to_thread(self._blobs.put, module.content),
            }
            for module in modules
        ]


async def _functions(form: FormData) -> Upload | None:
    """Read ``_worker.bundle``, a multipart upload of a script within the part; or ``_worker.js``, one module."""
    bundle, script = form.get("_worker.bundle"), form.get("_worker.js")
    if isinstance(script, UploadFile):
        module = UploadedModule("_worker.js", "application/javascript+module", await script.read())
        return Upload({"main_module": "_worker.js"}, (module,))
    if not isinstance(bundle, UploadFile):
        return None
    body = await bundle.read()
    boundary = body.partition(b"\r\n")[0].removeprefix(b"--")
    if not boundary or len(boundary) > 200:
        raise ApiError(400, INVALID_UPLOAD, "_worker.bundle must be a multipart upload.")

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    kind = b"multipart/form-data; boundary=" + boundary
    upload = await read_upload(
        Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}, receive)
    )
    if upload.main_module is None:
        raise ApiError(400, INVALID_UPLOAD, "_worker.bundle must name a main_module.")
    return upload


def _is_plain(path: str) -> bool:
    """Say whether a path can be a file's below any folder."""
    pieces = path.encode("utf-8", "replace").split(b"/")
    is_unicode = not any("\ud800" <= letter <= "\udfff" for letter in path)
    return (
        path.startswith("/")
        and is_unicode
        and "\0" not in path
        and b".." not in pieces
        and max(map(len, pieces)) <= MAX_NAME_BYTES
        and len(path) <= MAX_PATH_CHARACTERS
    )


def _routes(text: str | None) -> list[str] | bool:
    """Return which requests Functions get before files do, as Workers' ``run_worker_first`` says it."""
    if text is None:
        return True
    routes = parse_json(text.encode(), code=INVALID_UPLOAD, message="_routes.json is not valid JSON.")
    include = routes.get("include") if isinstance(routes, dict) else None
    exclude = routes.get("exclude", []) if isinstance(routes, dict) else None
    if not isinstance(include, list) or not isinstance(exclude, list):
        raise ApiError(400, INVALID_UPLOAD, "_routes.json must have the arrays include and exclude.")
    return [*map(str, include), *(f"!{rule}" for rule in exclude)]


def _trigger(texts: Mapping[str, str], branch: str) -> dict[str, Any]:
    return {
        "branch": branch,
        "commit_hash": texts.get("commit_hash", ""),
        "commit_message": texts.get("commit_message", ""),
        "commit_dirty": _is_true(texts.get("commit_dirty")),
    }


def _is_true(text: str | None) -> bool:
    try:
        return json.loads(text or "false") is True
    except ValueError:
        return False


async def _text(value: str | UploadFile) -> str:
    return value if isinstance(value, str) else (await value.read()).decode("utf-8", "replace")
