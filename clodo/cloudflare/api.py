"""The transport: envelope, pages, errors, repeats, budget, breaker and guard, handled once for all products."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote

import httpx
import structlog
import tenacity

from clodo.cloudflare.breaker import PROCESS_BREAKERS, Breakers
from clodo.cloudflare.budget import Budget, InMemoryBudget, Lane
from clodo.cloudflare.clock import Clock
from clodo.cloudflare.headers import quota_left, retry_after
from clodo.cloudflare.refusals import Missing, Refusal, to_error
from clodo.errors import (
    ApiRefused,
    BadUsage,
    ClodoError,
    CloudflareUnavailable,
    NoSpaceLeft,
    NotAuthorised,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    TryLater,
)
from clodo.logs import PROCESS_SECRETS, register_secret

T = TypeVar("T")
Guard = Callable[[], None]
Parameters = Mapping[str, str | None]
Reader = Callable[[Any], T]

USER_AGENT = "clodo"
ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 8.0
# A 429 without Retry-After: Cloudflare's own documentation speaks of up to five minutes, its answers of seconds.
PAUSE_WITHOUT_RETRY_AFTER_SECONDS = 5.0
PATIENCE = timedelta(seconds=120)
# Longer than the five minutes for which Cloudflare may block a user who went over the limit.
PATIENCE_TO_UNDO = timedelta(minutes=10)
# A backup is in no hurry, and its lane fills only half of the five minutes' window.
PATIENCE_TO_BACK_UP = timedelta(minutes=20)
ANSWERS_WITHIN = timedelta(seconds=60)
CONNECTS_WITHIN = timedelta(seconds=10)
CONNECTIONS = httpx.Limits(max_connections=32, max_keepalive_connections=16)
CHUNK_BYTES = 1 << 16
LOOPBACK = ("127.0.0.1", "localhost", "::1")

# The request never left: repeating it repeats nothing. Every other failure of the connection leaves a write in doubt.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)

log = structlog.get_logger("clodo.cloudflare")


class Answer(NamedTuple):
    """A good answer: *result* and *info* (``result_info``) of its envelope, or only *content* if it has none."""

    result: Any
    info: Mapping[str, Any]
    content: bytes
    headers: httpx.Headers


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """
    One call of the API, whatever many requests it takes.

    Attributes:
        read: Makes the value of the answer; a ValueError, TypeError, KeyError or AttributeError says that it is
            malformed.

        writes: It changes something, so the guard is asked first and an answer that doesn't come leaves doubt.

        safe_to_repeat: Sending it twice has the effect of sending it once.

        look: Says after an unknown outcome what it made, or None if it made nothing.

        enveloped: The answer is JSON in Cloudflare's envelope, not bare bytes.
    """

    method: str
    path: str
    read: Callable[[Answer], T]
    writes: bool
    safe_to_repeat: bool = False
    look: Callable[[], T | None] | None = None
    missing: tuple[Missing, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    enveloped: bool = True


@dataclass(slots=True)
class _Progress:
    """How far a call got: attempts so far, and the doubt that one of them left."""

    attempt: int = 0
    doubt: OutcomeUnknown | None = None


class _Bearer(httpx.Auth):
    """Keeps the token out of every variable, repr and traceback but this."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        request.headers["Authorization"] = self._header
        yield request

    def __repr__(self) -> str:
        return "_Bearer(***)"


def fill(template: str, *parts: str) -> str:
    """Fill the ``{}`` of a path, each part percent-encoded whole, so that none of them can leave its place."""
    return template.format(*(_encode(part) for part in parts))


def _encode(part: str) -> str:
    # httpx would resolve a literal "..", as any client must.
    return part.replace(".", "%2E") if part in (".", "..") else quote(part, safe="")


