"""Uploads as values: taken apart, put together, hashed and stamped."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clodo.errors import BadUsage, WranglerFailed
from clodo.wrangler.uploads import (
    MAX_TAG_BYTES,
    SOURCE_MAP,
    Asset,
    Module,
    Stamp,
    Upload,
    parse_upload,
    render_upload,
    stamp_upload,
)

LIVE = "11111111-2222-3333-4444-555555555555"
names = some.text(some.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
file_names = names.filter(lambda name: name != "metadata" and "%" not in name)
json_values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(some.characters(exclude_categories=["Cs"])),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
contents = some.binary(max_size=200) | some.sampled_from(
    [b"\r\n", b"--", b"\r\n--", b"\r\n------clodo-\r\n", b"\n--\r"]
)
module_lists = some.lists(
    some.builds(
        Module, file_names, some.sampled_from(["", "application/javascript+module", "application/wasm"]), contents
    ),
    max_size=4,
    unique_by=lambda module: module.name,
)
bindings = some.lists(
    some.fixed_dictionaries({"name": names, "type": some.sampled_from(["plain_text", "d1"]), "text": some.text()}),
    max_size=4,
    unique_by=lambda binding: binding["name"],
)
uploads = some.builds(
    lambda modules, bound, extra: Upload(
        metadata={"main_module": "index.js", **extra, "bindings": bound}, modules=tuple(modules)
    ),
    module_lists,
    bindings,
    some.dictionaries(some.sampled_from(["compatibility_date", "placement", "limits"]), json_values, max_size=3),
)


def worker(**metadata: Any) -> Upload:
    """A small upload with one of everything."""
    whole = {
        "main_module": "index.js",
        "bindings": [{"name": "A", "type": "plain_text", "text": "1"}, {"name": "DB", "type": "d1", "id": "x"}],
        "compatibility_date": "2026-01-01",
        **metadata,
    }
    modules = (
        Module("index.js", "application/javascript+module", b"export default {}"),
        Module("index.js.map", SOURCE_MAP, b"{}"),
    )
    return Upload(metadata=whole, modules=modules, assets={"/index.html": Asset("ab" * 16, 10)})


@given(uploads)
def test_an_upload_survives_being_rendered_and_parsed(upload: Upload) -> None:
    """What is put together is taken apart into the same value, whatever bytes the modules hold."""
    content_type, body = render_upload(upload)

    assert parse_upload(content_type, body) == upload


@pytest.mark.parametrize("name", ['a"b.js', "a\nb.txt", "a\r\nb.bin", "ü/ö.js"])
def test_awkward_module_names_survive(name: str) -> None:
    """Quotes and line breaks in a module's name are escaped as browsers do."""
    upload = Upload(metadata={"bindings": []}, modules=(Module(name, "text/plain", b"x"),))

    assert parse_upload(*render_upload(upload)).modules[0].name == name


@given(uploads, some.randoms())
def test_the_order_does_not_matter_to_the_hash(upload: Upload, randomly: random.Random) -> None:
    """Modules, bindings and keys in another order are the same content."""
    modules, bound, keys = list(upload.modules), list(upload.bindings), list(upload.metadata)
    randomly.shuffle(modules)
    randomly.shuffle(bound)
    randomly.shuffle(keys)
    metadata = {key: bound if key == "bindings" else upload.metadata[key] for key in keys}

    assert Upload(metadata=metadata, modules=tuple(modules)).content_sha256 == upload.content_sha256


@given(uploads.filter(lambda upload: any(module.content for module in upload.modules)), some.data())
def test_any_changed_byte_of_a_module_changes_the_hash(upload: Upload, data: some.DataObject) -> None:
    """One byte of one module makes another content."""
    module = data.draw(some.sampled_from([module for module in upload.modules if module.content]))
    at = data.draw(some.integers(0, len(module.content) - 1))
    change = data.draw(some.integers(1, 255))
    content = bytearray(module.content)
    content[at] ^= change
    changed = tuple(replace(one, content=bytes(content)) if one is module else one for one in upload.modules)

    assert replace(upload, modules=changed).content_sha256 != upload.content_sha256


@pytest.mark.parametrize(
    "other",
    [
        worker(compatibility_date="2026-01-02"),
        worker(bindings=[]),
        worker(placement={"mode": "smart"}),
        replace(worker(), assets={}),
        replace(worker(), assets={"/index.html": Asset("cd" * 16, 10)}),
        replace(worker(), assets={"/other.html": Asset("ab" * 16, 10)}),
        worker(assets={"jwt": "x", "config": {"html_handling": "none"}}),
        replace(worker(), modules=worker().modules[1:]),
    ],
    ids=["date", "bindings", "placement", "no asset", "asset bytes", "asset path", "asset config", "no module"],
)
def test_whatever_changes_behaviour_changes_the_hash(other: Upload) -> None:
    """A changed setting, binding or asset is another content."""
    assert other.content_sha256 != worker().content_sha256


