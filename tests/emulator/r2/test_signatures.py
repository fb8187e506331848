"""Signatures: by the worked examples of AWS's own documentation, by obstore's presigned URLs, and by forgeries."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import obstore
import pytest
from obstore.store import S3Store

from clodo.emulator.r2.errors import R2Refused
from clodo.emulator.r2.s3.payload import (
    SIGNED_CHUNKS,
    SIGNED_CHUNKS_AND_TRAILER,
    UNSIGNED_CHUNKS_AND_TRAILER,
    Payload,
)
from clodo.emulator.r2.s3.signatures import Claim, SignedRequest, check_claim, read_claim, sign, signing_key
from tests.emulator.r2.conftest import Keys
from tests.fixtures.embedded_cloud import CloudAccount

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SCOPE = "20130524/us-east-1/s3/aws4_request"
MOMENT = "20130524T000000Z"
NOW = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
EMPTY = hashlib.sha256(b"").hexdigest()
SENT = {"x-amz-content-sha256": EMPTY, "x-amz-date": MOMENT}


def claim(signature: str, *names: str, payload: str = EMPTY, expires_in: int | None = None) -> Claim:
    return Claim("AKIAIOSFODNN7EXAMPLE", SCOPE, MOMENT, tuple(sorted(names)), signature, payload, expires_in)


def test_the_example_of_a_get_is_right() -> None:
    """AWS's example "GET Object" with a range has the signature that its documentation prints."""
    headers = {
        "host": "examplebucket.s3.amazonaws.com",
        "range": "bytes=0-9",
        "x-amz-content-sha256": EMPTY,
        "x-amz-date": MOMENT,
    }
    request = SignedRequest("GET", "/test.txt", "", headers)
    right = claim("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", *headers)

    check_claim(right, request, SECRET, NOW)

    with pytest.raises(R2Refused, match="signature we calculated"):
        check_claim(right, SignedRequest("GET", "/test.tx", "", headers), SECRET, NOW)


def test_the_example_of_a_presigned_url_is_right_for_a_day() -> None:
    """AWS's example of a presigned URL is good for its 86,400 seconds and not one longer."""
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F"
        "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    request = SignedRequest("GET", "/test.txt", query, {"host": "examplebucket.s3.amazonaws.com"})
    signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    told = claim(signature, "host", payload="UNSIGNED-PAYLOAD", expires_in=86_400)

    check_claim(told, request, SECRET, NOW + 86_400)

    with pytest.raises(R2Refused, match="expired"):
        check_claim(told, request, SECRET, NOW + 86_401)


