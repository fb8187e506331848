"""Backups from the first request to the proof, on the embedded cloud."""

from __future__ import annotations

import shutil
import subprocess
from base64 import b64decode
from datetime import timedelta

import apsw
import pyrage
import pytest

from clodo.backups.documents import read_documents
from clodo.backups.manifest import Exactness, Kind
from clodo.backups.vault import Vault
from clodo.backups.verification import Level, open_archive
from clodo.errors import (
    BackupTooOld,
    BadConfiguration,
    IdentityMissing,
    LockHeld,
    NotFound,
    PartlyDone,
    SnapshotDamaged,
    SnapshotNotFound,
    SnapshotNotTrusted,
)
from clodo.ledger import Owner
from tests.fixtures.programs import need


def test_a_snapshot_holds_what_bindings_name_and_is_proven_by_restoring_it(fleet):
    """Database and namespace are in it; each level of verification passes and is remembered."""
    backups = fleet.open()

    manifest = backups.create(fleet.account_of, reason="tonight")
    verifications = [backups.verify(manifest.id, level) for level in Level]

    assert manifest.is_good
    assert [archive.label for archive in manifest.archives] == ["d1/shop-db", "kv/shop-kv"]
    assert manifest.archives[0].facts["tables"]["members"]["rows"] == 3
    assert manifest.archives[0].targets == ("shop@production",)
    assert manifest.archives[1].facts == {"keys": 3, "vanished": 0}
    assert all(item.is_good for item in verifications)
    (listed,) = backups.all()
    assert (listed.record.verified_level, listed.is_good) == ("restore", True)


def test_age_zstd_and_sqlite_restore_a_database_without_clodo(fleet, tmp_path):
    """What Debian's age, zstd and sqlite3 make of the parts has every row, full-text search and triggers."""
    need("age", "zstd", "sqlite3")
    manifest = fleet.back_up()
    archive = manifest.find(Kind.D1, fleet.account.account_id, fleet.database_id)
    key = tmp_path / "identity.txt"
    key.write_text(f"{fleet.identity}\n")
    parts = [str(tmp_path / "vault" / "objects" / part.sha256[:2] / part.sha256) for part in archive.parts]

    subprocess.run(
        ["sh", "-ec", 'cat "$@" | age -d -i "$0" | zstd -d | sqlite3 -bail new.db', str(key), *parts],
        cwd=tmp_path,
        check=True,
    )

    restored = apsw.Connection(str(tmp_path / "new.db"))
    for table in ("members", "notes", "log", "rich"):
        columns = "*" if table == "rich" else "rowid, *"
        rows = [list(row) for row in restored.execute(f"SELECT {columns} FROM {table}")]
        there = [
            [bytes(cell) if isinstance(cell, list) else cell for cell in row]
            for row in fleet.sql(f"SELECT {columns} FROM {table}")
        ]
        assert rows == there
    assert list(restored.execute("SELECT rowid FROM found WHERE found MATCH 'second'")) == [(2,)]
    restored.execute("INSERT INTO notes VALUES(2, 'third')")
    assert list(restored.execute("SELECT text FROM log ORDER BY rowid DESC LIMIT 1")) == [("noted third",)]
    restored.execute("INSERT INTO members(name) VALUES('next')")
    assert list(restored.execute("SELECT max(id) FROM members")) == [(4,)]


def test_an_unchanged_database_is_not_read_again(fleet):
    """The second snapshot uses the first one's archives; a write makes the database's new."""
    first = fleet.back_up()

    second = fleet.back_up()
    fleet.sql("UPDATE members SET balance = 20 WHERE id = 1")
    third = fleet.back_up()

    assert second.own_size == 0
    assert second.parents == (first.id,)
    assert [archive.captured_in for archive in third.archives] == [third.id, first.id]
    assert fleet.open().verify(third.id, Level.RESTORE).is_good


def test_two_vaults_get_the_same_snapshot(fleet, tmp_path):
    """With one of them burnt down, the other proves and lists what was there; a new one gets everything again."""
    here, there = Vault.open("here", str(tmp_path / "here")), Vault.open("there", str(tmp_path / "there"))
    manifest = fleet.back_up(here, there)
    shutil.rmtree(tmp_path / "here")

    backups = fleet.open(Vault.open("here", str(tmp_path / "here")), there)
    again = backups.create(fleet.account_of)

    assert backups.verify(manifest.id, Level.RESTORE, vault="there").is_good
    assert [(item.record.vault, item.is_lost) for item in backups.all()][:2] == [("here", True), ("there", False)]
    assert again.parents == ()
    assert all(backups.verify(again.id, Level.RESTORE, vault=name).is_good for name in ("here", "there"))


