"""How hard a secret is to guess: an estimate from its letters, with what people like to type taken for one letter."""

from __future__ import annotations

import math
import re
from collections import Counter

# What guessers try first. Each counts as a single letter, wherever it stands.
COMMON_WORDS = (
    "correct",
    "horse",
    "battery",
    "staple",
    "password",
    "passwort",
    "secret",
    "admin",
    "letmein",
    "welcome",
    "qwertyuiop",
    "qwerty",
    "asdfgh",
    "changeme",
    "default",
    "development",
    "production",
    "staging",
    "example",
    "dummy",
    "token",
    "super",
    "test",
    "login",
    "master",
    "jwt",
    "key",
    "please",
    "my",
)
_WORDS = re.compile("|".join(sorted(COMMON_WORDS, key=len, reverse=True)), re.IGNORECASE)
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


def estimated_bits(secret: str) -> float:
    """
    Return about how many bits of surprise *secret* holds.

    Never more than Shannon's entropy of its letters; common words, repetitions and runs such as ``abcd`` and ``4321``
    count as one letter. An estimate from above: a secret that is found weak is weak.
    """
    reduced = _without_runs(_WORDS.sub("\0", secret))
    if not reduced:
        return 0.0
    size = len(reduced)
    by_letter = -sum(count / size * math.log2(count / size) for count in Counter(reduced).values())
    return by_letter * size


def key_bytes(secret: str) -> int:
    """Return how many bytes of key *secret* stands for: decoded where it is hex or base64, else its UTF-8."""
    size = len(secret.encode())
    if _HEX.fullmatch(secret):
        return size // 2
    # Only what has both cases and digits is taken for base64: a phrase is its own bytes.
    if _BASE64.fullmatch(secret) and re.search("[a-z]", secret) and re.search("[A-Z]", secret):
        return len(secret.rstrip("=")) * 3 // 4
    return size


def _without_runs(text: str) -> str:
    """Return *text* with each run of equal, rising or falling letters shortened to its first letter."""
    kept: list[str] = []
    at = 0
    while at < len(text):
        end = _end_of_run(text, at)
        kept.append(text[at])
        at = end
    return "".join(kept)


def _end_of_run(text: str, start: int) -> int:
    longest = start + 1
    for step in (0, 1, -1):
        end = start + 1
        while end < len(text) and ord(text[end]) - ord(text[end - 1]) == step:
            end += 1
        if end - start >= 3:
            longest = max(longest, end)
    return longest
