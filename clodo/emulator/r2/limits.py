"""R2's limits, and what a bucket, a key and metadata may be."""

from __future__ import annotations

import re
from collections.abc import Mapping

from clodo.emulator.r2.errors import (
    INVALID_ARGUMENT,
    INVALID_BUCKET_NAME,
    INVALID_OBJECT_NAME,
    METADATA_TOO_LARGE,
    R2Refused,
)

# https://developers.cloudflare.com/r2/platform/limits/
MAX_KEY_BYTES = 1024
MAX_METADATA_BYTES = 8192
MIN_PART_BYTES = 5 * 1024**2
MAX_PART_BYTES = 5 * 1024**3
MAX_PARTS = 10_000
#: "5 GiB" less 5 MiB, says the note to the table of limits: 4.995 GiB.
MAX_SINGLE_BYTES = 5 * 1024**3 - 5 * 1024**2
#: "5 TiB" less 5 GiB.
MAX_OBJECT_BYTES = 5 * 1024**4 - 5 * 1024**3
#: Objects through the API, not S3: wrangler refuses more by itself ("up to 300 MiB").
MAX_API_OBJECT_BYTES = 300 * 1024**2

#: Keys a page, S3 and binding.
MAX_LIST = 1000
#: Keys that one delete may name.
MAX_DELETE = 1000

#: https://developers.cloudflare.com/r2/reference/data-location/
LOCATIONS = ("apac", "eeur", "enam", "weur", "wnam", "oc")
JURISDICTIONS = ("default", "eu", "fedramp", "us")
STORAGE_CLASSES = ("Standard", "InfrequentAccess")

# https://developers.cloudflare.com/r2/buckets/create-buckets/: 3 to 63 lower-case letters, digits and hyphens.
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


def check_bucket_name(name: str) -> None:
    """
    Refuse what can't be a bucket's name.

    Raises:
        R2Refused: 400, 10005.
    """
    if not _BUCKET_NAME.fullmatch(name):
        raise R2Refused(INVALID_BUCKET_NAME)


def key_bytes(key: str) -> bytes:
    """
    Return the key's UTF-8 bytes, by which keys are ordered.

    Raises:
        R2Refused: 400, 10020: empty, over 1,024 bytes, or no Unicode.
    """
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise R2Refused(INVALID_OBJECT_NAME) from error
    if not 0 < len(encoded) <= MAX_KEY_BYTES:
        raise R2Refused(INVALID_OBJECT_NAME)
    return encoded


def check_custom_metadata(metadata: Mapping[str, str]) -> None:
    """
    Refuse more than 8,192 bytes of keys and values.

    Raises:
        R2Refused: 400, 10012.
    """
    size = sum(len(text.encode("utf-8", "replace")) for pair in metadata.items() for text in pair)
    if size > MAX_METADATA_BYTES:
        raise R2Refused(METADATA_TOO_LARGE)


def check_storage_class(name: str) -> str:
    """
    Return the storage class's name.

    Raises:
        R2Refused: It is neither of the two.
    """
    if name not in STORAGE_CLASSES:
        raise R2Refused(INVALID_ARGUMENT.saying("The storage class is not valid: Standard or InfrequentAccess."))
    return name
