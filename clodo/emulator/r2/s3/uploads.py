"""Multipart uploads over S3."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element as Read

from starlette.responses import Response

from clodo.emulator.r2.checksums import S3_ALGORITHMS, from_base64
from clodo.emulator.r2.conditions import from_headers
from clodo.emulator.r2.errors import INVALID_ARGUMENT, INVALID_REQUEST, MALFORMED_XML, R2Refused
from clodo.emulator.r2.limits import MAX_PART_BYTES, MAX_PARTS
from clodo.emulator.r2.part_checksums import type_of
from clodo.emulator.r2.ranges import span_of_copy
from clodo.emulator.r2.s3.documents import Element, document, parse, text_of
from clodo.emulator.r2.s3.encryption import customer_key_of, encryption_headers
from clodo.emulator.r2.s3.headers import (
    checksum_elements,
    checksum_headers,
    description_of,
    iso_date,
    storage_class_code,
)
from clodo.emulator.r2.s3.listing import encoder_of
from clodo.emulator.r2.s3.objects import open_source, xml
from clodo.emulator.r2.s3.requests import S3Request
from clodo.emulator.r2.uploads import NamedPart

_NUMBER = re.compile(r"[0-9]{1,9}")


async def create_upload(request: S3Request) -> Response:
    """Begin a multipart upload."""
    secret = customer_key_of(request.headers)
    algorithm = _algorithm_of(request.headers)
    bucket = request.bucket(writes=True)
    upload = await request.storage.uploads.create(
        bucket,
        request.key,
        description_of(request.headers),
        key_md5=None if secret is None else secret.md5,
        algorithm=algorithm,
    )
    content: list[Element] = [("Bucket", bucket.name), ("Key", upload.key), ("UploadId", upload.id)]
    answer = xml(document("InitiateMultipartUploadResult", content))
    answer.headers.update(encryption_headers(upload.key_md5))
    if algorithm is not None:
        answer.headers["x-amz-checksum-algorithm"] = algorithm.upper()
        answer.headers["x-amz-checksum-type"] = type_of(algorithm)
    return answer


async def upload_part(request: S3Request) -> Response:
    """Write a part from the body."""
    bucket = request.bucket(writes=True)
    number, upload_id = _part_number(request), request.query["uploadId"]
    secret = customer_key_of(request.headers)
    payload = request.payload
    part = await request.storage.receive_part(
        bucket,
        request.key,
        upload_id,
        number,
        payload.read(MAX_PART_BYTES),
        algorithms=payload.algorithms(),
        told=payload.told,
        secret=secret,
    )
    encrypted = encryption_headers(None if secret is None else secret.md5)
    return Response(headers={"etag": f'"{part.etag}"', **checksum_headers(part.checksums), **encrypted})


async def copy_part(request: S3Request) -> Response:
    """Write a part from another object."""
    number, upload_id = _part_number(request), request.query["uploadId"]
    secret = customer_key_of(request.headers)
    source = await open_source(request)
    try:
        span = span_of_copy(request.headers.get("x-amz-copy-source-range"), source.object.size)
        part = await request.storage.receive_part(
            request.bucket(writes=True), request.key, upload_id, number, source.read(span), secret=secret
        )
    finally:
        source.close()
    content: list[Element] = [
        ("ETag", f'"{part.etag}"'),
        ("LastModified", iso_date(part.uploaded)),
        *checksum_elements(part.checksums),
    ]
    answer = xml(document("CopyPartResult", content))
    answer.headers.update(encryption_headers(None if secret is None else secret.md5))
    return answer


async def complete_upload(request: S3Request) -> Response:
    """Make an object of the parts that the body names."""
    bucket = request.bucket(writes=True)
    named = []
    for item in parse(await request.document(is_summed=False), "CompleteMultipartUpload").findall("Part"):
        number, etag = text_of(item, "PartNumber"), text_of(item, "ETag")
        if number is None or etag is None or not _NUMBER.fullmatch(number.strip()):
            raise R2Refused(MALFORMED_XML)
        named.append(NamedPart(int(number), etag.strip().strip('"'), _checksums_in(item)))
    if not named:
        raise R2Refused(MALFORMED_XML)
    made = await request.storage.uploads.complete(
        bucket,
        request.key,
        request.query["uploadId"],
        named,
        conditions=from_headers(request.headers),
        told=_told(request.headers),
    )
    content: list[Element] = [
        ("Location", f"/{bucket.name}/{made.key}"),
        ("Bucket", bucket.name),
        ("Key", made.key),
        ("ETag", f'"{made.etag}"'),
        *checksum_elements(made.checksums),
        *(("ChecksumType", type_of(algorithm)) for algorithm in made.checksums),
    ]
    return xml(document("CompleteMultipartUploadResult", content))


async def abort_upload(request: S3Request) -> Response:
    """Forget a multipart upload."""
    await request.storage.uploads.abort(request.bucket(writes=True), request.key, request.query["uploadId"])
    return Response(status_code=204)


async def list_parts(request: S3Request) -> Response:
    """List the parts of an upload."""
    bucket = request.bucket(writes=False)
    upload, parts = await request.storage.uploads.parts(bucket, request.key, request.query["uploadId"])
    limit = request.number("max-parts", 1000, 1, 1000)
    marker = request.number("part-number-marker", 0, 0, MAX_PARTS)
    left = [part for part in parts if part.number > marker]
    page = left[:limit]
    content: list[Element] = [
        ("Bucket", bucket.name),
        ("Key", upload.key),
        ("UploadId", upload.id),
        ("PartNumberMarker", marker),
        ("NextPartNumberMarker", page[-1].number if len(left) > limit else None),
        ("MaxParts", limit),
        ("IsTruncated", len(left) > limit),
        ("StorageClass", storage_class_code(upload.description.storage_class or bucket.storage_class)),
        ("ChecksumAlgorithm", upload.algorithm.upper() if upload.algorithm else None),
        ("ChecksumType", type_of(upload.algorithm) if upload.algorithm else None),
    ]
    for part in page:
        shown: list[Element] = [
            ("PartNumber", part.number),
            ("LastModified", iso_date(part.uploaded)),
            ("ETag", f'"{part.etag}"'),
            ("Size", part.size),
            *checksum_elements(part.checksums),
        ]
        content.append(("Part", shown))
    return xml(document("ListPartsResult", content))


async def list_uploads(request: S3Request) -> Response:
    """List the uploads of a bucket that are under way."""
    bucket = request.bucket(writes=False)
    encoded = encoder_of(request)
    prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
    marker = (request.query.get("key-marker", ""), request.query.get("upload-id-marker", ""))
    limit = request.number("max-uploads", 1000, 1, 1000)
    left: list[tuple[str, str, Element]] = []
    for upload in await request.storage.uploads.of_bucket(bucket, prefix.encode("utf-8", "replace")):
        is_past = upload.key > marker[0] or (upload.key == marker[0] and marker[1] != "" and upload.id > marker[1])
        if not is_past:
            continue
        rest, found, _ = upload.key.removeprefix(prefix).partition(delimiter) if delimiter else (upload.key, "", "")
        if found:
            rolled: Element = ("CommonPrefixes", [("Prefix", encoded(prefix + rest + delimiter))])
            if not any(entry == rolled for *_, entry in left):
                left.append((upload.key, upload.id, rolled))
            continue
        shown: list[Element] = [
            ("Key", encoded(upload.key)),
            ("UploadId", upload.id),
            ("Initiated", iso_date(upload.created)),
            ("StorageClass", storage_class_code(upload.description.storage_class or bucket.storage_class)),
        ]
        left.append((upload.key, upload.id, ("Upload", shown)))
    page, is_truncated = left[:limit], len(left) > limit
    content: list[Element] = [
        ("Bucket", bucket.name),
        ("KeyMarker", encoded(marker[0])),
        ("UploadIdMarker", marker[1]),
        ("NextKeyMarker", encoded(page[-1][0]) if is_truncated else None),
        ("NextUploadIdMarker", page[-1][1] if is_truncated else None),
        ("Prefix", encoded(prefix)),
        ("Delimiter", encoded(delimiter) if delimiter else None),
        ("EncodingType", request.query.get("encoding-type")),
        ("MaxUploads", limit),
        ("IsTruncated", is_truncated),
        *(entry for *_, entry in page),
    ]
    return xml(document("ListMultipartUploadsResult", content))


def _algorithm_of(headers: Mapping[str, str]) -> str | None:
    """
    Return the checksum that the object of an upload will have.

    Raises:
        R2Refused: There is no such algorithm, or R2 has no such type of it.
    """
    name, kind = headers.get("x-amz-checksum-algorithm"), headers.get("x-amz-checksum-type")
    if name is None:
        return None
    algorithm = name.lower()
    if algorithm not in S3_ALGORITHMS:
        raise R2Refused(INVALID_REQUEST.saying("Checksum algorithm provided is unsupported."))
    if kind is not None and kind != type_of(algorithm):
        told = f"The {kind[:20]} checksum type cannot be used with the {algorithm} checksum algorithm."
        raise R2Refused(INVALID_REQUEST.saying(told))
    return algorithm


def _checksums_in(part: Read) -> dict[str, str]:
    """Return the checksums that a part is named with, in hex."""
    texts = {name: text_of(part, f"Checksum{name.upper()}") for name in S3_ALGORITHMS}
    return {name: from_base64(name, text.strip()) for name, text in texts.items() if text}


def _told(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what the sender says that the whole sums up to, in hex."""
    found = {}
    for name in S3_ALGORITHMS:
        if text := headers.get(f"x-amz-checksum-{name}"):
            value, hyphen, parts = text.partition("-")
            found[name] = from_base64(name, value) + hyphen + parts
    return found


def _part_number(request: S3Request) -> int:
    text = request.query.get("partNumber", "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise R2Refused(
            INVALID_ARGUMENT.saying(f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive.")
        )
    return int(text)
