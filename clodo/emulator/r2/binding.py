"""
R2 as Workers' bindings speak it: workerd sends an operation as JSON in a header, or in front of the value.

Source:
    ``src/workerd/api/r2-api.capnp`` and ``r2-bucket.c++`` in https://github.com/cloudflare/workerd
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from clodo.emulator.r2.checksums import LENGTHS, from_base64
from clodo.emulator.r2.conditions import from_binding
from clodo.emulator.r2.cursors import read_cursor, write_cursor
from clodo.emulator.r2.customer_keys import CustomerKey
from clodo.emulator.r2.errors import (
    INCOMPLETE_BODY,
    INVALID_ARGUMENT,
    INVALID_MAX_KEYS,
    METADATA_TOO_LARGE,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    R2Refused,
    Refusal,
)
from clodo.emulator.r2.limits import MAX_DELETE, MAX_LIST
from clodo.emulator.r2.ranges import Span, span_of, span_of_header
from clodo.emulator.r2.records import Bucket, Description, StoredObject
from clodo.emulator.r2.serving import bytes_of
from clodo.emulator.r2.store import Storage
from clodo.emulator.r2.uploads import NamedPart

#: JSON in front of a value: 8 KiB of metadata escaped, or the parts of an upload.
MAX_COMMAND_BYTES = 4 * 1024**2
_SIZE = "cf-r2-metadata-size"
_ERROR = "cf-r2-error"
#: Checksums by their number in R2's protocol.
_CHECKSUMS = {"md5": "0", "sha1": "1", "sha256": "2", "sha384": "3", "sha512": "4"}
#: Of a listing's `include`.
_WITH_HTTP, _WITH_CUSTOM = 0, 1

Command = Mapping[str, Any]


class BucketBindings:
    """Serves the R2 bindings of all Workers."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._reads: Mapping[str, Callable[[Bucket, Command], Awaitable[Response]]] = {
            "head": self._head,
            "get": self._get,
            "list": self._list,
        }
        self._writes: Mapping[str, Callable[[Bucket, Command, AsyncIterator[bytes]], Awaitable[Response]]] = {
            "put": self._put,
            "delete": self._delete,
            "createMultipartUpload": self._create_upload,
            "uploadPart": self._upload_part,
            "completeMultipartUpload": self._complete_upload,
            "abortMultipartUpload": self._abort_upload,
        }

    async def serve(
        self, account_id: str, jurisdiction: str, name: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one call of a binding."""
        try:
            bucket = self._storage.buckets.find(account_id, name, jurisdiction)
            answer = await self._answer(bucket, Request(scope, receive))
        except R2Refused as error:
            answer = _refused(error.refusal)
        except ClientDisconnect:
            return
        await answer(scope, receive, send)

    async def _answer(self, bucket: Bucket, request: Request) -> Response:
        if request.method == "GET":
            command = _command(request.headers.get("cf-r2-request", "").encode("latin-1", "replace"))
            read = self._reads.get(str(command.get("method")))
            if read is None:
                raise R2Refused(NOT_IMPLEMENTED)
            return await read(bucket, command)
        command, value = await _command_and_value(request)
        write = self._writes.get(str(command.get("method")))
        if write is None:
            raise R2Refused(NOT_IMPLEMENTED)
        return await write(bucket, command, value)

    async def _head(self, bucket: Bucket, command: Command) -> Response:
        return _json(_shown(await self._storage.objects.head(bucket, command["object"])))

    async def _get(self, bucket: Bucket, command: Command) -> Response:
        opened = await self._storage.objects.open(bucket, command["object"], secret=_secret(command))
        try:
            found = opened.object
            if not from_binding(command.get("onlyIf")).hold(found):
                opened.close()
                return _refused(PRECONDITION_FAILED, found)
            span = _span(command, found.size)
        except R2Refused:
            opened.close()
            raise
        head = json.dumps(_shown(found, span)).encode()
        headers = {
            _SIZE: str(len(head)),
            "content-type": "application/json",
            "content-length": str(len(head) + span.length),
        }
        return StreamingResponse(bytes_of(opened, span, head), headers=headers)

    async def _list(self, bucket: Bucket, command: Command) -> Response:
        limit = int(command.get("limit") or MAX_LIST)
        if not 1 <= limit <= MAX_LIST:
            raise R2Refused(INVALID_MAX_KEYS)
        cursor, start_after = command.get("cursor"), str(command.get("startAfter") or "").encode("utf-8", "replace")
        after = read_cursor(cursor) if cursor else b""
        page = await self._storage.objects.page(
            bucket,
            prefix=str(command.get("prefix") or "").encode("utf-8", "replace"),
            delimiter=str(command.get("delimiter") or "").encode("utf-8", "replace"),
            after=max(after, start_after),
            limit=limit,
        )
        include = command.get("include") or ()
        answer: dict[str, Any] = {
            "objects": [
                _shown(found, http=_WITH_HTTP in include, custom=_WITH_CUSTOM in include) for found in page.objects
            ],
            "truncated": page.next_after is not None,
            "delimitedPrefixes": list(page.prefixes),
        }
        if page.next_after is not None:
            answer["cursor"] = write_cursor(page.next_after)
        return _json(answer)

    async def _put(self, bucket: Bucket, command: Command, value: AsyncIterator[bytes]) -> Response:
        told = _checksums_told(command)
        made = await self._storage.receive(
            bucket,
            command["object"],
            value,
            _description(command),
            algorithms=[name for name in told if name != "md5"],
            told=lambda: told,
            conditions=from_binding(command.get("onlyIf")),
            secret=_secret(command),
        )
        return _json(_shown(made))

    async def _delete(self, bucket: Bucket, command: Command, value: AsyncIterator[bytes]) -> Response:
        keys = command.get("objects") or [command["object"]]
        if len(keys) > MAX_DELETE:
            raise R2Refused(INVALID_ARGUMENT.saying(f"At most {MAX_DELETE} keys can be deleted at once."))
        await self._storage.objects.delete(bucket, keys)
        return Response()

    async def _create_upload(self, bucket: Bucket, command: Command, value: AsyncIterator[bytes]) -> Response:
        secret = _secret(command)
        upload = await self._storage.uploads.create(
            bucket, command["object"], _description(command), key_md5=None if secret is None else secret.md5
        )
        return _json({"uploadId": upload.id, **_encryption(upload.key_md5)})

    async def _upload_part(self, bucket: Bucket, command: Command, value: AsyncIterator[bytes]) -> Response:
        part = await self._storage.receive_part(
            bucket,
            command["object"],
            command["uploadId"],
            int(command["partNumber"]),
            value,
            secret=_secret(command),
        )
        return _json({"etag": part.etag})

    async def _complete_upload(self, bucket: Bucket, command: Command, value: AsyncIterator[bytes]) -> Response:
        named = [NamedPart(int(part["part"]), str(part["etag"])) for part in command.get("parts") or ()]
        made = await self._storage.uploads.complete(bucket, command["object"], command["uploadId"], named)
        return _json(_shown(made))

    async def _abort_upload(self, bucket: Bucket, command: Command, value: AsyncIterator[bytes]) -> Response:
        await self._storage.uploads.abort(bucket, command["object"], command["uploadId"])
        return Response()


# --- what comes in ----------------------------------------------------------------------------------------------------


def _command(text: bytes) -> Command:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise R2Refused(INVALID_ARGUMENT.saying("Metadata missing or invalid")) from error
    if not isinstance(found, dict):
        raise R2Refused(INVALID_ARGUMENT.saying("Metadata missing or invalid"))
    return found


async def _command_and_value(request: Request) -> tuple[Command, AsyncIterator[bytes]]:
    size_text = request.headers.get(_SIZE, "")
    if not (size_text.isascii() and size_text.isdigit() and len(size_text) < 10):
        raise R2Refused(INVALID_ARGUMENT.saying("Metadata missing or invalid"))
    size = int(size_text)
    if size > MAX_COMMAND_BYTES:
        raise R2Refused(METADATA_TOO_LARGE)
    stream = request.stream()
    gathered = b""
    while len(gathered) < size:
        try:
            gathered += await anext(stream)
        except StopAsyncIteration as error:
            raise R2Refused(INCOMPLETE_BODY) from error
    announced = request.headers.get("content-length")
    left = None if announced is None else int(announced) - size
    return _command(gathered[:size]), _value(gathered[size:], stream, left)


async def _value(first: bytes, rest: AsyncIterator[bytes], announced: int | None) -> AsyncIterator[bytes]:
    received = len(first)
    if first:
        yield first
    async for piece in rest:
        received += len(piece)
        yield piece
    if announced is not None and received != announced:
        raise R2Refused(INCOMPLETE_BODY)


def _checksums_told(command: Command) -> dict[str, str]:
    told = {name: str(command[name]).lower() for name in _CHECKSUMS if command.get(name)}
    if "md5" in told:
        told["md5"] = from_base64("md5", str(command["md5"]))
    for name, digits in told.items():
        if len(digits) != 2 * LENGTHS[name]:
            raise R2Refused(INVALID_ARGUMENT.saying(f"{name} must have {LENGTHS[name]} bytes."))
    return told


def _description(command: Command) -> Description:
    http = {name: value for name, value in (command.get("httpFields") or {}).items() if value is not None}
    if "cacheExpiry" in http:
        http["cacheExpiry"] = int(http["cacheExpiry"])
    custom = {str(field["k"]): str(field["v"]) for field in command.get("customFields") or ()}
    return Description(http, custom, command.get("storageClass") or None)


def _span(command: Command, size: int) -> Span:
    header, given = command.get("rangeHeader"), command.get("range")
    if header:
        return span_of_header(header, size) or Span(0, size)
    if not given:
        return Span(0, size)
    numbers = {name: int(given[name]) for name in ("offset", "length", "suffix") if given.get(name) is not None}
    return span_of(size, **numbers)


def _secret(command: Command) -> CustomerKey | None:
    """Return the customer's key; workerd has checked that it is one."""
    given = command.get("ssec")
    return CustomerKey(bytes.fromhex(given["key"])) if given else None


# --- what goes out ----------------------------------------------------------------------------------------------------


def _shown(found: StoredObject, span: Span | None = None, *, http: bool = True, custom: bool = True) -> dict[str, Any]:
    range_ = span or Span(0, found.size)
    # Workers know no checksums of checksums.
    whole = {name: digits for name, digits in found.checksums.items() if "-" not in digits}
    return {
        "name": found.key,
        "version": found.version,
        "size": found.size,
        "etag": found.etag,
        "uploaded": found.uploaded,
        "httpFields": dict(found.http) if http else {},
        "customFields": [{"k": name, "v": value} for name, value in found.custom.items()] if custom else [],
        "range": {"offset": range_.start, "length": range_.length},
        "checksums": {number: whole[name] for name, number in _CHECKSUMS.items() if name in whole},
        "storageClass": found.storage_class,
        **_encryption(found.key_md5),
    }


def _encryption(key_md5: str | None) -> dict[str, Any]:
    return {} if key_md5 is None else {"ssec": {"algorithm": "AES256", "keyMd5": key_md5}}


def _json(answer: object) -> Response:
    body = json.dumps(answer).encode()
    return Response(body, headers={_SIZE: str(len(body))}, media_type="application/json")


def _refused(refusal: Refusal, found: StoredObject | None = None) -> Response:
    # The lower-case c is what workerd expects.
    error = json.dumps({"version": 1, "v4code": refusal.number, "message": refusal.message})
    body = b"" if found is None else json.dumps(_shown(found)).encode()
    headers = {_ERROR: error, **({_SIZE: str(len(body))} if body else {})}
    return Response(body, status_code=refusal.status, headers=headers, media_type="application/json")