async def test_the_example_of_a_streamed_body_is_right() -> None:
    """AWS's example of 65 KiB in signed chunks has the seed and chunk signatures that its documentation prints."""
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    headers = {
        "content-encoding": "aws-chunked",
        "content-length": "66824",
        "host": "s3.amazonaws.com",
        "x-amz-content-sha256": SIGNED_CHUNKS,
        "x-amz-date": MOMENT,
        "x-amz-decoded-content-length": "66560",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    told = claim(seed, *headers, payload=SIGNED_CHUNKS)
    key = check_claim(told, SignedRequest("PUT", "/examplebucket/chunkObject.txt", "", headers), SECRET, NOW)
    chunks = (
        (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    )
    body = b"".join(
        f"{size:x};chunk-signature={signature}\r\n".encode() + b"a" * size + b"\r\n" for size, signature in chunks
    )

    assert await read(body, headers, told, key) == b"a" * 66560
    with pytest.raises(R2Refused, match="signature"):
        await read(body.replace(b"aaaa\r\n0", b"aaab\r\n0"), headers, told, key)
    with pytest.raises(R2Refused):
        await read(body[:-100], headers, told, key)


async def test_trailers_are_read_and_their_signature_is_checked() -> None:
    """A checksum behind the body counts if it is signed, or if the body was announced as unsigned."""
    key = signing_key(SECRET, SCOPE)
    seed = "0" * 64
    headers = {"x-amz-decoded-content-length": "1", "x-amz-trailer": "x-amz-checksum-crc32"}
    trailer = "x-amz-checksum-crc32:6Le+Qw=="
    first = chunk_signature(key, seed, b"a")
    last = chunk_signature(key, first, b"")
    digest = hashlib.sha256(trailer.encode() + b"\n").hexdigest()
    text = f"AWS4-HMAC-SHA256-TRAILER\n{MOMENT}\n{SCOPE}\n{last}\n{digest}"
    signed = (
        f"1;chunk-signature={first}\r\na\r\n0;chunk-signature={last}\r\n{trailer}\r\n"
        f"x-amz-trailer-signature:{sign(key, text)}\r\n\r\n"
    ).encode()
    unsigned = f"1\r\na\r\n0\r\n{trailer}\r\n\r\n".encode()

    payload = Payload(stream(signed), headers, claim(seed, payload=SIGNED_CHUNKS_AND_TRAILER), key)
    assert b"".join([piece async for piece in payload.read()]) == b"a"
    assert payload.told() == {"crc32": "e8b7be43"}
    assert await read(unsigned, headers, claim(seed, payload=UNSIGNED_CHUNKS_AND_TRAILER), key) == b"a"
    with pytest.raises(R2Refused, match="signature"):
        await read(signed.replace(b"6Le", b"7Le"), headers, claim(seed, payload=SIGNED_CHUNKS_AND_TRAILER), key)


def chunk_signature(key: bytes, previous: str, data: bytes) -> str:
    text = f"AWS4-HMAC-SHA256-PAYLOAD\n{MOMENT}\n{SCOPE}\n{previous}\n{EMPTY}\n{hashlib.sha256(data).hexdigest()}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


async def stream(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 1000):
        yield body[start : start + 1000]


async def read(body: bytes, headers: dict[str, str], told: Claim, key: bytes) -> bytes:
    return b"".join([piece async for piece in Payload(stream(body), headers, told, key).read()])


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({}, "InvalidArgument"),
        ({"authorization": "Bearer token"}, "InvalidRequest"),
        ({"authorization": "Bearer token", **SENT}, "InvalidRequest"),
        ({"authorization": "AWS4-HMAC-SHA256 Credential=x/y", **SENT}, "InvalidRequest"),
        (
            {"authorization": "AWS4-HMAC-SHA256 Credential=x/y, SignedHeaders=host, Signature=00", **SENT},
            "InvalidArgument",
        ),
        ({"authorization": "AWS4-HMAC-SHA256", "x-amz-content-sha256": EMPTY}, "InvalidArgument"),
        (
            {
                "authorization": f"AWS4-HMAC-SHA256 Credential={'a' * 32}/{SCOPE}, SignedHeaders=range,"
                f" Signature={'0' * 64}",
                **SENT,
            },
            "Unauthorized",
        ),
        (
            {
                "authorization": f"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/{SCOPE}, SignedHeaders=host,"
                f" Signature={'0' * 64}",
                **SENT,
            },
            "InvalidArgument",
        ),
        (
            {
                "authorization": f"AWS4-HMAC-SHA256 Credential={'a' * 32}/{SCOPE}, SignedHeaders=host,"
                f" Signature={'0' * 64}",
                **SENT,
            },
            "AccessDenied",
        ),
    ],
    ids=["none", "no-hash", "bearer", "half", "garbage", "no-date", "no-host", "key-of-aws", "unsigned-header"],
)
def test_what_cannot_be_a_signature_is_refused(headers: dict[str, str], name: str) -> None:
    """Requests without a signature, with half of one, or with headers that it doesn't cover, are refused by name."""
    with pytest.raises(R2Refused) as refused:
        read_claim(SignedRequest("GET", "/", "", {"host": "x", **headers}))

    assert refused.value.refusal.name == name


def test_old_and_early_requests_are_refused() -> None:
    """A signature is good for fifteen minutes before and after it was made."""
    request = SignedRequest("GET", "/", "", {"host": "h", "x-amz-date": MOMENT})
    key = signing_key(SECRET, SCOPE)
    canonical = f"GET\n/\n\nhost:h\nx-amz-date:{MOMENT}\n\nhost;x-amz-date\n{EMPTY}"
    text = f"AWS4-HMAC-SHA256\n{MOMENT}\n{SCOPE}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    told = claim(sign(key, text), "host", "x-amz-date")

    for late in (-900, 0, 900):
        check_claim(told, request, SECRET, NOW + late)

    for late in (-901, 901):
        with pytest.raises(R2Refused, match="time"):
            check_claim(told, request, SECRET, NOW + late)


