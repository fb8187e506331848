"""What Cloudflare says about rates in the headers of its answers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

# A list item of the RateLimit draft: "name";r=50;t=30
_ITEM = re.compile(r'"?(?P<name>[^";,\s]*)"?\s*(?P<parameters>(?:;\s*[a-z]+\s*=\s*[^;,]+)+)')
_PARAMETER = re.compile(r";\s*([a-z]+)\s*=\s*(\d+(?:\.\d+)?)")
# No Retry-After of Cloudflare is longer; a nonsensical one must not stop a release for a year.
LONGEST_WAIT_SECONDS = 3600.0


class Left(NamedTuple):
    """What is left of a quota: requests, and seconds until it is whole again."""

    remaining: int
    resets_in: float


def retry_after(value: str | None, now: datetime) -> float | None:
    """
    Return the seconds to wait that a ``Retry-After`` header means, None if it means nothing.

    Args:
        value: Seconds, or an HTTP date.

        now: In UTC, to turn a date into seconds.
    """
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        seconds = (date - now).total_seconds()
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)


def quota_left(headers: Mapping[str, str], now: datetime) -> Left | None:
    """
    Return the scarcest quota that the headers of an answer speak of, None if they speak of none.

    Reads ``Ratelimit`` (``"default";r=50;t=30``), completed by ``Ratelimit-Policy`` (``"default";q=1200;w=300``), and
    the older ``X-RateLimit-Remaining`` with ``X-RateLimit-Reset``.

    Source: https://developers.cloudflare.com/fundamentals/api/reference/limits/
    """
    windows = {name: given.get("w") for name, given in _items(headers.get("ratelimit-policy"))}
    found = []
    for name, given in _items(headers.get("ratelimit")):
        if "r" in given:
            resets_in = given.get("t", windows.get(name))
            if resets_in is not None:
                found.append(Left(int(given["r"]), resets_in))
    older = headers.get("x-ratelimit-remaining", "").strip()
    resets_in = retry_after(headers.get("x-ratelimit-reset"), now)
    if older.isdecimal() and resets_in is not None:
        found.append(Left(int(older), resets_in))
    return min(found, default=None)


def _items(value: str | None) -> list[tuple[str, dict[str, float]]]:
    return [
        (item["name"], {key: float(number) for key, number in _PARAMETER.findall(item["parameters"])})
        for item in _ITEM.finditer(value or "")
    ]
