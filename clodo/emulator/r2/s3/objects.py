"""Objects over S3: put, get, head, delete, copy."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote_to_bytes

from starlette.responses import Response

from clodo.emulator.r2.conditions import from_headers
from clodo.emulator.r2.errors import (
    INVALID_ARGUMENT,
    INVALID_OBJECT_NAME,
    INVALID_PART_NUMBER,
    MALFORMED_XML,
    NO_SUCH_BUCKET,
    PRECONDITION_FAILED,
    R2Refused,
)
from clodo.emulator.r2.limits import MAX_DELETE, MAX_PARTS, MAX_SINGLE_BYTES, key_bytes
from clodo.emulator.r2.objects import OpenObject
from clodo.emulator.r2.part_checksums import COMPOSITE, FULL_OBJECT
from clodo.emulator.r2.ranges import Span
from clodo.emulator.r2.records import Description, StoredObject, part_count_of
from clodo.emulator.r2.s3.documents import Element, document, parse, text_of
from clodo.emulator.r2.s3.encryption import SOURCE, customer_key_of, encryption_headers
from clodo.emulator.r2.s3.headers import (
    checksum_headers,
    description_of,
    headers_of,
    iso_date,
    overridden,
    storage_class_of,
)
from clodo.emulator.r2.s3.requests import S3Request
from clodo.emulator.r2.serving import answer_with


async def put_object(request: S3Request) -> Response:
    """Write an object from the body."""
    secret = customer_key_of(request.headers)
    try:
        bucket = request.bucket(writes=True)
    except R2Refused as error:
        if error.refusal is not NO_SUCH_BUCKET or request.headers.get("cf-create-bucket-if-missing") != "true":
            raise
        request.raise_if_not_administrator(writes=True)
        address = request.address
        bucket = await request.storage.buckets.create(
            address.account_id, address.bucket, jurisdiction=address.jurisdiction
        )
    made = await request.storage.receive(
        bucket,
        request.key,
        request.payload.read(MAX_SINGLE_BYTES),
        description_of(request.headers),
        algorithms=request.payload.algorithms(),
        told=request.payload.told,
        conditions=from_headers(request.headers),
        secret=secret,
    )
    return Response(
        headers={
            "etag": f'"{made.etag}"',
            "x-amz-version-id": made.version,
            **checksum_headers(made.checksums),
            **encryption_headers(made.key_md5),
        }
    )


async def get_object(request: S3Request) -> Response:
    """Answer with an object's bytes, or those that are asked for."""
    return await _shown(request, with_body=True)


async def head_object(request: S3Request) -> Response:
    """Answer with what is known of an object."""
    return await _shown(request, with_body=False)


async def delete_object(request: S3Request) -> Response:
    """Remove an object; it doesn't matter whether it was there."""
    await request.storage.objects.delete(request.bucket(writes=True), [request.key])
    return Response(status_code=204)


async def delete_objects(request: S3Request) -> Response:
    """Remove up to a thousand objects."""
    bucket = request.bucket(writes=True)
    wanted = parse(await request.document(), "Delete")
    keys = [text_of(item, "Key") or "" for item in wanted.findall("Object")]
    if not 0 < len(keys) <= MAX_DELETE:
        raise R2Refused(MALFORMED_XML)
    # "Quiet" must be one of two words, and then makes no difference.
    if text_of(wanted, "Quiet") not in (None, "true", "false"):
        raise R2Refused(MALFORMED_XML)
    names: list[str] = []
    answers: list[Element] = []
    for key in keys:
        try:
            key_bytes(key)
        except R2Refused as error:
            refusal = error.refusal
            answers.append(("Error", [("Key", key), ("Code", refusal.name), ("Message", refusal.message)]))
        else:
            names.append(key)
            answers.append(("Deleted", [("Key", key)]))
    await request.storage.objects.delete(bucket, names)
    return xml(document("DeleteResult", answers))


