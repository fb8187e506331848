"""R2 buckets, as the API has them: what is in them, and the objects themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.errors import ApiRefused, BucketNotFound, NotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api

OBJECTS_PER_PAGE = 1000
BUCKETS_PER_PAGE = 1000
NO_SUCH_BUCKET = frozenset({10006})
NO_SUCH_OBJECT = frozenset({10007})
NOT_ENABLED = 10042
"""Nobody has switched R2 on for the account, so there is no bucket in it."""


class StoredObject(Model):
    """
    An object as a list shows it.

    Attributes:
        etag: Of the content: its MD5 in hex, or something with a dash when it came in parts.

        size: Bytes.
    """

    key: str
    etag: str
    size: int
    last_modified: datetime | None = None
    http_metadata: dict[str, Any] = Field(default_factory=dict)
    custom_metadata: dict[str, str] = Field(default_factory=dict)
    storage_class: str | None = None


HEADERS = {
    "contentType": "Content-Type",
    "contentLanguage": "Content-Language",
    "contentDisposition": "Content-Disposition",
    "contentEncoding": "Content-Encoding",
    "cacheControl": "Cache-Control",
}
"""What R2 calls them, and the headers that set them."""


class R2:
    """Work with the R2 buckets of the account."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def objects(self, bucket: str) -> Iterator[StoredObject]:
        """
        Yield the objects of a bucket in the order of their keys, a page at a time.

        Raises:
            BucketNotFound: The account has no such bucket (in the default jurisdiction).

        Source: https://developers.cloudflare.com/api/resources/r2/
        """
        path = self._api.account_path("/r2/buckets/{}/objects", bucket)
        params = {"per_page": str(OBJECTS_PER_PAGE)}
        return self._api.cursor(path, StoredObject.model_validate, params, missing=_bucket_missing(bucket))

    def get_file(self, bucket: str, key: str, target: Path) -> int | None:
        """
        Write an object into the file *target*; return its size, None when it isn't there.

        Raises:
            BucketNotFound: The account has no such bucket.
        """
        # Slashes stay, as wrangler sends them.
        parts = key.split("/")
        path = self._api.account_path("/r2/buckets/{}/objects/" + "/".join("{}" for _ in parts), bucket, *parts)
        gone = Missing(NotFound, f"The bucket {bucket} has no object {key!r}", codes=NO_SUCH_OBJECT)
        try:
            return self._api.get_file(path, target, missing=(_bucket_missing(bucket).by_code_only(), gone))
        except BucketNotFound:
            raise
        except NotFound:
            return None

    def buckets(self, jurisdiction: str | None = None) -> Iterator[str]:
        """
        Yield the names of all buckets of a jurisdiction, in order, a page at a time; none where R2 is not enabled.

        Args:
            jurisdiction: ``eu`` or ``fedramp``; None for the default one.

        Source: https://developers.cloudflare.com/r2/reference/data-location/
        """
        headers = {"cf-r2-jurisdiction": jurisdiction} if jurisdiction else None
        start = ""
        while True:
            params = {"per_page": str(BUCKETS_PER_PAGE), "start_after": start or None}
            try:
                names = self._api.get(self._api.account_path("/r2/buckets"), _names, params=params, headers=headers)
            except ApiRefused as error:
                if error.code == NOT_ENABLED:
                    return
                raise
            yield from names
            if len(names) < BUCKETS_PER_PAGE:
                return
            start = names[-1]

    def exists(self, bucket: str) -> bool:
        """Has the account a bucket of this name (in the default jurisdiction)?"""
        try:
            self._api.get(self._bucket(bucket), lambda _: None, missing=_bucket_missing(bucket))
        except BucketNotFound:
            return False
        return True

    def create(self, bucket: str) -> None:
        """
        Make a bucket; after an unknown outcome it is looked for first.

        Raises:
            ApiRefused: The name is taken (code 10004), or is none.
        """
        self._api.post(
            self._api.account_path("/r2/buckets"),
            lambda _: True,
            json={"name": bucket},
            look=lambda: self.exists(bucket) or None,
        )

    def delete(self, bucket: str) -> None:
        """
        Delete an empty bucket.

        Raises:
            BucketNotFound: The account has no such bucket.
            ApiRefused: It is not empty (code 10008).
        """
        self._api.delete(self._bucket(bucket), missing=_bucket_missing(bucket))

    def put_object(self, bucket: str, item: StoredObject, content: bytes) -> None:
        """
        Store an object with its metadata and storage class, over one of the same key.

        Raises:
            BucketNotFound: The account has no such bucket.
        """
        headers = {HEADERS[name]: str(value) for name, value in item.http_metadata.items() if name in HEADERS}
        expiry = item.http_metadata.get("cacheExpiry")
        if expiry is not None:
            moment = expiry if isinstance(expiry, str) else datetime.fromtimestamp(int(expiry) / 1000, UTC)
            moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
            headers["Expires"] = format_datetime(moment.astimezone(UTC), usegmt=True)
        headers |= {f"x-amz-meta-{name}": value for name, value in item.custom_metadata.items()}
        if item.storage_class is not None:
            headers["cf-r2-storage-class"] = item.storage_class
        self._api.put(
            self._object(bucket, item.key),
            lambda _: None,
            content=content,
            headers=headers,
            missing=_bucket_missing(bucket),
            safe_to_repeat=True,
        )

    def delete_object(self, bucket: str, key: str) -> None:
        """Remove an object; one that isn't there is no error."""
        self._api.delete(self._object(bucket, key), missing=_bucket_missing(bucket).by_code_only())

    def _bucket(self, bucket: str) -> str:
        return self._api.account_path("/r2/buckets/{}", bucket)

    def _object(self, bucket: str, key: str) -> str:
        # Slashes stay, as wrangler sends them.
        parts = key.split("/")
        return self._api.account_path("/r2/buckets/{}/objects/" + "/".join("{}" for _ in parts), bucket, *parts)


def _names(found: Any) -> list[str]:
    return [str(item["name"]) for item in found["buckets"]]


def _bucket_missing(bucket: str) -> Missing:
    return Missing(BucketNotFound, f"The account has no R2 bucket {bucket}", codes=NO_SUCH_BUCKET)
