"""Ids that sort by the time they were made."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: no i, l, o, u."""

RELEASE_ID_LENGTH = 27
"""Characters; with a dot and a SHA-256 in hex (64) it stays under the 100 bytes of a version's tag."""


def new_identifier(
    prefix: str = "", *, now: datetime | None = None, random: Callable[[int], bytes] = secrets.token_bytes
) -> str:
    """Make a time-sortable id: *prefix*, 10 characters of milliseconds, 16 of randomness (a ULID in lower case)."""
    moment = now or datetime.now(UTC)
    milliseconds = int(moment.timestamp() * 1000)
    number = (milliseconds << 80) | int.from_bytes(random(10), "big")
    return prefix + "".join(ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def new_release_id(*, now: datetime | None = None, random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Make the id of a release: ``r`` and 26 characters, unique, sorted by time."""
    return new_identifier("r", now=now, random=random)
