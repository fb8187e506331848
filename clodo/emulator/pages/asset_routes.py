"""``/pages/assets``: files of a direct upload, sent with the token of the upload."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.blobs import Blobs
from clodo.emulator.envelope import ApiError, envelope, json_body, object_body
from clodo.emulator.pages.store import Projects
from clodo.emulator.pages.tokens import MAX_FILES, UploadTokens

INVALID_UPLOAD = 8000003
#: https://developers.cloudflare.com/pages/platform/limits/#file-size
MAX_FILE_BYTES = 25 * 1024**2
#: A hash is what wrangler makes it: 32 hex digits of BLAKE3. Nobody else compares it with the content.
MAX_HASH_CHARACTERS = 64


def routes(projects: Projects, blobs: Blobs, tokens: UploadTokens) -> list[Route]:
    """Return the routes, relative to ``/client/v4``."""

    def account_of(request: Request) -> str:
        return tokens.account_of(request.headers.get("authorization", "").partition(" ")[2].strip())

    async def check_missing(request: Request) -> Response:
        account_id = account_of(request)
        return envelope(projects.missing(account_id, _hashes(await object_body(request))))

    async def upload(request: Request) -> Response:
        account_id = account_of(request)
        body = await json_body(request)
        if not isinstance(body, list):
            raise ApiError(400, INVALID_UPLOAD, "The body must be an array of files.")
        files = [_file(entry) for entry in body]
        for content_hash, content in files:
            blob = await asyncio.to_thread(blobs.put, content)
            projects.put_file(account_id, content_hash, blob, len(content))
        return envelope({"successful_key_count": len(files), "unsuccessful_keys": []})

    async def upsert_hashes(request: Request) -> Response:
        account_of(request)
        _hashes(await object_body(request))
        return envelope(None)

    return [
        Route("/pages/assets/check-missing", check_missing, methods=["POST"]),
        Route("/pages/assets/upload", upload, methods=["POST"]),
        Route("/pages/assets/upsert-hashes", upsert_hashes, methods=["POST"]),
    ]


def _hashes(body: dict[str, Any]) -> list[str]:
    hashes = body.get("hashes")
    if not isinstance(hashes, list) or not all(isinstance(one, str) for one in hashes):
        raise ApiError(400, INVALID_UPLOAD, "hashes must be an array of strings.")
    if len(hashes) > MAX_FILES:
        raise ApiError(400, INVALID_UPLOAD, f"{len(hashes)} files exceed the limit of {MAX_FILES}.")
    return hashes


def _file(entry: Any) -> tuple[str, bytes]:
    key, value = (entry.get("key"), entry.get("value")) if isinstance(entry, dict) else (None, None)
    if not isinstance(key, str) or not 0 < len(key) <= MAX_HASH_CHARACTERS or not isinstance(value, str):
        raise ApiError(400, INVALID_UPLOAD, "Each file needs a key and a value.")
    try:
        content = base64.b64decode(value, validate=True) if entry.get("base64") else value.encode("utf-8", "replace")
    except (ValueError, binascii.Error) as error:
        raise ApiError(400, INVALID_UPLOAD, f"The file {key[:64]!r} is not base64.") from error
    if len(content) > MAX_FILE_BYTES:
        raise ApiError(413, INVALID_UPLOAD, f"The file {key[:64]!r} is larger than 25 MiB.")
    return key, content
