"""One request to the S3 endpoint, once it is known who sent it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from clodo.emulator.accounts.caller import Caller
from clodo.emulator.r2.checksums import new_hash, raise_if_different
from clodo.emulator.r2.errors import (
    ACCESS_DENIED,
    INVALID_ARGUMENT,
    INVALID_OBJECT_NAME,
    MALFORMED_XML,
    R2Refused,
)
from clodo.emulator.r2.limits import JURISDICTIONS
from clodo.emulator.r2.records import Bucket
from clodo.emulator.r2.s3.payload import Payload
from clodo.emulator.r2.store import Storage

#: Largest XML document that is read into memory: a thousand keys of 1,024 bytes, escaped.
MAX_DOCUMENT_BYTES = 8 * 1024**2

# https://developers.cloudflare.com/r2/api/tokens/#permissions
_ACCOUNT_WRITE = frozenset({"Workers R2 Storage Write"})
_ACCOUNT_READ = _ACCOUNT_WRITE | {"Workers R2 Storage Read"}
_OBJECT_WRITE = _ACCOUNT_WRITE | {"Workers R2 Storage Bucket Item Write"}
_OBJECT_READ = _ACCOUNT_READ | _OBJECT_WRITE | {"Workers R2 Storage Bucket Item Read"}

_PLACE = re.compile(r"([0-9a-f]{32})(?:\.([a-z]+))?")
_HOST = re.compile(r"(?:([a-z0-9-]+)\.)?([0-9a-f]{32})(?:\.([a-z]+))?\.r2\.cloudflarestorage\.com")


@dataclass(frozen=True, slots=True)
class Address:
    """
    What a request is about.

    Attributes:
        bucket: Empty for the account itself.

        key: Empty for the bucket itself.
    """

    account_id: str
    jurisdiction: str
    bucket: str = ""
    key: str = ""


def address_of(host: str, path: str) -> Address | None:
    """
    Read what a request is about; None if it isn't for the S3 endpoint.

    Args:
        host: Lower case, without port.

        path: Percent-encoded.

    Raises:
        R2Refused: The key isn't UTF-8.
    """
    match = _HOST.fullmatch(host)
    if match is not None:
        bucket, account_id, jurisdiction = match[1], match[2], match[3]
        rest = path.removeprefix("/")
        rest = f"{bucket}/{rest}" if bucket else rest
    else:
        place, _, rest = path.removeprefix("/r2/").partition("/")
        found = _PLACE.fullmatch(place) if path.startswith("/r2/") else None
        if found is None:
            return None
        account_id, jurisdiction = found[1], found[2]
    if (jurisdiction or "default") not in JURISDICTIONS:
        return None
    return address_in(rest, account_id, jurisdiction or "default")


def address_in(path: str, account_id: str, jurisdiction: str = "default") -> Address:
    """
    Return what a path is about in an account.

    Args:
        path: ``<bucket>/<key>``, percent-encoded.

    Raises:
        R2Refused: The key isn't UTF-8.
    """
    name, _, key = path.partition("/")
    return Address(account_id, jurisdiction, _decoded(name), _decoded(key))


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise R2Refused(INVALID_OBJECT_NAME) from error


@dataclass(frozen=True, slots=True)
class S3Request:
    """
    A request whose signature was checked.

    Attributes:
        query: Decoded, the last of each name.

        headers: By lower-case name.
    """

    storage: Storage
    caller: Caller
    address: Address
    method: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    payload: Payload

    @property
    def key(self) -> str:
        """The object's key."""
        return self.address.key

    def bucket(self, *, writes: bool) -> Bucket:
        """
        Return the bucket that is asked for.

        Raises:
            R2Refused: 403 without the right to read or write its objects, 404 without the bucket.
        """
        return self.bucket_named(self.address.bucket, writes=writes)

    def bucket_named(self, name: str, *, writes: bool) -> Bucket:
        """
        Return a bucket of the same account and jurisdiction.

        Raises:
            R2Refused: 403 without the right to read or write its objects, 404 without the bucket.
        """
        account_id = self.address.account_id
        groups = _OBJECT_WRITE if writes else _OBJECT_READ
        if not self.caller.may_in_bucket(groups, account_id, name):
            raise R2Refused(ACCESS_DENIED)
        return self.storage.buckets.find(account_id, name, self.address.jurisdiction)

    def raise_if_not_administrator(self, *, writes: bool) -> None:
        """
        Refuse whoever may not list, make or remove buckets.

        Raises:
            R2Refused: 403.
        """
        if not self.caller.may_in_account(_ACCOUNT_WRITE if writes else _ACCOUNT_READ, self.address.account_id):
            raise R2Refused(ACCESS_DENIED)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """
        Read a number of the query; above *high* it is *high*, as S3 does.

        Raises:
            R2Refused: It is none, or below *low*.
        """
        text = self.query.get(name)
        if text is None or text == "":
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) < low:
            raise R2Refused(INVALID_ARGUMENT.saying(f"The value of {name} must be a number of at least {low}."))
        return min(int(text), high)

    async def document(self, *, is_summed: bool = True) -> bytes:
        """
        Read the body, which is XML.

        Args:
            is_summed: Checksums in headers are of the body; else they are of something else.

        Raises:
            R2Refused: It is too large, or not what was signed or summed up.
        """
        told = self.payload.told if is_summed else dict
        algorithms = {"md5", *(self.payload.algorithms() if is_summed else ())}
        sums = {name: new_hash(name) for name in algorithms}
        pieces: list[bytes] = []
        size = 0
        async for piece in self.payload.read():
            size += len(piece)
            if size > MAX_DOCUMENT_BYTES:
                raise R2Refused(MALFORMED_XML)
            pieces.append(piece)
            for summed in sums.values():
                summed.update(piece)
        for name, value in told().items():
            raise_if_different(name, value, sums[name].hexdigest())
        return b"".join(pieces)
