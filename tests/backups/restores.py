"""What restores of a test's fleet are done with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clodo.backups.restoring.restorer import Restorer
from clodo.backups.vault import Vault
from clodo.cloudflare.client import Cloudflare
from clodo.errors import LockLost
from clodo.workspace.workspace import Workspace
from tests.backups.conftest import Fleet


class FleetAccounts:
    """A fleet's account, and others by the name of a block."""

    def __init__(self, fleet: Fleet, others: dict[str, Cloudflare] | None = None) -> None:
        self._fleet = fleet
        self._others = others or {}

    def client(self, account_id: str) -> Cloudflare:
        assert account_id == self._fleet.account.account_id
        return self._fleet.cloudflare

    def called(self, block: str) -> Cloudflare:
        return self._others[block]

    def account_of(self, target: object) -> Fleet:
        return self._fleet

    def lock_of(self, target: object) -> str:
        return f"target/{target}"


def restorer(
    fleet: Fleet,
    *vaults: Vault,
    others: dict[str, Cloudflare] | None = None,
    check: Callable[[], None] = lambda: None,
    **options: Any,
) -> Restorer:
    """Return what restores the snapshots of *fleet*."""
    return Restorer(
        Workspace.load(fleet.root),
        fleet.ledger,
        fleet.open(*vaults, **options),
        FleetAccounts(fleet, others),
        actor="tests",
        say=fleet.told.append,
        check=check,
        clock=fleet.clock,
    )


def die_at(write: int) -> Callable[[], None]:
    """Return a check that leaves everything as it is before the given write, as a crash would."""
    calls = iter(range(1, 100))

    def check() -> None:
        if next(calls) == write:
            raise LockLost("taken over")

    return check


def act_at(write: int, act: Callable[[], object]) -> Callable[[], None]:
    """Return a check during which somebody else does something, just before the given write."""
    calls = iter(range(1, 100))

    def check() -> None:
        if next(calls) == write:
            act()

    return check


def everything(fleet: Fleet, database_id: str) -> dict[str, Any]:
    """Return schema and rows of a database as the API gives them."""
    found: dict[str, Any] = {}
    schema = fleet.cloudflare.d1.raw(
        database_id, "SELECT type,name,tbl_name,sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type,name"
    )[0].results.rows
    found[""] = [row for row in schema if not row[1].startswith("_cf_")]
    for kind, name, _, _ in found[""]:
        if kind == "table" and not name.startswith("found_"):
            found[name] = fleet.cloudflare.d1.raw(database_id, f'SELECT * FROM "{name}"')[0].results.rows
    return found


def keys(fleet: Fleet, namespace_id: str) -> list[tuple[Any, ...]]:
    """Return a namespace's keys with all that belongs to them."""
    kv = fleet.cloudflare.kv
    return [
        (key.name, kv.get_value(namespace_id, key.name), key.expiration, key.metadata) for key in kv.keys(namespace_id)
    ]
