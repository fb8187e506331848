"""Customers' keys in S3's headers, and what R2 refuses of them in which order."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from clodo.emulator.r2.customer_keys import KEY_BYTES, CustomerKey
from clodo.emulator.r2.errors import INVALID_ARGUMENT, INVALID_ENCRYPTION_ALGORITHM, R2Refused

OWN = "x-amz-"
SOURCE = "x-amz-copy-source-"
_NAME = "server-side-encryption-customer-"
ALGORITHM = "AES256"
_INCOMPLETE = "Requests specifying Server Side Encryption with Customer provided keys must provide "


def customer_key_of(headers: Mapping[str, str], prefix: str = OWN) -> CustomerKey | None:
    """
    Return the key that a request brings along.

    Args:
        prefix: `OWN`, or `SOURCE` for the key of what is copied.

    Raises:
        R2Refused: 400: one of the three headers is missing, or isn't what it should be.

    Source:
        Sentences and order: miniflare's S3 endpoint, captured from a real bucket; those on the key's content are S3's.
    """
    algorithm, text, told = (headers.get(f"{prefix}{_NAME}{name}") for name in ("algorithm", "key", "key-md5"))
    if algorithm is None and text is None and told is None:
        return None
    if text is None:
        raise _refused(_INCOMPLETE + "an appropriate secret key.")
    if told is None:
        raise _refused(_INCOMPLETE + "the client calculated MD5 of the secret key.")
    if algorithm is None:
        raise _refused(_INCOMPLETE + "a valid encryption algorithm.")
    if algorithm != ALGORITHM:
        raise R2Refused(INVALID_ENCRYPTION_ALGORITHM)
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise _refused("The secret key was invalid for the specified algorithm.") from error
    if len(raw) != KEY_BYTES:
        raise _refused("The secret key was invalid for the specified algorithm.")
    if not hmac.compare_digest(_in_base64(hashlib.md5(raw, usedforsecurity=False).hexdigest()), told.encode()):
        raise _refused("The calculated MD5 hash of the key did not match the hash that was provided.")
    return CustomerKey(raw)


def encryption_headers(md5: str | None) -> dict[str, str]:
    """Return the headers that say which key something is encrypted with; none if *md5* is None."""
    if md5 is None:
        return {}
    return {f"{OWN}{_NAME}algorithm": ALGORITHM, f"{OWN}{_NAME}key-MD5": _in_base64(md5).decode()}


def _in_base64(digits: str) -> bytes:
    return base64.b64encode(bytes.fromhex(digits))


def _refused(message: str) -> R2Refused:
    return R2Refused(INVALID_ARGUMENT.saying(message))
