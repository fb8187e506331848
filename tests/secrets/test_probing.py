"""Probes: what is sent, what an answer says, and how long the edge is waited for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from pydantic import ValidationError

from clodo.secrets.probing import Acceptance, Seen, acceptance, request_for, wait_for
from clodo.workspace.portfolio import Probe

SECRET = "s3cr3t-of-the-probe"  # pragma: allowlist secret
PROBE = Probe(path="/who", headers={"authorization": "Bearer {secret}"})


def test_the_secret_is_put_where_the_probe_says():
    """As it is, signed as a token, as the body's signature; and never shown."""
    probe = Probe(
        path="/hook",
        method="POST",
        headers={"a": "{secret}", "b": "Bearer {jwt}", "c": "sha256={signature}"},
        body='{"x": "{secret}"}',
    )

    request = request_for(probe, SECRET, now=1_000.0)

    assert request.headers["a"] == SECRET
    assert request.body == f'{{"x": "{SECRET}"}}'
    expected = hmac.new(SECRET.encode(), request.body.encode(), hashlib.sha256).hexdigest()
    assert request.headers["c"] == f"sha256={expected}"
    head, claims, signature = request.headers["b"].removeprefix("Bearer ").split(".")
    signed = hmac.new(SECRET.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "=") == signed
    assert json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"] == 1_060
    assert SECRET not in repr(request)


@pytest.mark.parametrize(
    ("status", "says"),
    [(200, Acceptance.ACCEPTED), (401, Acceptance.REFUSED), (500, Acceptance.UNCLEAR), (None, Acceptance.UNCLEAR)],
)
def test_only_the_declared_statuses_say_something(status, says):
    """A server error, or no answer, says nothing of a key."""
    assert acceptance(PROBE, status) is says


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.at = 0.0

    def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest.mark.parametrize(
    ("answers", "seen"),
    [
        ([401, 401, 200], Seen(Acceptance.ACCEPTED, 200)),
        ([None, 200], Seen(Acceptance.ACCEPTED, 200)),
        ([401] * 99, Seen(Acceptance.REFUSED, 401)),
    ],
)
def test_the_edge_is_given_time(answers, seen):
    """The version before may answer for a while; what is seen last, when the patience is over, counts."""
    time, given = Time(), iter(answers)

    found = wait_for(
        Acceptance.ACCEPTED,
        PROBE,
        SECRET,
        ask=lambda request: next(given),
        patience=timedelta(seconds=10),
        now=lambda: 0.0,
        monotonic=lambda: time.at,
        sleep=time.sleep,
    )

    assert found == seen
    assert time.at <= 10


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"headers": {"a": "{secret}"}, "accepts": 200, "refuses": 200}, "different statuses"),
        ({"headers": {"a": "no key"}}, "shows the key"),
        ({"path": "who", "headers": {"a": "{secret}"}}, 'starts with "/"'),
    ],
)
def test_a_probe_that_shows_nothing_is_refused(fields, said):
    """It must show the key, and tell good from bad."""
    with pytest.raises(ValidationError, match=said):
        Probe.model_validate({"path": "/", **fields})
