"""Whatever is done to the files of a snapshot, verification finds it."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace

import pytest

from clodo.backups.archive import recipient, seal
from clodo.backups.manifest import Kind, Manifest
from clodo.backups.signing import Signer
from clodo.backups.vault import Vault
from clodo.backups.verification import Level, open_archive
from clodo.errors import SnapshotDamaged, SnapshotNotTrusted

SEED = 20261120


@pytest.fixture
def snapshot(fleet):
    """A good snapshot, and the vault's folder."""
    return fleet.back_up(), fleet.root / "vault"


def part_file(vault, part):
    return vault / "objects" / part.sha256[:2] / part.sha256


def is_found(fleet, manifest, level=Level.HASHES):
    """Say whether verification finds anything wrong; what it raises counts as well."""
    try:
        return not fleet.open().verify(manifest.id, level).is_good
    except SnapshotDamaged:
        return True


def flips(files, count):
    """Yield *count* bytes of *files*, sampled by a fixed seed: file and place."""
    chance = random.Random(SEED)
    places = [(file, place) for file in files for place in range(file.stat().st_size)]
    yield from chance.sample(places, min(count, len(places)))


def check_flips(fleet, manifest, count):
    for file, place in flips(fleet.files(), count):
        whole = file.read_bytes()
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        file.write_bytes(damaged)

        assert is_found(fleet, manifest), f"byte {place} of {file.name}"

        file.write_bytes(whole)
    assert not is_found(fleet, manifest)


def test_any_flipped_byte_is_found(fleet, snapshot):
    """Manifest, archives: no byte of a snapshot can be another one."""
    check_flips(fleet, snapshot[0], 25)


@pytest.mark.exhaustive
def test_each_of_many_flipped_bytes_is_found(fleet, snapshot):
    """The same, a thousand times."""
    check_flips(fleet, snapshot[0], 1_000)


def test_truncated_and_lost_files_are_found(fleet, snapshot):
    """Every file cut by one byte, emptied, or gone."""
    manifest, _ = snapshot
    for file in fleet.files():
        whole = file.read_bytes()
        for content in (whole[:-1], b"", None):
            if content is None:
                file.unlink()
            else:
                file.write_bytes(content)

            assert is_found(fleet, manifest), f"{file.name}: {content is None}"

            file.write_bytes(whole)
    assert not is_found(fleet, manifest)


def test_swapped_files_are_found(fleet, snapshot):
    """A good file in another one's place is not what was written there."""
    manifest, vault = snapshot
    one, other = (part_file(vault, archive.parts[0]) for archive in manifest.archives)
    kept = one.read_bytes(), other.read_bytes()
    one.write_bytes(kept[1])
    other.write_bytes(kept[0])

    found = fleet.open().verify(manifest.id, Level.HASHES)

    assert len(found.findings) == 2
    assert all("is not what was written" in finding for finding in found.findings)


def as_written(document):
    """Return a manifest's document as Clodo writes it."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def without_a_row(fleet, manifest, vault):
    """Remove a row from the database's archive, and compute every hash anew, as a thief with the identity would."""
    archive = manifest.find(Kind.D1, fleet.account.account_id, fleet.database_id)
    place = Vault.open("local", str(vault))
    text = b"".join(open_archive(place, archive, (fleet.identity,)))
    assert text.count(b"('Bob'") == 0
    fewer = text.replace(b"(2,'Bob',NULL,NULL),\n", b"")
    assert fewer != text
    file = fleet.root / "forged.age"
    sealed = seal([fewer], file, [recipient(str(fleet.identity.to_public()))])
    parts = place.store_archive(file)
    document = json.loads((vault / "snapshots" / manifest.id / "manifest.json").read_text())
    for entry in document["archives"]:
        if entry["kind"] == "d1":
            entry["parts"] = [{"sha256": part.sha256, "size": part.size} for part in parts]
            entry["sha256"], entry["size"] = sealed.sha256, sealed.size
            entry["plain_sha256"], entry["plain_size"] = sealed.plain_sha256, sealed.plain_size
            entry["facts"]["tables"]["members"]["rows"] = 2
    return document


