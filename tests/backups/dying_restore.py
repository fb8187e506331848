"""Restores or drills in a process of its own, which is killed at a request that is counted out."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import httpx
import pyrage

from clodo.backups.backups import Backups
from clodo.backups.drilling import Driller
from clodo.backups.restoring.plan import Wish
from clodo.backups.restoring.restorer import Restorer
from clodo.backups.vault import Vault
from clodo.cloudflare.budget import UnlimitedBudget
from clodo.cloudflare.client import Cloudflare
from clodo.ledger import Ledger
from clodo.workspace.workspace import Workspace
from tests.backups.dying import Account


class DyingTransport(httpx.HTTPTransport):
    """Sends requests; the process is killed before or after the one number *last*."""

    def __init__(self, last: int, *, after: bool) -> None:
        super().__init__()
        self.calls = 0
        self._last = last
        self._after = after

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        is_last = self.calls == self._last
        if is_last and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        response = super().handle_request(request)
        if is_last:
            response.read()
            os.kill(os.getpid(), signal.SIGKILL)
        return response


class Accounts(Account):
    """The one account there is."""

    def client(self, account_id: str) -> Cloudflare:
        return self.cloudflare

    def called(self, block: str) -> Cloudflare:
        raise AssertionError(block)

    def lock_of(self, target: object) -> str:
        return f"target/{target}"


def main() -> None:
    """Do what standard input says; print how many requests it took, if it lives."""
    said = json.load(sys.stdin)
    root = Path(said["root"])
    transport = DyingTransport(said["last"], after=said["after"])
    with (
        Cloudflare(
            said["account_id"], said["token"], said["url"], budget=UnlimitedBudget(), transport=transport
        ) as cloudflare,
        Ledger.open(root / "ledger.sqlite3") as ledger,
    ):
        workspace = Workspace.load(root)
        identity = pyrage.x25519.Identity.from_str(said["identity"])
        vault = Vault.open("local", str(root / "vault"))
        backups = Backups(workspace, ledger, [vault], actor="dying", identities=[identity])
        accounts = Accounts(cloudflare)
        if said["what"] == "drill":
            Driller(workspace, ledger, backups, accounts).drill()
        else:
            only = tuple(said.get("only", ()))
            wish = Wish(snapshot=said["snapshot"], only=only, in_place=said["what"] == "in place")
            Restorer(workspace, ledger, backups, accounts, actor="dying").restore(wish)
    sys.stdout.write(f"{transport.calls}\n")


if __name__ == "__main__":
    main()
