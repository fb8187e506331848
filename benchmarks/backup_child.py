"""Takes one snapshot in a process of its own, so that its memory and seconds are its own."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import structlog

from clodo.backups.backups import Backups
from clodo.backups.manifest import Kind
from clodo.backups.vault import Vault
from clodo.cloudflare.budget import UnlimitedBudget
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.zones import Zone
from clodo.ledger import Ledger
from clodo.workspace.workspace import Workspace


class Account:
    """What stands for every target's account."""

    def __init__(self, cloudflare: Cloudflare) -> None:
        self.cloudflare = cloudflare

    def account_of(self, target: object) -> Account:
        """Return it, whatever the target."""
        return self

    def databases(self, name: str) -> str:
        """Find a database."""
        return self.cloudflare.d1.get_by_name(name).uuid

    @property
    def zones(self) -> tuple[Zone, ...]:
        """Return none: no Worker has routes."""
        return ()

    def namespaces(self, title: str) -> str:
        """Find a namespace."""
        return self.cloudflare.kv.get_by_title(title).id


def main() -> None:
    """Do what standard input says, and answer in JSON."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    said = json.load(sys.stdin)
    root = Path(said["root"])
    with (
        Ledger.open(root / "ledger.sqlite3") as ledger,
        Cloudflare(
            said["account_id"],
            said["token"],
            said["url"],
            # With a user it shares that one's budget with other processes; else it takes what it can get.
            budget=ledger.budget(said["user"]) if "user" in said else UnlimitedBudget(),
        ) as cloudflare,
    ):
        backups = Backups(Workspace.load(root), ledger, [Vault.open("local", str(root / "vault"))], actor="benchmark")
        before = resource.getrusage(resource.RUSAGE_SELF)
        began = time.perf_counter()
        manifest = backups.create(Account(cloudflare).account_of, kinds=[Kind(kind) for kind in said["kinds"]])
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
    answer = {
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_bytes": after.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "bytes": manifest.size,
        "new_bytes": manifest.own_size,
        "plain_bytes": sum(archive.plain_size for archive in manifest.archives),
        "requests": sum(archive.requests for archive in manifest.archives),
        "rows": sum(
            table["rows"] for archive in manifest.archives for table in archive.facts.get("tables", {}).values()
        ),
        "is_good": manifest.is_good,
        "parts": [part.sha256 for part in manifest.archives[0].parts],
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
