"""The S3 endpoint in what obstore doesn't ask for: answers as they are on the wire."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import httpx
import obstore
import pytest
from obstore.store import S3Store

from clodo.wrangler.toolchain import Toolchain
from tests.emulator.r2.conftest import Keys, Signed
from tests.fixtures.embedded_cloud import CloudAccount

PART = 5 * 1024**2


def tree(answer: httpx.Response) -> ElementTree.Element:
    """Return the answer's XML without namespaces."""
    assert answer.headers["content-type"] == "application/xml"
    found = ElementTree.fromstring(answer.content)
    for element in found.iter():
        element.tag = element.tag.rpartition("}")[2]
    return found


def texts(answer: httpx.Response, path: str) -> list[str]:
    """Return the texts of all elements at *path*."""
    return [element.text or "" for element in tree(answer).findall(path)]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and code of a refusal."""
    return answer.status_code, texts(answer, "Code")[0]


def test_buckets_are_made_listed_and_removed(s3: httpx.Client) -> None:
    """Buckets can be had over S3 alone; names and locations are checked; one with objects stays."""
    hint = b"<CreateBucketConfiguration><LocationConstraint>apac</LocationConstraint></CreateBucketConfiguration>"

    assert s3.put("/second", content=hint).status_code == 200
    assert s3.put("/first").status_code == 200
    assert refusal(s3.put("/first")) == (409, "BucketAlreadyOwnedByYou")
    assert refusal(s3.put("/NoName")) == (400, "InvalidBucketName")
    assert refusal(s3.put("/third", content=b"<CreateBucketConfiguration>")) == (400, "MalformedXML")
    assert texts(s3.get("/"), "Buckets/Bucket/Name") == ["first", "second"]
    assert texts(s3.get("/?max-keys=1&start-after=first"), "Buckets/Bucket/Name") == ["second"]
    assert tree(s3.get("/second?location")).text == "APAC"
    assert s3.head("/first").status_code == 200
    assert s3.head("/never").status_code == 404

    s3.put("/first/key", content=b"x")

    assert refusal(s3.delete("/first")) == (409, "BucketNotEmpty")
    assert s3.delete("/first/key").status_code == 204
    assert s3.delete("/first").status_code == 204
    assert refusal(s3.get("/first?list-type=2")) == (404, "NoSuchBucket")


def test_ranges_are_answered_as_http_says(s3: httpx.Client, store: S3Store) -> None:
    """Ranges give 206 and what they mean; behind the end 416; nonsense is refused, as R2 does and HTTP needn't."""
    obstore.put(store, "k", b"0123456789")

    def get(header: str) -> tuple[int, str, str | None]:
        answer = s3.get("/things/k", headers={"range": header})
        return answer.status_code, answer.text, answer.headers.get("content-range")

    assert get("bytes=2-4") == (206, "234", "bytes 2-4/10")
    assert get("bytes=8-99") == (206, "89", "bytes 8-9/10")
    assert get("bytes=-3") == (206, "789", "bytes 7-9/10")
    assert get("bytes=-99") == (206, "0123456789", "bytes 0-9/10")
    for nonsense in ("lines=1-2", "bytes=4-2", "bytes=0-1,3-4", "bytes=a-b", "bytes=-"):
        assert refusal(s3.get("/things/k", headers={"range": nonsense})) == (400, "InvalidArgument")
    current = s3.get("/things/k", headers={"range": "bytes=2-4", "if-range": '"other"'})
    assert (current.status_code, current.text) == (200, "0123456789")
    for behind in ("bytes=10-", "bytes=99-100", "bytes=-0"):
        assert refusal(s3.get("/things/k", headers={"range": behind})) == (416, "InvalidRange")
    assert s3.head("/things/k", headers={"range": "bytes=1-2"}).headers["content-length"] == "2"


