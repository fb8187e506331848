"""
The stable hash behind percent rollouts: the same in Python and in the Worker's `flags.mjs`.

FNV-1a over the UTF-8 bytes, then MurmurHash3's finaliser, since FNV's upper bits alone mix too little for short ids.

Source:
    http://www.isthe.com/chongo/tech/comp/fnv/ and https://github.com/aappleby/smhasher (MurmurHash3.cpp, fmix32)
"""

from __future__ import annotations

BUCKETS = 10_000
"""A percentage has two decimals."""
_MASK = 0xFFFFFFFF


def stable_hash(text: str) -> int:
    """Return 32 bits that depend on every byte of *text*; a lone surrogate counts as U+FFFD, as in JavaScript."""
    value = 0x811C9DC5
    for byte in text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode():
        value = ((value ^ byte) * 0x01000193) & _MASK
    value ^= value >> 16
    value = (value * 0x85EBCA6B) & _MASK
    value ^= value >> 13
    value = (value * 0xC2B2AE35) & _MASK
    return value ^ (value >> 16)


def bucket_of(flag: str, subject: str) -> int:
    """
    Return the bucket, 0 to 9,999, that *subject* (a user's id, say) falls into for *flag*.

    Each flag deals its subjects anew, so that the same people aren't the first for everything.
    """
    return stable_hash(f"{flag}\0{subject}") * BUCKETS >> 32
