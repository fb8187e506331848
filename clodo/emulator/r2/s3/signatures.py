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

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=([^,\s]+)\s*,\s*SignedHeaders=([^,\s]+)\s*,\s*Signature=([0-9a-f]{64})\s*"
)
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
    query = dict(query_pairs(request.query))
    if "X-Amz-Signature" in query or "X-Amz-Algorithm" in query:
        return _query_claim(request, query)
    authorization = request.headers.get("authorization")
    if authorization is None:
        raise R2Refused(INVALID_ARGUMENT.saying("Authorization"))
    match = _HEADER.fullmatch(authorization)
    if match is None:
        raise R2Refused(INVALID_ARGUMENT.saying("Authorization: AWS4-HMAC-SHA256 with all its parts is needed."))
    access_key, scope = _credential(match[1])
    return Claim(
        access_key=access_key,
        scope=scope,
        moment=_moment(request.headers.get("x-amz-date") or _date_header(request.headers.get("date")), scope),
        signed_headers=_signed_headers(match[2], request, must_sign_all=True),
        signature=match[3],
        payload_hash=request.headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD),
    )


def _query_claim(request: SignedRequest, query: Mapping[str, str]) -> Claim:
    if query.get("X-Amz-Algorithm") != ALGORITHM:
        raise R2Refused(INVALID_ARGUMENT.saying("X-Amz-Algorithm must be AWS4-HMAC-SHA256."))
    expires_text = query.get("X-Amz-Expires", "")
    if not (expires_text.isascii() and expires_text.isdigit() and 1 <= int(expires_text[:9]) <= MAX_EXPIRY_SECONDS):
        raise R2Refused(INVALID_ARGUMENT.saying(f"X-Amz-Expires must be between 1 and {MAX_EXPIRY_SECONDS} seconds."))
    access_key, scope = _credential(query.get("X-Amz-Credential", ""))
    return Claim(
        access_key=access_key,
        scope=scope,
        moment=_moment(query.get("X-Amz-Date"), scope),
        signed_headers=_signed_headers(query.get("X-Amz-SignedHeaders", ""), request, must_sign_all=False),
        signature=query.get("X-Amz-Signature", ""),
        payload_hash=request.headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD),
        expires_in=int(expires_text),
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
    expected = [
        sign(key, string_to_sign(claim, request, path)) for path in (_canonical_path(request.path), request.path)
    ]
    matches = [hmac.compare_digest(text.encode(), claim.signature.encode("utf-8", "replace")) for text in expected]
    if secret is None:
        raise R2Refused(UNAUTHORIZED)
    if not any(matches):
        raise R2Refused(SIGNATURE_DOES_NOT_MATCH)
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
    headers = "".join(f"{name}:{_canonical_value(request.headers.get(name, ''))}\n" for name in claim.signed_headers)
    canonical = "\n".join(
        (
            request.method,
            path,
            _canonical_query(request.query),
            headers,
            ";".join(claim.signed_headers),
            claim.payload_hash,
        )
    )
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    return "\n".join((ALGORITHM, claim.moment, claim.scope, digest))


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


def _credential(text: str) -> tuple[str, str]:
    access_key, _, scope = text.partition("/")
    pieces = scope.split("/")
    if len(pieces) != 4 or pieces[2:] != ["s3", "aws4_request"] or not re.fullmatch(r"\d{8}", pieces[0]):
        raise R2Refused(INVALID_ARGUMENT.saying("The credential's scope must be <day>/<region>/s3/aws4_request."))
    if pieces[1] not in REGIONS:
        raise R2Refused(
            INVALID_ARGUMENT.saying(
                f"The region name '{pieces[1][:40]}' is not valid. Must be one of: auto, us-east-1."
            )
        )
    if len(access_key) != ACCESS_KEY_CHARACTERS:
        raise R2Refused(
            INVALID_ARGUMENT.saying(
                f"Credential access key has length {len(access_key)}, should be {ACCESS_KEY_CHARACTERS}"
            )
        )
    return access_key, scope


def _moment(text: str | None, scope: str) -> str:
    if text is None or not _MOMENT.fullmatch(text):
        raise R2Refused(ACCESS_DENIED.saying("AWS authentication requires a valid Date or x-amz-date header"))
    if not scope.startswith(text[:8] + "/"):
        raise R2Refused(
            SIGNATURE_DOES_NOT_MATCH.saying("The date of the credential's scope isn't that of the request.")
        )
    try:
        datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise R2Refused(ACCESS_DENIED.saying("There is no such date.")) from error
    return text


def _date_header(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC).strftime("%Y%m%dT%H%M%SZ")
    except ValueError:
        return text


def _signed_headers(text: str, request: SignedRequest, *, must_sign_all: bool) -> tuple[str, ...]:
    names = tuple(text.split(";"))
    if "host" not in names or list(names) != sorted(set(names)):
        raise R2Refused(ACCESS_DENIED.saying("SignedHeaders must name host, each once, in order."))
    unsigned = [name for name in request.headers if name.startswith("x-amz-") and name not in names]
    if must_sign_all and unsigned:
        raise R2Refused(
            ACCESS_DENIED.saying(f"There were headers present in the request which were not signed: {unsigned[0]}")
        )
    return names
