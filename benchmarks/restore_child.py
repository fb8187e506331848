"""Restores a database in a process of its own, so that its memory and seconds are its own."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import pyrage
import structlog

from benchmarks.backup_child import Account
from clodo.backups.backups import Backups
from clodo.backups.restoring.plan import Wish
from clodo.backups.restoring.restorer import Restorer
from clodo.backups.vault import Vault
from clodo.cloudflare.budget import UnlimitedBudget
from clodo.cloudflare.client import Cloudflare
from clodo.ledger import Ledger
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace


class Accounts:
    """The one account there is, however it is asked for."""

    def __init__(self, cloudflare: Cloudflare) -> None:
        self._cloudflare = cloudflare

    def client(self, account_id: str) -> Cloudflare:
        """Return its client."""
        return self._cloudflare

    def called(self, block: str) -> Cloudflare:
        """Return its client."""
        return self._cloudflare

    def account_of(self, target: Target) -> Account:
        """Return it."""
        return Account(self._cloudflare)

    def lock_of(self, target: Target) -> str:
        """Return the name of a lock that nobody else holds."""
        return f"target/{target}"


def main() -> None:
    """Do what standard input says, and answer in JSON."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    said = json.load(sys.stdin)
    root = Path(said["root"])
    compared_from = 0.0

    def note(line: str) -> None:
        nonlocal compared_from
        if "comparing" in line:
            compared_from = time.perf_counter()

    with (
        Ledger.open(root / "ledger.sqlite3") as ledger,
        Cloudflare(said["account_id"], said["token"], said["url"], budget=UnlimitedBudget()) as cloudflare,
    ):
        workspace = Workspace.load(root)
        identity = pyrage.x25519.Identity.from_str(said["identity"])
        place = Vault.open("local", str(root / "vault"))
        backups = Backups(workspace, ledger, [place], actor="benchmark", identities=(identity,))
        restorer = Restorer(workspace, ledger, backups, Accounts(cloudflare), actor="benchmark", say=note)
        began = time.perf_counter()
        restored = restorer.restore(Wish(only=("d1/shop-db",)))
        ended = time.perf_counter()
    (database,) = restored.resources
    answer = {
        "seconds": ended - began,
        "compared_seconds": ended - compared_from,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "rows": database.items,
        "id": database.id,
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
