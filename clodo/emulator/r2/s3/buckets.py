"""Buckets over S3: list, create, head, delete, and where they are."""

from __future__ import annotations

from starlette.responses import Response

from clodo.emulator.r2.cursors import read_cursor, write_cursor
from clodo.emulator.r2.errors import INVALID_ARGUMENT, R2Refused
from clodo.emulator.r2.limits import LOCATIONS, MAX_LIST
from clodo.emulator.r2.s3.documents import Element, document, parse, text_of
from clodo.emulator.r2.s3.headers import storage_class_of
from clodo.emulator.r2.s3.objects import xml
from clodo.emulator.r2.s3.requests import S3Request


async def list_buckets(request: S3Request) -> Response:
    """List the account's buckets; R2's own parameters may come as headers too."""
    request.raise_if_not_administrator(writes=False)
    address = request.address
    given = {
        name: request.headers.get(f"cf-{name}", request.query.get(name, ""))
        for name in ("prefix", "start-after", "continuation-token", "max-keys")
    }
    after = (
        read_cursor(given["continuation-token"]).decode("utf-8", "replace")
        if given["continuation-token"]
        else given["start-after"]
    )
    limit = MAX_LIST
    if given["max-keys"]:
        if not (given["max-keys"].isascii() and given["max-keys"].isdigit()) or not int(given["max-keys"][:6]) >= 1:
            raise R2Refused(INVALID_ARGUMENT.saying("max-keys must be a number from 1 to 1000."))
        limit = min(MAX_LIST, int(given["max-keys"][:6]))
    left = [
        bucket
        for bucket in request.storage.buckets.of_account(address.account_id, address.jurisdiction)
        if bucket.name > after and bucket.name.startswith(given["prefix"])
    ]
    page, is_truncated = left[:limit], len(left) > limit
    following = write_cursor(page[-1].name.encode()) if is_truncated else None
    shown: list[Element] = [("Bucket", [("CreationDate", bucket.created_on), ("Name", bucket.name)]) for bucket in page]
    content: list[Element] = [
        ("Buckets", shown),
        ("Owner", [("DisplayName", address.account_id), ("ID", address.account_id)]),
        ("IsTruncated", is_truncated),
        ("KeyCount", len(page)),
        ("MaxKeys", limit),
        ("NextContinuationToken", following),
    ]
    answer = xml(document("ListAllMyBucketsResult", content))
    answer.headers["cf-is-truncated"] = "true" if is_truncated else "false"
    if following is not None:
        answer.headers["cf-next-continuation-token"] = following
    return answer


async def create_bucket(request: S3Request) -> Response:
    """Make a bucket."""
    request.raise_if_not_administrator(writes=True)
    body = await request.document()
    location = None
    if body.strip():
        location = text_of(parse(body, "CreateBucketConfiguration"), "LocationConstraint")
    # R2's region is auto, with us-east-1 as an alias; anything else is a hint.
    hint = (location or "").strip().lower()
    if hint in ("", "auto", "us-east-1"):
        hint = ""
    elif hint not in LOCATIONS:
        raise R2Refused(INVALID_ARGUMENT.saying(f"The location constraint {hint[:40]!r} is not valid."))
    address = request.address
    await request.storage.buckets.create(
        address.account_id,
        address.bucket,
        jurisdiction=address.jurisdiction,
        location=hint or None,
        storage_class=storage_class_of(request.headers) or "Standard",
    )
    return Response(headers={"location": f"/{address.bucket}"})


async def head_bucket(request: S3Request) -> Response:
    """Say whether the bucket is there."""
    request.bucket(writes=False)
    return Response(headers={"x-amz-bucket-region": "auto"})


async def delete_bucket(request: S3Request) -> Response:
    """Remove an empty bucket."""
    request.raise_if_not_administrator(writes=True)
    await request.storage.buckets.delete(request.bucket(writes=True))
    return Response(status_code=204)


async def bucket_location(request: S3Request) -> Response:
    """Say where the bucket is."""
    return xml(document("LocationConstraint", request.bucket(writes=False).location.upper()))