class Wire:
    """What all views of a client share: connections, token, budget, breakers and clock."""

    def __init__(
        self,
        token: str,
        base_url: str,
        *,
        budget: Budget | None,
        clock: Clock,
        breakers: Breakers | None,
        transport: httpx.BaseTransport | None,
        answers_within: timedelta = ANSWERS_WITHIN,
    ) -> None:
        # httpx quotes a header that it can't send in its error, so that such a token must not get that far.
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise NotAuthorised(
                "The API token is empty or holds characters that no token has",
                hint="Save it again in the CloudflareAccount block, without quotes or line ends.",
            )
        url = httpx.URL(base_url.rstrip("/"))
        if url.scheme not in ("http", "https") or not url.host:
            raise BadUsage(f"The API's base URL must be an http(s) URL, not {base_url!r}")
        register_secret(token)
        self.base_url = str(url)
        self.budget: Budget = budget if budget is not None else InMemoryBudget(clock=clock)
        self.breakers = breakers if breakers is not None else PROCESS_BREAKERS
        self.clock = clock
        self.client = httpx.Client(
            auth=_Bearer(token),
            headers={"User-Agent": USER_AGENT},
            timeout=httpx.Timeout(answers_within.total_seconds(), connect=CONNECTS_WITHIN.total_seconds()),
            limits=CONNECTIONS,
            transport=transport,
            # A proxy must not come between us and the embedded cloud.
            trust_env=url.host not in LOOPBACK,
        )

    def __repr__(self) -> str:
        return f"Wire({self.base_url!r})"