def test_conditions_are_answered_as_http_says(s3: httpx.Client, store: S3Store) -> None:
    """304 for what the client has, 412 for what isn't as it must be, on reads and on writes."""
    tag = obstore.put(store, "k", b"content")["e_tag"]
    modified = s3.head("/things/k").headers["last-modified"]

    def get(**headers: str | None) -> int:
        given = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        return s3.get("/things/k", headers=given).status_code

    assert get(if_none_match=tag) == 304
    assert get(if_none_match='"other"') == 200
    assert get(if_match='"other"') == 412
    assert get(if_match=f'"other", {tag}') == 200
    assert get(if_modified_since=modified) == 304
    assert get(if_unmodified_since=modified) == 200
    assert get(if_unmodified_since="Thu, 01 Jan 1970 00:00:00 GMT") == 412
    assert get(if_modified_since="yesterday") == 200
    assert refusal(s3.put("/things/new", content=b"x", headers={"if-match": "*"})) == (412, "PreconditionFailed")
    assert refusal(s3.put("/things/k", content=b"x", headers={"if-none-match": "*"})) == (412, "PreconditionFailed")
    assert s3.get("/things/k").text == "content"


def test_metadata_goes_around_in_headers(s3: httpx.Client, store: S3Store) -> None:
    """HTTP metadata, custom metadata in any alphabet, and overrides of the answer's headers."""
    headers = {
        "cache-control": "no-store",
        "content-disposition": "attachment",
        "content-type": "text/x",
        "expires": "Sun, 09 Sep 2001 01:46:40 GMT",
        "x-amz-meta-plain": "value",
        "x-amz-meta-other": "=?UTF-8?B?Z3LDvG4=?=",
        "x-amz-storage-class": "STANDARD_IA",
    }

    s3.put("/things/k", content=b"x", headers=headers)
    got = s3.get("/things/k?response-content-type=text%2Fy")

    assert {name: got.headers[name] for name in headers} == {**headers, "content-type": "text/y"}
    too_large = s3.put("/things/k", content=b"y", headers={"x-amz-meta-a": "b" * 8192})
    assert refusal(too_large) == (400, "MetadataTooLarge")
    assert s3.get("/things/k").content == b"x"


def test_checksums_are_checked_and_kept(s3: httpx.Client, store: S3Store) -> None:
    """A body that isn't what its checksum says is refused and writes nothing; a right one is given back."""
    # Of "123456789": the check values in the catalogue of CRCs, and hashlib's.
    sums = {
        "crc32": f"{zlib.crc32(b'123456789'):08x}",
        "crc32c": "e3069283",
        "crc64nvme": "ae8b14860a799888",
        "sha1": hashlib.sha1(b"123456789").hexdigest(),
        "sha256": hashlib.sha256(b"123456789").hexdigest(),
    }

    for name, digits in sums.items():
        told = {f"x-amz-checksum-{name}": base64.b64encode(bytes.fromhex(digits)).decode()}
        assert refusal(s3.put(f"/things/{name}", content=b"12345678", headers=told)) == (400, "BadDigest")
        assert s3.head(f"/things/{name}").status_code == 404
        assert s3.put(f"/things/{name}", content=b"123456789", headers=told).status_code == 200
        wanted = {"x-amz-checksum-mode": "ENABLED"}
        got = s3.get(f"/things/{name}", headers=wanted)
        assert {key: got.headers[key] for key in told} == told
        some = s3.get(f"/things/{name}", headers={**wanted, "range": "bytes=1-2"})
        same = s3.get(f"/things/{name}", headers={**wanted, "if-none-match": got.headers["etag"]})
        assert [(one.status_code, f"x-amz-checksum-{name}" in one.headers) for one in (some, same)] == [
            (206, False),
            (304, False),
        ]


def test_a_body_must_be_what_was_signed(account: CloudAccount, s3: httpx.Client, store: S3Store, keys: Keys) -> None:
    """Another body under a good signature, a wrong Content-MD5 and a missing length write nothing."""
    request = s3.build_request("PUT", "/things/k", content=b"signed")
    signed = next(Signed(keys).auth_flow(request))
    forged = httpx.put(str(signed.url), content=b"forged", headers=dict(signed.headers), trust_env=False)
    digest = base64.b64encode(hashlib.md5(b"other").digest()).decode()

    assert refusal(forged) == (400, "XAmzContentSHA256Mismatch")
    assert refusal(s3.put("/things/k", content=b"x", headers={"content-md5": digest})) == (400, "BadDigest")
    assert refusal(s3.put("/things/k", content=b"x", headers={"content-md5": "nonsense"})) == (400, "InvalidDigest")
    assert s3.head("/things/k").status_code == 404


