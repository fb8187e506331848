"""Every test that asks for a place or a ledger runs on SQLite and on PostgreSQL."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from clodo.ledger import Ledger, Release, ReleaseKind, new_release_id
from clodo.ledger.database import REVISIONS
from clodo.ledger.schema import REVISION_TABLE, metadata

from .postgresql import run_postgresql

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class HandMovedClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = NOON

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, by: timedelta) -> None:
        self.moment += by


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a private PostgreSQL server, with a database `ready` whose tables are made."""
    with run_postgresql() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE ready")
        Ledger.open(url.replace("/postgres?", "/ready?")).close()
        yield url


@pytest.fixture
def new_postgresql_database(postgresql: str) -> str:
    """URL of a database that nobody has opened yet."""
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS empty WITH (FORCE)")
        connection.execute("CREATE DATABASE empty")
    return postgresql.replace("/postgres?", "/empty?")


@pytest.fixture
def ready_postgresql_database(postgresql: str) -> str:
    """URL of a database whose tables are made and emptied of what the test before wrote, or broke."""
    url = postgresql.replace("/postgres?", "/ready?")
    with psycopg.connect(url) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(f"DELETE FROM {table.name}")
        connection.execute("INSERT INTO clodo_audit_head VALUES (1, 0, %s)", ["0" * 64])
        connection.execute(f"UPDATE {REVISION_TABLE} SET version_num = %s", [REVISIONS[-1]])
    return url


@pytest.fixture(scope="session")
def ready_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger file whose tables are made, to be copied."""
    path = tmp_path_factory.mktemp("ready") / "ledger.sqlite3"
    Ledger.open(path).close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a ledger that nobody has opened yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/.clodo/ledger.sqlite3"
    url: str = request.getfixturevalue("new_postgresql_database")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a ledger whose tables are made and empty."""
    if request.param == "sqlite":
        path = tmp_path / "ledger.sqlite3"
        path.write_bytes(request.getfixturevalue("ready_sqlite").read_bytes())
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("ready_postgresql_database")
    return url


@pytest.fixture
def clock() -> HandMovedClock:
    """A clock that the test moves."""
    return HandMovedClock()


@pytest.fixture
def ledger(place: str, clock: HandMovedClock) -> Iterator[Ledger]:
    """An empty ledger whose time the test moves."""
    with Ledger.open(place, clock=clock) as opened:
        yield opened


@pytest.fixture
def new_release(clock: HandMovedClock) -> Callable[..., Release]:
    """Make releases that differ in what the test says."""

    def make(**differences: object) -> Release:
        values = {
            "id": new_release_id(now=clock()),
            "target": "api@production",
            "worker": "api",
            "account_id": "0" * 32,
            "strategy": "all-at-once",
            "reason": "a new version",
            "actor": "mia",
            "kind": ReleaseKind.REDEPLOY,
            "plan_fingerprint": "f00d",
            "created_at": clock(),
        }
        return Release(**values | differences)

    return make


@pytest.fixture
def query(place: str) -> Callable[[str], list[tuple]]:
    """Run SQL on the ledger's database behind the ledger's back."""

    def run(sql: str) -> list[tuple]:
        url = make_url(place)
        connection = sqlite3.connect(url.database) if url.get_backend_name() == "sqlite" else psycopg.connect(place)
        try:
            cursor = connection.execute(sql)
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
            return rows
        finally:
            connection.close()

    return run