class Api:
    """
    Calls paths of the API as one lane, under one guard.

    Args:
        wire: Connections, token, budget, breakers, clock.

        guard: Called before each write is sent; raises to forbid it.

        patience: For how long one call may wait in all.
    """

    def __init__(
        self, wire: Wire, account_id: str, *, lane: Lane, guard: Guard | None, patience: timedelta | None
    ) -> None:
        self._wire = wire
        self.account_id = account_id
        self.lane = lane
        self._guard = guard
        self._given_patience = patience
        usual = {Lane.UNDO: PATIENCE_TO_UNDO, Lane.BACKUP: PATIENCE_TO_BACK_UP}
        self._patience = patience or usual.get(lane, PATIENCE)

    @property
    def base_url(self) -> str:
        """The API's root, without a slash at its end."""
        return self._wire.base_url

    @property
    def clock(self) -> Clock:
        """Time and chance."""
        return self._wire.clock

    def with_lane(self, lane: Lane) -> Api:
        """Return the same for another lane."""
        return Api(self._wire, self.account_id, lane=lane, guard=self._guard, patience=self._given_patience)

    def with_guard(self, guard: Guard | None) -> Api:
        """Return the same under another guard."""
        return Api(self._wire, self.account_id, lane=self.lane, guard=guard, patience=self._given_patience)

    def close(self) -> None:
        """Close all connections, also those of other views."""
        self._wire.client.close()

    def account_path(self, template: str, *parts: str) -> str:
        """Return a path below the account, each ``{}`` filled with a part, percent-encoded."""
        return fill("/accounts/{}" + template, self.account_id, *parts)

    # ── Reads ──

    def get(
        self,
        path: str,
        read: Reader[T],
        *,
        params: Parameters | None = None,
        headers: Mapping[str, str] | None = None,
        missing: Missing | Sequence[Missing] = (),
    ) -> T:
        """Return what *read* makes of the result at *path*; repeated after passing trouble."""
        return self._perform(
            Call(
                "GET",
                path,
                lambda answer: read(answer.result),
                writes=False,
                request={"headers": dict(headers)} if headers else {},
                params=_given(params),
                missing=_several(missing),
            )
        )

    def get_bytes(self, path: str, *, missing: Missing | Sequence[Missing] = ()) -> bytes:
        """Return the bare bytes at *path*; repeated after passing trouble."""
        return self.get_content(path, lambda content, headers: content, missing=missing)

    def get_content(
        self,
        path: str,
        read: Callable[[bytes, Mapping[str, str]], T],
        *,
        missing: Missing | Sequence[Missing] = (),
    ) -> T:
        """Return what *read* makes of the bare bytes at *path* and their headers; repeated after passing trouble."""
        return self._perform(
            Call(
                "GET",
                path,
                lambda answer: read(answer.content, answer.headers),
                False,
                enveloped=False,
                missing=_several(missing),
            )
        )

    def get_file(self, path: str, target: Path, *, missing: Missing | Sequence[Missing] = ()) -> int:
        """
        Write the bare bytes at *path* into the file *target*; repeated from the beginning after passing trouble.

        Returns:
            Its size in bytes.
        """
        call = Call("GET", path, lambda answer: answer.content, False, enveloped=False, missing=_several(missing))
        gives_up_at = self.clock.monotonic() + self._patience.total_seconds()

        def attempt() -> int:
            wire = self._wire
            breaker = wire.breakers.of(_host(wire.base_url))
            breaker.raise_if_open(self.lane)
            wire.budget.take(self.lane, deadline=timedelta(seconds=max(gives_up_at - self.clock.monotonic(), 0.0)))
            began = self.clock.monotonic()
            with breaker.passage(self.lane) as passage:
                try:
                    with wire.client.stream("GET", wire.base_url + path) as response:
                        if not response.is_success:
                            response.read()
                        else:
                            size = _write_all(response, target)
                except httpx.RequestError as error:
                    passage.failed()
                    self._tell(call, 1, began, failure=type(error).__name__)
                    raise _connection_error(wire.base_url, call, error) from error
                if response.status_code >= 500:
                    passage.failed()
                else:
                    passage.succeeded()
            envelope = None if response.is_success else _open_envelope(response)
            refusal = None if response.is_success else _refusal(response, envelope)
            self._tell(call, 1, began, response=response, code=refusal.code if refusal else 0)
            self._heed_rates(response)
            if refusal is not None:
                self._refuse(call, response, refusal)
            return size

        return self._repeating("GET", path, gives_up_at, may_repeat=True)(attempt)

    def pages(
        self,
        path: str,
        read: Reader[T],
        params: Parameters | None = None,
        *,
        per_page: int,
        key: str | None = None,
        missing: Missing | Sequence[Missing] = (),
    ) -> Iterator[T]:
        """
        Yield what *read* makes of each item, page after page, each fetched when it is needed.

        Ends after ``total_pages`` where the answer has it, else after a page that is shorter than ``per_page``
        (Cloudflare's own, if it grants less than was asked for), and in any case after an empty page or one that
        only repeats the last.

        Args:
            key: Where the items are, if the result is an object.
        """
        before: list[Any] | None = None
        number = 1
        while True:
            asked = {**(params or {}), "page": str(number), "per_page": str(per_page)}
            items, made, info = self._page(path, read, asked, key, missing)
            if not items or items == before:
                return
            yield from made
            total = info.get("total_pages")
            if isinstance(total, int):
                if number >= total:
                    return
            else:
                granted = info.get("per_page")
                if len(items) < (granted if isinstance(granted, int) and granted > 0 else per_page):
                    return
            before = items
            number += 1

    def cursor(
        self,
        path: str,
        read: Reader[T],
        params: Parameters | None = None,
        *,
        missing: Missing | Sequence[Missing] = (),
    ) -> Iterator[T]:
        """Yield what *read* makes of each item, page after page, until the answer has no ``cursor``."""
        cursor: str | None = None
        while True:
            _, made, info = self._page(path, read, {**(params or {}), "cursor": cursor}, None, missing)
            yield from made
            following = info.get("cursor")
            if not following or following == cursor:
                return
            cursor = str(following)

    # ── Writes ──

    def post(
        self,
        path: str,
        read: Reader[T],
        *,
        json: object = None,
        files: Sequence[tuple[str, Any]] | None = None,
        params: Parameters | None = None,
        headers: Mapping[str, str] | None = None,
        missing: Missing | Sequence[Missing] = (),
        safe_to_repeat: bool = False,
        look: Callable[[], T | None] | None = None,
        only_reads: bool = False,
    ) -> T:
        """
        Post; repeated only if certainly not carried out, if *safe_to_repeat*, or if *look* says that it was not.

        Args:
            look: Says after an unknown outcome what it made, or None if it made nothing.

            only_reads: It is a question that happens to be a POST: no guard, and safe to repeat.
        """
        bodies = {"json": json, "files": files}
        request = {name: body for name, body in bodies.items() if body is not None} | {"headers": dict(headers or {})}
        return self._perform(
            Call(
                "POST",
                path,
                lambda answer: read(answer.result),
                writes=not only_reads,
                safe_to_repeat=safe_to_repeat or only_reads,
                look=look,
                request=request,
                params=_given(params),
                missing=_several(missing),
            )
        )

    def put(
        self,
        path: str,
        read: Reader[T],
        *,
        json: object = None,
        content: bytes | None = None,
        files: Mapping[str, Any] | Sequence[tuple[str, Any]] | None = None,
        params: Parameters | None = None,
        headers: Mapping[str, str] | None = None,
        missing: Missing | Sequence[Missing] = (),
        safe_to_repeat: bool = False,
    ) -> T:
        """Put; repeated after passing trouble if *safe_to_repeat*."""
        bodies = {"json": json, "content": content, "files": files}
        request = {name: body for name, body in bodies.items() if body is not None} | {"headers": dict(headers or {})}
        return self._perform(
            Call(
                "PUT",
                path,
                lambda answer: read(answer.result),
                writes=True,
                safe_to_repeat=safe_to_repeat,
                request=request,
                params=_given(params),
                missing=_several(missing),
            )
        )

    def patch(
        self,
        path: str,
        read: Reader[T],
        *,
        json: object,
        missing: Missing | Sequence[Missing] = (),
        safe_to_repeat: bool = False,
    ) -> T:
        """Patch; repeated after passing trouble if *safe_to_repeat*."""
        return self._perform(
            Call(
                "PATCH",
                path,
                lambda answer: read(answer.result),
                writes=True,
                safe_to_repeat=safe_to_repeat,
                request={"json": json},
                missing=_several(missing),
            )
        )

    def delete(
        self,
        path: str,
        *,
        params: Parameters | None = None,
        missing: Missing | Sequence[Missing] = (),
        only_reads: bool = False,
    ) -> None:
        """Delete; repeated after passing trouble, and done if it is gone by then."""
        self._perform(
            Call(
                "DELETE",
                path,
                lambda _: None,
                writes=not only_reads,
                safe_to_repeat=True,
                params=_given(params),
                missing=_several(missing),
            )
        )

    # ── Files at signed URLs: another host, no token, no budget ──

    def download(self, url: str, target: Path) -> int:
        """
        Write what is at a signed URL into *target*, which is either whole or not there.

        Returns:
            Its size in bytes.

        Raises:
            ApiRefused: The URL expired.
            CloudflareUnavailable: It could not be read to its end.
            NoSpaceLeft: The disk is full.
        """
        part = target.with_name(target.name + ".part")

        def fetch(client: httpx.Client) -> int:
            with client.stream("GET", url, auth=None) as response:
                if not response.is_success:
                    _refuse_file(response)
                with part.open("wb") as file:
                    for chunk in response.iter_bytes(CHUNK_BYTES):
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                    return file.tell()

        try:
            size = self._transfer("GET", url, fetch)
            part.replace(target)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise NoSpaceLeft(f"No space left for {target.name}") from error
            raise
        finally:
            part.unlink(missing_ok=True)
        return size

    def upload(self, url: str, source: Path) -> str:
        """
        Put a file at a signed URL.

        Returns:
            The ``etag`` that its host answers, empty if it answers none.

        Raises:
            ApiRefused: The URL expired.
            CloudflareUnavailable: It could not be sent to its end.
        """

        def send(client: httpx.Client) -> str:
            with source.open("rb") as file:
                headers = {"Content-Length": str(source.stat().st_size)}
                response = client.request("PUT", url, content=file, headers=headers, auth=None)
            if not response.is_success:
                _refuse_file(response)
            return str(response.headers.get("etag", ""))

        return self._transfer("PUT", url, send)

    # ── How it is done ──

    def _page(
        self,
        path: str,
        read: Reader[T],
        params: Parameters,
        key: str | None,
        missing: Missing | Sequence[Missing],
    ) -> tuple[list[Any], list[T], Mapping[str, Any]]:
        def open_page(answer: Answer) -> tuple[list[Any], list[T], Mapping[str, Any]]:
            items = answer.result[key] if key is not None else answer.result
            if not isinstance(items, list):
                raise TypeError("a list was expected")
            return items, [read(item) for item in items], answer.info

        return self._perform(Call("GET", path, open_page, False, params=_given(params), missing=_several(missing)))

    def _perform(self, call: Call[T]) -> T:
        progress = _Progress()
        gives_up_at = self.clock.monotonic() + self._patience.total_seconds()
        repeating = self._repeating(call.method, call.path, gives_up_at, may_repeat=call.safe_to_repeat)
        try:
            done: T = repeating(self._attempt, call, progress, gives_up_at)
            return done
        except TryLater as error:
            if progress.doubt is None:
                raise
            raise OutcomeUnknown(
                f"{call.method} {call.path} may have been carried out, and repeating it failed: {error.message}",
                hint=progress.doubt.hint,
            ) from error

    def _repeating(self, method: str, path: str, gives_up_at: float, *, may_repeat: bool) -> tenacity.Retrying:
        clock = self.clock

        def should_repeat(error: BaseException) -> bool:
            if isinstance(error, OutcomeUnknown):
                return may_repeat
            return isinstance(error, RateLimited | CloudflareUnavailable)

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after.total_seconds() if isinstance(error, TryLater) and error.retry_after else None
            if asked is None and isinstance(error, RateLimited):
                asked = PAUSE_WITHOUT_RETRY_AFTER_SECONDS
            if asked is not None:
                # Never earlier than asked, and not all at the same moment.
                return asked + clock.jitter()
            longest: float = min(FIRST_PAUSE_SECONDS * 2 ** (state.attempt_number - 1), LONGEST_PAUSE_SECONDS)
            return longest * (0.5 + clock.jitter() / 2)

        def should_stop(state: tenacity.RetryCallState) -> bool:
            if clock.monotonic() + state.upcoming_sleep > gives_up_at:
                return True
            error = state.outcome.exception() if state.outcome else None
            return not isinstance(error, RateLimited) and state.attempt_number >= ATTEMPTS

        def tell(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            log.warning(
                "cloudflare retry",
                method=method,
                path=path,
                lane=self.lane.value,
                attempt=state.attempt_number,
                wait_seconds=round(state.upcoming_sleep, 3),
                reason=type(error).__name__,
            )

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(should_repeat),
            wait=pause,
            stop=should_stop,
            sleep=clock.sleep,
            before_sleep=tell,
            reraise=True,
        )

    def _attempt(self, call: Call[T], progress: _Progress, gives_up_at: float) -> T:
        progress.attempt += 1
        try:
            return self._send(call, progress.attempt, gives_up_at)
        except OutcomeUnknown as doubt:
            if call.look is None:
                progress.doubt = doubt
                raise
            # A moment for Cloudflare to finish what it may be doing.
            self.clock.sleep(FIRST_PAUSE_SECONDS * (1 + self.clock.jitter()))
            found = self._look(call, call.look, doubt)
            if found is not None:
                return found
            progress.doubt = doubt
            raise CloudflareUnavailable(
                f"{call.method} {call.path} was not carried out: {doubt.message}", hint=doubt.hint
            ) from doubt
        except NotFound:
            if progress.doubt is not None and call.method == "DELETE":
                # An earlier attempt did it.
                return call.read(Answer(None, {}, b"", httpx.Headers()))
            raise
        except ApiRefused:
            if progress.doubt is not None and call.look is not None:
                # "It exists already": an earlier attempt came through after we looked.
                found = self._look(call, call.look, progress.doubt)
                if found is not None:
                    return found
            raise

    def _look(self, call: Call[T], look: Callable[[], T | None], doubt: OutcomeUnknown) -> T | None:
        try:
            found = look()
        except TryLater as error:
            raise OutcomeUnknown(
                f"{doubt.message}; and it can't be looked up: {error.message}", hint=doubt.hint
            ) from error
        log.info("cloudflare looked", method=call.method, path=call.path, lane=self.lane.value, done=found is not None)
        return found

    def _send(self, call: Call[T], attempt: int, gives_up_at: float) -> T:
        wire = self._wire
        breaker = wire.breakers.of(_host(wire.base_url))
        breaker.raise_if_open(self.lane)
        wire.budget.take(self.lane, deadline=timedelta(seconds=max(gives_up_at - self.clock.monotonic(), 0.0)))
        with breaker.passage(self.lane) as passage:
            if call.writes and self._guard is not None:
                self._guard()
            began = self.clock.monotonic()
            try:
                response = wire.client.request(
                    call.method, wire.base_url + call.path, params=call.params or None, **call.request
                )
            except httpx.RequestError as error:
                passage.failed()
                self._tell(call, attempt, began, failure=type(error).__name__)
                raise _connection_error(wire.base_url, call, error) from error
            # It was read to its end. Response and stream name each other: a large answer would stay until the collector
            # comes, and a backup reads hundreds of them.
            response.stream = httpx.ByteStream(b"")
            if response.status_code >= 500:
                passage.failed()
            else:
                passage.succeeded()
        envelope = _open_envelope(response) if call.enveloped or not response.is_success else {}
        refusal = _refusal(response, envelope)
        self._tell(call, attempt, began, response=response, code=refusal.code if refusal else 0)
        self._heed_rates(response)
        if refusal is not None:
            self._refuse(call, response, refusal)
        if envelope is None:
            raise _malformed(call, response, "it is not Cloudflare's JSON")
        info = envelope.get("result_info")
        answer = Answer(
            envelope.get("result"), info if isinstance(info, dict) else {}, response.content, response.headers
        )
        try:
            return call.read(answer)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _malformed(call, response, f"its result is not what it should be ({type(error).__name__})") from error

    def _refuse(self, call: Call[T], response: httpx.Response, refusal: Refusal) -> NoReturn:
        seconds = retry_after(response.headers.get("retry-after"), self.clock.now())
        wait = None if seconds is None else timedelta(seconds=seconds)
        if response.status_code >= 500:
            said = f": {refusal.message} (code {refusal.code})" if refusal.message else ""
            raise _passing(call, f"Cloudflare answered HTTP {response.status_code}{said}", wait)
        if response.headers.get("cf-mitigated") == "challenge":
            raise ApiRefused(
                f"Cloudflare's firewall stopped {call.method} {call.path} with a challenge page (ray"
                f" {response.headers.get('cf-ray', 'unknown')})",
                status=response.status_code,
                hint="Allow this machine's address in the firewall, or run it elsewhere.",
            )
        error = to_error(call.method, call.path, refusal, call.missing)
        if isinstance(error, RateLimited):
            error.retry_after = wait
            self._wire.budget.cooldown(PAUSE_WITHOUT_RETRY_AFTER_SECONDS if seconds is None else seconds)
        raise error

    def _heed_rates(self, response: httpx.Response) -> None:
        left = quota_left(response.headers, self.clock.now())
        if left is not None:
            self._wire.budget.observe(left.remaining, left.resets_in)

    def _tell(
        self,
        call: Call[T],
        attempt: int,
        began: float,
        *,
        response: httpx.Response | None = None,
        code: int = 0,
        failure: str | None = None,
    ) -> None:
        log.info(
            "cloudflare request",
            method=call.method,
            path=call.path,
            status=response.status_code if response is not None else None,
            code=code,
            seconds=round(self.clock.monotonic() - began, 4),
            lane=self.lane.value,
            attempt=attempt,
            cf_ray=response.headers.get("cf-ray") if response is not None else None,
            **({"failure": failure} if failure else {}),
        )

    def _transfer(self, method: str, url: str, transfer: Callable[[httpx.Client], T]) -> T:
        # What follows the path of a signed URL is a credential.
        shown = url.split("?", 1)[0]
        breaker = self._wire.breakers.of(_host(url))
        gives_up_at = self.clock.monotonic() + self._patience.total_seconds()

        def attempt() -> T:
            with breaker.passage(self.lane) as passage:
                try:
                    done = transfer(self._wire.client)
                except httpx.RequestError as error:
                    passage.failed()
                    raise CloudflareUnavailable(f"{method} {shown} broke off: {type(error).__name__}") from error
                except CloudflareUnavailable:
                    passage.failed()
                    raise
                passage.succeeded()
                return done

        return self._repeating(method, shown, gives_up_at, may_repeat=True)(attempt)


