"""
Keys that customers bring along (SSE-C): bytes are on disk encrypted, and the key is kept nowhere.

AES-256 in counter mode, begun at a number that is the file's name, so that any range can be read by itself.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from clodo.emulator.r2.errors import (
    ACCESS_DENIED,
    ENCRYPTION_NOT_APPLICABLE,
    KEY_DIFFERS_FROM_UPLOADS,
    KEY_OF_OBJECT_NEEDED,
    KEY_OF_UPLOAD_NEEDED,
    R2Refused,
)

KEY_BYTES = 32
_BLOCK_BYTES = 16


@dataclass(frozen=True, slots=True)
class CustomerKey:
    """The 32 bytes with which an object is encrypted."""

    raw: bytes = field(repr=False)

    @property
    def md5(self) -> str:
        """What tells keys apart, in hex: all that is kept of one."""
        return hashlib.md5(self.raw, usedforsecurity=False).hexdigest()

    def cipher(self, file: str, offset: int = 0) -> CipherContext:
        """
        Return what encrypts or decrypts a file's bytes from *offset* on.

        Args:
            file: Its name, 32 hex digits, that no other file ever has.
        """
        blocks, within = divmod(offset, _BLOCK_BYTES)
        counter = (int(file, 16) + blocks) % (1 << 128)
        context = Cipher(AES256(self.raw), CTR(counter.to_bytes(_BLOCK_BYTES, "big"))).encryptor()
        context.update(bytes(within))
        return context

    def fits(self, md5: str) -> bool:
        """Say whether *md5* is this key's."""
        return hmac.compare_digest(self.md5, md5)


def raise_if_unreadable(md5: str | None, key: CustomerKey | None) -> None:
    """
    Refuse to read an object with another key than its own, or with one that has none.

    Args:
        md5: Of the object's key.

    Raises:
        R2Refused: 400 without the key that is needed or with one that isn't, 403 with a wrong one.
    """
    if md5 is None and key is not None:
        raise R2Refused(ENCRYPTION_NOT_APPLICABLE)
    if md5 is not None and key is None:
        raise R2Refused(KEY_OF_OBJECT_NEEDED)
    if md5 is not None and key is not None and not key.fits(md5):
        raise R2Refused(ACCESS_DENIED)


def raise_if_other_uploads(md5: str | None, key: CustomerKey | None) -> None:
    """
    Refuse a part with another key than its upload was begun with.

    Args:
        md5: Of the upload's key.

    Raises:
        R2Refused: 400.
    """
    if md5 is None and key is not None:
        raise R2Refused(ENCRYPTION_NOT_APPLICABLE)
    if md5 is not None and key is None:
        raise R2Refused(KEY_OF_UPLOAD_NEEDED)
    if md5 is not None and key is not None and not key.fits(md5):
        raise R2Refused(KEY_DIFFERS_FROM_UPLOADS)
