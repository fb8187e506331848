"""Bad days on demand: faults injected into API calls, and Cloudflare's request limit."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clodo.emulator.access import NOTES, raw_path
from clodo.emulator.envelope import ApiError

#: Key of ``scope["extensions"]`` under which the server gives a function that cuts the connection (TCP reset).
RESET = "clodo.reset"

#: "1,200 requests per five minutes per user", https://developers.cloudflare.com/fundamentals/api/reference/limits/
MAX_REQUESTS = 1200
WINDOW_SECONDS = 300.0

#: Cloudflare's number and text for it.
TOO_MANY_REQUESTS = (971, "Please wait and consider throttling your request speed")


class Action(StrEnum):
    """What happens to a call."""

    ANSWER = "answer"
    """An error answer: ``status``, ``code``, ``message``, ``retry_after``."""

    RESET = "reset"
    """The connection is cut."""

    SILENCE = "silence"
    """No answer ever comes; the client must give up."""

    MALFORMED = "malformed"
    """A body that stops in mid-JSON."""

    PASS = "pass"  # noqa: S105
    """Nothing but the delay."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """
    Which calls go wrong, and how.

    Attributes:
        path: Regular expression; must match somewhere in the path below ``/client/v4``.

        method: None for any.

        body: Regular expression; must match somewhere in what is sent. Where a path says little: each statement of a
            D1 database goes to the same one. Calls that a rule with a body fits otherwise are read whole first.

        nth: The first fitting call that goes wrong, counted from 1.

        times: How many go wrong from there; None for all.

        applied: The call is carried out first, and goes wrong afterwards: the client can't know.

        delay_seconds: Waited before anything happens.

        retry_after: Seconds announced in ``Retry-After``.
    """

    path: str = ""
    method: str | None = None
    body: str = ""
    action: Action = Action.ANSWER
    nth: int = 1
    times: int | None = 1
    applied: bool = False
    status: int = 500
    code: int = 10001
    message: str = "An unknown error has occurred."
    retry_after: float | None = None
    delay_seconds: float = 0.0
    id: str = ""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> FaultRule:
        """
        Read a rule as the admin endpoint gets it.

        Raises:
            ApiError: A key is unknown or a value impossible.
        """
        known = set(cls.__dataclass_fields__) - {"id"}
        if unknown := sorted(set(body) - known):
            raise ApiError(400, 400, f"unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
        try:
            rule = cls(**{**body, "action": Action(body.get("action", Action.ANSWER))})
            re.compile(rule.path)
            re.compile(rule.body)
            whole = rule.nth >= 1 and (rule.times is None or rule.times >= 1) and rule.delay_seconds >= 0
            if not whole or not 100 <= rule.status <= 599:
                raise ValueError("nth and times start at 1, delays at 0, statuses are 100 to 599")
        except (TypeError, ValueError, re.error) as error:
            raise ApiError(400, 400, f"not a fault: {error}") from error
        return rule

    def as_json(self) -> dict[str, Any]:
        """Return the rule as JSON can say it."""
        return asdict(self)

    def fits(self, method: str, path: str) -> bool:
        """Say whether a call may be meant, as far as can be known before its body is read."""
        return (not self.method or self.method.upper() == method) and re.search(self.path, path) is not None


@dataclass(slots=True)
class _Armed:
    rule: FaultRule
    seen: int = 0
    struck: int = 0


class Faults:
    """The faults that are armed now."""

    def __init__(self) -> None:
        self._armed: dict[str, _Armed] = {}
        self._numbers = itertools.count(1)

    def add(self, rule: FaultRule) -> FaultRule:
        """Arm *rule* and return it with its id."""
        armed = FaultRule(**{**asdict(rule), "id": f"fault-{next(self._numbers)}"})
        self._armed[armed.id] = _Armed(armed)
        return armed

    def remove(self, fault_id: str) -> bool:
        """Disarm one rule; False if there is none with this id."""
        return self._armed.pop(fault_id, None) is not None

    def clear(self) -> None:
        """Disarm all."""
        self._armed.clear()

    def armed(self) -> list[dict[str, Any]]:
        """Return every armed rule, with how many calls it has seen and struck."""
        return [
            {**armed.rule.as_json(), "seen": armed.seen, "struck": armed.struck} for armed in [*self._armed.values()]
        ]

    def must_read(self, method: str, path: str) -> bool:
        """Say whether a rule that fits this call wants to know what is sent."""
        return any(armed.rule.body and armed.rule.fits(method, path) for armed in self._armed.values())

    def take(self, method: str, path: str, body: bytes = b"") -> FaultRule | None:
        """Return the fault that strikes this call; the first rule armed wins, all that fit count it."""
        chosen: FaultRule | None = None
        text = body.decode(errors="replace")
        for armed in list(self._armed.values()):
            rule = armed.rule
            if not rule.fits(method, path) or not re.search(rule.body, text):
                continue
            armed.seen += 1
            due = armed.seen >= rule.nth and (rule.times is None or armed.struck < rule.times)
            if due and chosen is None:
                armed.struck += 1
                chosen = rule
        return chosen


@dataclass(frozen=True, slots=True)
class Dialect:
    """
    How a struck call is answered.

    Attributes:
        content_type: Of half a document.

        half: What a document begins like.

        refuse: Returns an error.
    """

    content_type: bytes
    half: bytes
    refuse: Callable[[FaultRule], Response]


def _enveloped(rule: FaultRule) -> Response:
    announced = {} if rule.retry_after is None else {"Retry-After": f"{rule.retry_after:g}"}
    return ApiError(rule.status, rule.code, rule.message, headers=announced).as_response()


ENVELOPE_DIALECT = Dialect(b"application/json", b'{"success":tr', _enveloped)


class Faulty:
    """Bend the calls that a fault strikes."""

    def __init__(self, app: ASGIApp, faults: Faults, dialect: Dialect = ENVELOPE_DIALECT) -> None:
        self.app = app
        self.faults = faults
        self.dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, unless a fault says otherwise."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call, body = (scope["method"], raw_path(scope)), b""
        if self.faults.must_read(*call):
            body, receive = await _read(receive)
        rule = self.faults.take(*call, body)
        if rule is None:
            await self.app(scope, receive, send)
            return
        scope.get(NOTES, {})["fault"] = rule.id
        if rule.delay_seconds:
            await asyncio.sleep(rule.delay_seconds)
        if rule.action is Action.PASS:
            await self.app(scope, receive, send)
            return
        real = _Captured()
        if rule.applied:
            await self.app(scope, receive, real)
        await _strike(rule, self.dialect, bytes(real.body), scope, receive, send)


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """Return a call's body, and what gives the same messages once more."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    body = b"".join(message.get("body", b"") for message in messages)
    again = iter(messages)

    async def receive_again() -> Message:
        return next(again, None) or await receive()

    return body, receive_again


