"""R2 buckets, as the API has them: what is in them, and the objects themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.errors import BucketNotFound, NotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api

OBJECTS_PER_PAGE = 1000
NO_SUCH_BUCKET = frozenset({10006})
NO_SUCH_OBJECT = frozenset({10007})


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


class R2:
    """Read the R2 buckets of the account."""

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


def _bucket_missing(bucket: str) -> Missing:
    return Missing(BucketNotFound, f"The account has no R2 bucket {bucket}", codes=NO_SUCH_BUCKET)
