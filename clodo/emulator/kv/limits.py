"""
What Workers KV allows, with where each number comes from, and the checks that hold to it.

Sources: [docs] https://developers.cloudflare.com/kv/platform/limits/; [api] the OpenAPI schema, as in the official
SDK; [miniflare] ``packages/miniflare/src/workers/kv/validator.worker.ts`` in https://github.com/cloudflare/workers-sdk,
which the messages are from; [codes] "Workers KV namespace errors" of the older API documentation.
"""

from __future__ import annotations

import json
from typing import Any

from clodo.errors import ClodoError

#: [docs] "Key size: 512 bytes".
MAX_KEY_BYTES = 512
#: [docs] "Value size: 25 MiB".
MAX_VALUE_BYTES = 25 * 1024 * 1024
#: [docs] "Key metadata: 1024 bytes".
MAX_METADATA_BYTES = 1024
#: [docs] "Minimum expiration: 60 seconds".
MIN_TTL_SECONDS = 60
#: [docs] "Namespaces: 1000 per account".
MAX_NAMESPACES = 1000
#: [api] "maxLength: 512" of a title.
MAX_TITLE_CHARACTERS = 512
#: [api] Keys of one page: "minimum 10, maximum 1000", default 1000.
MIN_LIST = 10
MAX_LIST = 1000
#: [docs] "up to 10,000 KV pairs at once"; "the entire request size must be 100 megabytes or less".
MAX_BULK_PAIRS = 10_000
MAX_BULK_BYTES = 100_000_000
#: [api] "Array of keys to retrieve (maximum of 100)".
MAX_BULK_GET = 100

# [codes]
KEY_NOT_FOUND = 10009
MALFORMED_NAMESPACE_ID = 10011
MALFORMED_VALUE = 10012
NAMESPACE_NOT_FOUND = 10013
NAMESPACE_EXISTS = 10014
TOO_MANY_NAMESPACES = 10018
MISSING_TITLE = 10019
ILLEGAL_KEY_NAME = 10023
PAYLOAD_TOO_LARGE = 10024
INVALID_LIMIT = 10028
INVALID_REQUEST = 10029
KEY_TOO_LONG = 10030
INVALID_EXPIRATION = 10033
INVALID_EXPIRATION_TTL = 10034
INVALID_CURSOR = 10041
TOO_MANY_KEYS = 10046
INVALID_METADATA = 10047


class KvRefused(ClodoError):
    """
    KV's rules forbid it.

    Args:
        status: HTTP status, for the API and for bindings.

        code: The API's number.
    """

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def key_bytes(key: str) -> bytes:
    """
    Return a key as it is stored.

    Raises:
        KvRefused: It is empty, ``.`` or ``..``, too long, or no Unicode.
    """
    if key == "":
        raise KvRefused(400, ILLEGAL_KEY_NAME, "Key names must not be empty")
    if key in (".", ".."):
        raise KvRefused(400, ILLEGAL_KEY_NAME, f'Illegal key name "{key}". Please use a different name.')
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise KvRefused(400, ILLEGAL_KEY_NAME, "Key names must be Unicode") from error
    if len(encoded) > MAX_KEY_BYTES:
        raise KvRefused(
            414,
            KEY_TOO_LONG,
            f"UTF-8 encoded length of {len(encoded)} exceeds key length limit of {MAX_KEY_BYTES}.",
        )
    return encoded


def check_value(size: int) -> None:
    """
    Refuse a value that is too large.

    Raises:
        KvRefused: 413.
    """
    if size > MAX_VALUE_BYTES:
        raise KvRefused(413, PAYLOAD_TOO_LARGE, f"Value length of {size} exceeds limit of {MAX_VALUE_BYTES}.")


def metadata_text(metadata: Any) -> str | None:
    """
    Return metadata as it is stored: JSON, None for none.

    Raises:
        KvRefused: It is too large.
    """
    if metadata is None:
        return None
    text = json.dumps(metadata, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_METADATA_BYTES:
        raise KvRefused(413, INVALID_METADATA, f"Metadata length of {size} exceeds limit of {MAX_METADATA_BYTES}.")
    return text.encode("utf-8", "replace").decode()


def expires_at(now: float, expiration: int | None, expiration_ttl: int | None) -> int | None:
    """
    Return when a key expires in Unix seconds, None for never; a time to live wins over a time.

    Raises:
        KvRefused: That is less than 60 seconds from now.
    """
    if expiration_ttl is not None:
        if expiration_ttl < MIN_TTL_SECONDS:
            raise KvRefused(
                400,
                INVALID_EXPIRATION_TTL,
                f"Invalid expiration_ttl of {expiration_ttl}. Expiration TTL must be at least {MIN_TTL_SECONDS}.",
            )
        return int(now) + expiration_ttl
    if expiration is not None:
        if expiration < int(now) + MIN_TTL_SECONDS:
            raise KvRefused(
                400,
                INVALID_EXPIRATION,
                f"Invalid expiration of {expiration}. Expiration times must be at least {MIN_TTL_SECONDS} seconds"
                " in the future.",
            )
        return expiration
    return None