class _Captured:
    """An answer that is kept from the client."""

    def __init__(self) -> None:
        self.body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.body.extend(message.get("body", b""))


async def _strike(rule: FaultRule, dialect: Dialect, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
    if rule.action is Action.RESET:
        scope["extensions"][RESET]()
        return
    if rule.action is Action.SILENCE:
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if rule.action is Action.MALFORMED:
        half = body[: len(body) // 2] or dialect.half
        headers = [(b"content-type", dialect.content_type), (b"content-length", str(len(half)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": half})
        return
    await dialect.refuse(rule)(scope, receive, send)


@dataclass(slots=True)
class RequestLimit:
    """
    How many API requests a user may make in a window of time, over all tokens.

    Args:
        is_on: Nothing is counted or refused while it is off.

        clock: Seconds that only go forward.
    """

    is_on: bool = False
    maximum: int = MAX_REQUESTS
    window_seconds: float = WINDOW_SECONDS
    clock: Callable[[], float] = time.monotonic
    _windows: dict[str, tuple[float, int]] = field(default_factory=dict)

    def take(self, user_id: str) -> Mapping[str, str]:
        """
        Count one request and return the headers that tell what is left.

        Raises:
            ApiError: 429 with ``Retry-After``; the window is used up.
        """
        if not self.is_on:
            return {}
        moment = self.clock()
        begun, used = self._windows.get(user_id, (moment, 0))
        if moment - begun >= self.window_seconds:
            begun, used = moment, 0
        left_seconds = max(1, -int(-(begun + self.window_seconds - moment) // 1))
        used += 1
        self._windows[user_id] = (begun, used)
        headers = {
            "Ratelimit": f'"default";r={max(0, self.maximum - used)};t={left_seconds}',
            "Ratelimit-Policy": f'"default";q={self.maximum};w={self.window_seconds:g}',
        }
        if used > self.maximum:
            raise ApiError(429, *TOO_MANY_REQUESTS, headers={**headers, "Retry-After": str(left_seconds)})
        return headers

    def configure(self, *, is_on: bool, maximum: int = MAX_REQUESTS, window_seconds: float = WINDOW_SECONDS) -> None:
        """Change the limit and forget what was counted."""
        self.is_on, self.maximum, self.window_seconds = is_on, maximum, window_seconds
        self._windows.clear()
