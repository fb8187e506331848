"""Static assets: upload sessions, the uploads themselves, and the tokens that tie them together."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.blobs import Blobs
from clodo.emulator.envelope import ApiError, envelope, object_body
from clodo.emulator.workers.dispatch import owner_of
from clodo.emulator.workers.limits import MAX_ASSET_BYTES, MAX_ASSETS, MAX_UPLOAD_BYTES
from clodo.emulator.workers.store import Scripts

#: How long a session's token may be used; the real one lasts an hour.
SESSION_SECONDS = 3600

#: Files of one bucket: uploaded in one request.
FILES_PER_BUCKET = 50
BYTES_PER_BUCKET = 40 * 1024 * 1024

INVALID_ASSETS = 10021
INVALID_JWT = 10000

_HASH = re.compile(r"^[0-9a-f]{32}$")


class AssetSessions:
    """
    Upload sessions of assets.

    Args:
        key: Signs the sessions' tokens; the same after a restart, so that an upload survives it.
    """

    def __init__(self, scripts: Scripts, blobs: Blobs, key: bytes) -> None:
        self._scripts = scripts
        self._blobs = blobs
        self._key = key

    def begin(self, account_id: str, script: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """
        Open a session and return ``{jwt, buckets}``: what is missing, in portions to upload.

        Nothing missing gives no buckets, and a token that already completes the upload.

        Raises:
            ApiError: The manifest is malformed or too large.
        """
        files = _checked_manifest(manifest)
        session_id = self._scripts.add_asset_session(account_id, script, files)
        missing = self._missing(account_id, files)
        if not missing:
            return {"jwt": self._token(session_id, "completion"), "buckets": []}
        buckets: list[list[str]] = [[]]
        size = 0
        for content_hash, bytes_ in missing.items():
            if buckets[-1] and (len(buckets[-1]) >= FILES_PER_BUCKET or size + bytes_ > BYTES_PER_BUCKET):
                buckets.append([])
                size = 0
            buckets[-1].append(content_hash)
            size += bytes_
        return {"jwt": self._token(session_id, "upload"), "buckets": buckets}

    async def upload(self, account_id: str, token: str, parts: list[tuple[str, bytes, str | None]]) -> str | None:
        """
        Keep files of a session; return the completion token once none is missing.

        Raises:
            ApiError: The token is no good, or a file isn't in the manifest.
        """
        session_id = self._session_in(token, "upload")
        session = self._scripts.asset_session(session_id)
        if session is None or owner_of(session["account_id"]) != account_id:
            raise ApiError(403, INVALID_JWT, "Authentication error")
        scope: str = session["account_id"]
        expected = {entry["hash"]: entry["size"] for entry in session["manifest"].values()}
        for content_hash, content, content_type in parts:
            if content_hash not in expected:
                raise ApiError(400, INVALID_ASSETS, f"asset {content_hash[:64]!r} is not in the session's manifest")
            if len(content) != expected[content_hash]:
                raise ApiError(
                    400,
                    INVALID_ASSETS,
                    f"asset {content_hash} has {len(content)} bytes where the manifest says {expected[content_hash]}",
                )
            blob = await asyncio.to_thread(self._blobs.put, content)
            self._scripts.put_asset(scope, content_hash, blob, len(content), content_type)
        if self._missing(scope, session["manifest"]):
            return None
        return self._token(session_id, "completion")

    def files(self, account_id: str, script: str, token: str) -> dict[str, dict[str, Any]]:
        """
        Return what a completed session uploaded: path to ``{blob, hash, size}``.

        Raises:
            ApiError: The token is no completion token of this Worker, or a file is missing after all.
        """
        session = self._scripts.asset_session(self._session_in(token, "completion"))
        if session is None or (session["account_id"], session["script"]) != (account_id, script):
            raise ApiError(400, INVALID_ASSETS, "assets.jwt belongs to another upload")
        files: dict[str, dict[str, Any]] = {}
        for path, entry in session["manifest"].items():
            asset = self._scripts.asset(account_id, entry["hash"])
            if asset is None:
                raise ApiError(400, INVALID_ASSETS, f"asset {path} was not uploaded")
            files[path] = {"blob": asset["blob"], "hash": entry["hash"], "size": asset["size"]}
        return files

    def _missing(self, account_id: str, manifest: Mapping[str, Any]) -> dict[str, int]:
        return {
            entry["hash"]: entry["size"]
            for entry in manifest.values()
            if self._scripts.asset(account_id, entry["hash"]) is None
        }

    def _token(self, session_id: str, purpose: str) -> str:
        claims = {"session": session_id, "purpose": purpose, "exp": int(time.time()) + SESSION_SECONDS}
        signed = f"{_base64({'alg': 'HS256', 'typ': 'JWT'})}.{_base64(claims)}"
        return f"{signed}.{self._signature(signed)}"

    def _session_in(self, token: str, purpose: str) -> str:
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), self._signature(signed).encode()):
            raise ApiError(403, INVALID_JWT, "Authentication error")
        claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
        if claims["purpose"] != purpose or claims["exp"] < time.time():
            raise ApiError(403, INVALID_JWT, "Authentication error")
        session_id: str = claims["session"]
        return session_id

    def _signature(self, signed: str) -> str:
        digest = hmac.new(self._key, signed.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def routes(sessions: AssetSessions) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def begin_session(request: Request) -> Response:
        body = await object_body(request)
        manifest = body.get("manifest")
        if not isinstance(manifest, dict):
            raise ApiError(400, INVALID_ASSETS, "manifest must be an object of paths")
        opened = sessions.begin(request.path_params["account_id"], request.path_params["script"], manifest)
        return envelope(opened, status=200)

    async def upload_assets(request: Request) -> Response:
        token = request.headers.get("authorization", "").partition(" ")[2]
        is_base64 = request.query_params.get("base64") == "true"
        try:
            form = await request.form(max_files=10_000, max_fields=10_000, max_part_size=MAX_UPLOAD_BYTES)
        except MultiPartException as error:
            raise ApiError(400, INVALID_ASSETS, f"malformed multipart body: {error.message}") from error
        parts = [await _part(name, value, is_base64) for name, value in form.multi_items()]
        completion = await sessions.upload(request.path_params["account_id"], token, parts)
        if completion is None:
            return envelope({}, status=202)
        return envelope({"jwt": completion}, status=201)

    return [
        Route("/workers/scripts/{script}/assets-upload-session", begin_session, methods=["POST"]),
        Route("/workers/assets/upload", upload_assets, methods=["POST"]),
    ]


async def _part(name: str, value: str | UploadFile, is_base64: bool) -> tuple[str, bytes, str | None]:
    if isinstance(value, str):
        content, kind = value.encode(), None
    else:
        content, kind = await value.read(), value.content_type
    if is_base64:
        try:
            content = base64.b64decode(content, validate=False)
        except binascii.Error as error:
            raise ApiError(400, INVALID_ASSETS, f"asset {name[:64]!r} is not base64") from error
    return name, content, None if kind == "application/null" else kind


def _checked_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    if len(manifest) > MAX_ASSETS:
        raise ApiError(400, INVALID_ASSETS, f"{len(manifest)} assets exceed the limit of {MAX_ASSETS}")
    files: dict[str, Any] = {}
    for path, entry in manifest.items():
        content_hash = entry.get("hash") if isinstance(entry, dict) else None
        size = entry.get("size") if isinstance(entry, dict) else None
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise ApiError(400, INVALID_ASSETS, f"asset path {path[:200]!r} must be absolute and plain")
        if not isinstance(content_hash, str) or not _HASH.match(content_hash):
            raise ApiError(400, INVALID_ASSETS, f"asset {path!r}: hash must be 32 hex digits")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ApiError(400, INVALID_ASSETS, f"asset {path!r}: size must be a number of bytes")
        if size > MAX_ASSET_BYTES:
            raise ApiError(400, INVALID_ASSETS, f"asset {path!r} of {size} bytes exceeds the limit of 25 MiB")
        files[path] = {"hash": content_hash, "size": size}
    return files


def _base64(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()
