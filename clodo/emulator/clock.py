"""Time and identity as Cloudflare writes them."""

from __future__ import annotations

import secrets
import time
import uuid
from datetime import UTC, datetime, timedelta


def now(*, ago: timedelta = timedelta(0)) -> str:
    """Return the time, or one *ago*, as Cloudflare's Workers endpoints write it: UTC, six digits after the second."""
    return (datetime.now(UTC) - ago).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def unix_milliseconds() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """Return a fresh identifier of 32 hex digits: accounts, zones, routes, namespaces."""
    return secrets.token_hex(16)


def new_uuid() -> str:
    """Return a fresh UUID: versions and deployments."""
    return str(uuid.uuid4())


def moment(text: str) -> str:
    """
    Return a time that a client wrote (RFC 3339) as `now` writes it, so that the two compare.

    Raises:
        ValueError: It is no time, or says no offset from UTC.
    """
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        if len(text) > len("2026-01-01"):
            raise ValueError(f"{text!r} says no offset from UTC")
        read = read.replace(tzinfo=UTC)
    return read.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
