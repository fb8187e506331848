"""What R2 keeps: buckets, objects, uploads and their parts, as values."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Segment(NamedTuple):
    """
    A file that holds a stretch of an object's bytes.

    Attributes:
        file: Its name, made up by us: no key ever becomes a path.
    """

    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """
    A bucket.

    Attributes:
        id: 32 hex digits; its public name below r2.dev.

        number: The file's own name for it.

        settings: Rules by kind (``cors``, ``lifecycle``, ``lock``, ``managed_domain``…), as they were put.
    """

    account_id: str
    name: str
    jurisdiction: str
    id: str
    number: int
    created_on: str
    location: str
    storage_class: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Description:
    """
    What whoever writes an object says about it.

    Attributes:
        http: By the binding's names: contentType, contentLanguage, contentDisposition, contentEncoding, cacheControl,
            and cacheExpiry in milliseconds since 1970.

        custom: The user's own keys and values.

        storage_class: ``Standard`` or ``InfrequentAccess``; None for the bucket's.
    """

    http: Mapping[str, Any] = field(default_factory=dict)
    custom: Mapping[str, str] = field(default_factory=dict)
    storage_class: str | None = None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """
    An object without its bytes.

    Attributes:
        version: 32 hex digits, new with each write.

        etag: Without quotes: MD5 in hex, with ``-<parts>`` behind it after a multipart upload.

        uploaded: Milliseconds since 1970.

        checksums: Name to hex digits: md5 (not after multipart uploads), and what the writer gave; with ``-<parts>``
            behind it if it is one of the parts' checksums.

        segments: Its bytes, in order; empty for an empty object.

        key_md5: Of the customer's key that it is encrypted with, in hex; None if it isn't.
    """

    key: str
    version: str
    size: int
    etag: str
    uploaded: int
    http: Mapping[str, Any]
    custom: Mapping[str, str]
    checksums: Mapping[str, str]
    storage_class: str
    segments: tuple[Segment, ...] = ()
    key_md5: str | None = None


class Change(NamedTuple):
    """
    What became of an object.

    Attributes:
        size, etag: Of what is there now; None if nothing is.

        copied_from: Name of the bucket, and the key.
    """

    bucket: Bucket
    action: str
    key: str
    size: int | None = None
    etag: str | None = None
    copied_from: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """
    An uploaded part.

    Attributes:
        etag: MD5 in hex.

        uploaded: Milliseconds since 1970.

        checksums: Name to hex digits, of what its sender or the upload named.
    """

    number: int
    etag: str
    size: int
    uploaded: int
    segments: tuple[Segment, ...]
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upload:
    """
    A multipart upload that is neither completed nor aborted.

    Attributes:
        created: Milliseconds since 1970.

        key_md5: Of the customer's key that its parts are encrypted with, in hex; None if they aren't.

        algorithm: The checksum that it will have; None for none.
    """

    id: str
    key: str
    created: int
    description: Description
    key_md5: str | None = None
    algorithm: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """
    One page of a listing, in the byte order of keys.

    Attributes:
        prefixes: What keys that hold the delimiter were rolled up to.

        next_after: The page after this begins behind this key or prefix; None if this is the last.

        is_cut: There is more, though nothing to go on from.
    """

    objects: tuple[StoredObject, ...]
    prefixes: tuple[str, ...] = ()
    next_after: bytes | None = None
    is_cut: bool = False

    @property
    def is_truncated(self) -> bool:
        """Whether there is more."""
        return self.is_cut or self.next_after is not None


def part_count_of(found: StoredObject) -> int | None:
    """Return how many parts an object was uploaded in; None for one that came whole."""
    count = found.etag.partition("-")[2]
    return int(count) if count else None


def new_version() -> str:
    """Return a fresh version of an object."""
    return secrets.token_hex(16)