def test_a_database_that_is_written_to_all_the_time_is_fuzzy_and_the_run_not_green(fleet):
    """After as many passes as allowed the archive says fuzzy; the snapshot is published, and not a good one."""
    backups = fleet.open()

    manifest = backups.create(RestlessAccount(fleet).account_of, kinds=[Kind.D1])

    assert manifest.archives[0].exactness is Exactness.FUZZY
    assert manifest.archives[0].facts["passes"] == 3
    assert not manifest.is_good
    with pytest.raises(PartlyDone, match="written to while it was read"):
        backups.raise_unless_good(manifest)


def test_what_is_not_there_makes_the_snapshot_incomplete(fleet):
    """A binding that names no database is missing from the snapshot, by name and with the reason."""
    config = fleet.root / "shop" / "wrangler.toml"
    config.write_text(config.read_text().replace("shop-db", "gone-db"))
    backups = fleet.open()

    manifest = backups.create(fleet.account_of)

    assert [(item.kind, item.name) for item in manifest.missing] == [(Kind.D1, "gone-db")]
    with pytest.raises(PartlyDone, match="gone-db is missing"):
        backups.raise_unless_good(manifest)


def test_targets_and_tags_choose_what_is_backed_up(fleet):
    """A tag that no service has is refused; kinds leave out the others."""
    backups = fleet.open()

    manifest = backups.create(fleet.account_of, tags=["money"], kinds=[Kind.KV])

    assert [archive.kind for archive in manifest.archives] == [Kind.KV]
    assert manifest.selection == {"targets": [], "tags": ["money"], "kinds": ["kv"], "is_whole": False}
    with pytest.raises(NotFound, match="nothing to back up"):
        backups.create(fleet.account_of, kinds=[Kind.R2])


def test_without_recipients_nothing_is_backed_up(fleet):
    """Nobody could open it; the message says how to make a key."""
    portfolio = fleet.root / "portfolio.toml"
    portfolio.write_text(portfolio.read_text().replace(str(fleet.identity.to_public()), "").replace('[""]', "[]"))

    with pytest.raises(BadConfiguration, match="no recipients") as raised:
        fleet.back_up()

    assert "clodo backup key" in raised.value.hint


def test_two_backups_of_one_portfolio_exclude_each_other(fleet):
    """The second is told who holds the lock; nothing is published twice."""
    owner = Owner.current("another backup")
    with (
        fleet.ledger.locks.acquire("backup/fleet", owner, "another backup"),
        pytest.raises(LockHeld, match="another backup"),
    ):
        fleet.back_up()

    assert fleet.open().all() == []


def test_a_key_that_does_not_fit_opens_nothing(fleet):
    """The wrong identity and none at all are told apart from damage."""
    manifest = fleet.back_up()

    with pytest.raises(IdentityMissing, match="none of the given"):
        fleet.open(identities=(pyrage.x25519.Identity.generate(),)).verify(manifest.id, Level.OPEN)
    with pytest.raises(IdentityMissing, match="needs the age identity"):
        fleet.open(identities=()).verify(manifest.id, Level.RESTORE)
    assert fleet.open(identities=()).verify(manifest.id, Level.HASHES).is_good


def test_a_lost_manifest_is_noticed(fleet):
    """The ledger knows what was there: it is lost, not unknown."""
    manifest = fleet.back_up()
    shutil.rmtree(fleet.root / "vault" / "snapshots" / manifest.id)
    backups = fleet.open()

    with pytest.raises(SnapshotDamaged, match="its manifest is lost"):
        backups.verify(manifest.id, Level.HASHES)
    with pytest.raises(SnapshotNotFound):
        backups.verify("s-never-was", Level.HASHES)
    assert [item.is_lost for item in backups.all()] == [True]


def test_a_manifest_under_another_id_is_noticed(fleet):
    """Yesterday's snapshot put in the place of today's is a swap."""
    old = fleet.back_up()
    fleet.sql("DELETE FROM notes")
    new = fleet.back_up()
    snapshots = fleet.root / "vault" / "snapshots"
    shutil.copy(snapshots / old.id / "manifest.json", snapshots / new.id / "manifest.json")

    with pytest.raises(SnapshotNotTrusted, match="swapped"):
        fleet.open().verify(new.id, Level.HASHES)


