"""
Cloudflare's envelope: every answer, every error, every page and every JSON body of the emulator goes through here.

How a product uses it::

    def routes(store: Store) -> list[Route]:           # app.py mounts them under /accounts/{account_id}
        async def list_things(request: Request) -> Response:
            things, result_info = page_of(store.things(request.path_params["account_id"]), request.query_params,
                                          default_per_page=20, max_per_page=100)
            return envelope(things, result_info=result_info)

        return [Route("/things", list_things, methods=["GET"])]

    Starlette(routes=…, exception_handlers=EXCEPTION_HANDLERS, middleware=[Middleware(UnexpectedErrors)])
"""

from __future__ import annotations

import errno
import json
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import apsw
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = structlog.get_logger(__name__)

Item = TypeVar("Item")

#: Largest JSON body that is read into memory; the API gateway's own limit for free and pro plans is 100 MB.
MAX_JSON_BYTES = 100 * 1024 * 1024

NO_ROUTE = 7000
METHOD_NOT_AVAILABLE = 7001
COULD_NOT_ROUTE = 7003
MALFORMED_JSON = 6007
#: Not Cloudflare's: 10000 itself means "authentication error" to wrangler, which then prints a whoami block.
INTERNAL_ERROR = 10001
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
#: Not Cloudflare's either; the real one has no full disk.
NO_SPACE_LEFT = 10507


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One entry of an answer's ``errors``.

    Attributes:
        code: Cloudflare's error number; it steers what clients do.

        message: One sentence.

        extra: Rarer keys, such as ``error_chain``, ``documentation_url`` or ``meta``.
    """

    code: int
    message: str
    extra: Mapping[str, object] | None = None

    def as_json(self) -> dict[str, object]:
        """Return the entry as it stands in the answer."""
        return {"code": self.code, "message": self.message, **(self.extra or {})}


class ApiError(Exception):
    """
    An answer that says no; the exception handler turns it into Cloudflare's envelope.

    Args:
        status: HTTP status.

        code: Cloudflare's error number.

        message: One sentence.

        more: Further entries of ``errors``, after the first.

        extra: Rarer keys of the first entry, such as ``error_chain``.

        headers: Extra headers of the answer, such as ``Retry-After``.

        result: What stands under ``result``; nearly always null.
    """

    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        *,
        more: Sequence[Fault] = (),
        extra: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        result: object = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.faults: tuple[Fault, ...] = (Fault(code, message, extra), *more)
        self.headers = dict(headers or {})
        self.result = result

    @property
    def code(self) -> int:
        """The first error's number."""
        return self.faults[0].code

    @property
    def message(self) -> str:
        """The first error's sentence."""
        return self.faults[0].message

    def as_response(self) -> Response:
        """Return the answer that carries the errors."""
        return _json_response(
            {
                "result": self.result,
                "success": False,
                "errors": [fault.as_json() for fault in self.faults],
                "messages": [],
            },
            self.status,
            self.headers,
        )