def test_uploads_and_parts_are_listed(s3: httpx.Client, store: S3Store) -> None:
    """What is under way can be found again, page by page, and ended; the bucket can't go before."""
    first = texts(s3.post("/things/a/1?uploads"), "UploadId")[0]
    second = texts(s3.post("/things/b?uploads"), "UploadId")[0]
    for number in (1, 2, 3):
        s3.put(f"/things/a/1?partNumber={number}&uploadId={first}", content=b"x" * number)

    page = s3.get(f"/things/a/1?uploadId={first}&max-parts=2")
    rest = s3.get(f"/things/a/1?uploadId={first}&part-number-marker={texts(page, 'NextPartNumberMarker')[0]}")

    assert [texts(one, "Part/PartNumber") for one in (page, rest)] == [["1", "2"], ["3"]]
    assert texts(rest, "Part/Size") == ["3"]
    assert texts(s3.get("/things?uploads"), "Upload/Key") == ["a/1", "b"]
    assert texts(s3.get("/things?uploads&max-uploads=1"), "NextKeyMarker") == ["a/1"]
    assert texts(s3.get("/things?uploads&delimiter=/"), "CommonPrefixes/Prefix") == ["a/"]
    assert refusal(s3.delete("/things")) == (409, "BucketNotEmpty")
    for key, upload in (("a/1", first), ("b", second)):
        assert s3.delete(f"/things/{key}?uploadId={upload}").status_code == 204
    assert refusal(s3.get(f"/things/a/1?uploadId={first}")) == (404, "NoSuchUpload")
    assert s3.delete("/things").status_code == 204


def complete(s3: httpx.Client, url: str, *parts: tuple[int, str]) -> httpx.Response:
    """Complete an upload with those parts."""
    items = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in parts)
    return s3.post(url, content=f"<CompleteMultipartUpload>{items}</CompleteMultipartUpload>".encode())


def test_parts_must_fit(s3: httpx.Client, store: S3Store) -> None:
    """Order, tags and sizes of parts are checked as R2 does; a part may be a range of another object."""
    obstore.put(store, "source", b"s" * PART + b"tail", use_multipart=False)
    upload = texts(s3.post("/things/made?uploads"), "UploadId")[0]
    url = f"/things/made?uploadId={upload}"

    def copied(number: int, span: str) -> str:
        headers = {"x-amz-copy-source": "/things/source", "x-amz-copy-source-range": span}
        return texts(s3.put(f"{url}&partNumber={number}", headers=headers), "ETag")[0]

    one, two = copied(1, f"bytes=0-{PART - 1}"), copied(2, f"bytes={PART}-{PART + 99}")
    small = s3.put(f"{url}&partNumber=3", content=b"x").headers["etag"]

    for span in (f"bytes={PART}-", "bytes=5-2"):
        headers = {"x-amz-copy-source": "/things/source", "x-amz-copy-source-range": span}
        assert refusal(s3.put(f"{url}&partNumber=1", headers=headers)) == (400, "InvalidArgument")
    assert refusal(complete(s3, url, (1, one), (1, one))) == (400, "InvalidPart")
    assert refusal(complete(s3, url, (1, one), (10_001, two))) == (400, "InvalidPart")
    assert refusal(complete(s3, url, (1, two), (2, one))) == (400, "InvalidPart")
    assert refusal(complete(s3, url, (1, one), (2, two), (3, small))) == (400, "EntityTooSmall")
    assert refusal(complete(s3, url)) == (400, "MalformedXML")
    assert refusal(s3.put(f"{url}&partNumber=10001", content=b"x")) == (400, "InvalidArgument")
    made = complete(s3, url, (2, two), (1, one))
    assert texts(made, "Key") == ["made"]
    assert s3.get("/things/made", headers={"range": "bytes=-6"}).content == b"sstail"
    assert refusal(complete(s3, url, (1, one), (2, two))) == (404, "NoSuchUpload")