def test_presigned_urls_work_for_anybody_who_has_them(store: S3Store) -> None:
    """A URL signed by obstore puts and gets without keys; changed in any way it does neither."""
    put = obstore.sign(store, "PUT", "a b/\u00fc", timedelta(minutes=5))
    get = obstore.sign(store, "GET", "a b/\u00fc", timedelta(minutes=5))

    assert httpx.put(put, content=b"content").status_code == 200
    assert httpx.get(get).content == b"content"

    forged = httpx.get(get.replace("a%20b", "a%20c"))
    longer = httpx.get(get.replace("Expires=300", "Expires=301"))
    other_method = httpx.request("DELETE", get)
    assert [(one.status_code, "SignatureDoesNotMatch" in one.text) for one in (forged, longer, other_method)] == [
        (403, True)
    ] * 3
    assert "<CanonicalRequest>GET\n" in forged.text


def test_a_url_for_writing_an_object_copies_no_other(store: S3Store) -> None:
    """Whoever has a URL signed for an upload can't have the signer read what the URL doesn't name."""
    obstore.put(store, "secret", b"not for you")
    put = obstore.sign(store, "PUT", "mine", timedelta(minutes=5))

    copied = httpx.put(put, headers={"x-amz-copy-source": "/things/secret"})

    assert (copied.status_code, "<Code>AccessDenied</Code>" in copied.text) == (403, True)
    assert [one["path"] for page in obstore.list(store) for one in page] == ["secret"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"X-Amz-Expires": None}, (400, "Required search parameter X-Amz-Expires missing")),
        ({"X-Amz-Expires": "soon"}, (400, "should be a number")),
        ({"X-Amz-Expires": "604801"}, (400, "less than a week")),
        ({"X-Amz-Expires": "0"}, (403, "Request has expired")),
        ({"X-Amz-Algorithm": "AWS4-HMAC-SHA512"}, (400, "Please use AWS4-HMAC-SHA256")),
        ({"X-Amz-Date": "now"}, (400, "Date provided in X-Amz-Date (now) didn't parse successfully")),
        ({"X-Amz-Date": "20200101T000000Z"}, (400, "does not match 20200101 from 'x-amz-date' header")),
        ({"X-Amz-Credential": "a/b/c"}, (400, "at least 5 slash-separated parts, not 3")),
    ],
)
def test_presigned_urls_that_cannot_be_are_refused_by_name(
    store: S3Store, changes: dict[str, str | None], expected: tuple[int, str]
) -> None:
    """Each part of the query is needed and looked at, and what is wrong with it is said."""
    url = httpx.URL(obstore.sign(store, "GET", "k", timedelta(minutes=5)))
    query = {name: value for name, value in {**url.params, **changes}.items() if value is not None}

    answer = httpx.get(url.copy_with(params=query), trust_env=False)

    assert (answer.status_code, expected[1] in answer.text) == (expected[0], True)


def test_tokens_that_may_not_are_refused(account: CloudAccount, keys: Keys, store: S3Store) -> None:
    """A key nobody has is 401, one of another account 403, and the account's name in the path decides."""
    other = Keys(keys.endpoint, "f" * 32, keys.secret).store("things")
    stranger = account.cloud.new_account()
    elsewhere = Keys(
        keys.endpoint.replace(account.account_id, stranger.account_id), keys.access_key, keys.secret
    ).store("things")

    nobody = httpx.get(obstore.sign(other, "GET", "a", timedelta(minutes=5)))
    foreign = httpx.get(obstore.sign(elsewhere, "GET", "a", timedelta(minutes=5)))

    assert (nobody.status_code, "<Code>Unauthorized</Code>" in nobody.text) == (401, True)
    assert (foreign.status_code, "<Code>AccessDenied</Code>" in foreign.text) == (403, True)
