"""The S3 endpoint, judged by obstore."""

from __future__ import annotations

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, PreconditionError
from obstore.store import S3Store

from tests.emulator.r2.conftest import Keys
from tests.fixtures.embedded_cloud import CloudAccount


def test_what_is_put_is_got(store: S3Store) -> None:
    """An object comes back whole, with its attributes, and in pieces."""
    content = bytes(range(256)) * 40

    put = obstore.put(
        store, "folder/a b+c%2F\u00fc.bin", content, attributes={"Content-Type": "text/x", "colour": "gr\u00fcn"}
    )
    got = obstore.get(store, "folder/a b+c%2F\u00fc.bin")

    assert got.attributes["Content-Type"] == "text/x"
    assert got.meta["e_tag"] == put["e_tag"]
    assert got.bytes().to_bytes() == content
    assert obstore.get_range(store, "folder/a b+c%2F\u00fc.bin", start=5, end=300).to_bytes() == content[5:300]
    assert obstore.head(store, "folder/a b+c%2F\u00fc.bin")["size"] == len(content)


def test_a_missing_object_is_not_found(store: S3Store) -> None:
    """get and head of what isn't there raise what Python knows; delete doesn't mind."""
    with pytest.raises(FileNotFoundError):
        obstore.get(store, "nothing")
    with pytest.raises(FileNotFoundError):
        obstore.head(store, "nothing")

    obstore.delete(store, "nothing")


def test_creating_is_atomic(store: S3Store) -> None:
    """Of two creators of one key the second is refused; an update needs the tag of what is there."""
    first = obstore.put(store, "lock", b"mine", mode="create")

    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "lock", b"yours", mode="create")
    second = obstore.put(store, "lock", b"mine again", mode={"e_tag": first["e_tag"]})
    with pytest.raises(PreconditionError):
        obstore.put(store, "lock", b"stale", mode={"e_tag": first["e_tag"]})

    assert obstore.get(store, "lock").bytes().to_bytes() == b"mine again"
    assert second["e_tag"] != first["e_tag"]


def test_large_objects_go_in_parts(store: S3Store) -> None:
    """A multipart upload is one object, whose tag says of how many parts."""
    content = bytes(11 * 1024**2)

    put = obstore.put(store, "large", content, use_multipart=True, chunk_size=5 * 1024**2)

    assert put["e_tag"].rstrip('"').endswith("-3")
    assert obstore.get(store, "large").bytes().to_bytes() == content
    middle = obstore.get_range(store, "large", start=5 * 1024**2 - 3, end=10 * 1024**2 + 3)
    assert len(middle.to_bytes()) == 5 * 1024**2 + 6


def test_lists_are_paged_and_rolled_up(store: S3Store) -> None:
    """Listing gives every key once, in order; with a delimiter folders are given as prefixes."""
    names = sorted(f"{folder}/{number:03}" for folder in ("a", "b", "b b", "\u00fc") for number in range(7))
    for name in [*names, "top"]:
        obstore.put(store, name, b"x")

    everything = [meta["path"] for batch in obstore.list(store, chunk_size=5) for meta in batch]
    rolled = obstore.list_with_delimiter(store)
    below = [meta["path"] for batch in obstore.list(store, prefix="b") for meta in batch]

    assert everything == sorted([*names, "top"], key=str.encode)
    assert sorted(rolled["common_prefixes"]) == ["a", "b", "b b", "\u00fc"]
    assert [meta["path"] for meta in rolled["objects"]] == ["top"]
    assert below == [name for name in names if name.startswith("b/")]


def test_many_are_deleted_at_once(store: S3Store) -> None:
    """Deleting a list of keys removes them and nothing else."""
    for name in ("a", "b", "c"):
        obstore.put(store, name, b"x")

    obstore.delete(store, ["a", "c", "never"])

    assert [meta["path"] for batch in obstore.list(store) for meta in batch] == ["b"]


def test_copies_stand_alone(store: S3Store) -> None:
    """A copy outlives its source; a copy over another key can be forbidden."""
    obstore.put(store, "from", b"content", attributes={"Content-Type": "text/x"})

    obstore.copy(store, "from", "to")
    obstore.delete(store, "from")

    got = obstore.get(store, "to")
    assert (got.bytes().to_bytes(), got.attributes["Content-Type"]) == (b"content", "text/x")


def test_a_wrong_secret_is_refused(account: CloudAccount, keys: Keys, store: S3Store) -> None:
    """The secret is the digest of the token and nothing else."""
    obstore.put(store, "a", b"x")
    wrong = Keys(keys.endpoint, keys.access_key, account.token).store("things")

    with pytest.raises(PermissionDeniedError):
        obstore.get(wrong, "a")