def test_an_upload_whose_condition_fails_is_gone(s3: httpx.Client, store: S3Store) -> None:
    """A refused completion takes the upload with it; a part without a number is a whole object."""
    s3.put("/things/k", content=b"there")
    url = f"/things/k?uploadId={texts(s3.post('/things/k?uploads'), 'UploadId')[0]}"
    tag = s3.put(f"{url}&partNumber=1", content=b"x").headers["etag"]
    body = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part></CompleteMultipartUpload>"
    )

    refused = s3.post(url, content=body.encode(), headers={"if-none-match": "*"})

    assert refusal(refused) == (412, "PreconditionFailed")
    assert refusal(complete(s3, url, (1, tag))) == (404, "NoSuchUpload")
    assert s3.get("/things/k").content == b"there"
    assert s3.put(url, content=b"whole").status_code == 200
    assert s3.get("/things/k").content == b"whole"


def test_parts_are_read_by_their_number(s3: httpx.Client, store: S3Store) -> None:
    """A read may ask for one part, as clients do that download in parallel; an object that came whole is part 1."""
    upload = texts(s3.post("/things/made?uploads"), "UploadId")[0]
    url = f"/things/made?uploadId={upload}"
    content = {3: b"a" * PART, 7: b"tail"}
    tags = {number: s3.put(f"{url}&partNumber={number}", content=data) for number, data in content.items()}
    complete(s3, url, *((number, answer.headers["etag"]) for number, answer in tags.items()))
    s3.put("/things/copy", headers={"x-amz-copy-source": "/things/made"})
    s3.put("/things/whole", content=b"whole")
    s3.put("/things/empty", content=b"")

    for key in ("made", "copy"):
        head, tail = s3.head(f"/things/{key}?partNumber=1"), s3.get(f"/things/{key}?partNumber=2")
        assert (head.status_code, head.headers["content-length"]) == (206, str(PART))
        assert (tail.content, tail.headers["content-range"]) == (b"tail", f"bytes {PART}-{PART + 3}/{PART + 4}")
        assert tail.headers["x-amz-mp-parts-count"] == "2"
        assert refusal(s3.get(f"/things/{key}?partNumber=3")) == (416, "InvalidPartNumber")
    whole = s3.get("/things/whole?partNumber=1")
    assert (whole.status_code, whole.content, "x-amz-mp-parts-count" in whole.headers) == (206, b"whole", False)
    assert s3.get("/things/empty?partNumber=1").status_code == 200
    assert refusal(s3.get("/things/whole?partNumber=2")) == (416, "InvalidPartNumber")
    assert refusal(s3.get("/things/whole?partNumber=x")) == (400, "InvalidArgument")
    both = s3.get("/things/whole?partNumber=1", headers={"range": "bytes=0-1"})
    assert refusal(both) == (400, "InvalidArgument")


