"""Checksums of uploads in parts, over S3 and by arithmetic."""

from __future__ import annotations

import base64
import hashlib
import time

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import S3Store

from clodo.emulator.r2.checksums import new_hash
from clodo.emulator.r2.part_checksums import checksum_of, joined_crc64
from clodo.emulator.r2.records import Part
from tests.emulator.r2.test_s3 import PART, refusal, texts

SHA = {"x-amz-checksum-algorithm": "SHA256"}


def in_base64(data: bytes) -> str:
    """Return the SHA-256 of *data* as S3 writes it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def body(tags: list[str], sums: list[str]) -> bytes:
    """Return the document that completes an upload."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag><ChecksumSHA256>{told}</ChecksumSHA256></Part>"
        for number, (tag, told) in enumerate(zip(tags, sums, strict=True), 1)
    )
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


def test_an_upload_in_parts_has_a_checksum_of_checksums(s3: httpx.Client, store: S3Store) -> None:
    """Each part's is kept and shown, the whole's is of theirs; what differs from them is refused."""
    begun = s3.post("/things/k?uploads", headers=SHA)
    url = f"/things/k?uploadId={texts(begun, 'UploadId')[0]}"
    content = [b"a" * PART, b"tail"]
    sums = [in_base64(data) for data in content]
    answers = [
        s3.put(f"{url}&partNumber={number}", content=data, headers={"x-amz-checksum-sha256": told})
        for number, (data, told) in enumerate(zip(content, sums, strict=True), 1)
    ]
    tags = [answer.headers["etag"] for answer in answers]
    whole = in_base64(b"".join(hashlib.sha256(data).digest() for data in content)) + "-2"

    listed = s3.get(url)
    wrong_part = s3.post(url, content=body(tags, sums[::-1]))
    wrong_whole = s3.post(url, content=body(tags, sums), headers={"x-amz-checksum-sha256": sums[0] + "-2"})
    made = s3.post(url, content=body(tags, sums), headers={"x-amz-checksum-sha256": whole})
    head = s3.head("/things/k", headers={"x-amz-checksum-mode": "ENABLED"})

    assert (begun.headers["x-amz-checksum-algorithm"], begun.headers["x-amz-checksum-type"]) == ("SHA256", "COMPOSITE")
    assert texts(listed, "Part/ChecksumSHA256") == sums
    assert refusal(wrong_part) == (400, "InvalidPart")
    assert refusal(wrong_whole) == (400, "BadDigest")
    assert (texts(made, "ChecksumSHA256"), texts(made, "ChecksumType")) == ([whole], ["COMPOSITE"])
    assert (head.headers["x-amz-checksum-sha256"], head.headers["x-amz-checksum-type"]) == (whole, "COMPOSITE")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-algorithm": "MD4"},
        {**SHA, "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"},
    ],
)
def test_checksums_that_r2_lacks_are_refused(s3: httpx.Client, store: S3Store, headers: dict[str, str]) -> None:
    """Each algorithm has one type of checksum in R2."""
    assert refusal(s3.post("/things/k?uploads", headers=headers)) == (400, "InvalidRequest")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
def test_crcs_are_joined_without_their_bytes(pieces: list[bytes]) -> None:
    """The CRC of all parts is that of one stretch of the same bytes."""

    def crc(data: bytes) -> str:
        summed = new_hash("crc64nvme")
        summed.update(data)
        return summed.hexdigest()

    parts = [Part(n, "", len(data), 0, (), {"crc64nvme": crc(data)}) for n, data in enumerate(pieces, 1)]

    assert checksum_of("crc64nvme", parts) == crc(b"".join(pieces))
    assert joined_crc64(int(crc(b"a"), 16), 0, 0) == int(crc(b"a"), 16)


def test_the_checksum_of_ten_thousand_parts_is_a_matter_of_moments() -> None:
    """Parts of one size cost one look at that size: thousands hold up nobody, and sum up like halves of halves."""
    value, doublings = 0x0123456789ABCDEF, 13
    parts = [Part(number, "", PART, 0, (), {"crc64nvme": f"{value:016x}"}) for number in range(2**doublings)]
    began = time.process_time()

    found = checksum_of("crc64nvme", parts)

    assert time.process_time() - began < 10
    for doubling in range(doublings):
        value = joined_crc64(value, value, PART << doubling)
    assert found == f"{value:016x}"
