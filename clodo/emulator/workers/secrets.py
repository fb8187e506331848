"""``/workers/scripts/{script}/secrets``: each change is a new version that is live at once."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import ApiError, envelope, object_body
from clodo.emulator.workers.bindings import SECRET_TYPES, Binding, secrets_of, without_secrets
from clodo.emulator.workers.publishing import (
    SECRET_NOT_FOUND,
    SETTINGS_NOT_DEPLOYED,
    VERSION_NOT_DEPLOYED,
    Publisher,
)
from clodo.emulator.workers.requests import account_of, author_of, script_name
from clodo.emulator.workers.store import Scripts

INVALID_SECRET = 10021

_NAME = re.compile(r"^[A-Za-z_$][A-Za-z0-9_$]*$")


def routes(scripts: Scripts, publisher: Publisher) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    def bindings(request: Request) -> list[Binding]:
        script = publisher.existing(account_of(request), script_name(request))
        newest = scripts.newest_version(script)
        return newest.content.bindings if newest else []

    async def list_secrets(request: Request) -> Response:
        return envelope(secrets_of(bindings(request)))

    async def get_secret(request: Request) -> Response:
        wanted = unquote(request.path_params["secret"])
        for secret in secrets_of(bindings(request)):
            if secret["name"] == wanted:
                return envelope(secret)
        raise ApiError(404, SECRET_NOT_FOUND, "Binding not found.")

    async def put_secret(request: Request) -> Response:
        secret = _secret(await object_body(request))
        await publisher.edit_secrets(
            account_of(request),
            script_name(request),
            {secret["name"]: secret},
            author_of(request),
            code=VERSION_NOT_DEPLOYED,
        )
        return envelope(without_secrets([secret])[0])

    async def delete_secret(request: Request) -> Response:
        name = unquote(request.path_params["secret"])
        await publisher.edit_secrets(
            account_of(request), script_name(request), {name: None}, author_of(request), code=VERSION_NOT_DEPLOYED
        )
        return envelope(None)

    async def patch_secrets(request: Request) -> Response:
        body = await object_body(request)
        given = body.get("secrets")
        if not isinstance(given, dict):
            raise ApiError(400, INVALID_SECRET, "secrets must be an object")
        known = {secret["name"] for secret in secrets_of(bindings(request))}
        changes: dict[str, Binding | None] = {}
        for name, value in given.items():
            if value is not None:
                changes[name] = _secret({"name": name, **value} if isinstance(value, dict) else value)
            elif name in known:
                # Deleting what isn't there is no error in a merge patch.
                changes[name] = None
        if changes:
            await publisher.edit_secrets(
                account_of(request), script_name(request), changes, author_of(request), code=SETTINGS_NOT_DEPLOYED
            )
        return envelope({secret["name"]: secret for secret in secrets_of(bindings(request))})

    return [
        Route("/workers/scripts/{script}/secrets", list_secrets, methods=["GET"]),
        Route("/workers/scripts/{script}/secrets", put_secret, methods=["PUT"]),
        Route("/workers/scripts/{script}/secrets-bulk", patch_secrets, methods=["PATCH"]),
        Route("/workers/scripts/{script}/secrets/{secret}", get_secret, methods=["GET"]),
        Route("/workers/scripts/{script}/secrets/{secret}", delete_secret, methods=["DELETE"]),
    ]


def _secret(body: Any) -> Binding:
    if not isinstance(body, dict) or body.get("type") not in SECRET_TYPES:
        raise ApiError(400, INVALID_SECRET, "a secret needs a name, a text and the type secret_text")
    name = body.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise ApiError(400, INVALID_SECRET, "a secret's name must be a JavaScript identifier")
    if body["type"] == "secret_text" and not isinstance(body.get("text"), str):
        raise ApiError(400, INVALID_SECRET, f"secret {name!r} needs a text")
    return dict(body)
