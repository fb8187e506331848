"""``clodo backup`` on the embedded cloud: what it does, what it says, and how it ends."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from blocks import CloudflareAccount, Vault
from clodo.cli.main import main
from clodo.ledger import Ledger, Owner, default_path
from tests.fixtures.embedded_cloud import CloudAccount

CONFIG = """\
name = "shop"
main = "index.js"
compatibility_date = "2026-01-01"
[[d1_databases]]
binding = "DB"
database_name = "shop-db"
"""


class Shop:
    """A workspace with one database."""

    def __init__(self, folder: Path, account: CloudAccount, block: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.account = account
        self.capsys = capsys
        self.portfolio = f'[environments.production]\naccount = "{block}"\n[backups]\ninclude = ["d1"]\n'
        (folder / "shop").mkdir()
        (folder / "shop" / "wrangler.toml").write_text(CONFIG)
        (folder / "shop" / "index.js").write_text("export default {};\n")
        self.configure()
        database = account.result("POST", "/d1/database", json={"name": "shop-db"})["uuid"]
        sql = "CREATE TABLE members(name); INSERT INTO members VALUES('Ann'), ('Bob')"
        account.result("POST", f"/d1/database/{database}/query", json={"sql": sql})

    def configure(self, more: str = "") -> None:
        """Write the portfolio."""
        (self.folder / "portfolio.toml").write_text(self.portfolio + more)

    def clodo(self, *words: str, status: int = 0) -> tuple[str, str]:
        """Run a command in this process; return what it printed and what it said."""
        self.capsys.readouterr()
        found = main(["--workspace", str(self.folder), "backup", *words])
        out, err = self.capsys.readouterr()
        assert found == status, err
        assert "Traceback" not in err
        return out, err

    def told(self, *words: str) -> Any:
        """Run a command with --json and return what it printed."""
        return json.loads(self.clodo(*words, "--json")[0])

    def make_key(self) -> str:
        """Make an age identity, and name its recipient in the portfolio; return the identity's file."""
        file = str(self.folder / "identity.txt")
        recipient = self.told("key", "--write", file)["recipient"]
        self.configure(f'recipients = ["{recipient}"]\n')
        return file


@pytest.fixture
def shop(tmp_path: Path, account: CloudAccount, prefect_server: str, capsys: pytest.CaptureFixture[str]) -> Shop:
    """A workspace whose production is an account of the embedded cloud."""
    block = f"backup-{account.account_id[:12]}"
    CloudflareAccount(
        account_id=account.account_id,
        api_token=account.token,
        base_url=account.cloud.url,
        edge_url=account.cloud.edge_url,
    ).save(block, overwrite=True)
    return Shop(tmp_path, account, block, capsys)


def test_a_snapshot_is_taken_listed_shown_proven_and_kept(shop):
    """From the first key to the proof, as a script reads it and as a person does; no private key is ever shown."""
    identity = shop.make_key()

    manifest = shop.told("create", "--reason", "before the sale")
    (listed,) = shop.told("list")
    proof, said = shop.clodo("verify", "--level", "restore", "--identity", identity)
    shown, _ = shop.clodo("show", manifest["id"][:12])
    (pruned,) = shop.told("prune", "--dry-run")

    assert (listed["id"], listed["is_good"], listed["own_size"]) == (
        manifest["id"],
        True,
        manifest["archives"][0]["size"],
    )
    assert proof == f"{manifest['id']} in local is good: 1 archive, {listed['size']:,} bytes, 2 rows.\n"
    assert "d1/shop-db" in shown
    assert manifest["signature"]["signer"] in shown
    assert [item["stays"] for item in pruned["snapshots"]] == [True]
    assert "AGE-SECRET-KEY" not in proof + said + shown
    assert shop.told("create")["parents"] == [manifest["id"]]
    assert stat.S_IMODE(Path(identity).stat().st_mode) == 0o600


def test_what_goes_wrong_has_a_status_and_a_way_out(shop):
    """No recipients, unknown words, no snapshot, no key, damage, a missing database: each says what to do."""
    assert "clodo backup key" in shop.clodo("create", status=2)[1]
    shop.make_key()
    assert "d1, kv, r2" in shop.clodo("create", "--kind", "d2", status=2)[1]
    assert "hashes, open, restore" in shop.clodo("verify", "--level", "deep", status=2)[1]
    assert "clodo backup create" in shop.clodo("verify", status=10)[1]
    assert "is there already" in shop.clodo("key", "--write", str(shop.folder / "identity.txt"), status=2)[1]
    manifest = shop.told("create")
    assert "--identity" in shop.clodo("verify", "--level", "open", status=12)[1]
    assert "can't be read" in shop.clodo("verify", "--level", "open", "--identity", "x" * 300, status=2)[1]
    assert "Add --yes" in shop.clodo("prune", status=4)[1]
    with Ledger.open(default_path(shop.folder)) as ledger:
        name = f"backup/{shop.folder.name}"
        with ledger.locks.acquire(name, Owner.current("another one"), "another one"):
            assert "another one" in shop.clodo("create", status=11)[1]
    (part,) = manifest["archives"][0]["parts"]
    file = shop.folder / ".clodo" / "vault" / "objects" / part["sha256"][:2] / part["sha256"]
    file.write_bytes(file.read_bytes()[:-1])
    assert "is not what was written" in shop.clodo("verify", status=1)[1]
    assert shop.told("list")[0]["found_wrong"]
    wrangler = shop.folder / "shop" / "wrangler.toml"
    other = CONFIG.replace("[[d1", '[[d1_databases]]\nbinding = "GONE"\ndatabase_name = "gone-db"\n[[d1', 1)
    wrangler.write_text(other)
    assert "d1/gone-db is missing" in shop.clodo("create", status=3)[1]


def test_vaults_and_identities_come_from_blocks(shop, tmp_path):
    """Two saved vaults get every snapshot; the identity in a block opens it, so that no file is needed."""
    identity = Path(shop.make_key()).read_text()
    text = (shop.folder / "portfolio.toml").read_text()
    (shop.folder / "portfolio.toml").write_text(text + 'vaults = ["test-here", "test-there"]\n')
    assert "no vault block" in shop.clodo("create", status=2)[1]
    Vault(url=str(tmp_path / "here"), identity=identity).save("test-here", overwrite=True)
    Vault(url=str(tmp_path / "there")).save("test-there", overwrite=True)

    manifest = shop.told("create")

    found = shop.told("verify", "--level", "restore")
    assert [(item["vault"], item["snapshot"], item["rows"]) for item in found] == [
        ("test-here", manifest["id"], 2),
        ("test-there", manifest["id"], 2),
    ]
    assert [item["vault"] for item in shop.told("list")] == ["test-here", "test-there"]
