"""
AWS Signature Version 4, as S3 clients sign: in a header, or in a presigned URL's query.

Source:
    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html; R2's region is ``auto``, with
    ``us-east-1`` and none as aliases: https://developers.cloudflare.com/r2/api/s3/api/#bucket-region
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

from clodo.emulator.r2.errors import (
    ACCESS_DENIED,
    EXPIRED_REQUEST,
    INVALID_ARGUMENT,
    INVALID_REQUEST,
    SIGNATURE_DOES_NOT_MATCH,
    TIME_TOO_SKEWED,
    UNAUTHORIZED,
    R2Refused,
)

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
REGIONS = ("auto", "us-east-1", "")

#: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html: fifteen minutes.
MAX_SKEW_SECONDS = 15 * 60
#: https://developers.cloudflare.com/r2/api/s3/presigned-urls/: one second to seven days.
MAX_EXPIRY_SECONDS = 7 * 24 * 3600
#: "Credential access key has length …, should be 32", says the real one.
ACCESS_KEY_CHARACTERS = 32

_QUERY_NAMES = ("X-Amz-Algorithm", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires")
_OTHER_ALGORITHM = INVALID_REQUEST.saying(f"Please use {ALGORITHM}")
_MOMENT = re.compile(r"\d{8}T\d{6}Z")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """
    A request as it was sent.

    Attributes:
        path: Percent-encoded, from the first slash on.

        query: Raw, without the question mark.

        headers: By lower-case name; several of one name are joined with commas.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Claim:
    """
    What a request says about who signed it.

    Attributes:
        scope: ``<day>/<region>/s3/aws4_request``.

        moment: When it was signed, ``20261120T170000Z``.

        expires_in: Seconds that a presigned URL is good for; None for a header.

        payload_hash: ``x-amz-content-sha256``, or that it is unsigned.
    """

    access_key: str
    scope: str
    moment: str
    signed_headers: tuple[str, ...]
    signature: str
    payload_hash: str
    expires_in: int | None = None

    @property
    def is_presigned(self) -> bool:
        """Whether the signature was in the query."""
        return self.expires_in is not None


def read_claim(request: SignedRequest) -> Claim:
    """
    Return what the request says about who signed it.

    Raises:
        R2Refused: It isn't signed, or not in a way that can be read.
    """
    authorization = request.headers.get("authorization")
    if authorization is not None:
        return _header_claim(request, authorization)
    query = dict(query_pairs(request.query))
    if "X-Amz-Credential" in query:
        return _query_claim(request, query)
    raise R2Refused(INVALID_ARGUMENT.saying("Authorization"))


def _header_claim(request: SignedRequest, authorization: str) -> Claim:
    payload_hash = request.headers.get("x-amz-content-sha256")
    if payload_hash is None:
        raise R2Refused(INVALID_REQUEST.saying("Missing x-amz-content-sha256"))
    source = "x-amz-date" if "x-amz-date" in request.headers else "date"
    moment = request.headers.get(source)
    if moment is None:
        raise R2Refused(INVALID_ARGUMENT.saying("No date provided in x-amz-date nor date header"))
    _raise_if_no_moment(moment, f"'{source}' header")
    algorithm, _, rest = authorization.partition(" ")
    named = {name.strip(): value.strip() for name, _, value in (piece.partition("=") for piece in rest.split(","))}
    if algorithm != ALGORITHM or not {"Credential", "SignedHeaders", "Signature"} <= named.keys():
        raise R2Refused(_OTHER_ALGORITHM)
    access_key, scope = _credential(named["Credential"], moment)
    return Claim(
        access_key=access_key,
        scope=scope,
        moment=moment,
        signed_headers=_signed_headers(named["SignedHeaders"], request, must_sign_all=True),
        signature=named["Signature"],
        payload_hash=payload_hash,
    )


def _query_claim(request: SignedRequest, query: Mapping[str, str]) -> Claim:
    missing = [name for name in _QUERY_NAMES if name not in query]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise R2Refused(INVALID_ARGUMENT.saying(f"Required search parameter{plural} {',  '.join(missing)} missing"))
    if query["X-Amz-Algorithm"] != ALGORITHM:
        raise R2Refused(_OTHER_ALGORITHM)
    moment = query["X-Amz-Date"]
    _raise_if_no_moment(moment, "X-Amz-Date")
    access_key, scope = _credential(query["X-Amz-Credential"], moment)
    return Claim(
        access_key=access_key,
        scope=scope,
        moment=moment,
        signed_headers=_signed_headers(query["X-Amz-SignedHeaders"], request, must_sign_all=False),
        signature=query["X-Amz-Signature"],
        payload_hash=request.headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD),
        expires_in=_expiry(query["X-Amz-Expires"]),
    )


