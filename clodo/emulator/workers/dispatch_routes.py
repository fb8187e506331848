"""``/workers/dispatch/namespaces``: namespaces of customers' Workers, and the Workers in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import ApiError, envelope, json_body, object_body
from clodo.emulator.workers.answers import script_answer
from clodo.emulator.workers.bindings import without_secrets
from clodo.emulator.workers.dispatch import INVALID_NAMESPACE, DispatchNamespace, DispatchNamespaces
from clodo.emulator.workers.publishing import Publisher
from clodo.emulator.workers.requests import account_of, author_of, script_name
from clodo.emulator.workers.script_settings import settings_in
from clodo.emulator.workers.services import NO_ENVIRONMENT
from clodo.emulator.workers.store import Script, Scripts

_EVERY = "/workers/dispatch/namespaces"
_ONE = f"{_EVERY}/{{namespace}}"
_SCRIPT = f"{_ONE}/scripts/{{script}}"

#: What a customer's Worker has in common with the account's own: the rest of the path, and the methods.
_SHARED = (
    ("", ("PUT", "DELETE")),
    ("/content", ("GET", "PUT")),
    ("/settings", ("GET", "PATCH")),
    ("/secrets", ("GET", "PUT")),
    ("/secrets/{secret}", ("GET", "DELETE")),
    ("/secrets-bulk", ("PATCH",)),
    ("/assets-upload-session", ("POST",)),
)

_Endpoint = Callable[[Request], Awaitable[Response]]


def routes(namespaces: DispatchNamespaces, scripts: Scripts, publisher: Publisher, own: Sequence[Route]) -> list[Route]:
    """
    Return the routes, relative to ``/client/v4/accounts/{account_id}``.

    Args:
        own: The routes of the account's own Workers; those that a customer's Worker has too answer for it as well.
    """

    async def list_namespaces(request: Request) -> Response:
        return envelope([_shown(namespace) for namespace in namespaces.of_account(account_of(request))])

    async def create_namespace(request: Request) -> Response:
        body = await object_body(request)
        made = namespaces.create(account_of(request), body.get("name"), author_of(request).identity["id"])
        return envelope(_shown(made))

    async def get_namespace(request: Request) -> Response:
        return envelope(_shown(namespace_of(request)))

    async def change_namespace(request: Request) -> Response:
        body = await object_body(request)
        # Looked up after the body has come: meanwhile somebody else may have changed it.
        namespace = namespace_of(request)
        trusted = body.get("trusted_workers", namespace.trusted_workers)
        if not isinstance(trusted, bool):
            raise ApiError(400, INVALID_NAMESPACE, "trusted_workers must be true or false.")
        name, author = body.get("name", namespace.name), author_of(request).identity["id"]
        return envelope(_shown(namespaces.change(namespace, name, trusted_workers=trusted, author_id=author)))

    async def delete_namespace(request: Request) -> Response:
        namespace = namespace_of(request)
        for script in scripts.of_account(namespace.scope):
            await publisher.delete(namespace.scope, script.name)
        namespaces.delete(namespace)
        return envelope(None)

    async def list_scripts(request: Request) -> Response:
        namespace = namespace_of(request)
        return envelope([_script_shown(namespace, script) for script in scripts.of_account(namespace.scope)])

    async def get_script(request: Request) -> Response:
        namespace = namespace_of(request)
        script = scripts.get(namespace.scope, script_name(request))
        if script is None:
            raise ApiError(404, *NO_ENVIRONMENT)
        return envelope(_script_shown(namespace, script))

    async def get_bindings(request: Request) -> Response:
        version = scripts.newest_version(script_of(request))
        return envelope(without_secrets(version.content.bindings) if version else [])

    async def get_tags(request: Request) -> Response:
        return envelope(_tags(script_of(request)))

    async def put_tags(request: Request) -> Response:
        script = script_of(request)
        return envelope(_tagged(script, await json_body(request)))

    async def put_tag(request: Request) -> Response:
        script, tag = script_of(request), unquote(request.path_params["tag"])
        _tagged(script, [*(known for known in _tags(script) if known != tag), tag])
        return envelope(None)

    async def delete_tag(request: Request) -> Response:
        script, tag = script_of(request), unquote(request.path_params["tag"])
        _tagged(script, [known for known in _tags(script) if known != tag])
        return envelope(None)

    def namespace_of(request: Request) -> DispatchNamespace:
        return namespaces.find(account_of(request), unquote(request.path_params["namespace"]))

    def script_of(request: Request) -> Script:
        return publisher.existing(namespace_of(request).scope, script_name(request))

    def _tagged(script: Script, tags: Any) -> list[str]:
        if not isinstance(tags, list):
            raise ApiError(400, INVALID_NAMESPACE, "tags must be a list of strings.")
        return _tags(scripts.set_settings(script, settings_in({"tags": tags})))

    def _shown(namespace: DispatchNamespace) -> dict[str, Any]:
        return {
            "namespace_id": namespace.id,
            "namespace_name": namespace.name,
            "created_on": namespace.created_on,
            "created_by": namespace.created_by,
            "modified_on": namespace.modified_on,
            "modified_by": namespace.modified_by,
            "script_count": len(scripts.of_account(namespace.scope)),
            "trusted_workers": namespace.trusted_workers,
        }

    def _script_shown(namespace: DispatchNamespace, script: Script) -> dict[str, Any]:
        return {
            "created_on": script.created_on,
            "modified_on": script.modified_on,
            "dispatch_namespace": namespace.name,
            "script": script_answer(scripts, script),
        }

    def inside(endpoint: _Endpoint) -> _Endpoint:
        """Let the endpoint of an account's own Workers answer for those of the namespace in the path."""

        async def answer(request: Request) -> Response:
            scope = namespace_of(request).scope
            params = {**request.path_params, "account_id": scope}
            return await endpoint(Request({**request.scope, "path_params": params}, request.receive))

        return answer

    return [
        Route(_EVERY, list_namespaces, methods=["GET"]),
        Route(_EVERY, create_namespace, methods=["POST"]),
        Route(_ONE, get_namespace, methods=["GET"]),
        Route(_ONE, change_namespace, methods=["PUT", "PATCH"]),
        Route(_ONE, delete_namespace, methods=["DELETE"]),
        Route(f"{_ONE}/scripts", list_scripts, methods=["GET"]),
        Route(_SCRIPT, get_script, methods=["GET"]),
        *(
            Route(
                _SCRIPT + rest, inside(_endpoint(own, f"/workers/scripts/{{script}}{rest}", method)), methods=[method]
            )
            for rest, methods in _SHARED
            for method in methods
        ),
        Route(f"{_SCRIPT}/bindings", get_bindings, methods=["GET"]),
        Route(f"{_SCRIPT}/tags", get_tags, methods=["GET"]),
        Route(f"{_SCRIPT}/tags", put_tags, methods=["PUT"]),
        Route(f"{_SCRIPT}/tags/{{tag}}", put_tag, methods=["PUT"]),
        Route(f"{_SCRIPT}/tags/{{tag}}", delete_tag, methods=["DELETE"]),
    ]


def _endpoint(own: Sequence[Route], path: str, method: str) -> _Endpoint:
    return next(route.endpoint for route in own if route.path == path and method in (route.methods or ()))


def _tags(script: Script) -> list[str]:
    return list(script.settings.get("tags") or [])
