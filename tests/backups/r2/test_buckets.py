"""Buckets in snapshots: whole, and never read twice."""

from __future__ import annotations

import pytest

from clodo.backups.documents import read_documents
from clodo.backups.manifest import Kind
from clodo.backups.r2.packs import read_pack
from clodo.backups.verification import Level, open_archive
from clodo.errors import PartlyDone


@pytest.fixture
def bucket(fleet):
    """A bucket with two objects, bound to the service."""
    fleet.account.result("POST", "/r2/buckets", json={"name": "pictures"})
    config = fleet.root / "shop" / "wrangler.toml"
    config.write_text(config.read_text() + '[[r2_buckets]]\nbinding = "PICTURES"\nbucket_name = "pictures"\n')
    put(fleet, "a/%2E%2E/é 1.png", b"\x89PNG" * 1000, {"content-type": "image/png"})
    put(fleet, "empty", b"")
    return fleet


def put(fleet, key, content, headers=None):
    fleet.account.result("PUT", f"/r2/buckets/pictures/objects/{key}", content=content, headers=headers or {})


def contents(fleet, manifest):
    """Read all objects of a snapshot back: key to content and metadata."""
    vault = fleet.open().vault(None)
    packs = {}
    for archive in manifest.archives:
        if "pack_of" in archive.facts:
            pack = read_pack(open_archive(vault, archive, (fleet.identity,)))
            packs[archive.id] = {name: b"".join(content) for name, content in pack}
    index = manifest.find(Kind.R2, fleet.account.account_id, "pictures")
    return {
        value["key"]: (packs[value["pack"]][value["member"]], value.get("http_metadata"))
        for _, value in read_documents(open_archive(vault, index, (fleet.identity,)))
    }


def test_every_object_comes_back_with_its_metadata(bucket):
    """Odd keys and empty objects too; restoring compares each object's hash."""
    manifest = bucket.back_up(kinds=[Kind.R2])

    held = contents(bucket, manifest)

    assert manifest.is_good
    assert held["a/../é 1.png"][0] == b"\x89PNG" * 1000
    assert held["a/../é 1.png"][1]["contentType"] == "image/png"
    assert held["empty"][0] == b""
    assert bucket.open().verify(manifest.id, Level.RESTORE).rows == 2


def test_only_what_is_new_is_read(bucket):
    """An unchanged bucket costs a list; a new object costs itself; what was deleted is not in the next snapshot."""
    first = bucket.back_up(kinds=[Kind.R2])
    second = bucket.back_up(kinds=[Kind.R2])
    put(bucket, "new", b"new")
    bucket.account.result("DELETE", "/r2/buckets/pictures/objects/empty")

    third = bucket.back_up(kinds=[Kind.R2])

    assert second.own_size == 0
    assert third.find(Kind.R2, bucket.account.account_id, "pictures").requests == 2
    assert {archive.captured_in for archive in third.archives} == {first.id, third.id}
    assert {key: content for key, (content, _) in contents(bucket, third).items()} == {
        "a/../é 1.png": b"\x89PNG" * 1000,
        "new": b"new",
    }
    assert bucket.open().verify(third.id, Level.RESTORE).is_good


def test_a_machine_that_forgot_what_it_had_read_reads_it_again(bucket):
    """Without its memory everything is read once more, and the snapshot is as good."""
    bucket.back_up(kinds=[Kind.R2])
    for file in (bucket.root / ".clodo" / "backups" / "buckets").iterdir():
        file.unlink()
    put(bucket, "new", b"new")

    manifest = bucket.back_up(kinds=[Kind.R2])

    assert len(contents(bucket, manifest)) == 3
    assert bucket.open().verify(manifest.id, Level.RESTORE).is_good


def test_a_bucket_that_is_not_there_is_missing(fleet):
    """It is named, with the reason."""
    config = fleet.root / "shop" / "wrangler.toml"
    config.write_text(config.read_text() + '[[r2_buckets]]\nbinding = "PICTURES"\nbucket_name = "gone"\n')

    manifest = fleet.back_up(kinds=[Kind.R2, Kind.KV])

    assert [item.name for item in manifest.missing] == ["gone"]
    with pytest.raises(PartlyDone, match="no R2 bucket gone"):
        fleet.open().raise_unless_good(manifest)