def test_a_part_never_stands_for_the_whole(fleet):
    """A later snapshot of some kinds is not the newest one, quiets no alarm, and lets no whole one go."""
    whole = fleet.back_up()
    part = fleet.back_up(kinds=[Kind.KV])
    backups = fleet.open()

    assert (whole.is_whole, part.is_whole) == (True, False)
    assert backups.find(None) == whole.id
    with pytest.raises(BackupTooOld):
        backups.raise_if_too_old(part.created_at + backups.settings.objective)
    [pruned] = backups.prune(dry_run=True)
    assert {one.snapshot.id: "newest good one" in one.reasons for one in pruned.decisions} == {
        whole.id: True,
        part.id: True,
    }


def test_a_snapshot_that_is_too_old_is_an_alarm(fleet):
    """Absence is an alarm too; so is a snapshot that was found wrong since."""
    backups = fleet.open()
    with pytest.raises(BackupTooOld, match="none"):
        backups.raise_if_too_old(fleet.clock.now())
    manifest = backups.create(fleet.account_of)

    backups.raise_if_too_old(manifest.created_at + timedelta(hours=25))

    with pytest.raises(BackupTooOld, match=r"27\.0 hours old"):
        backups.raise_if_too_old(manifest.created_at + timedelta(hours=27))
    fleet.ledger.snapshots.failed(manifest.id, "local", "damaged")
    with pytest.raises(BackupTooOld):
        backups.raise_if_too_old(manifest.created_at)


def test_workers_and_zones_are_kept_whole_but_for_the_values_of_secrets(fleet):
    """Code, live version, settings, triggers, names of secrets, and every DNS record with what we know nothing of."""
    account = fleet.account
    account.put_worker("shop", bindings=[{"name": "KEY", "type": "secret_text", "text": "hush-4711"}])
    account.result("PUT", "/workers/scripts/shop/schedules", json=[{"cron": "0 3 * * *"}])
    record = {"type": "TXT", "name": account.zone, "content": '"kept"', "comment": "by us", "ttl": 300}
    assert account.api.post(f"/zones/{account.zone_id}/dns_records", json=record).is_success
    config = fleet.root / "shop" / "wrangler.toml"
    config.write_text(f'routes = ["{account.zone}/*"]\n' + config.read_text())
    backups = fleet.open()

    manifest = backups.create(fleet.account_of, kinds=[Kind.WORKER, Kind.DNS])

    assert manifest.is_good
    held = {}
    for archive in manifest.archives:
        for what, value in read_documents(open_archive(backups.vault(None), archive, (fleet.identity,))):
            held.setdefault(what, []).append(value)
    assert held["secrets"] == [[{"name": "KEY", "type": "secret_text"}]]
    assert "hush-4711" not in str(held)
    assert [item["cron"] for item in held["schedules"][0]["schedules"]] == ["0 3 * * *"]
    assert b"hello" in b64decode(held["module"][0]["base64"])
    assert held["version"][0]["resources"]["bindings"][0]["name"] == "KEY"
    assert [item["comment"] for item in held["record"] if item["type"] == "TXT"] == ["by us"]
    assert backups.verify(manifest.id, Level.RESTORE).is_good
    assert backups.create(fleet.account_of, kinds=[Kind.WORKER, Kind.DNS]).own_size == 0


def test_a_worker_that_was_never_deployed_is_named_and_not_missing(fleet):
    """There is nothing of it to back up; the manifest says so."""
    manifest = fleet.back_up(kinds=[Kind.WORKER, Kind.KV])

    assert manifest.is_good
    assert manifest.selection["not_deployed"] == ["shop"]


class RestlessAccount:
    """An account on which somebody writes right after each bookmark."""

    def __init__(self, fleet):
        self._fleet = fleet

    def account_of(self, target):
        return self

    def databases(self, name):
        return self._fleet.databases(name)

    def namespaces(self, title):
        return self._fleet.namespaces(title)

    @property
    def cloudflare(self):
        return RestlessCloudflare(self._fleet)


class RestlessCloudflare:
    """A client whose database is written to by somebody else whenever a bookmark was read."""

    def __init__(self, fleet):
        self._fleet = fleet
        self.account_id = fleet.account.account_id
        self.d1 = self
        self.raw = fleet.cloudflare.d1.raw

    def with_lane(self, lane):
        return self

    def bookmark(self, database_id):
        found = self._fleet.cloudflare.d1.bookmark(database_id)
        self._fleet.sql("INSERT INTO log VALUES('meanwhile')")
        return found
