"""What S3 has of a bucket and R2 only seems to have: the same for every bucket, as Cloudflare answers it."""

from __future__ import annotations

from starlette.responses import Response

from clodo.emulator.r2.errors import (
    MALFORMED_XML,
    NO_OBJECT_LOCK,
    NO_REPLICATION,
    NO_SUCH_TAGS,
    NOT_IMPLEMENTED,
    R2Refused,
)
from clodo.emulator.r2.s3.documents import Element, document, parse, text_of
from clodo.emulator.r2.s3.objects import xml
from clodo.emulator.r2.s3.requests import S3Request

_SCHEMA = "http://www.w3.org/2001/XMLSchema-instance"


async def get_encryption(request: S3Request) -> Response:
    """Say how the bucket is encrypted: as the real one says of all of them."""
    request.bucket(writes=False)
    rule: list[Element] = [
        ("ApplyServerSideEncryptionByDefault", [("SSEAlgorithm", "AES256")]),
        ("BucketKeyEnabled", True),
    ]
    return xml(document("ServerSideEncryptionConfiguration", [("Rule", rule)]))


async def put_encryption(request: S3Request) -> Response:
    """Take what is so already."""
    request.raise_if_not_administrator(writes=True)
    request.bucket(writes=True)
    wanted = parse(await request.document(), "ServerSideEncryptionConfiguration").findall("Rule")
    defaults = [rule.find("ApplyServerSideEncryptionByDefault") for rule in wanted]
    for default in defaults:
        algorithm = None if default is None else text_of(default, "SSEAlgorithm")
        if algorithm != "AES256":
            raise R2Refused(NOT_IMPLEMENTED.saying(f"SSEAlgorithm {(algorithm or '')[:40]} not implemented"))
    if not defaults:
        raise R2Refused(MALFORMED_XML)
    return Response()


async def delete_encryption(request: S3Request) -> Response:
    """Leave the bucket as encrypted as it was."""
    request.raise_if_not_administrator(writes=True)
    request.bucket(writes=True)
    return Response(status_code=204)


async def get_versioning(request: S3Request) -> Response:
    """Say that there never were versions."""
    request.bucket(writes=False)
    return xml(document("VersioningConfiguration", ""))


async def put_versioning(request: S3Request) -> Response:
    """Take that there are none, and nothing else."""
    request.raise_if_not_administrator(writes=True)
    request.bucket(writes=True)
    status = text_of(parse(await request.document(), "VersioningConfiguration"), "Status")
    if status != "Suspended":
        raise R2Refused(NOT_IMPLEMENTED.saying("PutBucketVersioning not implemented"))
    return Response()


async def get_tagging(request: S3Request) -> Response:
    """Say that there are no tags."""
    request.bucket(writes=False)
    raise R2Refused(NO_SUCH_TAGS)


async def get_object_lock(request: S3Request) -> Response:
    """Say that S3's locks are not there; R2's own are in its API."""
    request.bucket(writes=False)
    raise R2Refused(NO_OBJECT_LOCK)


async def get_replication(request: S3Request) -> Response:
    """Say that nothing is replicated."""
    request.bucket(writes=False)
    raise R2Refused(NO_REPLICATION)


async def get_acl(request: S3Request) -> Response:
    """Say that its owner may do everything, as of a new bucket."""
    request.bucket(writes=False)
    owner: list[Element] = [("ID", request.address.account_id), ("DisplayName", request.address.account_id)]
    grantee = f'Grantee xmlns:xsi="{_SCHEMA}" xsi:type="CanonicalUser"'
    grant: list[Element] = [(grantee, owner), ("Permission", "FULL_CONTROL")]
    return xml(document("AccessControlPolicy", [("Owner", owner), ("AccessControlList", [("Grant", grant)])]))


async def ignore(request: S3Request) -> Response:
    """Do nothing: a POST to a bucket that names no operation is answered so."""
    request.bucket(writes=True)
    return Response()
