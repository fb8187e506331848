"""Bytes by their SHA-256: modules of versions and static assets."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Collection
from pathlib import Path


class Blobs:
    """
    A folder of files named by their content.

    A blob is there wholly or not at all: it is written beside its place, flushed to disk and renamed.

    Args:
        folder: Made with mode 0700.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, content: bytes) -> str:
        """Keep *content* and return its SHA-256 in hex."""
        digest = hashlib.sha256(content).hexdigest()
        place = self.path(digest)
        if place.exists():
            return digest
        place.parent.mkdir(mode=0o700, exist_ok=True)
        draft = place.with_name(f".{digest}.{uuid.uuid4().hex}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(place)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        return digest

    def get(self, digest: str) -> bytes:
        """Return the content kept under *digest*."""
        return self.path(digest).read_bytes()

    def path(self, digest: str) -> Path:
        """Return where the blob is, or would be."""
        return self._folder / digest[:2] / digest

    def keep_only(self, digests: Collection[str]) -> int:
        """Delete every other blob, and drafts that a crash left behind; return how many."""
        deleted = 0
        for file in self._folder.glob("*/*"):
            if file.name not in digests:
                file.unlink(missing_ok=True)
                deleted += 1
        return deleted
