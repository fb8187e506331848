"""A bucket's CORS and lifecycle rules as S3's XML: another writing of what the API has as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element as Read

from starlette.responses import Response

from clodo.emulator.r2.errors import MALFORMED_XML, NO_SUCH_CORS, NO_SUCH_LIFECYCLE, NOT_IMPLEMENTED, R2Refused
from clodo.emulator.r2.rules import (
    MAX_CORS_RULES,
    MAX_LIFECYCLE_RULES,
    check_cors,
    check_lifecycle,
    lifecycle_of,
    rules_in,
)
from clodo.emulator.r2.s3.documents import Element, document, parse, text_of
from clodo.emulator.r2.s3.headers import storage_class_code
from clodo.emulator.r2.s3.objects import xml
from clodo.emulator.r2.s3.requests import S3Request

DAY_SECONDS = 86_400
#: Others are refused, say R2's release notes of 2022-11-30.
_CORS_ELEMENTS = ("ID", "AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader", "MaxAgeSeconds")
#: R2 has one class to move to.
_COLDER = "InfrequentAccess"


async def get_cors(request: S3Request) -> Response:
    """Show who may read the bucket from a browser."""
    request.raise_if_not_administrator(writes=False)
    rules = request.bucket(writes=False).settings.get("cors")
    if rules is None:
        raise R2Refused(NO_SUCH_CORS)
    return xml(document("CORSConfiguration", [("CORSRule", _cors_written(rule)) for rule in rules]))


async def put_cors(request: S3Request) -> Response:
    """Replace the CORS rules."""
    request.raise_if_not_administrator(writes=True)
    bucket = request.bucket(writes=True)
    given = parse(await request.document(), "CORSConfiguration").findall("CORSRule")
    if not given:
        raise R2Refused(MALFORMED_XML)
    rules = rules_in({"rules": [_cors_read(rule) for rule in given]}, check_cors, MAX_CORS_RULES)
    await request.storage.buckets.set_settings(bucket, {"cors": rules})
    return Response()


async def delete_cors(request: S3Request) -> Response:
    """Remove the CORS rules; it doesn't matter whether there were any."""
    request.raise_if_not_administrator(writes=True)
    await request.storage.buckets.set_settings(request.bucket(writes=True), {"cors": None})
    return Response(status_code=204)


async def get_lifecycle(request: S3Request) -> Response:
    """Show when objects expire and uploads are aborted."""
    request.raise_if_not_administrator(writes=False)
    rules = lifecycle_of(request.bucket(writes=False))
    if not rules:
        raise R2Refused(NO_SUCH_LIFECYCLE)
    return xml(document("LifecycleConfiguration", [("Rule", _lifecycle_written(rule)) for rule in rules]))


async def put_lifecycle(request: S3Request) -> Response:
    """Replace the lifecycle rules."""
    request.raise_if_not_administrator(writes=True)
    bucket = request.bucket(writes=True)
    given = parse(await request.document(), "LifecycleConfiguration").findall("Rule")
    if not given:
        raise R2Refused(MALFORMED_XML)
    read = [_lifecycle_read(rule, number) for number, rule in enumerate(given, 1)]
    rules = rules_in({"rules": read}, check_lifecycle, MAX_LIFECYCLE_RULES)
    await request.storage.buckets.set_settings(bucket, {"lifecycle": rules})
    return Response()


async def delete_lifecycle(request: S3Request) -> Response:
    """Remove the lifecycle rules, also the one that every new bucket has."""
    request.raise_if_not_administrator(writes=True)
    await request.storage.buckets.set_settings(request.bucket(writes=True), {"lifecycle": []})
    return Response(status_code=204)


def _cors_written(rule: dict[str, Any]) -> list[Element]:
    allowed = rule["allowed"]
    return [
        ("ID", rule.get("id")),
        *(("AllowedOrigin", origin) for origin in allowed["origins"]),
        *(("AllowedMethod", method) for method in allowed["methods"]),
        *(("AllowedHeader", header) for header in allowed.get("headers") or ()),
        *(("ExposeHeader", header) for header in rule.get("exposeHeaders") or ()),
        ("MaxAgeSeconds", rule.get("maxAgeSeconds")),
    ]


