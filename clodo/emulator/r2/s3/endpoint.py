"""
The S3 endpoint as an ASGI application.

It answers to ``<account>.r2.cloudflarestorage.com`` and ``<bucket>.<account>.…``, each with ``.eu`` and its like for
jurisdictions, and to ``/r2/<account>[.eu]`` on the API's own names, for clients without DNS. Clients whose endpoint
can't have a path may leave that out: a request signed as S3's is for the account of whoever signed it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from clodo.emulator.access import NOTES
from clodo.emulator.accounts.caller import Caller
from clodo.emulator.accounts.store import Accounts
from clodo.emulator.r2.cors import Rules, answer_headers, preflight_headers
from clodo.emulator.r2.errors import ACCESS_DENIED, NOT_IMPLEMENTED, ROUTE_NOT_FOUND, UNAUTHORIZED, R2Refused
from clodo.emulator.r2.s3 import objects
from clodo.emulator.r2.s3.documents import document
from clodo.emulator.r2.s3.operations import operation_of
from clodo.emulator.r2.s3.payload import Payload
from clodo.emulator.r2.s3.requests import Address, S3Request, address_in, address_of
from clodo.emulator.r2.s3.signatures import SignedRequest, check_claim, query_pairs, read_claim
from clodo.emulator.r2.store import Storage

#: Where the address of a request stands in its scope, once it is known.
_ADDRESS = "clodo.r2.address"
_PLACE = re.compile(r"/r2(/|$)")


class S3Endpoint:
    """
    Serve S3's operations to whoever signs as the holder of a token.

    Args:
        accounts: A token's id is an access key id, and the SHA-256 of its value the secret.
    """

    def __init__(self, storage: Storage, accounts: Accounts) -> None:
        self._storage = storage
        self._accounts = accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        try:
            answer = self._preflight(request) if request.method == "OPTIONS" else await self._answer(request)
        except R2Refused as error:
            refusal = error.refusal
            body = document(
                "Error", [("Code", refusal.name), ("Message", refusal.message), *error.details.items()], namespace=None
            )
            answer = objects.xml(b"" if request.method == "HEAD" else body, refusal.status)
        except ClientDisconnect:
            return
        if (origin := request.headers.get("origin")) and request.method != "OPTIONS":
            answer.headers.update(answer_headers(self._rules(request), origin, request.method))
        await answer(scope, receive, send)

    def _preflight(self, request: Request) -> Response:
        # Browsers sign no preflight; what a presigned URL says is checked when they come back.
        return Response(status_code=204, headers=preflight_headers(self._rules(request), request.headers))

    def _rules(self, request: Request) -> Rules:
        try:
            address = request.scope.get(_ADDRESS) or self._address_asked_about(request.scope)
            if address is None or not address.bucket:
                return ()
            bucket = self._storage.buckets.find(address.account_id, address.bucket, address.jurisdiction)
        except R2Refused:
            return ()
        rules: Rules = bucket.settings.get("cors", ())
        return rules

    def _address_asked_about(self, scope: Scope) -> Address | None:
        path = _raw_path(scope)
        address = address_of(_host(_headers(scope)), path)
        if address is not None:
            return address
        # Of a preflight for a presigned URL nothing is known but who signed that.
        credential = dict(query_pairs(scope["query_string"].decode("latin-1"))).get("X-Amz-Credential", "")
        caller, _ = self._holder(credential.partition("/")[0])
        return None if caller is None else _address_of_signer(caller, path)

    async def _answer(self, request: Request) -> Response:
        scope = request.scope
        raw = _raw_path(scope)
        headers = _headers(scope)
        address = address_of(_host(headers), raw)
        query = scope["query_string"].decode("latin-1")
        if scope["method"] == "POST" and address and address.bucket and not address.key and _is_form(headers, query):
            raise R2Refused(NOT_IMPLEMENTED.saying("Presigned post requests are not yet implemented not implemented"))
        signed = SignedRequest(scope["method"], raw, query, headers)
        claim = read_claim(signed)
        caller, secret = self._holder(claim.access_key)
        key = check_claim(claim, signed, secret, self._storage.now())
        if caller is None:
            raise R2Refused(UNAUTHORIZED)
        address = scope[_ADDRESS] = address or _address_of_signer(caller, raw)
        self._raise_if_stranger(caller, address, scope)
        scope.get(NOTES, {}).update(token=caller.token_name, account_id=address.account_id)
        readable = {name: _readable(value) for name, value in headers.items()}
        parameters = {name: _readable(value) for name, value in query_pairs(query)}
        payload = Payload(request.stream(), readable, claim, key)
        known = S3Request(self._storage, caller, address, scope["method"], parameters, readable, payload)
        return await operation_of(known)(known)

    def _holder(self, access_key: str) -> tuple[Caller | None, str | None]:
        found = self._accounts.token_by_id(_readable(access_key))
        return (None, None) if found is None else found

    def _raise_if_stranger(self, caller: Caller, address: Address, scope: Scope) -> None:
        if not caller.is_active:
            raise R2Refused(UNAUTHORIZED)
        client = (scope.get("client") or ("127.0.0.1", 0))[0]
        if address.account_id not in caller.account_ids or not caller.comes_from_the_right_place(client):
            raise R2Refused(ACCESS_DENIED)


def is_for_s3(host: str, scope: Scope, *, is_own: bool) -> bool:
    """
    Say whether a request is for the S3 endpoint.

    Args:
        host: Lower case, without port.

        is_own: It is one of the API's names.
    """
    if not is_own:
        return host.endswith(".r2.cloudflarestorage.com")
    path: str = scope["path"]
    if path == "/r2" or path.startswith("/r2/"):
        return True
    # Clodo's own doors have slashes behind their names.
    return not path.startswith(("/client/v4/", "/__")) and _is_signed(scope)


def _is_signed(scope: Scope) -> bool:
    query: bytes = scope["query_string"]
    return b"X-Amz-Credential=" in query or any(
        name == b"authorization" and value.startswith(b"AWS4-HMAC-SHA256 ") for name, value in scope["headers"]
    )


def _address_of_signer(caller: Caller, path: str) -> Address:
    if _PLACE.match(path) or len(caller.account_ids) != 1:
        raise R2Refused(ROUTE_NOT_FOUND.saying("No account's endpoint: /r2/<account id>/<bucket>/<key>."))
    return address_in(path.removeprefix("/"), caller.account_ids[0])


def _is_form(headers: Mapping[str, str], query: str) -> bool:
    """Say whether a POST could be a browser's form, which brings its signature in the body."""
    names = {name for name, _ in query_pairs(query)}
    return "authorization" not in headers and not names & {"X-Amz-Credential", "delete"}


def _raw_path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1").partition("?")[0]


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers by name; several of one name are joined, as they are when they are signed."""
    found: dict[str, list[str]] = {}
    for raw_name, raw_value in scope["headers"]:
        found.setdefault(raw_name.decode("latin-1"), []).append(raw_value.decode("utf-8", "surrogateescape"))
    return {name: ",".join(values) for name, values in found.items()}


def _readable(text: str) -> str:
    """Return text whose bytes were no UTF-8 as something that can be stored and shown."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _host(headers: dict[str, str]) -> str:
    return headers.get("host", "").lower().partition(":")[0].rstrip(".")
