"""Listings over S3: the objects of a bucket, in both versions of the operation."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from starlette.responses import Response

from clodo.emulator.r2.cursors import read_cursor, write_cursor
from clodo.emulator.r2.errors import INVALID_MAX_KEYS, NOT_IMPLEMENTED, R2Refused
from clodo.emulator.r2.limits import MAX_LIST
from clodo.emulator.r2.records import ObjectPage
from clodo.emulator.r2.s3.documents import Element, document
from clodo.emulator.r2.s3.headers import iso_date, storage_class_code
from clodo.emulator.r2.s3.objects import xml
from clodo.emulator.r2.s3.requests import S3Request


def encoder_of(request: S3Request) -> Callable[[str], str]:
    """
    Return how keys are written in the answer.

    Raises:
        R2Refused: Another ``encoding-type`` than url is asked for.
    """
    wanted = request.query.get("encoding-type")
    if wanted not in (None, "", "url"):
        raise R2Refused(NOT_IMPLEMENTED.saying(f'Unrecognized encoding-type "{wanted[:40]}" not implemented'))
    return (lambda key: quote(key, safe="-_.~")) if wanted == "url" else str


async def list_objects_v2(request: S3Request) -> Response:
    """List objects, with continuation tokens."""
    query = request.query
    start_after, token = query.get("start-after", ""), query.get("continuation-token")
    after = start_after.encode("utf-8", "replace") if token is None else read_cursor(token)
    limit, page = await _page(request, after)
    encoded = encoder_of(request)
    content: list[Element] = [
        ("Name", request.address.bucket),
        ("Prefix", encoded(query.get("prefix", ""))),
        ("Delimiter", encoded(query["delimiter"]) if query.get("delimiter") else None),
        ("EncodingType", query.get("encoding-type") or None),
        ("MaxKeys", limit),
        ("KeyCount", len(page.objects) + len(page.prefixes)),
        ("IsTruncated", page.is_truncated),
        ("ContinuationToken", token),
        ("NextContinuationToken", None if page.next_after is None else write_cursor(page.next_after)),
        ("StartAfter", encoded(start_after) if start_after else None),
        *_entries(page, encoded, request.address.account_id if query.get("fetch-owner") == "true" else None),
    ]
    return xml(document("ListBucketResult", content))


async def list_objects(request: S3Request) -> Response:
    """List objects, with markers: the first version of the operation."""
    query = request.query
    marker = query.get("marker", "")
    limit, page = await _page(request, marker.encode("utf-8", "replace"))
    encoded = encoder_of(request)
    after = page.next_after
    content: list[Element] = [
        ("Name", request.address.bucket),
        ("Prefix", encoded(query.get("prefix", ""))),
        ("Marker", encoded(marker)),
        ("NextMarker", None if after is None else encoded(after.decode("utf-8", "replace"))),
        ("Delimiter", encoded(query["delimiter"]) if query.get("delimiter") else None),
        ("EncodingType", query.get("encoding-type") or None),
        ("MaxKeys", limit),
        ("IsTruncated", page.is_truncated),
        *_entries(page, encoded, request.address.account_id),
    ]
    return xml(document("ListBucketResult", content))


async def _page(request: S3Request, after: bytes) -> tuple[int, ObjectPage]:
    asked = _max_keys(request)
    page = await request.storage.objects.page(
        request.bucket(writes=False),
        prefix=request.query.get("prefix", "").encode("utf-8", "replace"),
        delimiter=request.query.get("delimiter", "").encode("utf-8", "replace"),
        after=after,
        limit=min(max(asked, 1), MAX_LIST),
    )
    # Of no keys at all, it is said whether there would have been any.
    return asked, page if asked else ObjectPage((), (), None, bool(page.objects or page.prefixes))


def _max_keys(request: S3Request) -> int:
    """Return how many keys are asked for, which may be more than there will be; fractions are cut off."""
    text = request.query.get("max-keys")
    try:
        value = float(MAX_LIST if text is None else text.strip())
    except ValueError as error:
        raise R2Refused(INVALID_MAX_KEYS) from error
    if not 0 <= value < 2**53:
        raise R2Refused(INVALID_MAX_KEYS)
    return int(value)


def _entries(page: ObjectPage, encoded: Callable[[str], str], owner: str | None) -> list[Element]:
    shown_owner: list[Element] | None = None if owner is None else [("DisplayName", owner), ("ID", owner)]
    entries: list[Element] = []
    for found in page.objects:
        shown: list[Element] = [
            ("Key", encoded(found.key)),
            ("Size", found.size),
            ("LastModified", iso_date(found.uploaded)),
            ("ETag", f'"{found.etag}"'),
            ("StorageClass", storage_class_code(found.storage_class)),
            ("Owner", shown_owner),
        ]
        entries.append(("Contents", shown))
    entries.extend(("CommonPrefixes", [("Prefix", encoded(prefix))]) for prefix in page.prefixes)
    return entries
