"""``/workers/scripts``: listing, uploading, reading and deleting Workers; their settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.blobs import Blobs
from clodo.emulator.clock import new_id
from clodo.emulator.envelope import ApiError, envelope, json_body, parse_json
from clodo.emulator.workers.answers import live_version, script_answer
from clodo.emulator.workers.bindings import without_secrets
from clodo.emulator.workers.directory import WorkerDirectory
from clodo.emulator.workers.publishing import Publisher
from clodo.emulator.workers.references import raise_if_referenced
from clodo.emulator.workers.requests import account_of, author_of, is_true, script_name
from clodo.emulator.workers.script_settings import SCRIPT_SETTINGS, settings_in
from clodo.emulator.workers.store import Script, Scripts, Version
from clodo.emulator.workers.upload import INVALID_SCRIPT, Upload, read_upload


def routes(scripts: Scripts, publisher: Publisher, blobs: Blobs, directory: WorkerDirectory) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def list_scripts(request: Request) -> Response:
        wanted = request.query_params.get("tags")
        answers = []
        for script in scripts.of_account(account_of(request)):
            if wanted and not _has_tags(script, wanted):
                continue
            routes_of = [_route(row) for row in scripts.routes_of(script)]
            answers.append({**script_answer(scripts, script), "routes": routes_of or None})
        return envelope(answers)

    async def search_scripts(request: Request) -> Response:
        wanted = request.query_params.get("name", "")
        found = [script for script in scripts.of_account(account_of(request)) if wanted in script.name]
        return envelope(
            [
                {
                    "id": script.id,
                    "script_name": script.name,
                    "service_name": script.name,
                    "environment_name": "production",
                    "environment_is_default": True,
                    "created_on": script.created_on,
                    "modified_on": script.modified_on,
                }
                for script in found
            ]
        )

    async def put_script(request: Request) -> Response:
        strict = request.query_params.get("bindings_inherit") == "strict"
        script, version = await publisher.put_script(
            account_of(request), script_name(request), await read_upload(request), author_of(request), strict=strict
        )
        return envelope(_uploaded(scripts, script, version))

    async def put_content(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        upload = await read_upload(request)
        newest = scripts.newest_version(script)
        if newest is not None:
            upload = _keeping_everything(upload, newest)
        script, version = await publisher.put_script(
            script.account_id, script.name, upload, author_of(request), strict=False
        )
        return envelope(_uploaded(scripts, script, version))

    async def get_content(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        version = live_version(scripts, script)
        if version is None or not version.content.modules:
            return Response(b"", media_type="application/javascript")
        return _content(version, blobs)

    async def delete_script(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        if not is_true(request, "force"):
            raise_if_referenced(scripts, script)
        await publisher.delete(script.account_id, script.name)
        return envelope({"id": script.name})

    async def get_settings(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        return envelope(_settings(script, scripts.newest_version(script)))

    async def patch_settings(request: Request) -> Response:
        changes = await _settings_body(request)
        account_id, name = account_of(request), script_name(request)
        script = publisher.existing(account_id, name)
        unversioned = settings_in(changes)
        versioned = {key: value for key, value in changes.items() if key not in SCRIPT_SETTINGS}
        version = scripts.newest_version(script)
        if versioned:
            script, version = await publisher.edit_settings(account_id, name, versioned, author_of(request))
        if unversioned:
            script = scripts.set_settings(script, unversioned)
            directory.refresh(account_id, name)
        return envelope(_settings(script, version))

    async def get_script_settings(request: Request) -> Response:
        return envelope(_script_settings(publisher.existing(account_of(request), script_name(request))))

    async def patch_script_settings(request: Request) -> Response:
        script = publisher.existing(account_of(request), script_name(request))
        changes = await json_body(request)
        if not isinstance(changes, dict):
            raise ApiError(400, INVALID_SCRIPT, "script settings must be an object")
        script = scripts.set_settings(script, settings_in(changes))
        directory.refresh(script.account_id, script.name)
        return envelope(_script_settings(script))

    return [
        Route("/workers/scripts", list_scripts, methods=["GET"]),
        Route("/workers/scripts-search", search_scripts, methods=["GET"]),
        Route("/workers/scripts/{script}", put_script, methods=["PUT"]),
        Route("/workers/scripts/{script}", get_content, methods=["GET"]),
        Route("/workers/scripts/{script}", delete_script, methods=["DELETE"]),
        Route("/workers/scripts/{script}/content", put_content, methods=["PUT"]),
        Route("/workers/scripts/{script}/content", get_content, methods=["GET"]),
        Route("/workers/scripts/{script}/content/v2", get_content, methods=["GET"]),
        Route("/workers/scripts/{script}/settings", get_settings, methods=["GET"]),
        Route("/workers/scripts/{script}/settings", patch_settings, methods=["PATCH"]),
        Route("/workers/scripts/{script}/script-settings", get_script_settings, methods=["GET"]),
        Route("/workers/scripts/{script}/script-settings", patch_script_settings, methods=["PATCH"]),
    ]


def _uploaded(scripts: Scripts, script: Script, version: Version) -> dict[str, Any]:
    return {
        **script_answer(scripts, script),
        "entry_point": version.content.main_module or version.content.body_part,
        "startup_time_ms": version.startup_time_ms,
        # 32 hex digits; wrangler puts dashes in and calls it the version's id.
        "deployment_id": version.id.replace("-", ""),
    }


def _keeping_everything(upload: Upload, newest: Version) -> Upload:
    """Add to an upload of code alone all that the newest version has besides."""
    content = newest.content
    return Upload(
        {
            "main_module": upload.main_module,
            "body_part": upload.body_part,
            "compatibility_date": content.compatibility_date,
            "compatibility_flags": content.compatibility_flags,
            "keep_bindings": sorted({binding["type"] for binding in content.bindings}),
            "keep_assets": content.assets is not None,
            **content.extra,
        },
        upload.modules,
    )


def _content(version: Version, blobs: Blobs) -> Response:
    content = version.content
    if content.main_module is None and len(content.modules) == 1:
        return Response(
            blobs.get(content.modules[0]["blob"]),
            media_type="application/javascript",
            headers={"etag": version.etag, "cf-entrypoint": content.body_part or ""},
        )
    boundary = new_id()
    parts: list[bytes] = []
    for module in content.modules:
        name = module["name"].replace('"', "%22")
        disposition = f'Content-Disposition: form-data; name="{name}"; filename="{name}"'
        head = f"--{boundary}\r\n{disposition}\r\nContent-Type: {module['type']}\r\n\r\n"
        parts += [head.encode(), blobs.get(module["blob"]), b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return Response(
        b"".join(parts),
        headers={
            "content-type": f"multipart/form-data; boundary={boundary}",
            "etag": version.etag,
            "cf-entrypoint": content.main_module or content.body_part or "",
        },
    )


def _settings(script: Script, version: Version | None) -> dict[str, Any]:
    answer = _script_settings(script)
    if version is None:
        return {**answer, "bindings": []}
    content = version.content
    return {
        **answer,
        "bindings": without_secrets(content.bindings),
        "compatibility_date": content.compatibility_date,
        "compatibility_flags": content.compatibility_flags,
        "usage_model": content.extra.get("usage_model") or "standard",
        **{key: content.extra[key] for key in ("placement", "limits", "cache_options") if content.extra.get(key)},
    }


def _script_settings(script: Script) -> dict[str, Any]:
    answer = {
        "logpush": bool(script.settings.get("logpush", False)),
        "tags": script.settings.get("tags") or [],
        "tail_consumers": script.settings.get("tail_consumers"),
    }
    if "observability" in script.settings:
        answer["observability"] = script.settings["observability"]
    return answer


async def _settings_body(request: Request) -> dict[str, Any]:
    """Read settings sent as JSON, or as the ``settings`` part of a form."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        form = await request.form(max_part_size=1024 * 1024)
        part = form.get("settings")
        raw = await part.read() if isinstance(part, UploadFile) else (part or "").encode()
        body = parse_json(raw, code=INVALID_SCRIPT)
    else:
        body = await json_body(request)
    if not isinstance(body, dict):
        raise ApiError(400, INVALID_SCRIPT, "settings must be an object")
    return body


def _route(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": row["id"], "pattern": row["pattern"], "script": row["script"]}


def _has_tags(script: Script, wanted: str) -> bool:
    """Answer the ``tags`` filter: ``name:yes,other:no``."""
    tags = set(script.settings.get("tags") or [])
    for term in wanted.split(","):
        tag, _, allowed = term.rpartition(":")
        if ((tag or term) in tags) != (allowed != "no"):
            return False
    return True