def _cors_read(rule: Read) -> dict[str, Any]:
    if any(child.tag not in _CORS_ELEMENTS for child in rule):
        raise R2Refused(MALFORMED_XML)
    found: dict[str, Any] = {
        "allowed": {"methods": _texts(rule, "AllowedMethod"), "origins": _texts(rule, "AllowedOrigin")}
    }
    if headers := _texts(rule, "AllowedHeader"):
        found["allowed"]["headers"] = headers
    if exposed := _texts(rule, "ExposeHeader"):
        found["exposeHeaders"] = exposed
    if (name := text_of(rule, "ID")) is not None:
        found["id"] = name
    if rule.find("MaxAgeSeconds") is not None:
        found["maxAgeSeconds"] = _number(rule, "MaxAgeSeconds", least=0)
    return found


def _lifecycle_written(rule: dict[str, Any]) -> list[Element]:
    content: list[Element] = [
        ("ID", rule["id"]),
        ("Status", "Enabled" if rule["enabled"] else "Disabled"),
        ("Filter", [("Prefix", rule["conditions"].get("prefix", ""))]),
    ]
    if expiry := rule.get("deleteObjectsTransition"):
        content.append(("Expiration", [_moment_written(expiry["condition"], "Days")]))
    for colder in rule.get("storageClassTransitions") or ():
        moment = _moment_written(colder["condition"], "Days")
        content.append(("Transition", [moment, ("StorageClass", storage_class_code(_COLDER))]))
    if abortion := rule.get("abortMultipartUploadsTransition"):
        moment = _moment_written(abortion["condition"], "DaysAfterInitiation")
        content.append(("AbortIncompleteMultipartUpload", [moment]))
    return content


def _moment_written(condition: dict[str, Any], days: str) -> Element:
    if condition["type"] == "Date":
        return "Date", str(condition["date"])
    # The API counts in seconds, S3 in whole days from 1 on.
    return days, max(1, -(-condition["maxAge"] // DAY_SECONDS))


def _lifecycle_read(rule: Read, number: int) -> dict[str, Any]:
    status, narrowed = text_of(rule, "Status"), rule.find("Filter")
    if status not in ("Enabled", "Disabled"):
        raise R2Refused(MALFORMED_XML)
    if narrowed is not None and any(child.tag != "Prefix" for child in narrowed):
        raise R2Refused(NOT_IMPLEMENTED.saying("Lifecycle rules are filtered by prefix only."))
    if any(rule.find(name) is not None for name in ("NoncurrentVersionExpiration", "NoncurrentVersionTransition")):
        raise R2Refused(NOT_IMPLEMENTED.saying("There are no versions of objects."))
    prefix = text_of(rule if narrowed is None else narrowed, "Prefix") or ""
    found: dict[str, Any] = {
        "id": text_of(rule, "ID") or f"rule-{number}",
        "enabled": status == "Enabled",
        "conditions": {"prefix": prefix},
    }
    expiry, abortion, transitions = (
        rule.find("Expiration"),
        rule.find("AbortIncompleteMultipartUpload"),
        rule.findall("Transition"),
    )
    if expiry is None and abortion is None and not transitions:
        raise R2Refused(MALFORMED_XML)
    if expiry is not None:
        found["deleteObjectsTransition"] = {"condition": _moment_read(expiry, "Days")}
    if abortion is not None:
        found["abortMultipartUploadsTransition"] = {"condition": _moment_read(abortion, "DaysAfterInitiation")}
    for transition in transitions:
        if text_of(transition, "StorageClass") != storage_class_code(_COLDER):
            raise R2Refused(NOT_IMPLEMENTED.saying("Objects can be moved to STANDARD_IA only."))
        moved = {"condition": _moment_read(transition, "Days"), "storageClass": _COLDER}
        found.setdefault("storageClassTransitions", []).append(moved)
    return found


def _moment_read(element: Read, days: str) -> dict[str, Any]:
    if element.find(days) is not None:
        return {"type": "Age", "maxAge": _number(element, days, least=1) * DAY_SECONDS}
    try:
        date = datetime.fromisoformat((text_of(element, "Date") or "").strip())
    except ValueError as error:
        raise R2Refused(MALFORMED_XML) from error
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return {"type": "Date", "date": date.astimezone(UTC).isoformat().replace("+00:00", "Z")}


def _texts(element: Read, name: str) -> list[str]:
    return [child.text or "" for child in element.findall(name)]


def _number(element: Read, name: str, *, least: int) -> int:
    text = (text_of(element, name) or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) < least:
        raise R2Refused(MALFORMED_XML)
    return int(text)
