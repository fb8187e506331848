"""A workspace with a database and a namespace on an account of the embedded cloud, and its backups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyrage
import pytest

from clodo.backups.backups import Backups
from clodo.backups.manifest import Manifest
from clodo.backups.vault import Vault
from clodo.cloudflare.budget import UnlimitedBudget
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.clock import Clock
from clodo.cloudflare.zones import Zone
from clodo.ledger import Ledger
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace
from tests.fixtures.embedded_cloud import CloudAccount

SCHEMA = """
CREATE TABLE members(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, balance REAL, photo BLOB);
CREATE TABLE notes(member INT REFERENCES members(id), text TEXT);
CREATE INDEX notes_by_member ON notes(member);
CREATE TABLE log(text);
CREATE TRIGGER noted AFTER INSERT ON notes BEGIN INSERT INTO log VALUES('noted ' || new.text); END;
CREATE VIEW rich AS SELECT name FROM members WHERE balance > 10;
CREATE VIRTUAL TABLE found USING fts5(text, content='notes');
INSERT INTO members(name, balance, photo) VALUES('Ann', 19.99, X'00FF'), ('Bob', NULL, NULL),
('Zoë\nO''Hara', 0.1, X'');
INSERT INTO notes VALUES(1, 'first'), (3, 'second');
INSERT INTO found(found) VALUES('rebuild');
"""


@dataclass
class Fleet:
    """
    A workspace, the account that it is on, and what may be done with both.

    Attributes:
        identity: Opens its snapshots.

        told: What was said to the operator.
    """

    root: Path
    account: CloudAccount
    cloudflare: Cloudflare
    ledger: Ledger
    identity: pyrage.x25519.Identity
    database_id: str
    namespace_id: str
    told: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def open(self, *vaults: Vault, say: Callable[[str], None] | None = None, **options: Any) -> Backups:
        """Open its backups in *vaults*, the folder ``vault`` by default."""
        places = vaults or (Vault.open("local", str(self.root / "vault")),)
        options = {"identities": (self.identity,), "clock": self.clock} | options
        workspace = Workspace.load(self.root)
        return Backups(workspace, self.ledger, places, actor="tests", say=say or self.told.append, **options)

    def back_up(self, *vaults: Vault, **options: Any) -> Manifest:
        """Take a snapshot."""
        return self.open(*vaults).create(self.account_of, **options)

    def account_of(self, target: Target) -> Fleet:
        """Return what stands for every target's account."""
        return self

    def databases(self, name: str) -> str:
        """Find a database."""
        return self.cloudflare.d1.get_by_name(name).uuid

    @property
    def zones(self) -> list[Zone]:
        """Return the account's zones."""
        return self.cloudflare.zones.list()

    def namespaces(self, title: str) -> str:
        """Find a namespace."""
        return self.cloudflare.kv.get_by_title(title).id

    def sql(self, text: str) -> list[list[Any]]:
        """Run SQL and return the last statement's rows."""
        return self.cloudflare.d1.raw(self.database_id, text)[-1].results.rows

    def files(self) -> list[Path]:
        """Return every file in the vault."""
        return sorted(path for path in (self.root / "vault").rglob("*") if path.is_file())


@pytest.fixture
def fleet(account: CloudAccount, tmp_path: Path) -> Iterator[Fleet]:
    """A workspace with one service, whose database and namespace hold something of everything."""
    identity = pyrage.x25519.Identity.generate()
    with Cloudflare(account.account_id, account.token, account.cloud.url, budget=UnlimitedBudget()) as cloudflare:
        database = cloudflare.d1.create("shop-db").uuid
        namespace = cloudflare.kv.create("shop-kv").id
        cloudflare.d1.query(database, SCHEMA)
        cloudflare.kv.put_value(namespace, "plain", b"text")
        cloudflare.kv.put_value(namespace, "bytes", b"\xff\x00", metadata={"kind": "logo"}, expiration=4_000_000_000)
        cloudflare.kv.put_value(namespace, "replaced", "\ufffd".encode())
        service = tmp_path / "shop"
        service.mkdir()
        (service / "wrangler.toml").write_text(
            'name = "shop"\nmain = "index.js"\ncompatibility_date = "2026-01-01"\n'
            '[[d1_databases]]\nbinding = "DB"\ndatabase_name = "shop-db"\n'
            f'[[kv_namespaces]]\nbinding = "KV"\nid = "{namespace}"\n'
        )
        (service / "index.js").write_text("export default {};\n")
        (tmp_path / "portfolio.toml").write_text(
            f'[portfolio]\nname = "fleet"\n[services.shop]\ntags = ["money"]\n'
            f'[backups]\nrecipients = ["{identity.to_public()}"]\ninclude = ["d1", "kv"]\n'
        )
        with Ledger.open(tmp_path / "ledger.sqlite3") as ledger:
            yield Fleet(tmp_path, account, cloudflare, ledger, identity, database, namespace)
