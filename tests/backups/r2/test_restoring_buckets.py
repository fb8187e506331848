"""Buckets brought back: content, metadata, and nothing left when that fails."""

from __future__ import annotations

import pytest

from clodo.backups.manifest import Kind
from clodo.backups.restoring.plan import Way, Wish
from clodo.backups.restoring.rebinding import rebind
from clodo.backups.vault import Vault
from clodo.errors import ApiRefused, ClodoError, LockLost, PlanIsStale, SnapshotDamaged, VerificationFailed
from tests.backups.r2.test_buckets import bucket, put
from tests.backups.restores import act_at, die_at, restorer

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
    """Without --in-place there is a new one of another name, which the config gets."""
    bucket.back_up(kinds=[Kind.R2])
    put(bucket, "late", b"1")

    restored = restorer(bucket).restore(Wish(rename=(("pictures", "pictures-again"),)))
    rebind(bucket.root, restored)

    assert "late" in objects(bucket, "pictures")
    assert len(objects(bucket, "pictures-again")) == 2
    assert 'bucket_name = "pictures-again"' in (bucket.root / "shop" / "wrangler.toml").read_text()


KEPT = "a/%2E%2E/é 1.png"


def change(fleet):
    """Change a bucket in every way: an object replaced, one gone, one with other headers, a new one."""
    put(fleet, KEPT, b"other", {"content-type": "image/png"})
    fleet.account.result("DELETE", "/r2/buckets/pictures/objects/empty")
    put(fleet, "page", b"<p>", {"content-type": "text/plain"})
    put(fleet, "late", b"1")


@pytest.fixture
def changed(bucket):
    """A bucket that was captured and then changed; gives what was in it, what is now, and the wish to have it back."""
    put(bucket, "page", b"<p>", {"content-type": "text/html"})
    put(bucket, "same", b"same")
    before = objects(bucket, "pictures")
    manifest = bucket.back_up(kinds=[Kind.R2])
    change(bucket)
    wish = Wish(snapshot=manifest.id, only=("r2/pictures",), in_place=True)
    return bucket, before, objects(bucket, "pictures"), wish


def test_in_place_a_bucket_is_as_in_the_snapshot_and_the_safety_snapshot_leads_back(changed):
    """Only what differs is written, what came later goes, as with keys; then all of it the other way round."""
    fleet, before, late, wish = changed
    puts = fleet.account.cloud.add_fault("/r2/buckets/pictures/objects/", method="PUT", nth=99, status=500)

    plan = restorer(fleet).plan(wish)
    restored = restorer(fleet).restore(wish, approved=plan.fingerprint)
    seen = next(item["seen"] for item in fleet.account.cloud.faults() if item["id"] == puts)
    fleet.account.cloud.clear_faults(puts)

    (step,) = plan.steps
    assert (step.way, step.name, step.there) == (Way.OVERWRITE, "pictures", "objects from 'a/../é 1.png' on")
    assert any("goes" in risk for risk in step.risks)
    assert seen == 3
    assert objects(fleet, "pictures") == before
    assert restored.safety is not None
    restorer(fleet).restore(Wish(snapshot=restored.safety, in_place=True))
    assert objects(fleet, "pictures") == late


@pytest.mark.parametrize(
    ("method", "path", "nth"), [("PUT", "/objects/", 2), ("DELETE", "/objects/", 1), ("GET", "/objects/page", 1)]
)
def test_a_restore_in_place_that_fails_leaves_the_bucket_as_it_was(changed, method, path, nth):
    """A write, a deletion or the comparison is refused: what was written before is put back."""
    fleet, _, late, wish = changed
    armed = fleet.account.cloud.add_fault(
        f"/r2/buckets/pictures{path}", method=method, nth=nth, status=400, code=10001, message="no"
    )

    with pytest.raises(ClodoError):
        restorer(fleet).restore(wish)

    struck = next(item["struck"] for item in fleet.account.cloud.faults() if item["id"] == armed)
    fleet.account.cloud.clear_faults(armed)
    assert struck
    assert objects(fleet, "pictures") == late
    assert not list((fleet.root / ".clodo" / "backups" / "restores").iterdir())


@pytest.mark.parametrize("write", [2, 4])
def test_a_restore_in_place_that_died_goes_on(changed, write):
    """Some objects were written: the same command writes the others, and takes no second safety snapshot."""
    fleet, before, late, wish = changed
    with pytest.raises(LockLost):
        restorer(fleet, check=die_at(write)).restore(wish)
    assert objects(fleet, "pictures") not in (before, late)
    snapshots = len(fleet.open().all())

    restored = restorer(fleet).restore(wish)

    assert restored.was_resumed
    assert len(fleet.open().all()) == snapshots
    assert objects(fleet, "pictures") == before


def test_objects_that_others_write_meanwhile_survive_a_restore_that_fails(changed):
    """A new one and one over what the restore wrote: both stay, all else is as it was before."""
    fleet, _, late, wish = changed

    def write():
        put(fleet, "theirs", b"new")
        put(fleet, "page", b"newest")

    with pytest.raises(VerificationFailed):
        restorer(fleet, check=act_at(4, write)).restore(wish)

    found = objects(fleet, "pictures")
    assert (found.pop("theirs")[0], found.pop("page")[0]) == (b"new", b"newest")
    assert found == {key: item for key, item in late.items() if key != "page"}
    assert any("left 2 objects alone" in line for line in fleet.told)


def test_a_bucket_that_others_write_into_is_not_restored_in_place(changed):
    """What came since the safety snapshot is in no snapshot: the restore that goes on after a crash is taken back."""
    fleet, _, late, wish = changed
    with pytest.raises(LockLost):
        restorer(fleet, check=die_at(2)).restore(wish)
    put(fleet, "theirs", b"new")

    with pytest.raises(PlanIsStale, match="somebody wrote the object 'theirs' since the safety snapshot"):
        restorer(fleet).restore(wish)

    found = objects(fleet, "pictures")
    assert found.pop("theirs")[0] == b"new"
    assert found == late


@pytest.mark.parametrize("contents", [[], ["theirs"]])
def test_a_bucket_that_somebody_makes_at_the_same_moment_is_left_alone(bucket, contents):
    """Right before ours would be made: theirs stays, empty or with what they put into it."""
    manifest = bucket.back_up(kinds=[Kind.R2])

    def make_theirs():
        bucket.account.result("POST", "/r2/buckets", json={"name": "again"})
        for key in contents:
            bucket.account.result("PUT", f"/r2/buckets/again/objects/{key}", content=b"1")

    writes = iter([make_theirs])
    with pytest.raises(ApiRefused):
        restorer(bucket, check=lambda: next(writes, lambda: None)()).restore(
            Wish(snapshot=manifest.id, rename=(("pictures", "again"),))
        )

    assert list(objects(bucket, "again")) == contents


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