def _write_all(response: httpx.Response, target: Path) -> int:
    try:
        with target.open("wb") as file:
            for chunk in response.iter_bytes(CHUNK_BYTES):
                file.write(chunk)
            return file.tell()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpaceLeft(f"No space left for {target.name}") from error
        raise


def _given(params: Parameters | None) -> dict[str, str]:
    return {name: value for name, value in (params or {}).items() if value is not None}


def _several(missing: Missing | Sequence[Missing]) -> tuple[Missing, ...]:
    return (missing,) if isinstance(missing, Missing) else tuple(missing)


def _host(url: str) -> str:
    return httpx.URL(url).netloc.decode("ascii")


def _open_envelope(response: httpx.Response) -> dict[str, Any] | None:
    if response.status_code in (204, 205) and not response.content:
        return {"success": True, "result": None}
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _refusal(response: httpx.Response, envelope: dict[str, Any] | None) -> Refusal | None:
    """Return what was refused, None for a good answer; Cloudflare's word in the body goes before the status."""
    status = response.status_code
    errors = (envelope or {}).get("errors") or []
    if status < 400 and (envelope is None or (envelope.get("success", True) is True)):
        return None
    first = errors[0] if isinstance(errors, list) and errors else {}
    if not isinstance(first, dict):
        return Refusal(status, 0, PROCESS_SECRETS.text(str(first)))
    code = first.get("code")
    chain = [each.get("message") for each in first.get("error_chain") or () if isinstance(each, dict)]
    message = ": ".join(str(part) for part in (first.get("message"), *chain) if part)
    # Cloudflare may quote what it was sent, and what it says ends up in errors, journals and reports.
    return Refusal(status, code if isinstance(code, int) else 0, PROCESS_SECRETS.text(message))


