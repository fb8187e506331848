"""``/workers/account-settings``: what new Workers of an account begin with."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.database import Database
from clodo.emulator.envelope import ApiError, envelope, object_body
from clodo.emulator.workers.requests import account_of
from clodo.emulator.workers.upload import INVALID_SCRIPT

_KINDS = {"default_usage_model": str, "green_compute": bool}
_DEFAULTS = {"default_usage_model": "standard", "green_compute": False}


def routes(database: Database) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    def kept(account_id: str) -> dict[str, Any]:
        text = database.value("SELECT value FROM settings WHERE name = ?", (f"workers/{account_id}",))
        return {**_DEFAULTS, **(json.loads(text) if text else {})}

    async def get_settings(request: Request) -> Response:
        return envelope(kept(account_of(request)))

    async def put_settings(request: Request) -> Response:
        body, account_id = await object_body(request), account_of(request)
        for name, kind in _KINDS.items():
            if not isinstance(body.get(name, _DEFAULTS[name]), kind):
                raise ApiError(400, INVALID_SCRIPT, f"{name} has the wrong type")
        settings = {**kept(account_id), **{name: body[name] for name in _KINDS if name in body}}
        database.insert("settings", {"name": f"workers/{account_id}", "value": settings}, replace=True)
        return envelope(settings)

    return [
        Route("/workers/account-settings", get_settings, methods=["GET"]),
        Route("/workers/account-settings", put_settings, methods=["PUT"]),
    ]
