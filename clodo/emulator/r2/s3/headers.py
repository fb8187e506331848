"""What objects look like in HTTP headers, and what headers say about objects."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from clodo.emulator.r2.checksums import S3_ALGORITHMS, to_base64
from clodo.emulator.r2.errors import INVALID_STORAGE_CLASS, R2Refused
from clodo.emulator.r2.records import Description, StoredObject
from clodo.emulator.r2.s3.encryption import encryption_headers

META = "x-amz-meta-"
#: What can be a header's name, https://www.rfc-editor.org/rfc/rfc9110#name-tokens
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

#: Header to the binding's name; ``expires`` is apart, since it is a time.
HTTP_FIELDS = {
    "content-type": "contentType",
    "content-language": "contentLanguage",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "cache-control": "cacheControl",
}
_CLASSES = {"STANDARD": "Standard", "STANDARD_IA": "InfrequentAccess"}
_CLASS_NAMES = {name: code for code, name in _CLASSES.items()}
#: What a GET may be told to answer with instead.
_OVERRIDES = ("content-type", "content-language", "content-disposition", "content-encoding", "cache-control", "expires")


def description_of(headers: Mapping[str, str]) -> Description:
    """
    Read what the writer of an object says about it.

    Raises:
        R2Refused: There is no such storage class.
    """
    http: dict[str, Any] = {}
    for header, name in HTTP_FIELDS.items():
        value = headers.get(header)
        if value is not None and header == "content-encoding":
            # How the body travels is not what the object is.
            value = ", ".join(one.strip() for one in value.split(",") if one.strip().lower() != "aws-chunked") or None
        if value is not None:
            http[name] = value
    expires = headers.get("expires")
    if expires:
        try:
            http["cacheExpiry"] = int(parsedate_to_datetime(expires).timestamp() * 1000)
        except (ValueError, OverflowError):
            # A date that is none is kept by nobody.
            http.pop("cacheExpiry", None)
    custom = {
        name.removeprefix(META): _decoded(value) for name, value in headers.items() if name.startswith(META) and value
    }
    return Description(http, custom, storage_class_of(headers))


def storage_class_of(headers: Mapping[str, str]) -> str | None:
    """
    Return the storage class that is asked for.

    Raises:
        R2Refused: There is no such storage class.
    """
    code = headers.get("x-amz-storage-class")
    if code is None:
        return None
    if code not in _CLASSES:
        raise R2Refused(INVALID_STORAGE_CLASS)
    return _CLASSES[code]


def storage_class_code(name: str) -> str:
    """Return S3's name of a storage class."""
    return _CLASS_NAMES[name]


def headers_of(found: StoredObject) -> dict[str, str]:
    """Return the headers that describe an object."""
    headers = {
        "etag": f'"{found.etag}"',
        "last-modified": http_date(found.uploaded),
        "accept-ranges": "bytes",
        "content-type": "application/octet-stream",
    }
    for header, name in HTTP_FIELDS.items():
        if name in found.http:
            headers[header] = _encoded(str(found.http[name]))
    if "cacheExpiry" in found.http:
        headers["expires"] = http_date(int(found.http["cacheExpiry"]))
    missing = 0
    for name, value in found.custom.items():
        if _TOKEN.fullmatch(name):
            headers[META + name] = _encoded(value)
        else:
            missing += 1
    if missing:
        headers["x-amz-missing-meta"] = str(missing)
    if found.storage_class != "Standard":
        headers["x-amz-storage-class"] = storage_class_code(found.storage_class)
    headers.update(encryption_headers(found.key_md5))
    return headers


def checksum_headers(checksums: Mapping[str, str]) -> dict[str, str]:
    """Return the checksums that S3 has headers for."""
    return {f"x-amz-checksum-{name}": to_base64(digits) for name, digits in checksums.items() if name in S3_ALGORITHMS}


def checksum_elements(checksums: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the checksums as S3's documents have them."""
    return [(f"Checksum{name.upper()}", to_base64(text)) for name, text in checksums.items() if name in S3_ALGORITHMS]


def overridden(headers: dict[str, str], query: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with those that the query asks for instead (``response-content-type`` …)."""
    wanted = {name: query[f"response-{name}"] for name in _OVERRIDES if f"response-{name}" in query}
    return {**headers, **{name: _encoded(value) for name, value in wanted.items()}}


def http_date(milliseconds: int) -> str:
    """Return a time as headers write it."""
    return format_datetime(datetime.fromtimestamp(milliseconds // 1000, UTC), usegmt=True)


def iso_date(milliseconds: int) -> str:
    """Return a time as S3's XML and the API write it."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _decoded(value: str) -> str:
    """Read a value that may be encoded after RFC 2047, or be raw UTF-8."""
    try:
        return str(make_header(decode_header(value))) if "=?" in value else value
    except (HeaderParseError, UnicodeError, LookupError):
        return value


def _encoded(value: str) -> str:
    """Write a value so that a header can carry it: after RFC 2047 if it isn't printable ASCII."""
    if value.isascii() and (value.isprintable() or not value):
        return value
    return f"=?UTF-8?B?{base64.b64encode(value.encode('utf-8', 'replace')).decode()}?="
