"""Vaults: the same on a folder, in memory, and in R2 through its S3 endpoint."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from clodo.backups.manifest import Archive, Exactness, Kind, Manifest
from clodo.backups.signing import Signer
from clodo.backups.vault import PART_BYTES, Vault
from clodo.errors import BadConfiguration, NotAuthorised, SnapshotDamaged, SnapshotNotFound, VaultUnavailable
from tests.emulator.r2.conftest import keys_of

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def r2_options(account):
    keys = keys_of(account)
    return {
        "endpoint": f"{keys.endpoint}",
        "access_key_id": keys.access_key,
        "secret_access_key": keys.secret,
        "region": "auto",
        "virtual_hosted_style_request": "false",
    }


@pytest.fixture(params=["folder", "memory", "r2"])
def vault(request, tmp_path):
    if request.param == "folder":
        return Vault.open("v", str(tmp_path / "vault"))
    if request.param == "memory":
        return Vault.open("v", "memory://")
    account = request.getfixturevalue("account")
    account.result("POST", "/r2/buckets", json={"name": "vault"})
    return Vault.open("v", "s3://vault/of/ours", r2_options(account))


def stored(vault, tmp_path, content, name="d1"):
    file = tmp_path / "archive.age"
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return Archive(
        Kind.D1, "a" * 32, name, name, vault.store_archive(file), digest, len(content), "0" * 64, 7, "s1", NOW, 0.5, 3,
        Exactness.EXACT,
    )  # fmt: skip


def manifest_of(tmp_path, *archives, snapshot="s1"):
    return Manifest(snapshot, "shop", NOW, 1.25, archives).signed(Signer.load(tmp_path / "state"))


def test_a_snapshot_exists_once_its_manifest_does(vault, tmp_path):
    """What was stored and published is read back; before that there is nothing."""
    content = os.urandom(1000)
    archive = stored(vault, tmp_path, content)
    manifest = manifest_of(tmp_path, archive)
    assert vault.snapshots() == []
    with pytest.raises(SnapshotNotFound):
        vault.manifest("s1")

    vault.publish(manifest)
    vault.publish(manifest)

    assert vault.snapshots() == ["s1"]
    assert vault.manifest("s1") == manifest
    assert b"".join(vault.read_archive(archive)) == content
    assert [part.sha256 for part in vault.parts()] == [archive.sha256]


def test_nothing_is_ever_overwritten(vault, tmp_path):
    """Another manifest of the same id is refused; the same part is not stored twice."""
    archive = stored(vault, tmp_path, b"content")
    vault.publish(manifest_of(tmp_path, archive))

    again = stored(vault, tmp_path, b"content")

    assert again.parts == archive.parts
    with pytest.raises(SnapshotDamaged, match="another snapshot s1"):
        vault.publish(replace(manifest_of(tmp_path, archive), portfolio="other"))
    assert vault.manifest("s1").portfolio == "shop"


def test_large_archives_are_cut_and_a_lost_or_foreign_part_is_noticed(vault, tmp_path):
    """Parts in another order, one of them gone: neither is what was written."""
    content = os.urandom(PART_BYTES + 5)
    archive = stored(vault, tmp_path, content)

    assert [part.size for part in archive.parts] == [PART_BYTES, 5]
    assert b"".join(vault.read_archive(archive)) == content
    with pytest.raises(SnapshotDamaged, match="not in the order"):
        list(vault.read_archive(replace(archive, parts=archive.parts[::-1])))
    vault.delete_part(archive.parts[1].sha256)
    vault.delete_part(archive.parts[1].sha256)
    with pytest.raises(SnapshotDamaged, match="part 2 of 2 is not in the vault"):
        list(vault.read_archive(archive))


def test_what_is_withdrawn_is_gone(vault, tmp_path):
    """The manifest goes, the parts stay until they are deleted."""
    archive = stored(vault, tmp_path, b"content")
    vault.publish(manifest_of(tmp_path, archive))

    vault.withdraw("s1")
    vault.withdraw("s1")

    assert vault.snapshots() == []
    assert vault.size_of(archive.parts[0]) == 7


def test_a_bucket_with_object_lock_takes_snapshots_and_keeps_them(account, tmp_path):
    """Storing, publishing and storing again need no overwriting; deleting is refused as long as the lock says."""
    account.result("POST", "/r2/buckets", json={"name": "locked"})
    rule = {"id": "keep", "enabled": True, "prefix": "", "condition": {"type": "Indefinite"}}
    account.result("PUT", "/r2/buckets/locked/lock", json={"rules": [rule]})
    vault = Vault.open("locked", "s3://locked", r2_options(account))
    archive = stored(vault, tmp_path, b"content")
    manifest = manifest_of(tmp_path, archive)

    vault.publish(manifest)
    vault.publish(manifest)
    stored(vault, tmp_path, b"content")

    assert vault.manifest("s1") == manifest
    with pytest.raises((NotAuthorised, VaultUnavailable)):
        vault.withdraw("s1")
    assert vault.snapshots() == ["s1"]


def test_wrong_keys_and_impossible_places_are_said_in_a_sentence(account, tmp_path):
    """No key, no URL with a password, no stack of errors."""
    account.result("POST", "/r2/buckets", json={"name": "vault"})
    wrong = Vault.open("offsite", "s3://vault", r2_options(account) | {"secret_access_key": "hush-0815"})

    with pytest.raises(NotAuthorised, match="The vault offsite refuses access") as raised:
        wrong.snapshots()
    assert "hush-0815" not in str(raised.value)
    with pytest.raises(BadConfiguration, match="is no scheme"):
        Vault.open("v", "ftp://somewhere")
    with pytest.raises(BadConfiguration):
        Vault.open("v", "s3://vault", {"no_such_option": "x"})
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(BadConfiguration):
        Vault.open("v", str(file / "below"))
