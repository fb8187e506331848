"""Tokens of uploads: what wrangler is given instead of an API token to send a project's files."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from clodo.emulator.envelope import ApiError

#: Makes wrangler ask for another token.
UNAUTHORIZED = 8000013
#: Of the real one; wrangler asks anew when it is over.
TOKEN_SECONDS = 5 * 60
#: https://developers.cloudflare.com/pages/platform/limits/#files
MAX_FILES = 20_000


class UploadTokens:
    """
    Makes and reads the tokens.

    Args:
        key: Signs them; the same after a restart, so that an upload survives it.

        now: Seconds since 1970.
    """

    def __init__(self, key: bytes, *, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._now = now

    def make(self, account_id: str) -> str:
        """Return a token for uploading files of this account; wrangler decodes it."""
        issued = int(self._now())
        claims = {
            "account": account_id,
            "iat": issued,
            "exp": issued + TOKEN_SECONDS,
            "max_file_count_allowed": MAX_FILES,
        }
        signed = f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        return f"{signed}.{self._signature(signed)}"

    def account_of(self, token: str) -> str:
        """
        Return whose files the token lets upload.

        Raises:
            ApiError: 401 with 8000013: it isn't one of ours, or its time is over.
        """
        signed, _, signature = token.rpartition(".")
        expected = self._signature(signed).encode()
        if not hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), expected):
            raise ApiError(401, UNAUTHORIZED, "Authorization failed")
        try:
            claims: Any = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
        except (ValueError, binascii.Error) as error:
            raise ApiError(401, UNAUTHORIZED, "Authorization failed") from error
        if claims["exp"] < self._now():
            raise ApiError(401, UNAUTHORIZED, "Expired JWT")
        account_id: str = claims["account"]
        return account_id

    def _signature(self, signed: str) -> str:
        digest = hmac.digest(self._key, signed.encode("utf-8", "surrogateescape"), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _encoded(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()
