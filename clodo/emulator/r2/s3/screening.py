"""
Headers of S3 that R2 knows and doesn't have: refused rather than ignored, as silence would look like success.

Source:
    miniflare's S3 endpoint, captured from a real bucket; https://developers.cloudflare.com/r2/api/s3/api/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clodo.emulator.r2.errors import INVALID_ARGUMENT, NOT_IMPLEMENTED, R2Refused
from clodo.emulator.r2.s3 import buckets, objects, uploads

_OWNER = ("x-amz-expected-bucket-owner",)
_SOURCE_OWNER = ("x-amz-source-expected-bucket-owner",)
_GRANTS = tuple(f"x-amz-grant-{right}" for right in ("full-control", "read", "read-acp", "write", "write-acp"))
_DELETES = ("x-amz-mfa", "x-amz-bypass-governance-retention")
_WRITES = (
    *_OWNER,
    *_GRANTS,
    "x-amz-tagging",
    "x-amz-website-redirect-location",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-bucket-key-enabled",
)
_SOURCE_CONDITIONS = tuple(
    f"x-amz-copy-source-if-{name}" for name in ("match", "none-match", "modified-since", "unmodified-since")
)
#: Taken without effect: objects of R2 have no access control lists.
_ACLS = (
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
)


@dataclass(frozen=True, slots=True)
class Screen:
    """
    What an operation refuses.

    Attributes:
        headers: By their mere presence.

        only: By any other value than these.
    """

    headers: tuple[str, ...] = _OWNER
    only: Mapping[str, tuple[str, ...]] | None = None


PLAIN = Screen()
_OF_WRITES = {"x-amz-server-side-encryption": ("AES256",), "x-amz-acl": _ACLS}
#: By operation; others are `PLAIN`.
RULES: Mapping[Any, Screen] = {
    buckets.create_bucket: Screen(
        (*_OWNER, *_GRANTS), {"x-amz-acl": _ACLS, "x-amz-bucket-object-lock-enabled": ("false",)}
    ),
    objects.put_object: Screen(_WRITES, _OF_WRITES),
    objects.copy_object: Screen(
        (*_WRITES, *_SOURCE_OWNER, "x-amz-tagging-directive", "x-amz-checksum-algorithm"), _OF_WRITES
    ),
    objects.delete_object: Screen((*_OWNER, *_DELETES)),
    objects.delete_objects: Screen((*_OWNER, *_DELETES)),
    uploads.create_upload: Screen(_WRITES, _OF_WRITES),
    uploads.upload_part: Screen((*_OWNER, "x-amz-server-side-encryption")),
    uploads.copy_part: Screen((*_OWNER, *_SOURCE_OWNER, *_SOURCE_CONDITIONS)),
    uploads.abort_upload: Screen(()),
}


def raise_if_unserved(headers: Mapping[str, str], screen: Screen) -> None:
    """
    Refuse headers that ask for what R2 doesn't have.

    Raises:
        R2Refused: 501 with the first of them; 400 for the token of a session.
    """
    if "x-amz-security-token" in headers:
        raise R2Refused(INVALID_ARGUMENT.saying("X-Amz-Security-Token"))
    refused = [name for name in screen.headers if name in headers]
    refused += [name for name, values in (screen.only or {}).items() if headers.get(name, values[0]) not in values]
    if refused:
        name = refused[0]
        raise R2Refused(NOT_IMPLEMENTED.saying(f"Header '{name}' with value '{headers[name][:200]}' not implemented"))
