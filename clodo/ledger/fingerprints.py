"""Keyed fingerprints: tell whether secrets changed without keeping them; the key is a file beside the ledger, never in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def load_key(workspace: Path) -> bytes:
    """
    Return the workspace's fingerprint key, made when it is first asked for.

    It lives in ``.clodo/fingerprint.key`` under *workspace*, readable by its owner only. Two processes that ask at once get the same key.

    Raises:
        LedgerUnavailable: The file can't be read or written, or isn't a key.
        NoSpaceLeft: The disk is full.
    """
    raise NotImplementedError


def fingerprint(key: bytes, secrets: Mapping[str, str]) -> str:
    """Return the HMAC-SHA256 of names and values, as 64 hex digits; the order of names doesn't matter."""
    raise NotImplementedError
