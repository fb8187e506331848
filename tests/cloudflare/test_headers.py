"""What the headers of an answer say about rates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.cloudflare.headers import LONGEST_WAIT_SECONDS, Left, quota_left, retry_after

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@given(st.integers(0, 3600))
def test_retry_after_in_seconds_is_seconds(seconds):
    """A number is the wait itself."""
    assert retry_after(str(seconds), NOW) == seconds
    assert retry_after(f" {seconds} ", NOW) == seconds


@given(st.integers(-100_000, 3600))
def test_retry_after_as_a_date_is_the_time_until_then(seconds):
    """An HTTP date is the seconds from now, none if it is past."""
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)

    assert retry_after(date, NOW) == max(seconds, 0)


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ [A-Z+0-9]*"))
def test_retry_after_never_raises_and_is_never_absurd(text):
    """Whatever stands there: None, or a wait between nothing and an hour."""
    seconds = retry_after(text, NOW)

    assert seconds is None or 0 <= seconds <= LONGEST_WAIT_SECONDS


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, None), ("", None), ("soon", None), ("nan", None), ("-5", 0), ("inf", 3600)]
)
def test_retry_after_that_means_little(text, seconds):
    """Nonsense is None, negative is now, endless is an hour."""
    assert retry_after(text, NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({}, None),
        ({"ratelimit": '"default";r=50;t=30'}, Left(50, 30)),
        ({"ratelimit": "default; r=50; t=30"}, Left(50, 30)),
        ({"ratelimit": '"default";r=900;t=200, "burst";r=3;t=8'}, Left(3, 8)),
        ({"ratelimit": '"default";r=7', "ratelimit-policy": '"default";q=1200;w=300'}, Left(7, 300)),
        ({"ratelimit": '"default";r=7'}, None),
        ({"ratelimit-policy": '"default";q=1200;w=300'}, None),
        ({"x-ratelimit-remaining": "4", "x-ratelimit-reset": "Fri, 20 Nov 2026 12:01:00 GMT"}, Left(4, 60)),
        ({"x-ratelimit-remaining": "4"}, None),
        ({"ratelimit": "gibberish;;;=="}, None),
    ],
)
def test_the_scarcest_quota_counts(headers, left):
    """Ratelimit with its policy, or the older pair of headers; the smallest rest wins."""
    assert quota_left(headers, NOW) == left


@given(st.text(), st.text(), st.text(), st.text())
def test_odd_rate_headers_never_raise(rate, policy, remaining, reset):
    """Headers are read, not trusted."""
    headers = {
        "ratelimit": rate,
        "ratelimit-policy": policy,
        "x-ratelimit-remaining": remaining,
        "x-ratelimit-reset": reset,
    }

    left = quota_left(headers, NOW)

    assert left is None or left.remaining >= 0
