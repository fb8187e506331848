"""How a call becomes requests: budget, breaker and guard before each, and its answer, doubt or refusal after it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import httpx
import structlog
import tenacity

from clodo.cloudflare.answers import connection_error, malformed, open_envelope, passing, refusal_in
from clodo.cloudflare.budget import Lane
from clodo.cloudflare.calls import Answer, Call, T
from clodo.cloudflare.headers import quota_left, retry_after
from clodo.cloudflare.refusals import Refusal, to_error
from clodo.cloudflare.repeating import FIRST_PAUSE_SECONDS, PAUSE_WITHOUT_RETRY_AFTER_SECONDS, repeating
from clodo.cloudflare.wire import Wire
from clodo.errors import (
    ApiRefused,
    CloudflareUnavailable,
    NoSpaceLeft,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    TryLater,
)

Guard = Callable[[], None]

PATIENCE = timedelta(seconds=120)
# Longer than the five minutes for which Cloudflare may block a user who went over the limit.
PATIENCE_TO_UNDO = timedelta(minutes=10)
# A backup is in no hurry, and its lane fills only half of the five minutes' window.
PATIENCE_TO_BACK_UP = timedelta(minutes=20)
CHUNK_BYTES = 1 << 16

log = structlog.get_logger("clodo.cloudflare")


@dataclass(slots=True)
class _Progress:
    """How far a call got: attempts so far, and the doubt that one of them left."""

    attempt: int = 0
    doubt: OutcomeUnknown | None = None


class Sending:
    """
    Sends calls as one lane, under one guard.

    Args:
        wire: Connections, token, budget, breakers, clock.

        guard: Called before each write is sent; raises to forbid it.

        patience: For how long one call may wait in all; by default as the lane has it.
    """

    def __init__(self, wire: Wire, *, lane: Lane, guard: Guard | None, patience: timedelta | None) -> None:
        self.wire = wire
        self.lane = lane
        self.clock = wire.clock
        self._guard = guard
        self._given_patience = patience
        usual = {Lane.UNDO: PATIENCE_TO_UNDO, Lane.BACKUP: PATIENCE_TO_BACK_UP}
        self._patience = patience or usual.get(lane, PATIENCE)

    def with_lane(self, lane: Lane) -> Sending:
        """Return the same for another lane."""
        return Sending(self.wire, lane=lane, guard=self._guard, patience=self._given_patience)

    def with_guard(self, guard: Guard | None) -> Sending:
        """Return the same under another guard."""
        return Sending(self.wire, lane=self.lane, guard=guard, patience=self._given_patience)

    def perform(self, call: Call[T]) -> T:
        """Make *call*, whatever many requests it takes, and return what it reads."""
        progress = _Progress()
        gives_up_at = self.clock.monotonic() + self._patience.total_seconds()
        retrying = self._repeating(call.method, call.path, gives_up_at, may_repeat=call.safe_to_repeat)
        try:
            done: T = retrying(self._attempt, call, progress, gives_up_at)
            return done
        except TryLater as error:
            if progress.doubt is None:
                raise
            raise OutcomeUnknown(
                f"{call.method} {call.path} may have been carried out, and repeating it failed: {error.message}",
                hint=progress.doubt.hint,
            ) from error

    def save(self, call: Call[bytes], target: Path) -> int:
        """Write the bare bytes that *call* asks for into *target*; return how many there were."""
        gives_up_at = self.clock.monotonic() + self._patience.total_seconds()

        def attempt() -> int:
            wire = self.wire
            breaker = wire.breakers.of(_host(wire.base_url))
            breaker.raise_if_open(self.lane)
            wire.budget.take(self.lane, deadline=timedelta(seconds=max(gives_up_at - self.clock.monotonic(), 0.0)))
            began = self.clock.monotonic()
            with breaker.passage(self.lane) as passage:
                try:
                    with wire.client.stream(call.method, wire.base_url + call.path) as response:
                        if not response.is_success:
                            response.read()
                        else:
                            size = _write_all(response, target)
                except httpx.RequestError as error:
                    passage.failed()
                    self._tell(call, 1, began, failure=type(error).__name__)
                    raise connection_error(wire.base_url, call, error) from error
                if response.status_code >= 500:
                    passage.failed()
                else:
                    passage.succeeded()
            envelope = None if response.is_success else open_envelope(response)
            refusal = None if response.is_success else refusal_in(response, envelope)
            self._tell(call, 1, began, response=response, code=refusal.code if refusal else 0)
            self._heed_rates(response)
            if refusal is not None:
                self._refuse(call, response, refusal)
            return size

        return self._repeating(call.method, call.path, gives_up_at, may_repeat=True)(attempt)

    def transfer(self, method: str, url: str, transfer: Callable[[httpx.Client], T]) -> T:
        """Carry out *transfer* with a signed URL: another host, no token, no budget; repeated after passing trouble."""
        # What follows the path of a signed URL is a credential.
        shown = url.split("?", 1)[0]
        breaker = self.wire.breakers.of(_host(url))
        gives_up_at = self.clock.monotonic() + self._patience.total_seconds()

        def attempt() -> T:
            with breaker.passage(self.lane) as passage:
                try:
                    done = transfer(self.wire.client)
                except httpx.RequestError as error:
                    passage.failed()
                    raise CloudflareUnavailable(f"{method} {shown} broke off: {type(error).__name__}") from error
                except CloudflareUnavailable:
                    passage.failed()
                    raise
                passage.succeeded()
                return done

        return self._repeating(method, shown, gives_up_at, may_repeat=True)(attempt)

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
        wire = self.wire
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
                raise connection_error(wire.base_url, call, error) from error
            # It was read to its end. Response and stream name each other: a large answer would stay until the collector
            # comes, and a backup reads hundreds of them.
            response.stream = httpx.ByteStream(b"")
            if response.status_code >= 500:
                passage.failed()
            else:
                passage.succeeded()
        envelope = open_envelope(response) if call.enveloped or not response.is_success else {}
        refusal = refusal_in(response, envelope)
        self._tell(call, attempt, began, response=response, code=refusal.code if refusal else 0)
        self._heed_rates(response)
        if refusal is not None:
            self._refuse(call, response, refusal)
        if envelope is None:
            raise malformed(call, response, "it is not Cloudflare's JSON")
        info = envelope.get("result_info")
        answer = Answer(
            envelope.get("result"), info if isinstance(info, dict) else {}, response.content, response.headers
        )
        try:
            return call.read(answer)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise malformed(call, response, f"its result is not what it should be ({type(error).__name__})") from error

    def _refuse(self, call: Call[T], response: httpx.Response, refusal: Refusal) -> NoReturn:
        seconds = retry_after(response.headers.get("retry-after"), self.clock.now())
        wait = None if seconds is None else timedelta(seconds=seconds)
        if response.status_code >= 500:
            said = f": {refusal.message} (code {refusal.code})" if refusal.message else ""
            raise passing(call, f"Cloudflare answered HTTP {response.status_code}{said}", wait)
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
            self.wire.budget.cooldown(PAUSE_WITHOUT_RETRY_AFTER_SECONDS if seconds is None else seconds)
        raise error

    def _heed_rates(self, response: httpx.Response) -> None:
        left = quota_left(response.headers, self.clock.now())
        if left is not None:
            self.wire.budget.observe(left.remaining, left.resets_in)

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

    def _repeating(self, method: str, path: str, gives_up_at: float, *, may_repeat: bool) -> tenacity.Retrying:
        return repeating(method, path, clock=self.clock, lane=self.lane, gives_up_at=gives_up_at, may_repeat=may_repeat)


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


def _host(url: str) -> str:
    return httpx.URL(url).netloc.decode("ascii")
