"""Buckets that anybody may read: at their r2.dev hostname and at custom domains."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from clodo.emulator.r2.cors import Rules, answer_headers, preflight_headers
from clodo.emulator.r2.errors import INVALID_OBJECT_NAME, NO_SUCH_KEY, UNAUTHORIZED, R2Refused
from clodo.emulator.r2.records import Bucket
from clodo.emulator.r2.s3.headers import headers_of
from clodo.emulator.r2.serving import answer_with
from clodo.emulator.r2.store import Storage


class PublicBuckets:
    """Serves the objects of public buckets to whoever asks."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def knows(self, host: str) -> bool:
        """Say whether *host* (lower case, without port) is one of r2.dev's, or a bucket's own domain."""
        return host.endswith(".r2.dev") or self._storage.buckets.public_at(host) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        bucket = self._storage.buckets.public_at(request.headers.get("host", "").lower().partition(":")[0])
        rules: Rules = () if bucket is None else bucket.settings.get("cors", ())
        try:
            answer = await self._answer(request, bucket, rules)
        except R2Refused as error:
            answer = PlainTextResponse(f"{error.refusal.message}\n", status_code=error.refusal.status)
        if (origin := request.headers.get("origin")) and request.method != "OPTIONS":
            answer.headers.update(answer_headers(rules, origin, request.method))
        await answer(scope, receive, send)

    async def _answer(self, request: Request, bucket: Bucket | None, rules: Rules) -> Response:
        if bucket is None:
            raise R2Refused(NO_SUCH_KEY.saying("This bucket cannot be viewed: it isn't there, or it isn't public."))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=preflight_headers(rules, request.headers))
        if request.method not in ("GET", "HEAD"):
            raise R2Refused(UNAUTHORIZED)
        raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        try:
            key = unquote_to_bytes(raw.partition(b"?")[0].removeprefix(b"/")).decode()
        except UnicodeDecodeError as error:
            raise R2Refused(INVALID_OBJECT_NAME) from error
        opened = await self._storage.objects.open(bucket, key)
        return answer_with(opened, headers_of(opened.object), request.headers, with_body=request.method == "GET")
