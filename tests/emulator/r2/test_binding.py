"""R2 from inside of Workers: the binding of real workerd against our store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import obstore
import pytest

from tests.emulator.r2.conftest import keys_of
from tests.fixtures.embedded_cloud import CloudAccount

CODE = Path(__file__).with_name("bucket_worker.js").read_text()


@pytest.fixture
def worker(account: CloudAccount) -> CloudAccount:
    """An account with a Worker that is bound to the bucket `things`."""
    account.result("POST", "/r2/buckets", json={"name": "things"})
    binding = {"type": "r2_bucket", "name": "R2", "bucket_name": "things"}
    account.put_worker("shop", CODE, bindings=[binding])
    return account


def answer(worker: CloudAccount, case: str) -> Any:
    """Run one case inside of the Worker."""
    answered = worker.visit(worker.hostname("shop"), f"/{case}")
    assert answered.status_code == 200, answered.text
    return answered.json()


def test_objects_keep_what_a_worker_says_of_them(worker: CloudAccount) -> None:
    """Values, metadata, checksums and storage class come back; a wrong checksum writes nothing."""
    said = answer(worker, "objects")

    content = b"0123456789"
    assert said["text"] == content.decode()
    assert said["put"]["etag"] == said["put"]["md5"] == hashlib.md5(content).hexdigest()
    assert said["got"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert said["got"]["custom"] == {"colour": "grün"}
    assert said["got"]["storageClass"] == "InfrequentAccess"
    assert said["head"] == {**said["got"], "hasBody": False}
    assert said["headers"] == {
        "content-type": "text/plain",
        "cache-control": "no-store",
        "expires": "Sun, 09 Sep 2001 01:46:40 GMT",
    }
    assert said["missing"] == [None, None]
    assert "(10037)" in said["wrong"]
    assert said["x"] is None


def test_ranges_of_a_value_are_read(worker: CloudAccount) -> None:
    """Offsets, lengths, suffixes and Range headers give those bytes; what begins behind the end is refused."""
    said = answer(worker, "ranges")

    assert [said[name] for name in ("middle", "from", "suffix", "header")] == ["234", "789", "89", "1234"]
    assert "(10039)" in said["beyond"]
    assert said["range"] == {"offset": 8, "length": 2}


def test_conditions_decide_over_reads_and_writes(worker: CloudAccount) -> None:
    """A read whose condition fails gives the object without body; a write is not made."""
    said = answer(worker, "conditions")

    assert said == {
        "same": "one",
        "other": "no body",
        "differs": "no body",
        "before": "no body",
        "after": "one",
        "headers": "no body",
        "stale": False,
        "create": False,
        "still": "one",
        "fresh": True,
        "now": "two",
    }


def test_lists_are_paged_and_rolled_up(worker: CloudAccount) -> None:
    """Cursors lead through all keys and all folders; metadata comes when asked for."""
    said = answer(worker, "lists")

    assert said["pages"] == [["a/1", "a/2"], ["b/1", "b/2"], ["b/3", "c"], ["d"]]
    assert said["folders"] == [["a/"], ["b/"], ["c"], ["d"]]
    assert [(one["custom"], one["http"]) for one in said["included"]] == [({"of": "c"}, {"contentType": "x/y"})]
    assert said["after"] == ["b/3", "d"]
    assert said["left"] == ["b/2", "b/3", "d"]
    assert "(10029)" in said["bad"]


def test_uploads_in_parts_become_objects(worker: CloudAccount) -> None:
    """Parts may come in any order and from a resumed upload; unknown and small parts and ended uploads are refused."""
    said = answer(worker, "uploads")

    assert said["made"]["size"] == 5 * 1024**2 + 3
    assert said["made"]["etag"].endswith("-2")
    assert said["head"]["custom"] == {"a": "b"}
    assert said["end"] == "\x01\x01end"
    assert "(10025)" in said["wrong"]
    assert "(10011)" in said["tooSmall"]
    assert "(10024)" in said["gone"]
    assert "(10024)" in said["again"]


def test_limits_are_refused(worker: CloudAccount) -> None:
    """A key over 1,024 bytes and metadata over 8,192 bytes write nothing."""
    said = answer(worker, "limits")

    assert "(10020)" in said["key"]
    assert "(10012)" in said["metadata"]
    assert said["left"] == 0


def test_bodies_stream_through_a_worker(worker: CloudAccount) -> None:
    """What is streamed in through a Worker is what S3 clients and the Worker's visitors get."""
    content = bytes(range(256)) * 12_000

    put = worker.visit(worker.hostname("shop"), "/stream", method="PUT", content=content)
    got = worker.visit(worker.hostname("shop"), "/stream")

    assert put.json()["size"] == len(content)
    assert got.content == content
    assert obstore.get(keys_of(worker).store("things"), "streamed").bytes().to_bytes() == content