def _connection_error(base_url: str, call: Call[T], error: httpx.RequestError) -> ClodoError:
    what = f"{type(error).__name__}"
    if isinstance(error, UNSENT):
        url = httpx.URL(base_url)
        here = f"{url.host}:{url.port or url.scheme}"
        return CloudflareUnavailable(
            f"{here} can't be reached for {call.method} {call.path}: {what}",
            hint=(
                "Start the embedded cloud: `clodo up`."
                if url.host in LOOPBACK
                else "Look at this machine's network, and at https://www.cloudflarestatus.com."
            ),
        )
    return _passing(call, f"The connection broke: {what}", None)


def _malformed(call: Call[T], response: httpx.Response, why: str) -> ClodoError:
    return _passing(call, f"The answer (HTTP {response.status_code}) can't be understood: {why}", None)


def _passing(call: Call[T], what: str, wait: timedelta | None) -> ClodoError:
    where = f"{call.method} {call.path}"
    if not call.writes:
        return CloudflareUnavailable(f"{what}, at {where}", retry_after=wait)
    return OutcomeUnknown(
        f"{what}, at {where}; whether it was carried out is unknown",
        hint="Look at what is live before repeating it; `clodo release resume` does.",
    )


def _refuse_file(response: httpx.Response) -> NoReturn:
    where = f"{response.request.method} {str(response.request.url).split('?', 1)[0]}"
    if response.status_code >= 500 or response.status_code == 429:
        raise CloudflareUnavailable(f"{where} answered HTTP {response.status_code}")
    raise ApiRefused(f"{where} answered HTTP {response.status_code}", status=response.status_code)
