"""A clock that only moves when told, a store on it, and the API in front."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from clodo.emulator.envelope import EXCEPTION_HANDLERS, UnexpectedErrors
from clodo.emulator.kv.routes import routes
from clodo.emulator.kv.store import Namespace, Namespaces
from tests.emulator.d1.conftest import Clock

ACCOUNT = "a" * 32


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still at noon."""
    return Clock()


@pytest.fixture
async def namespaces(tmp_path: Path, clock: Clock) -> AsyncIterator[Namespaces]:
    """An empty store."""
    store = Namespaces(tmp_path / "kv", now=clock)
    yield store
    await store.close()


@pytest.fixture
async def namespace(namespaces: Namespaces) -> Namespace:
    """An empty namespace."""
    return await namespaces.create(ACCOUNT, "cache")


@pytest.fixture
def transport(namespaces: Namespaces) -> httpx.ASGITransport:
    """The API, without a network."""
    return httpx.ASGITransport(
        Starlette(
            routes=[Mount("/client/v4/accounts/{account_id}", routes=routes(namespaces))],
            exception_handlers=dict(EXCEPTION_HANDLERS),
            middleware=[Middleware(UnexpectedErrors)],
        )
    )


@pytest.fixture
async def api(transport: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    """A client at the account's KV."""
    base = f"http://127.0.0.1:8787/client/v4/accounts/{ACCOUNT}/storage/kv"
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        yield client
