"""Keys and stores for R2's S3 endpoint."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import pytest
from obstore.store import S3Store

from tests.fixtures.embedded_cloud import CloudAccount


@dataclass(frozen=True)
class Keys:
    """What an S3 client needs, made of an API token as Cloudflare says."""

    endpoint: str
    access_key: str
    secret: str = field(repr=False)

    def store(self, bucket: str) -> S3Store:
        """Return an object store client of the bucket."""
        return S3Store(
            bucket,
            endpoint=self.endpoint,
            access_key_id=self.access_key,
            secret_access_key=self.secret,
            region="auto",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )


def keys_of(account: CloudAccount) -> Keys:
    """Return the S3 keys that the account's token is."""
    access_key = account.api.get("/user/tokens/verify").json()["result"]["id"]
    endpoint = f"{account.cloud.edge_url}/r2/{account.account_id}"
    return Keys(endpoint, access_key, hashlib.sha256(account.token.encode()).hexdigest())


@pytest.fixture
def keys(account: CloudAccount) -> Keys:
    """S3 keys of a fresh account."""
    return keys_of(account)


@pytest.fixture
def store(account: CloudAccount, keys: Keys) -> S3Store:
    """A client of the fresh account's bucket `things`."""
    account.result("POST", "/r2/buckets", json={"name": "things"})
    return keys.store("things")