def test_copies_take_or_replace_metadata(s3: httpx.Client, store: S3Store) -> None:
    """COPY, REPLACE and MERGE are heeded, and so are conditions on the source and on the destination."""
    s3.put("/things/a b", content=b"x", headers={"content-type": "text/x", "x-amz-meta-one": "1"})

    def copy(**headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return s3.put("/things/to", headers={"x-amz-copy-source": "things/a%20b", "x-amz-meta-two": "2", **given})

    def custom() -> dict[str, str]:
        headers = s3.head("/things/to").headers
        return {name: value for name, value in headers.items() if name.startswith("x-amz-meta")}

    copy()
    assert custom() == {"x-amz-meta-one": "1"}
    copy(x_amz_metadata_directive="REPLACE")
    assert custom() == {"x-amz-meta-two": "2"}
    copy(x_amz_metadata_directive="MERGE")
    assert custom() == {"x-amz-meta-one": "1", "x-amz-meta-two": "2"}
    assert refusal(copy(x_amz_copy_source_if_match='"other"')) == (412, "PreconditionFailed")
    assert refusal(copy(cf_copy_destination_if_none_match="*")) == (412, "PreconditionFailed")
    assert refusal(s3.put("/things/to", headers={"x-amz-copy-source": "things/none"})) == (404, "NoSuchKey")


def test_lists_of_both_kinds_agree(s3: httpx.Client, store: S3Store) -> None:
    """Tokens, markers, start-after, url encoding and empty pages; a made-up token is refused."""
    for key in ("a/1", "a/2", "b", "c d", "\u00fc"):
        obstore.put(store, key, b"x")

    first = s3.get("/things?list-type=2&max-keys=2&delimiter=/")
    token = texts(first, "NextContinuationToken")[0]
    second = s3.get("/things", params={"list-type": "2", "continuation-token": token, "encoding-type": "url"})
    marked = s3.get("/things?max-keys=2&delimiter=/")

    assert (texts(first, "CommonPrefixes/Prefix"), texts(first, "Contents/Key")) == (["a/"], ["b"])
    assert texts(second, "Contents/Key") == ["c%20d", "%C3%BC"]
    assert (texts(marked, "NextMarker"), texts(marked, "Contents/Key")) == (["b"], ["b"])
    assert texts(s3.get("/things?marker=b"), "Contents/Key") == ["c d", "\u00fc"]
    assert texts(s3.get("/things?list-type=2&start-after=a%2F1&prefix=a"), "Contents/Key") == ["a/2"]
    assert texts(s3.get("/things?list-type=2&max-keys=0"), "KeyCount") == ["0"]
    assert refusal(s3.get("/things?list-type=2&continuation-token=made-up")) == (400, "InvalidArgument")
    assert refusal(s3.get("/things?list-type=2&encoding-type=xml")) == (501, "NotImplemented")
    for number in ("-1", "", "many", "nan"):
        assert refusal(s3.get(f"/things?list-type=2&max-keys={number}")) == (400, "InvalidMaxKeys")
    assert texts(s3.get("/things?list-type=2&max-keys=5000"), "MaxKeys") == ["5000"]
    assert texts(s3.get("/things?list-type=2&max-keys=0"), "IsTruncated") == ["true"]
    assert texts(s3.get("/things?list-type=2&max-keys=0&prefix=z"), "IsTruncated") == ["false"]
    assert texts(s3.get("/things?list-type=2&max-keys=1&fetch-owner=true"), "Contents/Owner/ID") != []


def test_deleting_many_tells_of_each(s3: httpx.Client, store: S3Store) -> None:
    """Each key has its line unless it is asked to be quiet; keys that can't be have an error."""
    obstore.put(store, "a", b"x")
    items = f"<Object><Key>a</Key></Object><Object><Key>{'k' * 1025}</Key></Object>"

    told = s3.post("/things?delete", content=f"<Delete>{items}</Delete>".encode())
    quiet = s3.post("/things?delete", content=f"<Delete><Quiet>true</Quiet>{items}</Delete>".encode())

    assert (texts(told, "Deleted/Key"), texts(told, "Error/Code")) == (["a"], ["InvalidObjectName"])
    # As R2 does: the word is read and makes no difference.
    assert texts(quiet, "Deleted/Key") == ["a"]
    for body in (
        b"",
        b"<Delete/>",
        b"<!DOCTYPE x><Delete/>",
        b"{}",
        b"<Delete><Quiet>maybe</Quiet><Object><Key>a</Key></Object></Delete>",
        b"<Delete>" + b"<Object><Key>a</Key></Object>" * 1001,
    ):
        assert refusal(s3.post("/things?delete", content=body)) == (400, "MalformedXML")


def test_what_is_not_served_says_so(s3: httpx.Client, store: S3Store) -> None:
    """Operations and headers of S3 that R2 doesn't have are refused in its words, never a silent success."""
    for method, path, sentence in (
        ("GET", "/things?policy", "GetBucketPolicy not implemented"),
        ("PUT", "/things?tagging", "PutBucketTagging not implemented"),
        ("DELETE", "/things?policy", "DeleteBucketPolicy not implemented"),
        ("GET", "/things?list-type=3", "ListObjectsV3 not implemented"),
        ("GET", "/things?colour=red", "ListObjectsV1 search parameter colour not implemented"),
        ("GET", "/?colour=red", "ListBuckets search parameter colour not implemented"),
        ("GET", "/things/k?attributes", "GetObjectAttributes not implemented"),
        ("PUT", "/things/k?tagging", "PutObjectTagging not implemented"),
    ):
        answer = s3.request(method, path)
        assert (refusal(answer), texts(answer, "Message")) == ((501, "NotImplemented"), [sentence])
    for name, value in (
        ("x-amz-tagging", "a=b"),
        ("x-amz-acl", "everybody"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-expected-bucket-owner", "1"),
    ):
        answer = s3.put("/things/k", content=b"x", headers={name: value})
        assert texts(answer, "Message") == [f"Header '{name}' with value '{value}' not implemented"]
    assert refusal(s3.put("/things/k", headers={"x-amz-storage-class": "GLACIER"})) == (400, "InvalidStorageClass")
    assert refusal(s3.get("/", headers={"x-amz-security-token": "t"})) == (400, "InvalidArgument")
    assert refusal(s3.request("PATCH", "/things/k")) == (404, "RouteNotFound")
    assert refusal(s3.put("/")) == (404, "RouteNotFound")
    assert s3.head("/things/k").status_code == 404
    harmless = {"x-amz-acl": "public-read", "x-amz-server-side-encryption": "AES256"}
    assert s3.put("/things/k", content=b"x", headers=harmless).status_code == 200


def test_no_parameter_makes_another_operation_of_a_bucket(s3: httpx.Client, store: S3Store) -> None:
    """A bucket is neither made nor removed by a request that meant something of it."""
    encryption = (
        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256"
        "</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
    )

    assert refusal(s3.delete("/things?colour=red")) == (400, "InvalidArgument")
    assert refusal(s3.put("/new?colour=red")) == (400, "InvalidArgument")
    assert s3.put("/things?encryption", content=encryption.encode()).status_code == 200
    kms = encryption.replace("AES256", "aws:kms").encode()
    assert refusal(s3.put("/things?encryption", content=kms)) == (501, "NotImplemented")
    assert s3.delete("/things?encryption").status_code == 204
    assert texts(s3.get("/"), "Buckets/Bucket/Name") == ["things"]


def test_what_every_bucket_has_is_told(account: CloudAccount, s3: httpx.Client, store: S3Store) -> None:
    """Settings that S3 has and R2 only seems to have are answered as of a new bucket."""
    for query, code in (
        ("tagging", "NoSuchTagSet"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("replication", "ReplicationConfigurationNotFoundError"),
    ):
        assert refusal(s3.get(f"/things?{query}")) == (404, code)
    assert list(tree(s3.get("/things?versioning"))) == []
    acl = s3.get("/things?acl")
    assert texts(acl, "Owner/ID") == [account.account_id]
    assert texts(acl, "AccessControlList/Grant/Permission") == ["FULL_CONTROL"]


def test_a_post_of_an_object_is_a_put(account: CloudAccount, s3: httpx.Client, store: S3Store) -> None:
    """POST writes an object, does nothing to a bucket, and as a browser's form is refused."""
    form = httpx.post(f"{s3.base_url}things", content=b"x", trust_env=False)

    assert s3.post("/things/k", content=b"posted").status_code == 200
    assert s3.get("/things/k").content == b"posted"
    assert (s3.post("/things").status_code, refusal(form)) == (200, (501, "NotImplemented"))


def test_keys_are_only_names(account: CloudAccount, s3: httpx.Client, store: S3Store) -> None:
    """Keys that would be tricks as paths are names like any other."""
    tricks = ["..", "../../etc/passwd", "a//b", "/lead", "%2e%2e%2f", "a\x00b", "a\nb", "a?b#c&d=e+f"]

    for key in tricks:
        quoted = "".join(f"%{byte:02X}" for byte in key.encode())
        assert s3.put(f"/things/{quoted}", content=key.encode()).status_code == 200
        assert s3.get(f"/things/{quoted}").content == key.encode()

    listed = account.result("GET", "/r2/buckets/things/objects")
    assert [one["key"] for one in listed] == sorted(tricks)


def test_the_hostname_of_an_account_works_too(account: CloudAccount, keys: Keys, store: S3Store) -> None:
    """The endpoint answers at <account>.r2.cloudflarestorage.com, with the bucket in the path or in the name."""
    obstore.put(store, "k", b"x")
    host = f"{account.account_id}.r2.cloudflarestorage.com"

    def get(hostname: str, path: str) -> httpx.Response:
        with httpx.Client(base_url=account.cloud.edge_url, auth=Signed(keys), trust_env=False) as client:
            return client.get(path, headers={"host": hostname})

    assert get(host, "/things/k").content == b"x"
    assert get(f"things.{host}", "/k").content == b"x"
    assert refusal(get(f"{account.account_id}.eu.r2.cloudflarestorage.com", "/things/k")) == (404, "NoSuchBucket")
    assert get("things.example.r2.cloudflarestorage.com", "/k").status_code == 404


def test_an_endpoint_needs_no_path(account: CloudAccount, s3: httpx.Client, keys: Keys, store: S3Store) -> None:
    """Clients that know hosts only sign for the bucket at the root: whose it is says the key they sign with."""
    rooted = Keys(account.cloud.edge_url, keys.access_key, keys.secret)

    obstore.put(rooted.store("things"), "client/v4/a b", b"x")
    presigned = obstore.sign(rooted.store("things"), "GET", "client/v4/a b", timedelta(minutes=5))
    with httpx.Client(base_url=rooted.endpoint, auth=Signed(rooted), trust_env=False) as client:
        listed = texts(client.get("/"), "Buckets/Bucket/Name")
        stranger = refusal(client.get("/r2/elsewhere/things"))

    assert s3.get("/things/client/v4/a%20b").content == b"x"
    assert httpx.get(presigned, trust_env=False).content == b"x"
    assert (listed, stranger) == (["things"], (404, "RouteNotFound"))
    assert account.cloud.calls(account_id=account.account_id, method="GET", path="^/things/client")
    assert account.result("GET", "/r2/buckets")["buckets"][0]["name"] == "things"


def test_tokens_reach_what_their_permissions_say(account: CloudAccount, keys: Keys, store: S3Store) -> None:
    """A token that may read one bucket's objects reads them, writes none, and sees neither other buckets nor a list."""
    account.result("POST", "/r2/buckets", json={"name": "others"})
    obstore.put(store, "k", b"content")
    groups = account.api.get("/user/tokens/permission_groups").json()["result"]
    read = next(group["id"] for group in groups if group["name"] == "Workers R2 Storage Bucket Item Read")
    resource = f"com.cloudflare.edge.r2.bucket.{account.account_id}_default_things"
    policy = {"effect": "allow", "resources": {resource: "*"}, "permission_groups": [{"id": read}]}
    made = account.api.post("/user/tokens", json={"name": "reader", "policies": [policy]}).json()["result"]
    reader = Keys(keys.endpoint, made["id"], hashlib.sha256(made["value"].encode()).hexdigest())

    with httpx.Client(base_url=keys.endpoint, auth=Signed(reader), trust_env=False) as client:
        assert client.get("/things/k").content == b"content"
        assert texts(client.get("/things?list-type=2"), "Contents/Key") == ["k"]
        for refused in (
            client.put("/things/k", content=b"x"),
            client.delete("/things/k"),
            client.post("/things/k?uploads"),
            client.get("/others?list-type=2"),
            client.get("/"),
            client.put("/new"),
        ):
            assert refusal(refused) == (403, "AccessDenied")
    account.api.delete(f"/user/tokens/{made['id']}")
    with httpx.Client(base_url=keys.endpoint, auth=Signed(reader), trust_env=False) as client:
        assert refusal(client.get("/things/k")) == (401, "Unauthorized")


def test_calls_are_logged_and_can_fail_to_order(account: CloudAccount, s3: httpx.Client, store: S3Store) -> None:
    """Calls of the S3 endpoint stand in the log under their account, and faults strike them."""
    fault = account.cloud.add_fault(f"^/r2/{account.account_id}/things/k$", method="PUT", status=503, times=1)

    first = s3.put("/things/k", content=b"x")
    second = s3.put("/things/k", content=b"x")
    account.cloud.clear_faults(fault)

    assert (refusal(first), second.status_code) == ((503, "ServiceUnavailable"), 200)
    calls = account.cloud.calls(account_id=account.account_id, method="PUT", path="^/r2/")
    assert [call.status for call in calls] == [503, 200]
    assert calls[1].token is not None


def test_faults_speak_s3(account: CloudAccount, s3: httpx.Client, store: S3Store) -> None:
    """What is wrong to order is wrong in XML with S3's codes, half documents too, so that S3 clients can read it."""
    path = f"^/r2/{account.account_id}/things/k$"
    obstore.put(store, "k", b"x")
    seen = []
    for status in (500, 403, 429):
        account.cloud.add_fault(path, status=status, retry_after=3, message="<told> & so")
        answer = s3.get("/things/k")
        seen.append((*refusal(answer), texts(answer, "Message"), answer.headers["retry-after"]))
    account.cloud.add_fault(path, action="malformed")
    half = s3.get("/things/k")

    told = (["<told> & so"], "3")
    assert seen == [(500, "InternalError", *told), (403, "AccessDenied", *told), (429, "TooManyRequests", *told)]
    assert half.headers["content-type"] == "application/xml"
    assert half.content.startswith(b"<?xml")
    assert b">" not in half.content


def test_too_large_bodies_are_refused_before_they_come(keys: Keys, store: S3Store) -> None:
    """An upload that announces more than 4.995 GiB is answered at once, without a byte of it."""
    request = httpx.Request("PUT", f"{keys.endpoint}/things/k", content=b"")
    signed = next(Signed(keys).auth_flow(request))
    signed.headers["content-length"] = str(5 * 1024**3)
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed.headers.items())

    with socket.create_connection((signed.url.host, signed.url.port or 80), timeout=10) as connection:
        connection.sendall(f"PUT {signed.url.path} HTTP/1.1\r\n{lines}\r\n".encode())
        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"<Code>EntityTooLarge</Code>" in answer


def test_a_refusal_before_the_body_ends_the_connection(s3: httpx.Client, keys: Keys, store: S3Store) -> None:
    """Who waits for 100 Continue may send its body or not: no next request is read from where it could be."""
    request = s3.build_request("PUT", "/nowhere/k", content=b"0123456789")
    signed = next(Signed(keys).auth_flow(request))
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed.headers.items() if name != "connection")

    with socket.create_connection((signed.url.host, signed.url.port or 80), timeout=10) as connection:
        connection.sendall(f"PUT {signed.url.path} HTTP/1.1\r\n{lines}expect: 100-continue\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 404")
    assert b"connection: close" in answer


@pytest.mark.exhaustive
def test_large_objects_need_little_memory(toolchain: Toolchain, tmp_path: Path) -> None:
    """A gigabyte in and out over S3, whole and in parts, costs the cloud no more than some tens of megabytes."""
    script = f"""
import sys
from pathlib import Path
from clodo.emulator.config import CloudConfig
from clodo.emulator.server import run_until_told
import json
config = CloudConfig(data=Path({str(tmp_path / "data")!r}), workerd=Path({str(toolchain.workerd)!r}), port=0)
run_until_told(config, lambda state: print(json.dumps(state), flush=True))
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        state = json.loads(process.stdout.readline())
        secret = hashlib.sha256(state["token"].encode()).hexdigest()
        keys = Keys(state["r2_url"], state["r2_access_key_id"], secret)
        with httpx.Client(base_url=keys.endpoint, auth=Signed(keys), trust_env=False) as client:
            assert client.put("/things").status_code == 200
        store = keys.store("things")

        def high_water() -> int:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

        def chunks(count: int) -> Iterator[bytes]:
            for number in range(count):
                yield bytes([number % 256]) * 1024**2

        before = high_water()
        obstore.put(store, "parts", chunks(512), use_multipart=True, chunk_size=8 * 1024**2)
        with httpx.Client(trust_env=False, timeout=120) as client:
            put = obstore.sign(store, "PUT", "whole", timedelta(minutes=5))
            length = {"content-length": str(512 * 1024**2)}
            assert client.put(put, content=chunks(512), headers=length).status_code == 200
        for name in ("parts", "whole"):
            received = sum(len(chunk) for chunk in obstore.get(store, name).stream(min_chunk_size=1024**2))
            assert received == 512 * 1024**2
        grown = high_water() - before
    finally:
        process.terminate()
        process.wait(timeout=30)

    assert grown < 100 * 1024**2