def test_a_removed_row_is_found_though_all_hashes_were_computed_anew(fleet, snapshot):
    """What can't be forged is the signature: neither kept, nor made with another key."""
    manifest, vault = snapshot
    document = without_a_row(fleet, manifest, vault)
    file = vault / "snapshots" / manifest.id / "manifest.json"
    file.write_bytes(as_written(document))

    with pytest.raises(SnapshotNotTrusted, match="its signature is wrong"):
        fleet.open().verify(manifest.id, Level.HASHES)

    forged = Manifest.from_bytes(file.read_bytes(), expected_id=manifest.id)
    file.write_bytes(forged.signed(Signer.load(fleet.root / "thief")).to_bytes())
    with pytest.raises(SnapshotNotTrusted, match="whom nobody here trusts"):
        fleet.open().verify(manifest.id, Level.RESTORE)


def test_a_removed_row_is_found_even_if_it_was_signed(fleet, snapshot):
    """A backup that loses a row by a mistake of ours is signed by us: restoring it shows that a row is missing."""
    manifest, vault = snapshot
    document = without_a_row(fleet, manifest, vault)
    for entry in document["archives"]:
        if entry["kind"] == "d1":
            entry["facts"]["tables"]["members"]["rows"] = 3
    file = vault / "snapshots" / manifest.id / "manifest.json"
    file.write_bytes(as_written(document))
    ours = Manifest.from_bytes(file.read_bytes(), expected_id=manifest.id)
    file.write_bytes(ours.signed(Signer.load(fleet.root / ".clodo")).to_bytes())

    found = fleet.open().verify(manifest.id, Level.RESTORE)

    assert found.findings == ["d1/shop-db: the table members has 2 rows instead of 3"]


def test_a_manifest_may_not_say_more_than_is_signed(fleet, snapshot):
    """A field that the signature doesn't cover is refused, and so is another way of writing the same."""
    manifest, vault = snapshot
    file = vault / "snapshots" / manifest.id / "manifest.json"
    document = json.loads(file.read_text())
    for content in (as_written(document | {"note": "trust me"}), json.dumps(document).encode()):
        file.write_bytes(content)

        with pytest.raises(SnapshotNotTrusted, match="not byte for byte as it is written"):
            fleet.open().verify(manifest.id, Level.HASHES)


def test_a_machine_without_the_signers_key_trusts_nobody(fleet, snapshot):
    """The public half in portfolio.toml is what verifies elsewhere."""
    manifest, _ = snapshot
    shutil.rmtree(fleet.root / ".clodo" / "backups")

    with pytest.raises(SnapshotNotTrusted):
        fleet.open().verify(manifest.id, Level.HASHES)

    portfolio = fleet.root / "portfolio.toml"
    portfolio.write_text(portfolio.read_text() + f'signers = ["{manifest.signer}"]\n')
    assert fleet.open().verify(manifest.id, Level.HASHES).is_good


def test_nothing_is_published_of_which_a_part_is_missing_or_another(fleet, snapshot):
    """A part of another size under the same name is neither used nor overwritten."""
    manifest, vault = snapshot
    place = Vault.open("local", str(vault))
    file = part_file(vault, manifest.archives[0].parts[0])
    whole = file.read_bytes()
    file.write_bytes(b"short")
    source = fleet.root / "again.age"
    source.write_bytes(whole)

    with pytest.raises(SnapshotDamaged, match="5 bytes instead of"):
        place.store_archive(source)
    with pytest.raises(SnapshotDamaged, match="1 parts of s-other are not in the vault"):
        place.publish(replace(manifest, id="s-other"))
    assert file.read_bytes() == b"short"
