"""A clock that only moves when told, stores on it, and the API in front of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from clodo.emulator.d1.limits import Limits
from clodo.emulator.d1.registry import Database
from clodo.emulator.d1.routes import link_routes, routes
from clodo.emulator.d1.store import Databases
from clodo.emulator.d1.transfers import Transfers
from clodo.emulator.envelope import EXCEPTION_HANDLERS, UnexpectedErrors
from clodo.emulator.runtime.ports import Statement

ACCOUNT = "a" * 32
#: 20 November 2026, 12:00 UTC.
NOON = 1795176000.0


class Clock:
    """Seconds since 1970, as a test sets them."""

    def __init__(self) -> None:
        self.seconds = NOON

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


async def rows(databases: Databases, database: Database, sql: str, *params: Any) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows."""
    results, _ = await databases.query(database, [Statement(sql, params)])
    return results[-1].rows


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still at noon."""
    return Clock()


@pytest.fixture
async def databases(tmp_path: Path, clock: Clock) -> AsyncIterator[Databases]:
    """An empty store with the real limits."""
    store = Databases(tmp_path / "d1", now=clock)
    yield store
    await store.close()


@pytest.fixture
async def small(tmp_path: Path, clock: Clock) -> AsyncIterator[Databases]:
    """An empty store that begins a new generation after a few writes, and lets no query run long."""
    from datetime import timedelta

    limits = Limits(generation_bytes=40_000, replayed_generations=3, query_duration=timedelta(milliseconds=300))
    store = Databases(tmp_path / "small", now=clock, limits=limits)
    yield store
    await store.close()


@pytest.fixture
def database(databases: Databases) -> Database:
    """An empty database."""
    return databases.create(ACCOUNT, "shop")


def application(databases: Databases, transfers: Transfers) -> Starlette:
    """Return the API in front of a store."""
    return Starlette(
        routes=[
            *link_routes(transfers),
            Mount("/client/v4/accounts/{account_id}", routes=routes(databases, transfers)),
        ],
        exception_handlers=dict(EXCEPTION_HANDLERS),
        middleware=[Middleware(UnexpectedErrors)],
    )


@pytest.fixture
async def transfers(databases: Databases) -> AsyncIterator[Transfers]:
    """The exports and imports of `databases`."""
    made = Transfers(databases)
    yield made
    await made.close()


@pytest.fixture
async def api(databases: Databases, transfers: Transfers) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API of `databases`, at its account's ``/d1``."""
    transport = httpx.ASGITransport(application(databases, transfers))
    base = f"http://127.0.0.1:8787/client/v4/accounts/{ACCOUNT}/d1"
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        yield client
