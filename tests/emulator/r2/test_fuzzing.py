"""Whatever is sent to the S3 endpoint with a good signature, it answers as S3 does and never with 500."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulator.r2.conftest import Signed, keys_of
from tests.fixtures.embedded_cloud import account_of

PARAMETERS = (
    *("uploads", "uploadId", "partNumber", "list-type", "max-keys", "continuation-token", "prefix", "delimiter"),
    *("start-after", "encoding-type", "marker", "delete", "key-marker", "max-uploads", "max-parts", "location", "acl"),
    *("cors", "encryption", "versioning", "lifecycle", "tagging", "X-Amz-Credential", "x-id"),
)
HEADERS = (
    *("range", "if-match", "if-none-match", "if-modified-since", "x-amz-meta-a", "x-amz-copy-source", "content-md5"),
    *("x-amz-copy-source-range", "expires", "x-amz-storage-class", "x-amz-checksum-crc32", "x-amz-trailer"),
    *("cf-max-keys", "cf-continuation-token", "content-encoding", "x-amz-metadata-directive", "if-range", "origin"),
    *("x-amz-server-side-encryption-customer-algorithm", "x-amz-server-side-encryption-customer-key", "x-amz-acl"),
    *("x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-server-side-encryption", "x-amz-checksum-sha256"),
)
BODIES = (
    b"<Delete><Object/></Delete>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
)
MEANT = (b"bytes=0-1", b"/things/key", b'"x"', b"*")
#: Bytes that a client may put into a header at all.
header_values = st.binary(max_size=8).map(
    lambda value: bytes(byte for byte in value if byte > 32 and byte != 127) or b"x"
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@pytest.fixture(scope="module")
def client(cloud: Any) -> Iterator[httpx.Client]:
    """A signing client of an account with the bucket `things`."""
    with account_of(cloud, cloud.new_account()) as account:
        account.result("POST", "/r2/buckets", json={"name": "things"})
        keys = keys_of(account)
        with httpx.Client(base_url=keys.endpoint, auth=Signed(keys), trust_env=False) as made:
            yield made


@pytest.mark.exhaustive
@settings(max_examples=400, deadline=None)
@given(
    method=st.sampled_from(("GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH")),
    path=st.sampled_from(("/", "/things", "/things/key", "/things/", "/other")),
    body=st.binary(max_size=30) | st.sampled_from(BODIES),
    query=st.dictionaries(st.sampled_from(PARAMETERS), texts | st.sampled_from(("2", "1", "url")), max_size=3),
    headers=st.dictionaries(
        st.sampled_from(HEADERS),
        header_values | st.sampled_from((b"bytes=0-1", b"/things/key", b'"x"', b"*")),
        max_size=3,
    ),
)
def test_no_request_upsets_the_endpoint(
    client: httpx.Client, method: str, path: str, body: bytes, query: dict[str, str], headers: dict[str, bytes]
) -> None:
    """Any method, path, query, headers and body have an answer; only what isn't served is in the five hundreds."""
    raw = {name.encode(): value for name, value in headers.items()}

    answer = client.request(method, path, content=body, params=query, headers=raw)

    assert answer.status_code < 500 or "<Code>NotImplemented</Code>" in answer.text or method == "HEAD"
    assert "SignatureDoesNotMatch" not in answer.text
