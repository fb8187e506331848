"""What a Worker must have to be given a queue's messages."""

from __future__ import annotations

from clodo.emulator.envelope import ApiError
from clodo.emulator.workers.store import Content

HANDLER_MISSING = 11001


def raise_if_handler_missing(content: Content | None) -> None:
    """
    Refuse a consumer that doesn't handle messages.

    Raises:
        ApiError: 11001, as public clients saw it at uploads and at consumers.
    """
    if content is None or "queue" not in content.handlers:
        raise ApiError(
            400,
            HANDLER_MISSING,
            "Queue handler is missing. Please see our docs for more information about creating handlers:"
            " https://developers.cloudflare.com/queues/configuration/javascript-apis/#consumer.",
        )
