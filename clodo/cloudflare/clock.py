"""Time and chance as values, so that no test sleeps and every wait can be replayed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """
    What a client knows of time and chance.

    Attributes:
        monotonic: Seconds that never go back, from an arbitrary start.

        now: The date in UTC, to read dates that Cloudflare sends.

        sleep: Wait this many seconds.

        jitter: A number from 0 to 1, so that many clients don't repeat at the same moment.
    """

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = _utc_now
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random


SYSTEM_CLOCK = Clock()
