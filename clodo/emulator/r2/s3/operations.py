"""
Which of S3's operations a request asks for; what R2 knows of S3 and doesn't have is refused by its name.

Source:
    miniflare's S3 endpoint, whose answers its authors "captured from a real bucket (2026-06-11)":
    https://github.com/cloudflare/workers-sdk/tree/main/packages/miniflare/src/workers/r2/s3; and
    https://developers.cloudflare.com/r2/api/s3/api/
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping

from starlette.responses import Response

from clodo.emulator.r2.errors import INVALID_ARGUMENT, NOT_IMPLEMENTED, ROUTE_NOT_FOUND, R2Refused
from clodo.emulator.r2.s3 import buckets, listing, objects, rules, screening, settings, uploads
from clodo.emulator.r2.s3.requests import S3Request

Operation = Callable[[S3Request], Awaitable[Response]]

#: By method, the query parameters that make another operation of a request about a bucket.
_OF_BUCKETS: Mapping[str, Mapping[str, Operation]] = {
    "GET": {
        "uploads": uploads.list_uploads,
        "location": buckets.bucket_location,
        "encryption": settings.get_encryption,
        "versioning": settings.get_versioning,
        "tagging": settings.get_tagging,
        "object-lock": settings.get_object_lock,
        "replication": settings.get_replication,
        "acl": settings.get_acl,
        "cors": rules.get_cors,
        "lifecycle": rules.get_lifecycle,
    },
    "PUT": {
        "cors": rules.put_cors,
        "encryption": settings.put_encryption,
        "lifecycle": rules.put_lifecycle,
        "versioning": settings.put_versioning,
    },
    "DELETE": {
        "cors": rules.delete_cors,
        "encryption": settings.delete_encryption,
        "lifecycle": rules.delete_lifecycle,
    },
    "POST": {"delete": objects.delete_objects},
}
_CONFIGURATIONS = {
    "accelerate": "BucketAccelerateConfiguration",
    "analytics": "BucketAnalyticsConfiguration",
    "intelligent-tiering": "BucketIntelligentTieringConfiguration",
    "inventory": "BucketInventoryConfiguration",
    "logging": "BucketLogging",
    "metrics": "BucketMetricsConfiguration",
    "notification": "BucketNotificationConfiguration",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "publicAccessBlock": "PublicAccessBlock",
    "requestPayment": "BucketRequestPayment",
    "website": "BucketWebsite",
}
#: The same for what isn't there.
_MISSING_OF_BUCKETS: Mapping[str, Mapping[str, str]] = {
    "GET": {
        **{name: f"Get{what}" for name, what in _CONFIGURATIONS.items()},
        "versions": "ListObjectVersions",
        # Cloudflare's slip of the pen.
        "policyStatus": "GetGetBucketPolicyStatus",
    },
    "PUT": {
        **{name: f"Put{what}" for name, what in _CONFIGURATIONS.items()},
        "acl": "PutBucketAcl",
        "object-lock": "PutObjectLockConfiguration",
        "replication": "PutBucketReplication",
        "tagging": "PutBucketTagging",
    },
    "DELETE": {
        "analytics": "DeleteBucketAnalyticsConfiguration",
        "intelligent-tiering": "DeleteBucketIntelligentTieringConfiguration",
        "inventory": "DeleteBucketInventoryConfiguration",
        "metrics": "DeleteBucketMetricsConfiguration",
        "ownershipControls": "DeleteBucketOwnershipControls",
        "policy": "DeleteBucketPolicy",
        "replication": "DeleteBucketReplication",
        "tagging": "DeleteBucketTagging",
        "website": "DeleteBucketWebsite",
    },
}
_MISSING_OF_OBJECTS: Mapping[str, Mapping[str, str]] = {
    method: {
        name: f"{verb}Object{what}"
        for name, what in (
            ("tagging", "Tagging"),
            ("acl", "Acl"),
            ("retention", "Retention"),
            ("legal-hold", "LegalHold"),
        )
    }
    for method, verb in (("GET", "Get"), ("PUT", "Put"))
}
_MISSING_READS = {"attributes": "GetObjectAttributes", "torrent": "GetObjectTorrent"}

_LIST_BUCKETS = frozenset(("prefix", "start-after", "continuation-token", "max-keys"))
_LIST_1 = frozenset(("prefix", "delimiter", "marker", "max-keys", "encoding-type"))
_LIST_2 = frozenset(
    (
        "list-type",
        "prefix",
        "delimiter",
        "continuation-token",
        "start-after",
        "max-keys",
        "encoding-type",
        "fetch-owner",
    )
)
_PART_NUMBER = re.compile(r" *-?[0-9]*")


def operation_of(request: S3Request) -> Operation:
    """
    Return what serves a request.

    Raises:
        R2Refused: Nothing does, or a header asks for what R2 doesn't have.
    """
    if request.address.key:
        found = _of_object(request)
    elif request.address.bucket:
        found = _of_bucket(request)
    else:
        found = _of_account(request)
    screening.raise_if_unserved(request.headers, screening.RULES.get(found, screening.PLAIN))
    return found


def _of_account(request: S3Request) -> Operation:
    if request.method != "GET":
        raise R2Refused(ROUTE_NOT_FOUND)
    _raise_if_others(request, _LIST_BUCKETS, "ListBuckets")
    return buckets.list_buckets


def _of_bucket(request: S3Request) -> Operation:
    method, query = request.method, request.query
    if method == "HEAD":
        return buckets.head_bucket
    if method not in _OF_BUCKETS:
        raise R2Refused(ROUTE_NOT_FOUND)
    served, missing = _OF_BUCKETS[method], _MISSING_OF_BUCKETS.get(method, {})
    for name in query:
        if name in served:
            return served[name]
        if name in missing:
            raise _missing(missing[name])
    if method == "POST":
        return settings.ignore
    if method == "GET":
        return _listing(request)
    if others := [name for name in query if not _is_signers(name)]:
        names = ", ".join(f'"{name[:100]}"' for name in others)
        raise R2Refused(INVALID_ARGUMENT.saying(f"Unsupported search param(s) {names} on a {method} bucket route"))
    return buckets.create_bucket if method == "PUT" else buckets.delete_bucket


def _listing(request: S3Request) -> Operation:
    kind = request.query.get("list-type")
    if kind not in (None, "2"):
        raise _missing(f"ListObjectsV{kind[:20]}")
    if kind is None and "continuation-token" in request.query:
        raise R2Refused(INVALID_ARGUMENT.saying("continuation-token not supported in ListObjects"))
    _raise_if_others(request, _LIST_1 if kind is None else _LIST_2, f"ListObjectsV{kind or 1}")
    return listing.list_objects if kind is None else listing.list_objects_v2


def _of_object(request: S3Request) -> Operation:
    method, query = request.method, request.query
    if method not in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        raise R2Refused(ROUTE_NOT_FOUND)
    if "uploadId" in query:
        if not _PART_NUMBER.fullmatch(query.get("partNumber", "")):
            raise R2Refused(ROUTE_NOT_FOUND)
        # A PUT without a part's number is one of a whole object.
        if method != "PUT" or "partNumber" in query:
            return _of_upload(request)
    if "uploads" in query and method in ("GET", "POST"):
        return uploads.create_upload if method == "POST" else uploads.list_uploads
    missing = {**_MISSING_OF_OBJECTS.get(method, {}), **(_MISSING_READS if method == "GET" else {})}
    for name in query:
        if name in missing:
            raise _missing(missing[name])
    match method:
        case "GET":
            return objects.get_object
        case "HEAD":
            return objects.head_object
        case "DELETE":
            return objects.delete_object
        case "PUT" if "x-amz-copy-source" in request.headers:
            return objects.copy_object
        case _:
            # POST too: s3cmd was the reason.
            return objects.put_object


def _of_upload(request: S3Request) -> Operation:
    match request.method:
        case "GET":
            return uploads.list_parts
        case "HEAD":
            return objects.head_object
        case "POST":
            return uploads.complete_upload
        case "DELETE":
            return uploads.abort_upload
        case _ if "x-amz-copy-source" in request.headers:
            return uploads.copy_part
        case _:
            return uploads.upload_part


def _raise_if_others(request: S3Request, known: Collection[str], operation: str) -> None:
    for name in request.query:
        if name not in known and not _is_signers(name):
            raise _missing(f"{operation} search parameter {name[:100]}")


def _is_signers(name: str) -> bool:
    return name.startswith("X-Amz-") or name == "x-id"


def _missing(what: str) -> R2Refused:
    return R2Refused(NOT_IMPLEMENTED.saying(f"{what} not implemented"))
