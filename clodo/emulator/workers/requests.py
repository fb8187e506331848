"""What every request about a Worker says: whose it is, which Worker, who asks."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.requests import Request

from clodo.emulator.accounts.authentication import caller
from clodo.emulator.workers.publishing import Author

#: Clients that the API tells apart by their ``User-Agent``.
_SOURCES = (("wrangler", "wrangler"), ("terraform", "terraform"), ("cf-terraform", "terraform"))


def account_of(request: Request) -> str:
    """Return the account in the path."""
    account_id: str = request.path_params["account_id"]
    return account_id


def script_name(request: Request) -> str:
    """Return the Worker's name in the path."""
    return unquote(request.path_params["script"])


def author_of(request: Request) -> Author:
    """Return who asks, and with what."""
    agent = request.headers.get("user-agent", "").lower()
    source = next((source for opening, source in _SOURCES if agent.startswith(opening)), "api")
    return Author(caller(request).author, source)


def is_true(request: Request, name: str) -> bool:
    """Read a yes-or-no query parameter."""
    return bool(re.fullmatch(r"(?i)true|1|t", request.query_params.get(name, "")))
