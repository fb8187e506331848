"""Keyed fingerprints: say whether secrets changed, without keeping them; the key is a file, never in the ledger."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets as randomness
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from clodo.errors import LedgerUnavailable
from clodo.ledger.database import renamed_file_error

KEY_BYTES = 32
KEY_FILE = Path(".clodo") / "fingerprint.key"


def load_key(workspace: Path) -> bytes:
    """
    Return the workspace's fingerprint key, made when it is first asked for.

    It lives in ``.clodo/fingerprint.key`` under *workspace*, readable by its owner only. Two processes that ask at
    once get the same key.

    Raises:
        LedgerUnavailable: The file can't be read or written, or isn't a key.
        NoSpaceLeft: The disk is full.
    """
    path = workspace / KEY_FILE
    try:
        if not path.exists():
            _make_key(path)
        path.chmod(0o600)
        key = path.read_bytes()
    except OSError as error:
        raise renamed_file_error(error, f"fingerprint key {path}") from error
    if len(key) != KEY_BYTES:
        raise LedgerUnavailable(
            f"fingerprint key {path}: {len(key)} bytes instead of {KEY_BYTES}",
            hint="Remove the file; a new key is made, and every target's secrets count as changed once.",
        )
    return key


def fingerprint(key: bytes, secrets: Mapping[str, str]) -> str:
    """Return the HMAC-SHA256 of names and values, as 64 hex digits; the order of names doesn't matter."""
    text = json.dumps(dict(secrets), sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def fingerprint_of(key: bytes, value: str) -> str:
    """
    Return the keyed fingerprint of one value, whatever its name: ``<8 digits that tell keys apart>:<64 hex digits>``.

    Fingerprints of two keys can't be compared; `is_comparable` tells.
    """
    which = hmac.new(key, b"which key", hashlib.sha256).hexdigest()[:8]
    return f"{which}:{hmac.new(key, b'value:' + value.encode(), hashlib.sha256).hexdigest()}"


def is_comparable(one: str, other: str) -> bool:
    """Whether two fingerprints were made with the same key, so that unequal ones mean unequal values."""
    return one.partition(":")[0] == other.partition(":")[0]


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{randomness.token_hex(8)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(randomness.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A hard link, unlike a rename, never replaces the key that another process made meanwhile.
        with suppress(FileExistsError):
            path.hardlink_to(fresh)
    finally:
        fresh.unlink(missing_ok=True)
