"""When a call is repeated, and after how long: the one place in the house that repeats requests."""

from __future__ import annotations

import structlog
import tenacity

from clodo.cloudflare.budget import Lane
from clodo.cloudflare.clock import Clock
from clodo.errors import CloudflareUnavailable, OutcomeUnknown, RateLimited, TryLater

ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 8.0
# A 429 without Retry-After: Cloudflare's own documentation speaks of up to five minutes, its answers of seconds.
PAUSE_WITHOUT_RETRY_AFTER_SECONDS = 5.0

log = structlog.get_logger("clodo.cloudflare")


def repeating(
    method: str, path: str, *, clock: Clock, lane: Lane, gives_up_at: float, may_repeat: bool
) -> tenacity.Retrying:
    """
    Return what repeats an attempt after passing trouble, as patiently as Cloudflare asks.

    Args:
        gives_up_at: When no further attempt is begun, by the clock's monotonic seconds.

        may_repeat: Also after an attempt whose outcome is unknown.
    """

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
            lane=lane.value,
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
