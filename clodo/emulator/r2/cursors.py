"""Cursors of listings: where the next page begins, in letters that clients hand back."""

from __future__ import annotations

import base64
import binascii

from clodo.emulator.r2.errors import INVALID_ARGUMENT, R2Refused

_MARK = b"r2"


def write_cursor(after: bytes) -> str:
    """Return a cursor for what comes behind *after*."""
    return base64.urlsafe_b64encode(_MARK + after).decode().rstrip("=")


def read_cursor(cursor: str) -> bytes:
    """
    Return what the page comes behind.

    Raises:
        R2Refused: 400: the cursor is none of ours.
    """
    refusal = R2Refused(INVALID_ARGUMENT.saying("The cursor or continuation token provided is incorrect"))
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise refusal from error
    if not text.startswith(_MARK):
        raise refusal
    return text.removeprefix(_MARK)
