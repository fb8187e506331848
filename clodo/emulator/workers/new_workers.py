"""
``/workers/workers``: the newer API of Workers, in JSON throughout, which Terraform and the SDK's ``beta`` use.

A Worker is made without code, and its versions carry their modules in base64. The older API is next door in scripts,
versions and services; both are views of the same store.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.blobs import Blobs
from clodo.emulator.envelope import ApiError, envelope, json_body, object_body, page_of
from clodo.emulator.workers.annotations import annotations_from
from clodo.emulator.workers.bindings import Binding, without_secrets
from clodo.emulator.workers.directory import WorkerDirectory
from clodo.emulator.workers.limits import MAX_SCRIPT_BYTES
from clodo.emulator.workers.publishing import VERSION_NOT_FOUND, Publisher, not_found
from clodo.emulator.workers.references import raise_if_referenced, references_of
from clodo.emulator.workers.requests import account_of, author_of, is_true, script_name
from clodo.emulator.workers.script_settings import SCRIPT_SETTINGS, settings_in
from clodo.emulator.workers.store import Script, Scripts, Version
from clodo.emulator.workers.upload import INVALID_SCRIPT, TOO_LARGE, Upload, UploadedModule, checked

#: Assumed: what a name that is taken, and a version that serves, answer.
NAME_TAKEN = 10040
VERSION_IS_LIVE = 10021


def routes(scripts: Scripts, publisher: Publisher, directory: WorkerDirectory, blobs: Blobs) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def list_workers(request: Request) -> Response:
        found = [_worker(script, scripts, directory) for script in scripts.of_account(account_of(request))]
        page, info = page_of(found, request.query_params, default_per_page=10, max_per_page=100)
        return envelope(page, result_info=info)

    async def create_worker(request: Request) -> Response:
        body = await object_body(request)
        account_id, name = account_of(request), body.get("name")
        publisher.raise_if_name_invalid(name)
        assert isinstance(name, str)
        if scripts.get(account_id, name) is not None:
            raise ApiError(409, NAME_TAKEN, f"A Worker with the name '{name}' already exists.")
        settings, subdomain = _settings(body, whole=True), _subdomain(body)
        script = scripts.create(account_id, name, source=author_of(request).source)
        return envelope(_shown(_changed(script, settings, subdomain)))

    async def get_worker(request: Request) -> Response:
        return envelope(_shown(_named(request)))

    async def put_worker(request: Request) -> Response:
        return await change(request, whole=True)

    async def patch_worker(request: Request) -> Response:
        return await change(request, whole=False)

    async def change(request: Request, *, whole: bool) -> Response:
        script, body = _named(request), await object_body(request)
        if body.get("name") not in (None, script.name):
            raise ApiError(400, INVALID_SCRIPT, "the embedded cloud doesn't rename Workers")
        return envelope(_shown(_changed(script, _settings(body, whole=whole), _subdomain(body))))

    async def delete_worker(request: Request) -> Response:
        script = _named(request)
        raise_if_referenced(scripts, script)
        await publisher.delete(script.account_id, script.name)
        return envelope(None)

    async def list_versions(request: Request) -> Response:
        script = _named(request)
        found = [_version(version, script, directory) for version in scripts.versions(script)]
        page, info = page_of(found, request.query_params, default_per_page=10, max_per_page=100)
        return envelope(page, result_info=info)

    async def create_version(request: Request) -> Response:
        script, body = _named(request), await json_body(request)
        upload, author = _upload(body), author_of(request)
        account_id, name = script.account_id, script.name
        if is_true(request, "deploy"):
            _, version = await publisher.put_script(account_id, name, upload, author, strict=True)
        else:
            version = await publisher.upload_version(account_id, name, upload, author, strict=True)
        return envelope(_version(version, publisher.existing(account_id, name), directory))

    async def get_version(request: Request) -> Response:
        script = _named(request)
        version = _existing(script, request)
        answer = _version(version, script, directory)
        if request.query_params.get("include") == "modules":
            answer["modules"] = [
                {
                    "name": module["name"],
                    "content_type": module["type"],
                    "content_base64": base64.b64encode(blobs.get(module["blob"])).decode(),
                }
                for module in version.content.modules
            ]
        return envelope(answer)

    async def delete_version(request: Request) -> Response:
        script = _named(request)
        version = _existing(script, request)
        current = scripts.current_deployment(script)
        if current is not None and any(version.id == live for live, _ in current.traffic):
            raise ApiError(400, VERSION_IS_LIVE, "A version that is part of the active deployment can't be deleted.")
        scripts.delete_version(version)
        directory.refresh(script.account_id, script.name)
        return envelope(None)

    async def patch_latest(request: Request) -> Response:
        body = await object_body(request)
        environment = body.get("env") or {}
        if not isinstance(environment, dict):
            raise ApiError(400, INVALID_SCRIPT, "env must be an object of bindings")
        changes: dict[str, Binding | None] = {}
        for name, binding in environment.items():
            if binding is not None and not (isinstance(binding, dict) and isinstance(binding.get("type"), str)):
                raise ApiError(400, INVALID_SCRIPT, f"env: {name!r} must be a binding or null")
            changes[name] = None if binding is None else {**binding, "name": name}
        annotations = annotations_from(body.get("annotations"), triggered_by=None)
        script = _named(request)
        version = await publisher.patch_latest(script.account_id, script.name, changes, author_of(request), annotations)
        return envelope(_version(version, publisher.existing(script.account_id, script.name), directory))

    def _named(request: Request) -> Script:
        account_id, name = account_of(request), script_name(request)
        script = scripts.get(account_id, name) or scripts.by_id(account_id, name)
        if script is None:
            raise not_found(name)
        return script

    def _existing(script: Script, request: Request) -> Version:
        wanted = request.path_params["version_id"]
        version = scripts.newest_version(script) if wanted == "latest" else scripts.version(script, wanted)
        if version is None:
            raise ApiError(404, VERSION_NOT_FOUND, "Could not find that version.")
        return version

    def _changed(script: Script, settings: dict[str, Any], subdomain: dict[str, bool]) -> Script:
        if settings:
            script = scripts.set_settings(script, settings)
        if subdomain:
            script = scripts.set_subdomain(
                script,
                enabled=subdomain.get("enabled", script.subdomain_enabled),
                previews_enabled=subdomain.get("previews_enabled", script.previews_enabled),
            )
        directory.refresh(script.account_id, script.name)
        return script

    def _shown(script: Script) -> dict[str, Any]:
        return _worker(script, scripts, directory)

    root = "/workers/workers"
    return [
        Route(root, list_workers, methods=["GET"]),
        Route(root, create_worker, methods=["POST"]),
        Route(f"{root}/{{script}}", get_worker, methods=["GET"]),
        Route(f"{root}/{{script}}", put_worker, methods=["PUT"]),
        Route(f"{root}/{{script}}", patch_worker, methods=["PATCH"]),
        Route(f"{root}/{{script}}", delete_worker, methods=["DELETE"]),
        Route(f"{root}/{{script}}/versions", list_versions, methods=["GET"]),
        Route(f"{root}/{{script}}/versions", create_version, methods=["POST"]),
        Route(f"{root}/{{script}}/versions/latest", patch_latest, methods=["PATCH"]),
        Route(f"{root}/{{script}}/versions/{{version_id}}", get_version, methods=["GET"]),
        Route(f"{root}/{{script}}/versions/{{version_id}}", delete_version, methods=["DELETE"]),
    ]


def _settings(body: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
    """Return the unversioned settings in a body; of a *whole* Worker those that are missing are taken away."""
    given = {name: body.get(name) for name in SCRIPT_SETTINGS if whole or name in body}
    return settings_in(given, consumer="name")


def _subdomain(body: Mapping[str, Any]) -> dict[str, bool]:
    given = body.get("subdomain") or {}
    if not isinstance(given, dict) or not all(isinstance(given.get(key) or False, bool) for key in given):
        raise ApiError(400, INVALID_SCRIPT, "subdomain must be an object of true and false")
    return {key: given[key] for key in ("enabled", "previews_enabled") if given.get(key) is not None}


def _upload(body: Any) -> Upload:
    """Read a version's body: the metadata of a script's upload, with its modules in base64 among it."""
    if not isinstance(body, dict):
        raise ApiError(400, INVALID_SCRIPT, "a version must be an object")
    given = body.get("modules") or []
    if not isinstance(given, list):
        raise ApiError(400, INVALID_SCRIPT, "modules must be a list")
    modules = tuple(_module(module) for module in given)
    if sum(len(module.content) for module in modules) > MAX_SCRIPT_BYTES:
        raise ApiError(413, TOO_LARGE, f"Your Worker exceeded the size limit of {MAX_SCRIPT_BYTES} bytes.")
    bindings = body.get("bindings") or []
    if isinstance(bindings, list):
        bindings = [_older(binding) for binding in bindings]
    return checked(Upload({**body, "bindings": bindings}, modules))


def _older(binding: Any) -> Any:
    """Return a binding in the older API's words: it calls a database's id ``id``."""
    if isinstance(binding, dict) and binding.get("type") == "d1" and "database_id" in binding:
        return {**{key: value for key, value in binding.items() if key != "database_id"}, "id": binding["database_id"]}
    return binding


def _module(module: Any) -> UploadedModule:
    if not isinstance(module, dict) or not all(
        isinstance(module.get(key), str) for key in ("name", "content_type", "content_base64")
    ):
        raise ApiError(400, INVALID_SCRIPT, "each module needs name, content_type and content_base64")
    try:
        content = base64.b64decode(module["content_base64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, INVALID_SCRIPT, f"module {module['name'][:80]!r}: content_base64 is no base64") from error
    return UploadedModule(module["name"], module["content_type"], content)


def _version(version: Version, script: Script, directory: WorkerDirectory) -> dict[str, Any]:
    """Return a version as this API shows it."""
    content, suffix = version.content, directory.preview_suffix(script)
    answer: dict[str, Any] = {
        "id": version.id,
        "number": version.number,
        "created_on": version.created_on,
        "author_id": version.author["id"],
        "author_email": version.author["email"],
        "source": version.source,
        "annotations": version.annotations,
        "urls": [f"https://{version.id[:8]}{suffix}"] if version.has_preview and suffix else [],
        "bindings": [_newer(binding) for binding in without_secrets(content.bindings)],
        "compatibility_date": content.compatibility_date,
        "compatibility_flags": content.compatibility_flags,
        "usage_model": content.extra.get("usage_model") or "standard",
        "startup_time_ms": version.startup_time_ms,
        **{key: content.extra[key] for key in ("limits", "placement", "cache_options") if content.extra.get(key)},
    }
    if content.main_module is not None:
        answer["main_module"] = content.main_module
    if script.migration_tag:
        answer["migration_tag"] = script.migration_tag
    if content.assets is not None:
        answer["assets"] = {"config": content.assets["config"]}
    return answer


def _newer(binding: Binding) -> Binding:
    return {**binding, "database_id": binding["id"]} if binding["type"] == "d1" else binding


def _worker(script: Script, scripts: Scripts, directory: WorkerDirectory) -> dict[str, Any]:
    """Return a Worker as this API shows it."""
    current = scripts.current_deployment(script)
    found = references_of(scripts, script)
    suffix = directory.preview_suffix(script)
    subdomain: dict[str, Any] = {
        "enabled": script.subdomain_enabled,
        "previews_enabled": script.previews_enabled,
    }
    if suffix is not None:
        subdomain["url"] = f"https://{suffix.removeprefix('-')}"
        subdomain["preview_url_suffix"] = suffix
    return {
        "id": script.id,
        "name": script.name,
        "created_on": script.created_on,
        "updated_on": script.modified_on,
        "deployed_on": current.created_on if current else None,
        "logpush": bool(script.settings.get("logpush", False)),
        "observability": script.settings.get("observability") or {"enabled": False},
        "tags": script.settings.get("tags") or [],
        "tail_consumers": [
            {"name": consumer.get("service")} for consumer in script.settings.get("tail_consumers") or []
        ],
        "subdomain": subdomain,
        "references": {
            "workers": [
                {"id": other.id, "name": other.name}
                for reference in found["services"]["incoming"]
                if (other := scripts.get(script.account_id, reference["service"]))
            ],
            "durable_objects": [
                {
                    "namespace_id": reference["durable_object_namespace_id"],
                    "namespace_name": reference["durable_object_namespace_name"],
                    "worker_id": other.id,
                    "worker_name": other.name,
                }
                for reference in found["durable_objects"]
                if (other := scripts.get(script.account_id, reference["service"]))
            ],
            "domains": [
                {
                    "id": row["id"],
                    "certificate_id": row["cert_id"],
                    "hostname": row["hostname"],
                    "zone_id": row["zone_id"],
                    "zone_name": row["zone_name"],
                }
                for row in scripts.domains(script.account_id)
                if row["service"] == script.name
            ],
            "queues": [],
            "dispatch_namespace_outbounds": [],
        },
    }
