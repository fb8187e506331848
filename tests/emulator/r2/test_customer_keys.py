"""SSE-C: objects that only their owner's key opens."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import apsw
import httpx
import pytest
from obstore.store import S3Store

from clodo.emulator.r2.customer_keys import CustomerKey
from clodo.emulator.r2.ranges import Span
from clodo.emulator.r2.records import Description
from clodo.emulator.r2.store import Storage
from tests.emulator.r2.conftest import Signed, keys_of
from tests.emulator.r2.test_s3 import PART, complete, refusal, texts
from tests.emulator.r2.test_storage import body, files
from tests.fixtures.embedded_cloud import CloudAccount

RAW, OTHER = bytes(range(32)), bytes(range(1, 33))


def headers(raw: bytes, of: str = "") -> dict[str, str]:
    """Return S3's three headers of a key."""
    name = f"x-amz-{of}server-side-encryption-customer-"
    told = hashlib.md5(raw).digest()
    texts = (base64.b64encode(value).decode() for value in (raw, told))
    return dict(zip((f"{name}algorithm", f"{name}key", f"{name}key-MD5"), ("AES256", *texts), strict=True))


def test_an_object_opens_with_its_key_only(s3: httpx.Client, store: S3Store) -> None:
    """Put, get, head and ranges with the key; no key, another key and a key for a plain object are refused."""
    put = s3.put("/things/k", content=b"0123456789" * 5, headers=headers(RAW))
    got = s3.get("/things/k", headers=headers(RAW))
    s3.put("/things/plain", content=b"x")

    assert got.content == b"0123456789" * 5
    for answer in (put, got, s3.head("/things/k", headers=headers(RAW))):
        assert answer.headers["x-amz-server-side-encryption-customer-algorithm"] == "AES256"
        assert answer.headers["x-amz-server-side-encryption-customer-key-md5"] == list(headers(RAW).values())[2]
    assert s3.get("/things/k", headers={**headers(RAW), "range": "bytes=17-20"}).content == b"7890"
    assert refusal(s3.get("/things/k")) == (400, "InvalidRequest")
    assert s3.head("/things/k").status_code == 400
    assert refusal(s3.get("/things/k", headers=headers(OTHER))) == (403, "AccessDenied")
    assert refusal(s3.get("/things/plain", headers=headers(RAW))) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": None}, "InvalidArgument"),
        ({"key-MD5": None}, "InvalidArgument"),
        ({"algorithm": None}, "InvalidArgument"),
        ({"algorithm": "AES128"}, "InvalidEncryptionAlgorithmError"),
        ({"key": "nonsense!"}, "InvalidArgument"),
        ({"key": base64.b64encode(RAW[:16]).decode()}, "InvalidArgument"),
        ({"key-MD5": base64.b64encode(bytes(16)).decode()}, "InvalidArgument"),
    ],
)
def test_keys_that_are_none_are_refused(
    s3: httpx.Client, store: S3Store, changes: dict[str, str | None], code: str
) -> None:
    """All three headers are needed, and must say a key of 32 bytes and its MD5; else nothing is written."""
    renamed = {f"x-amz-server-side-encryption-customer-{name}": value for name, value in changes.items()}
    sent = {name: value for name, value in {**headers(RAW), **renamed}.items() if value is not None}

    assert refusal(s3.put("/things/k", content=b"x", headers=sent)) == (400, code)
    assert refusal(s3.get("/things/k")) == (404, "NoSuchKey")


def test_copies_change_keys(s3: httpx.Client, store: S3Store) -> None:
    """A copy is read with the source's key and written with another, or with none."""
    s3.put("/things/k", content=b"secret", headers={**headers(RAW), "x-amz-meta-a": "b"})
    source = {"x-amz-copy-source": "/things/k", **headers(RAW, "copy-source-")}

    rewritten = s3.put("/things/other", headers={**source, **headers(OTHER)})
    s3.put("/things/plain", headers=source)
    s3.put("/things/again", headers={"x-amz-copy-source": "/things/plain", **headers(RAW)})

    assert texts(rewritten, "ETag") == [f'"{hashlib.md5(b"secret").hexdigest()}"']
    assert s3.get("/things/other", headers=headers(OTHER)).content == b"secret"
    assert s3.get("/things/plain").content == b"secret"
    assert s3.get("/things/again", headers=headers(RAW)).headers["x-amz-meta-a"] == "b"
    without = s3.put("/things/no", headers={"x-amz-copy-source": "/things/k", **headers(OTHER)})
    wrong = s3.put("/things/no", headers={"x-amz-copy-source": "/things/k", **headers(OTHER, "copy-source-")})
    assert (refusal(without), refusal(wrong)) == ((400, "InvalidRequest"), (403, "AccessDenied"))


