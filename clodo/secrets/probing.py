"""Asking the running Worker which keys it accepts, as the portfolio declares."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from clodo.workspace.portfolio import Probe

JWT_LIFETIME = timedelta(minutes=1)
PAUSES = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds between two requests while the edge may still serve the version before."""


class Acceptance(StrEnum):
    """What a Worker's answer says of a key."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """One request with a key in it; never shown."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: str | None = field(repr=False)


Ask = Callable[[ProbeRequest], int | None]
"""Sends a request to the Worker and returns the answer's status; None when no answer came."""


@dataclass(frozen=True, slots=True)
class Seen:
    """
    How a Worker answered to a key in the end.

    Attributes:
        status: Of the last answer; None when none came.
    """

    acceptance: Acceptance
    status: int | None


def request_for(probe: Probe, secret: str, *, now: float) -> ProbeRequest:
    """
    Return the request that shows *secret* to the Worker.

    Args:
        now: Seconds since 1970, for tokens.
    """
    marks = {"{secret}": secret, "{jwt}": jwt_of(secret, now=now)}
    body = _filled(probe.body, marks) if probe.body is not None else None
    marks["{signature}"] = hmac.new(secret.encode(), (body or "").encode(), hashlib.sha256).hexdigest()
    return ProbeRequest(
        probe.method, probe.path, {name: _filled(value, marks) for name, value in probe.headers.items()}, body
    )


def acceptance(probe: Probe, status: int | None) -> Acceptance:
    """Return what an answer of *status* says."""
    if status == probe.accepts:
        return Acceptance.ACCEPTED
    return Acceptance.REFUSED if status == probe.refuses else Acceptance.UNCLEAR


def wait_for(
    expected: Acceptance,
    probe: Probe,
    secret: str,
    *,
    ask: Ask,
    patience: timedelta,
    now: Callable[[], float],
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> Seen:
    """Show *secret* to the Worker until it does what is expected, or *patience* is over; return what was seen last."""
    deadline = monotonic() + patience.total_seconds()
    attempt = 0
    while True:
        status = ask(request_for(probe, secret, now=now()))
        seen = Seen(acceptance(probe, status), status)
        pause = PAUSES[min(attempt, len(PAUSES) - 1)]
        if seen.acceptance is expected or monotonic() + pause > deadline:
            return seen
        sleep(pause)
        attempt += 1


def jwt_of(secret: str, *, now: float) -> str:
    """Return a JSON Web Token of one minute, signed with *secret* by HS256."""
    header = {"alg": "HS256", "typ": "JWT"}
    claims = {"sub": "clodo-probe", "iat": int(now), "exp": int(now + JWT_LIFETIME.total_seconds())}
    signed = ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return f"{signed}.{_base64url(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _filled(text: str, marks: Mapping[str, str]) -> str:
    for mark, value in marks.items():
        text = text.replace(mark, value)
    return text
