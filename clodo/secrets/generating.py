"""New secrets, from the system's randomness, each in the form that its kind is used in."""

from __future__ import annotations

import base64
import random
import re
import string
from enum import StrEnum
from typing import Protocol

from clodo.errors import BadUsage

PASSWORD_LETTERS = 28
DATABASE_LETTERS = 40
KEY_BYTES = 32
SYMBOLS = "!#%*+-.:=?@_~"
"""Those that no shell, URL or connection string minds much."""
_PREFIX = re.compile(r"[A-Za-z0-9_-]{0,32}")


class SecretKind(StrEnum):
    """What a secret is for."""

    JWT = "jwt"
    API = "api"
    PASSWORD = "password"  # noqa: S105 -- a kind, no password
    DATABASE = "database"
    WEBHOOK = "webhook"


class Randomness(Protocol):
    """Where chance comes from; `random.SystemRandom` is one."""

    def randbytes(self, n: int, /) -> bytes:
        """Return *n* bytes."""

    def choice(self, seq: str, /) -> str:
        """Return one letter of *seq*."""

    def shuffle(self, x: list[str], /) -> None:
        """Put *x* into another order."""


SYSTEM = random.SystemRandom()


def generate(kind: SecretKind, *, prefix: str = "", randomness: Randomness = SYSTEM) -> str:
    """
    Return a new secret.

    ``jwt``: 512 bits in base64url, enough for HS512. ``api``: 256 bits in base64url after *prefix* and ``_``.
    ``password``: 28 letters, digits and symbols, at least one of each. ``database``: 40 letters and digits, which need
    no escaping in a URL. ``webhook``: ``whsec_`` and 256 bits in base64, as the Standard Webhooks have it.

    Raises:
        BadUsage: A prefix for another kind than ``api``, or one with other letters than A-Z, a-z, 0-9, - and _.

    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    if prefix and kind is not SecretKind.API:
        raise BadUsage(f"a secret of kind {kind} has no prefix", hint="Leave out --prefix, or say --kind api.")
    if not _PREFIX.fullmatch(prefix):
        raise BadUsage("a prefix has up to 32 letters, digits, - and _")
    match kind:
        case SecretKind.JWT:
            return _base64url(randomness.randbytes(2 * KEY_BYTES))
        case SecretKind.API:
            key = _base64url(randomness.randbytes(KEY_BYTES))
            return f"{prefix.rstrip('_')}_{key}" if prefix else key
        case SecretKind.PASSWORD:
            return _password(randomness)
        case SecretKind.DATABASE:
            return "".join(randomness.choice(string.ascii_letters + string.digits) for _ in range(DATABASE_LETTERS))
        case SecretKind.WEBHOOK:
            return "whsec_" + base64.b64encode(randomness.randbytes(KEY_BYTES)).decode()


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _password(randomness: Randomness) -> str:
    classes = (string.ascii_lowercase, string.ascii_uppercase, string.digits, SYMBOLS)
    letters = [randomness.choice(letters) for letters in classes]
    letters += [randomness.choice("".join(classes)) for _ in range(PASSWORD_LETTERS - len(letters))]
    randomness.shuffle(letters)
    return "".join(letters)