def check_claim(claim: Claim, request: SignedRequest, secret: str | None, now: float) -> bytes:
    """
    Refuse a request whose signature isn't by the holder of *secret*, or that is too old or too new.

    Args:
        secret: None for an access key nobody has; the work is done all the same, so that time tells nothing.

        now: Seconds since 1970.

    Returns:
        The key that signs the chunks of a streamed body.

    Raises:
        R2Refused: 401, 403 or 400, as R2's table has it.
    """
    key = signing_key(secret or "nobody's", claim.scope)
    paths = (_canonical_path(request.path), request.path)
    told = claim.signature.encode("utf-8", "replace")
    matches = [hmac.compare_digest(sign(key, string_to_sign(claim, request, path)).encode(), told) for path in paths]
    if secret is None:
        raise R2Refused(UNAUTHORIZED)
    if not any(matches):
        raise R2Refused(SIGNATURE_DOES_NOT_MATCH, _explained(claim, request, request.path))
    signed_at = datetime.strptime(claim.moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    if signed_at - now > MAX_SKEW_SECONDS or (claim.expires_in is None and now - signed_at > MAX_SKEW_SECONDS):
        raise R2Refused(TIME_TOO_SKEWED)
    if claim.expires_in is not None and now > signed_at + claim.expires_in:
        raise R2Refused(EXPIRED_REQUEST)
    return key


def signing_key(secret: str, scope: str) -> bytes:
    """Return the key of a day, region and service."""
    key = ("AWS4" + secret).encode()
    for piece in scope.split("/"):
        key = hmac.digest(key, piece.encode(), "sha256")
    return key


def sign(key: bytes, text: str) -> str:
    """Return the signature of *text* in hex."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def string_to_sign(claim: Claim, request: SignedRequest, path: str) -> str:
    """Return what the signature of a request is made of; *path* is the canonical one."""
    canonical = _canonical_request(claim, request, path)
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    return "\n".join((ALGORITHM, claim.moment, claim.scope, digest))


def _canonical_request(claim: Claim, request: SignedRequest, path: str) -> str:
    headers = "".join(f"{name}:{_canonical_value(request.headers.get(name, ''))}\n" for name in claim.signed_headers)
    return "\n".join(
        (
            request.method,
            path,
            _canonical_query(request.query),
            headers,
            ";".join(claim.signed_headers),
            claim.payload_hash,
        )
    )


def _explained(claim: Claim, request: SignedRequest, path: str) -> dict[str, str]:
    """Return what a client's author compares with what was signed, as R2 shows it."""
    shown = {
        "StringToSign": string_to_sign(claim, request, path),
        "CanonicalRequest": _canonical_request(claim, request, path),
    }
    found: dict[str, str] = {}
    for name, text in shown.items():
        raw = text.encode("utf-8", "surrogateescape")
        found |= {name: raw.decode("utf-8", "replace"), f"{name}Bytes": raw.hex(" ")}
    return {**found, "SignatureProvided": claim.signature}


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Return the query's names and values, decoded; a plus sign is a plus sign."""
    pairs = []
    for piece in query.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            pairs.append((_decoded(name), _decoded(value)))
    return pairs


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1", "replace")).decode("utf-8", "surrogateescape")


def _encoded(text: str, safe: str = "-_.~") -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe=safe)


def _canonical_path(path: str) -> str:
    return _encoded(_decoded(path), "/-_.~")


def _canonical_query(query: str) -> str:
    pairs: Sequence[tuple[str, str]] = sorted(
        (_encoded(name), _encoded(value)) for name, value in query_pairs(query) if name != "X-Amz-Signature"
    )
    return "&".join(f"{name}={value}" for name, value in pairs)


def _canonical_value(value: str) -> str:
    return " ".join(value.split())


def _credential(text: str, moment: str) -> tuple[str, str]:
    pieces = text.split("/")
    if len(pieces) < 5:
        raise _refused(f"Credential sigv4 header should have at least 5 slash-separated parts, not {len(pieces)}")
    access_key, scope = "/".join(pieces[:-4]), "/".join(pieces[-4:])
    day, region, service, end = (piece[:40] for piece in pieces[-4:])
    if service != "s3":
        raise _refused(f"Credential service should be s3, not {service}")
    if end != "aws4_request":
        raise _refused(f"Credential termination string should be aws4_request, not {end}")
    if day != moment[:8]:
        raise _refused(f"Credential signed date {day} does not match {moment[:8]} from 'x-amz-date' header")
    if region not in REGIONS:
        raise _refused(f"The region name '{region}' is not valid. Must be one of: auto, us-east-1.")
    if len(access_key) != ACCESS_KEY_CHARACTERS:
        raise _refused(f"Credential access key has length {len(access_key)}, should be {ACCESS_KEY_CHARACTERS}")
    return access_key, scope


def _raise_if_no_moment(text: str, source: str) -> None:
    try:
        if not _MOMENT.fullmatch(text):
            raise ValueError(text)
        datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise _refused(f"Date provided in {source} ({text[:40]}) didn't parse successfully") from error


def _expiry(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,12}", text):
        raise _refused("X-Amz-Expires should be a number")
    seconds = int(text)
    if seconds > MAX_EXPIRY_SECONDS:
        raise _refused(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than"
            f" {MAX_EXPIRY_SECONDS} seconds"
        )
    if seconds < 1:
        raise R2Refused(EXPIRED_REQUEST)
    return seconds


def _signed_headers(text: str, request: SignedRequest, *, must_sign_all: bool) -> tuple[str, ...]:
    names = tuple(text.split(";"))
    if "host" not in names:
        raise R2Refused(UNAUTHORIZED)
    # Else whoever has a URL for one object could copy any other of the signer's there.
    must_sign = "x-amz-" if must_sign_all else "x-amz-copy-source"
    unsigned = [name for name in request.headers if name.startswith(must_sign) and name not in names]
    if unsigned:
        raise R2Refused(
            ACCESS_DENIED.saying(f"There were headers present in the request which were not signed: {unsigned[0]}")
        )
    return names


def _refused(message: str) -> R2Refused:
    return R2Refused(INVALID_ARGUMENT.saying(message))