async def copy_object(request: S3Request) -> Response:
    """Make an object of another one's bytes, its description, or a new one."""
    secret = customer_key_of(request.headers)
    bucket = request.bucket(writes=True)
    source = await open_source(request)
    conditions = from_headers(request.headers, "cf-copy-destination-")
    storage = request.storage
    try:
        description = _copied_description(request, source.object)
        if secret is None and source.object.key_md5 is None:
            made = await storage.objects.copy(source, bucket, request.key, description, conditions=conditions)
        else:
            made = await storage.receive(
                bucket,
                request.key,
                source.read(),
                description,
                conditions=conditions,
                secret=secret,
                copied_from=source.place,
            )
    finally:
        source.close()
    result: list[Element] = [("ETag", f'"{made.etag}"'), ("LastModified", iso_date(made.uploaded))]
    answer = xml(document("CopyObjectResult", result))
    versions = {"x-amz-version-id": made.version, "x-amz-copy-source-version-id": source.object.version}
    answer.headers.update({**versions, **encryption_headers(made.key_md5)})
    return answer


async def open_source(request: S3Request) -> OpenObject:
    """
    Open the object that ``x-amz-copy-source`` names.

    Raises:
        R2Refused: It isn't there, may not be read, is encrypted with another key, or isn't as the conditions want it.
    """
    text = request.headers["x-amz-copy-source"].partition("?")[0].removeprefix("/")
    try:
        name, _, key = unquote_to_bytes(text).decode().partition("/")
    except UnicodeDecodeError as error:
        raise R2Refused(INVALID_OBJECT_NAME) from error
    if not key:
        raise R2Refused(INVALID_ARGUMENT.saying("copy source bucket name"))
    secret = customer_key_of(request.headers, SOURCE)
    source = await request.storage.objects.open(request.bucket_named(name, writes=False), key, secret=secret)
    if not from_headers(request.headers, "x-amz-copy-source-").hold(source.object):
        source.close()
        raise R2Refused(PRECONDITION_FAILED)
    return source


def xml(body: bytes, status: int = 200) -> Response:
    """Return an answer of XML."""
    return Response(body, status_code=status, media_type="application/xml")


def _copied_description(request: S3Request, found: StoredObject) -> Description:
    directive = request.headers.get("x-amz-metadata-directive", "COPY").upper()
    given = description_of(request.headers)
    storage_class = storage_class_of(request.headers)
    match directive:
        case "COPY":
            return Description(found.http, found.custom, storage_class)
        case "REPLACE":
            return given
        case "MERGE":
            return replace(given, http={**found.http, **given.http}, custom={**found.custom, **given.custom})
        case _:
            raise R2Refused(INVALID_ARGUMENT.saying(f"metadata directive {directive[:40]}."))


async def _shown(request: S3Request, *, with_body: bool) -> Response:
    secret = customer_key_of(request.headers)
    opened = await request.storage.objects.open(request.bucket(writes=False), request.key, secret=secret)
    is_summed = request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"
    described = overridden(headers_of(opened.object), request.query)
    sums = checksum_headers(opened.object.checksums) if is_summed else {}
    if sums:
        sums["x-amz-checksum-type"] = COMPOSITE if any("-" in text for text in sums.values()) else FULL_OBJECT
    part: Span | None = None
    if "partNumber" in request.query:
        try:
            part = _part_asked_for(request, opened.object)
        except R2Refused:
            opened.close()
            raise
        if (parts := part_count_of(opened.object)) is not None:
            described["x-amz-mp-parts-count"] = str(parts)
    return answer_with(opened, described, request.headers, part=part, of_whole=sums, with_body=with_body)


def _part_asked_for(request: S3Request, found: StoredObject) -> Span | None:
    """Return the bytes of the part that the query names; None for an object without any."""
    if "range" in request.headers:
        raise R2Refused(INVALID_ARGUMENT.saying("Cannot specify both Range header and partNumber query parameter."))
    number = request.number("partNumber", 1, 1, MAX_PARTS)
    if number > (part_count_of(found) or 1):
        raise R2Refused(INVALID_PART_NUMBER)
    # Each part that isn't empty, which only the last can be, is a file of its own.
    sizes = [segment.size for segment in found.segments]
    span = Span(sum(sizes[: number - 1]), sum(sizes[number - 1 : number]))
    return span if span.length else None
