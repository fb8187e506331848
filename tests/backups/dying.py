"""Backs up or prunes in a process of its own, killed at a call of the vault or a request that is counted out."""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from clodo.backups.backups import Backups
from clodo.backups.vault import Vault
from clodo.cloudflare.budget import DEFAULT_PATIENCE, Lane, UnlimitedBudget
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.zones import Zone
from clodo.ledger import Ledger
from clodo.workspace.workspace import Workspace

COUNTED = ("snapshots", "manifest", "store_archive", "size_of", "publish", "withdraw", "delete_part", "parts")


class DyingVault(Vault):
    """A vault at whose call number *last* the process is killed, before or after it."""

    calls = 0
    last = 0
    after = False


def _counted(name: str) -> Any:
    method = getattr(Vault, name)

    def call(self: DyingVault, *args: Any, **options: Any) -> Any:
        self.calls += 1
        is_last = self.calls == self.last
        if is_last and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(self, *args, **options)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


for _name in COUNTED:
    setattr(DyingVault, _name, _counted(_name))


class DyingBudget(UnlimitedBudget):
    """A budget at whose request number *last* the process is killed, before it is sent."""

    def __init__(self, last: int) -> None:
        self.requests = 0
        self.last = last

    def take(self, lane: Lane, count: int = 1, *, deadline: timedelta = DEFAULT_PATIENCE) -> None:
        self.requests += count
        if self.requests == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


class Account:
    """What stands for every target's account."""

    def __init__(self, cloudflare: Cloudflare) -> None:
        self.cloudflare = cloudflare

    def account_of(self, target: object) -> Account:
        return self

    def databases(self, name: str) -> str:
        return self.cloudflare.d1.get_by_name(name).uuid

    @property
    def zones(self) -> tuple[Zone, ...]:
        return ()

    def namespaces(self, title: str) -> str:
        return self.cloudflare.kv.get_by_title(title).id


def main() -> None:
    """Do what standard input says; print how many requests and calls it took, if it lives."""
    said = json.load(sys.stdin)
    root = Path(said["root"])
    vault = DyingVault.open("local", str(root / "vault"))
    assert isinstance(vault, DyingVault)
    vault.last, vault.after = said["last"], said["after"]
    budget = DyingBudget(said["last_request"])
    with (
        Cloudflare(said["account_id"], said["token"], said["url"], budget=budget) as cloudflare,
        Ledger.open(root / "ledger.sqlite3") as ledger,
    ):
        backups = Backups(Workspace.load(root), ledger, [vault], actor="dying")
        if said["what"] == "create":
            backups.create(Account(cloudflare).account_of)
        else:
            backups.prune()
    sys.stdout.write(f"{budget.requests} {vault.calls}\n")


if __name__ == "__main__":
    main()
