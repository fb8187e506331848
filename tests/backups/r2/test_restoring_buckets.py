"""Buckets brought back: content, metadata, and nothing left when that fails."""

from __future__ import annotations

import pytest

from clodo.backups.manifest import Kind
from clodo.backups.restoring.plan import Wish
from clodo.backups.restoring.rebinding import rebind
from clodo.backups.vault import Vault
from clodo.errors import BadUsage, SnapshotDamaged
from tests.backups.r2.test_buckets import bucket, put
from tests.backups.restores import restorer

__all__ = ["bucket"]


def objects(fleet, name):
    """Return what is in a bucket: key to content and metadata."""
    found = {}
    for item in fleet.cloudflare.r2.objects(name):
        file = fleet.root / "object"
        assert fleet.cloudflare.r2.get_file(name, item.key, file) == item.size
        found[item.key] = (file.read_bytes(), item.http_metadata, item.custom_metadata, item.etag)
    return found


def test_a_bucket_comes_back_with_every_object(bucket):
    """Deleted with all its objects: odd keys, empty objects and headers are as they were; the name is free again."""
    put(
        bucket,
        "page",
        b"<p>",
        {"content-type": "text/html", "cache-control": "no-store", "x-amz-meta-kind": "logo", "expires": EXPIRES},
    )
    before = objects(bucket, "pictures")
    bucket.back_up(kinds=[Kind.R2])
    for key in before:
        bucket.cloudflare.r2.delete_object("pictures", key)
    bucket.cloudflare.r2.delete("pictures")

    restored = restorer(bucket).restore(Wish())

    assert [(item.name, item.items) for item in restored.resources] == [("pictures", 3)]
    assert objects(bucket, "pictures") == before
    assert len(before["page"][1]) == 3


EXPIRES = "Thu, 01 Oct 2026 16:00:00 GMT"


def test_a_bucket_that_is_there_stays_and_the_service_can_be_pointed_at_the_new_one(bucket):
    """In place is refused; the new one has another name, which the config gets."""
    bucket.back_up(kinds=[Kind.R2])
    put(bucket, "late", b"1")
    with pytest.raises(BadUsage, match="new ones only"):
        restorer(bucket).plan(Wish(in_place=True))

    restored = restorer(bucket).restore(Wish(rename=(("pictures", "pictures-again"),)))
    rebind(bucket.root, restored)

    assert "late" in objects(bucket, "pictures")
    assert len(objects(bucket, "pictures-again")) == 2
    assert 'bucket_name = "pictures-again"' in (bucket.root / "shop" / "wrangler.toml").read_text()


def test_a_lost_pack_leaves_no_bucket_behind(bucket):
    """The part of a pack is gone when it is its turn: the bucket that was begun is deleted with its objects."""
    bucket.back_up(kinds=[Kind.R2])
    put(bucket, "new", b"new")
    manifest = bucket.back_up(kinds=[Kind.R2])
    packs = sorted((item for item in manifest.archives if "pack_of" in item.facts), key=lambda item: item.id)
    (part,) = packs[-1].parts
    (bucket.root / "vault" / "objects" / part.sha256[:2] / part.sha256).unlink()
    place = Vault.open("local", str(bucket.root / "vault"))

    with pytest.raises(SnapshotDamaged):
        restorer(bucket, place).restore(Wish(snapshot=manifest.id))

    assert list(bucket.cloudflare.r2.buckets()) == ["pictures"]