def test_parts_have_the_key_of_their_upload(s3: httpx.Client, store: S3Store) -> None:
    """Each part brings the upload's key, copied parts too; the whole opens with it, across parts."""
    s3.put("/things/source", content=b"tail", headers=headers(OTHER))
    begun = s3.post("/things/big?uploads", headers=headers(RAW))
    url = f"/things/big?uploadId={texts(begun, 'UploadId')[0]}"

    first = s3.put(f"{url}&partNumber=1", content=b"a" * PART, headers=headers(RAW))
    copied = {"x-amz-copy-source": "/things/source", **headers(OTHER, "copy-source-"), **headers(RAW)}
    second = texts(s3.put(f"{url}&partNumber=2", headers=copied), "ETag")[0]

    for wrong in ({}, headers(OTHER)):
        assert refusal(s3.put(f"{url}&partNumber=1", content=b"x", headers=wrong)) == (400, "InvalidRequest")
    assert texts(complete(s3, url, (1, first.headers["etag"]), (2, second)), "Key") == ["big"]
    assert s3.get("/things/big", headers={**headers(RAW), "range": "bytes=-6"}).content == b"aatail"
    assert refusal(s3.get("/things/big")) == (400, "InvalidRequest")
    plain = f"/things/p?uploadId={texts(s3.post('/things/p?uploads'), 'UploadId')[0]}"
    refused = s3.put(f"{plain}&partNumber=1", content=b"x", headers=headers(RAW))
    assert refusal(refused) == (400, "InvalidRequest")


WORKER = """
const failed = async (work) => { try { await work(); return null; } catch (e) { return e.message; } };
export default { async fetch(request, { R2 }) {
  const ssecKey = "RAW", other = new Uint8Array(32).buffer;
  const put = await R2.put("k", "secret", { ssecKey });
  const upload = await R2.createMultipartUpload("big", { ssecKey });
  const part = await upload.uploadPart(1, "part", { ssecKey });
  const wrong = await failed(() => upload.uploadPart(1, "part"));
  const made = await upload.complete([part]);
  return Response.json({ md5: [put, await R2.head("k"), made].map((o) => o.ssecKeyMd5),
    got: [await (await R2.get("k", { ssecKey })).text(), await (await R2.get("big", { ssecKey })).text()], wrong,
    without: await failed(() => R2.get("k")), other: await failed(() => R2.get("k", { ssecKey: other })),
    short: await failed(() => R2.get("k", { ssecKey: "00" })) });
} };
""".replace("RAW", RAW.hex())


def test_a_worker_brings_a_key_along(account: CloudAccount) -> None:
    """The binding's ssecKey encrypts what S3 opens with the same key, and is refused as there."""
    account.result("POST", "/r2/buckets", json={"name": "things"})
    account.put_worker("shop", WORKER, bindings=[{"type": "r2_bucket", "name": "R2", "bucket_name": "things"}])

    said = account.visit(account.hostname("shop"), "/").json()
    keys = keys_of(account)
    with httpx.Client(base_url=keys.endpoint, auth=Signed(keys), trust_env=False) as client:
        over_s3 = client.get("/things/k", headers=headers(RAW))

    assert said["md5"] == [hashlib.md5(RAW).hexdigest()] * 3
    assert said["got"] == ["secret", "part"]
    assert over_s3.content == b"secret"
    assert "SSE-C Key must be 32 bytes" in said["short"]
    for name, sentence in (("wrong", "multipart upload"), ("without", "stored using"), ("other", "Access Denied")):
        assert sentence in said[name]
    listed = account.result("GET", "/r2/buckets/things/objects")
    assert [one["ssec"] for one in listed] == [True, True]


async def test_nothing_readable_is_on_disk(tmp_path: Path) -> None:
    """The file has neither the content nor the key, and every range of it is decrypted by itself."""
    storage, key, content = Storage(tmp_path), CustomerKey(RAW), b"readable content, " * 10
    bucket = await storage.buckets.create("account", "things")

    await storage.receive(bucket, "k", body(content[:7], content[7:]), Description(), secret=key)

    opened = await storage.objects.open(bucket, "k", secret=key)
    for start, length in ((0, 16), (15, 2), (16, 1), (33, 100)):
        span = Span(start, length)
        assert b"".join([piece async for piece in opened.read(span)]) == content[start : start + length]
    opened.close()
    await storage.close()
    (file,) = files(tmp_path)
    assert b"readable" not in file.read_bytes()
    assert not any(RAW in one.read_bytes() or RAW.hex().encode() in one.read_bytes() for one in tmp_path.glob("r2.*"))


async def test_folders_of_earlier_versions_open(tmp_path: Path) -> None:
    """Objects that were kept before there were keys are still there."""
    storage = Storage(tmp_path)
    bucket = await storage.buckets.create("account", "things")
    await storage.receive(bucket, "k", body(b"x"), Description())
    await storage.close()
    old = apsw.Connection(str(tmp_path / "r2.sqlite"))
    for table, column in (
        ("objects", "key_md5"),
        ("uploads", "key_md5"),
        ("uploads", "algorithm"),
        ("parts", "checksums"),
    ):
        old.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    old.close()

    again = Storage(tmp_path)
    found = await again.objects.head(again.buckets.find("account", "things", "default"), "k")
    await again.close()

    assert (found.size, found.key_md5) == (1, None)