def envelope(
    result: object,
    *,
    result_info: Mapping[str, object] | None = None,
    status: int = 200,
    messages: Sequence[object] | None = (),
    errors: Sequence[object] | None = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """
    Return a successful answer in Cloudflare's envelope.

    Args:
        result: Anything JSON can say.

        result_info: Present on lists only, and not on all of them; absent when None.

        messages: Entries of ``messages``; None for the products that really answer null.

        errors: The same for ``errors`` (queues and custom domains answer null).
    """
    body: dict[str, object] = {
        "result": result,
        "success": True,
        "errors": None if errors is None else list(errors),
        "messages": None if messages is None else list(messages),
    }
    if result_info is not None:
        body["result_info"] = dict(result_info)
    return _json_response(body, status, headers)


def _json_response(body: object, status: int, headers: Mapping[str, str] | None) -> Response:
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(
        "utf-8", "surrogatepass"
    )
    return Response(content, status_code=status, headers=headers, media_type="application/json")


def page_of(
    items: Sequence[Item],
    query: Mapping[str, str],
    *,
    default_per_page: int,
    max_per_page: int,
    min_per_page: int = 1,
    total_pages: bool = True,
    bad_page: tuple[int, str] = (10007, "malformed page argument"),
    bad_per_page: tuple[int, str] = (10008, "malformed per_page argument"),
) -> tuple[Sequence[Item], dict[str, int]]:
    """
    Cut the page that *query* asks for out of all the items.

    A page past the end is empty, as clients that read on until an empty page rely on.

    Args:
        items: All of them, filtered and ordered.

        query: The request's query; ``page`` and ``per_page`` are read.

        total_pages: False for the products whose ``result_info`` has no such key (D1, custom domains).

        bad_page: Code and message for a page that is no number above 0.

        bad_per_page: Code and message for a size that is no number, or out of bounds.

    Returns:
        The items of the page, and ``result_info`` (count, page, per_page, total_count, total_pages).

    Raises:
        ApiError: ``page`` or ``per_page`` is malformed or out of bounds.
    """
    page = _number(query, "page", 1, 1, None, bad_page)
    per_page = _number(query, "per_page", default_per_page, min_per_page, max_per_page, bad_per_page)
    start = (page - 1) * per_page
    chosen = items[start : start + per_page]
    info = {"count": len(chosen), "page": page, "per_page": per_page, "total_count": len(items)}
    if total_pages:
        # An empty list has one page: recorded for DNS in 2020 and 2025.
        info["total_pages"] = max(1, -(-len(items) // per_page))
    return chosen, info


def _number(query: Mapping[str, str], name: str, default: int, low: int, high: int | None, bad: tuple[int, str]) -> int:
    text = query.get(name)
    if text is None or text == "":
        return default
    # The SDK sends whole floats (1.0), since the schema says "number".
    digits = text[:-2] if text.endswith(".0") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise ApiError(400, bad[0], f"{bad[1]}: {text[:40]!r}")
    value = int(digits)
    if value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ApiError(400, bad[0], f"{bad[1]}: {value} is not {limits}")
    return value


async def read_body(request: Request, limit: int, *, code: int = 10413, what: str = "request body") -> bytes:
    """
    Read a whole body, refusing early what is larger than *limit* bytes.

    Raises:
        ApiError: 413, as soon as the announced or the received size is over the limit.
    """
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > limit:
        raise ApiError(413, code, f"{what} of {announced} bytes exceeds the limit of {limit} bytes")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise ApiError(413, code, f"{what} exceeds the limit of {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


async def json_body(
    request: Request,
    *,
    limit: int = MAX_JSON_BYTES,
    code: int = MALFORMED_JSON,
    message: str = "Malformed JSON in request body",
    optional: bool = False,
) -> Any:
    """
    Read a JSON body by what it is; the content type is ignored, as wrangler sends JSON as text/plain.

    Args:
        code: The product's number for a body that is no JSON.

        optional: An empty body reads as None and is no error.

    Raises:
        ApiError: 400 when it is no JSON, 413 when it is too large.
    """
    return parse_json(await read_body(request, limit), code=code, message=message, optional=optional)


def parse_json(
    body: bytes,
    *,
    code: int = MALFORMED_JSON,
    message: str = "Malformed JSON in request body",
    optional: bool = False,
) -> Any:
    """
    Parse JSON, with Cloudflare's 400 when it is none.

    Raises:
        ApiError: The bytes are no UTF-8, no JSON, NaN, or nested too deeply.
    """
    if optional and not body.strip():
        return None
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, code, message) from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


async def object_body(
    request: Request, *, code: int = MALFORMED_JSON, message: str = "Malformed JSON in request body"
) -> dict[str, Any]:
    """
    Read a JSON body that must be an object.

    Raises:
        ApiError: 400 when it is no JSON object.
    """
    body = await json_body(request, code=code, message=message)
    if not isinstance(body, dict):
        raise ApiError(400, code, f"{message}: expected an object")
    if not is_unicode(body):
        raise ApiError(400, code, f"{message}: half of a surrogate pair is no text")
    return body


def is_unicode(body: Any) -> bool:
    """Say whether every string in a document can be stored: JSON's escapes can name half a surrogate pair."""
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


async def answer_api_error(request: Request, error: Exception) -> Response:
    """Answer an ApiError in the envelope."""
    assert isinstance(error, ApiError)
    return error.as_response()


def no_route(path: str) -> ApiError:
    """Return what Cloudflare's own gateway says of a path that leads nowhere."""
    return ApiError(
        404,
        COULD_NOT_ROUTE,
        f"Could not route to {path}, perhaps your object identifier is invalid?",
        more=[Fault(NO_ROUTE, "No route for that URI")],
    )


async def answer_routing_error(request: Request, error: Exception) -> Response:
    """Answer what the router refused, with the numbers of Cloudflare's own gateway."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        refusal = no_route(request.url.path)
    elif error.status_code == 405:
        refusal = ApiError(405, METHOD_NOT_AVAILABLE, f"Method {request.method} not available for that URI.")
    else:
        refusal = ApiError(error.status_code, MALFORMED_JSON, str(error.detail))
    refusal.headers.update(error.headers or {})
    return refusal.as_response()


#: For ``Starlette(exception_handlers=…)``.
EXCEPTION_HANDLERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    ApiError: answer_api_error,
    HTTPException: answer_routing_error,
}


def internal_error(error: Exception, path: str) -> ApiError:
    """
    Log an error nobody foresaw and return what the client may see of it: an id to look for in the log.

    A full disk is told apart (507): the caller can do something about it.
    """
    if isinstance(error, apsw.FullError) or (isinstance(error, OSError) and error.errno in _FULL):
        logger.error("no space left", path=path)
        return ApiError(507, NO_SPACE_LEFT, "The disk of the embedded cloud is full; nothing was changed.")
    incident = uuid.uuid4().hex
    # As text: a renderer that shows local variables would show credentials.
    logger.error("request failed", path=path, incident=incident, traceback="".join(traceback.format_exception(error)))
    return ApiError(500, INTERNAL_ERROR, f"An unknown error has occurred. (incident {incident})")


class UnexpectedErrors:
    """
    Answer 500 in the envelope for whatever a handler let escape; outermost of all middlewares.

    Starlette's own handler for ``Exception`` answers and then raises again, which logs each one twice.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and answer in its place when it fails before it has begun to answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noting_send)
        except ApiError as error:
            if started:
                raise
            await error.as_response()(scope, receive, send)
        except ClientDisconnect:
            logger.info("client went away", path=scope.get("path", ""))
        except Exception as error:  # the edge: nothing above it may see a traceback
            if started:
                raise
            await internal_error(error, scope.get("path", "")).as_response()(scope, receive, send)
