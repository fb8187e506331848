"""``/r2/buckets``: creating, listing, reading, changing and deleting buckets, and how much is in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import ApiError, envelope, object_body
from clodo.emulator.r2.buckets import Usage
from clodo.emulator.r2.cursors import read_cursor, write_cursor
from clodo.emulator.r2.errors import INVALID_ARGUMENT, R2Refused
from clodo.emulator.r2.records import Bucket
from clodo.emulator.r2.store import Storage

Handler = Callable[[Request], Awaitable[Response]]

#: https://developers.cloudflare.com/api/resources/r2/subresources/buckets/methods/list/: "maximum 1000, minimum 1".
DEFAULT_PER_PAGE = 20
MAX_PER_PAGE = 1000


def routes(storage: Storage) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""
    buckets = storage.buckets

    async def list_buckets(request: Request) -> Response:
        query = request.query_params
        wanted = query.get("name_contains") or ""
        is_backwards = _one_of(query.get("direction") or "asc", "direction", ("asc", "desc")) == "desc"
        _one_of(query.get("order") or "name", "order", ("name",))
        start = query.get("start_after") or ""
        if query.get("cursor"):
            start = read_cursor(query["cursor"]).decode("utf-8", "replace")
        limit = whole_number(query.get("per_page"), "per_page", DEFAULT_PER_PAGE, MAX_PER_PAGE)
        found = buckets.of_account(request.path_params["account_id"], jurisdiction_of(request))
        left = [
            bucket
            for bucket in (reversed(found) if is_backwards else found)
            if wanted in bucket.name and (not start or (bucket.name < start if is_backwards else bucket.name > start))
        ]
        page = left[:limit]
        info: dict[str, object] | None = None
        if len(left) > limit or "cursor" in query or "per_page" in query:
            info = {"cursor": write_cursor(page[-1].name.encode()) if len(left) > limit else "", "per_page": limit}
        # Recorded: lists show these two only.
        shown = [{"name": bucket.name, "creation_date": bucket.created_on} for bucket in page]
        return envelope({"buckets": shown}, result_info=info)

    async def create_bucket(request: Request) -> Response:
        body = await object_body(request)
        made = await buckets.create(
            request.path_params["account_id"],
            str(body.get("name") or ""),
            jurisdiction=jurisdiction_of(request),
            location=str(body["locationHint"]) if body.get("locationHint") else None,
            storage_class=str(body.get("storageClass") or "Standard"),
        )
        return envelope(_shown(made))

    async def get_bucket(request: Request) -> Response:
        return envelope(_shown(bucket_of(storage, request)))

    async def change_bucket(request: Request) -> Response:
        bucket = bucket_of(storage, request)
        wanted = request.headers.get("cf-r2-storage-class")
        if wanted is None:
            raise R2Refused(INVALID_ARGUMENT.saying("The header cf-r2-storage-class is required."))
        return envelope(_shown(await buckets.set_storage_class(bucket, wanted)))

    async def delete_bucket(request: Request) -> Response:
        await buckets.delete(bucket_of(storage, request))
        return envelope({})

    async def bucket_usage(request: Request) -> Response:
        usage = await buckets.usage(bucket_of(storage, request))
        total = _sum(usage.values())
        return envelope(
            {
                "end": None,
                "payloadSize": str(total.payload),
                "metadataSize": str(total.metadata),
                "objectCount": str(total.objects),
                "uploadCount": str(total.uploads),
                "infrequentAccessPayloadSize": str(usage.get("InfrequentAccess", _NOTHING).payload),
                "infrequentAccessMetadataSize": str(usage.get("InfrequentAccess", _NOTHING).metadata),
                "infrequentAccessObjectCount": str(usage.get("InfrequentAccess", _NOTHING).objects),
                "infrequentAccessUploadCount": str(usage.get("InfrequentAccess", _NOTHING).uploads),
            }
        )

    async def account_metrics(request: Request) -> Response:
        by_class: dict[str, list[Usage]] = {"Standard": [], "InfrequentAccess": []}
        for bucket in buckets.of_account(request.path_params["account_id"], jurisdiction_of(request)):
            for name, usage in (await buckets.usage(bucket)).items():
                by_class[name].append(usage)
        return envelope(
            {
                "standard": _metrics(_sum(by_class["Standard"])),
                "infrequentAccess": _metrics(_sum(by_class["InfrequentAccess"])),
            }
        )

    return [
        route("/r2/metrics", account_metrics, "GET"),
        route("/r2/buckets", list_buckets, "GET"),
        route("/r2/buckets", create_bucket, "POST"),
        route("/r2/buckets/{bucket}", get_bucket, "GET"),
        route("/r2/buckets/{bucket}", change_bucket, "PATCH"),
        route("/r2/buckets/{bucket}", delete_bucket, "DELETE"),
        route("/r2/buckets/{bucket}/usage", bucket_usage, "GET"),
    ]


def route(path: str, handler: Handler, method: str) -> Route:
    """Return a route whose refusals are in Cloudflare's envelope."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except R2Refused as error:
            refusal = error.refusal
            raise ApiError(refusal.status, refusal.number, refusal.message) from error

    return Route(path, answer, methods=[method])


def bucket_of(storage: Storage, request: Request) -> Bucket:
    """
    Return the bucket that the path names, in the jurisdiction that the header names.

    Raises:
        R2Refused: 404, 10006.
    """
    params = request.path_params
    return storage.buckets.find(params["account_id"], params["bucket"], jurisdiction_of(request))


def jurisdiction_of(request: Request) -> str:
    """Return the jurisdiction that is asked for."""
    return request.headers.get("cf-r2-jurisdiction") or "default"


def whole_number(text: str | None, name: str, default: int, maximum: int) -> int:
    """
    Read a number from 1 to *maximum* of a query; the SDK writes them as 60.0.

    Raises:
        R2Refused: It is none, or out of bounds.
    """
    if not text:
        return default
    digits = text.removesuffix(".0")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10 and 1 <= int(digits) <= maximum):
        raise R2Refused(INVALID_ARGUMENT.saying(f"{name} must be a number between 1 and {maximum}."))
    return int(digits)


def _one_of(value: str, name: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise R2Refused(INVALID_ARGUMENT.saying(f"{name} must be one of {', '.join(allowed)}."))
    return value


_NOTHING = Usage(0, 0, 0, 0)


def _sum(usages: Any) -> Usage:
    found = [*usages, _NOTHING]
    return Usage(*(sum(column) for column in zip(*found, strict=True)))


def _metrics(usage: Usage) -> dict[str, Any]:
    published = {"payloadSize": usage.payload, "metadataSize": usage.metadata, "objects": usage.objects}
    return {"published": published, "uploaded": {"payloadSize": 0, "metadataSize": 0, "objects": usage.uploads}}


def _shown(bucket: Bucket) -> dict[str, Any]:
    return {
        "name": bucket.name,
        "creation_date": bucket.created_on,
        "location": bucket.location,
        "storage_class": bucket.storage_class,
        "jurisdiction": bucket.jurisdiction,
    }
