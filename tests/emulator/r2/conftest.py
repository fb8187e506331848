"""Keys and stores for R2's S3 endpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import pytest
from obstore.store import S3Store

from clodo.emulator.r2.s3.signatures import Claim, SignedRequest, sign, signing_key, string_to_sign
from tests.fixtures.embedded_cloud import CloudAccount


@dataclass(frozen=True)
class Keys:
    """What an S3 client needs, made of an API token as Cloudflare says."""

    endpoint: str
    access_key: str
    secret: str = field(repr=False)

    @classmethod
    def of_token(cls, endpoint: str, token_id: str, token: str) -> Keys:
        """Return the keys that an API token is."""
        return cls(endpoint, token_id, hashlib.sha256(token.encode()).hexdigest())

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
    return Keys.of_token(endpoint, access_key, account.token)


@pytest.fixture
def keys(account: CloudAccount) -> Keys:
    """S3 keys of a fresh account."""
    return keys_of(account)


@pytest.fixture
def store(account: CloudAccount, keys: Keys) -> S3Store:
    """A client of the fresh account's bucket `things`."""
    account.result("POST", "/r2/buckets", json={"name": "things"})
    return keys.store("things")


class Signed(httpx.Auth):
    """Signs requests of httpx in their headers, for what obstore has no words for."""

    requires_request_body = True

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign one request."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{moment[:8]}/auto/s3/aws4_request"
        digest = hashlib.sha256(request.content).hexdigest()
        request.headers["x-amz-date"] = moment
        request.headers["x-amz-content-sha256"] = digest
        headers = {
            name.decode().lower(): value.decode("utf-8", "surrogateescape") for name, value in request.headers.raw
        }
        names = tuple(sorted(name for name in headers if name == "host" or name.startswith("x-amz-")))
        path, _, query = request.url.raw_path.decode().partition("?")
        claim = Claim(self._keys.access_key, scope, moment, names, "", digest)
        text = string_to_sign(claim, SignedRequest(request.method, path, query, headers), path)
        signature = sign(signing_key(self._keys.secret, scope), text)
        request.headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._keys.access_key}/{scope},"
            f" SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        yield request


@pytest.fixture
def s3(keys: Keys) -> Iterator[httpx.Client]:
    """A plain HTTP client of the S3 endpoint that signs what it sends."""
    with httpx.Client(base_url=keys.endpoint, auth=Signed(keys), trust_env=False) as client:
        yield client