@given(value=some.text(), name=names)
def test_secrets_do_not_change_the_hash(value: str, name: str) -> None:
    """Neither the values nor the names of secrets are in the hash; they are compared by fingerprints elsewhere."""
    secret = {"name": name, "type": "secret_text", "text": value}

    assert worker(bindings=[*worker().bindings, secret]).content_sha256 == worker().content_sha256


@pytest.mark.parametrize(
    "extra",
    [
        {"annotations": {"workers/tag": "x"}},
        {"keep_bindings": ["secret_text"]},
        {"migrations": {"new_tag": "v1"}},
        {"code_update_strategy": {"mode": "deferred"}},
        {"observability": {"enabled": True}},
        {"logpush": True},
        {"package_dependencies": [{"name": "zod"}]},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_what_only_a_first_deploy_sends_is_not_in_the_hash(extra: dict[str, Any]) -> None:
    """A first deploy and a later version of the same content have one hash."""
    assert worker(**extra).content_sha256 == worker().content_sha256


def test_neither_source_maps_nor_asset_tokens_are_in_the_hash() -> None:
    """Paths in source maps and one-time tokens differ from machine to machine."""
    without_map = replace(worker(assets={"jwt": "a", "config": {}}), modules=worker().modules[:1])

    assert without_map.content_sha256 == worker(assets={"jwt": "b", "config": {}}).content_sha256


def test_a_stamp_names_the_release_and_the_content() -> None:
    """The tag is the release id and the content's hash, under Cloudflare's 100 bytes; the message is cut."""
    stamp = Stamp("01JABCDEFGHJKMNPQRSTVWXYZ0", "ü" * 600)

    stamped = stamp_upload(worker(), stamp)

    tag = stamped.metadata["annotations"]["workers/tag"]
    assert tag == f"{stamp.release_id}.{worker().content_sha256}"
    assert len(tag.encode()) < MAX_TAG_BYTES
    assert stamped.metadata["annotations"]["workers/message"] == "ü" * 500
    assert stamped.content_sha256 == worker().content_sha256


@pytest.mark.parametrize("release_id", ["", "x" * 36])
def test_a_release_id_that_makes_no_tag_is_refused(release_id: str) -> None:
    """An empty or overlong release id is refused before anything is sent."""
    with pytest.raises(BadUsage, match="1 to 35 bytes"):
        Stamp(release_id)


def test_secrets_are_kept_from_the_live_version_by_name() -> None:
    """Cloudflare would inherit from the newest version; the stamp names the live one for each secret it had."""
    upload = worker(
        keep_bindings=["secret_text", "secret_key", "json"],
        bindings=[
            {"name": "A", "type": "plain_text", "text": "1"},
            {"name": "CARRIED", "type": "secret_text", "text": "new"},
            {"name": "REQUIRED", "type": "inherit"},
        ],
    )
    stamp = Stamp("r", keep_secrets_of=LIVE, live_secret_names=frozenset({"A", "CARRIED", "OLD", "REQUIRED"}))

    stamped = stamp_upload(upload, stamp)

    assert stamped.metadata["keep_bindings"] == ["json"]
    assert stamped.bindings == (
        {"name": "A", "type": "plain_text", "text": "1"},
        {"name": "CARRIED", "type": "secret_text", "text": "new"},
        {"name": "REQUIRED", "type": "inherit", "version_id": LIVE},
        {"name": "OLD", "type": "inherit", "version_id": LIVE},
    )


def test_a_first_deploy_keeps_nothing() -> None:
    """Without a version to keep secrets of, nothing is inherited from whatever is newest."""
    stamped = stamp_upload(worker(keep_bindings=["secret_text", "secret_key"]), Stamp("r"))

    assert "keep_bindings" not in stamped.metadata
    assert stamped.bindings == worker().bindings


def test_contents_are_not_in_the_representation() -> None:
    """A module's text, which may hold what nobody should read in a log, isn't in its representation."""
    assert "export default" not in repr(worker().modules[0])


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b""),
        ("application/json", b"{}"),
        ("multipart/form-data; boundary=x", b"nonsense"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{}'),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{\r\n--x--\r\n',
        ),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n{}\r\n--x--\r\n'),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n{}\r\n--x--\r\n"),
    ],
    ids=["nothing", "json", "nonsense", "cut", "bad metadata", "no metadata", "no name"],
)
def test_what_is_no_upload_is_refused(content_type: str, body: bytes) -> None:
    """A body that isn't wrangler's form is an error of ours, not a traceback."""
    with pytest.raises(WranglerFailed, match="wrangler's upload"):
        parse_upload(content_type, body)
