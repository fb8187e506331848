"""Signatures: the backing-up machine signs each manifest with a key that it holds; its public half is in the config."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from clodo.errors import BadConfiguration, Failed, SnapshotNotTrusted

PREFIX = "ed25519:"
KEY_FILE = Path("backups") / "signing.key"


class Signer:
    """Signs manifests; the private key never leaves it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def load(cls, state: Path) -> Signer:
        """
        Return the signer of the machine, made when it is first asked for.

        Args:
            state: The workspace's ``.clodo``; the key lies in ``backups/signing.key``, readable by its owner only.

        Raises:
            BadConfiguration: The file is no key.
            Failed: It can't be read or written.
        """
        path = state / KEY_FILE
        try:
            if not path.exists():
                _make_key(path)
            seed = base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
            return cls(Ed25519PrivateKey.from_private_bytes(seed))
        except (ValueError, binascii.Error) as error:
            raise BadConfiguration(
                f"{path}: this is no signing key",
                hint="Put the right file back. A new key makes older snapshots untrusted until `signers` names both.",
            ) from error
        except OSError as error:
            raise Failed(f"{path}: {error.strerror}") from error

    @property
    def public_key(self) -> str:
        """What `signers` in portfolio.toml must name: ``ed25519:`` and Base64."""
        return PREFIX + base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, content: bytes) -> str:
        """Return the signature of *content* in Base64."""
        return base64.b64encode(self._key.sign(content)).decode()

    def keyed(self, purpose: str) -> bytes:
        """Return a key of 32 bytes that only holders of this one can make, for *purpose*."""
        return hmac.digest(self._key.private_bytes_raw(), b"clodo:" + purpose.encode(), "sha256")

    def __repr__(self) -> str:
        return f"Signer({self.public_key!r})"


def public_key(text: str) -> Ed25519PublicKey:
    """
    Read a public key, ``ed25519:…``.

    Raises:
        BadConfiguration: It is none.
    """
    try:
        if not text.startswith(PREFIX):
            raise ValueError("prefix")
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.removeprefix(PREFIX), validate=True))
    except (ValueError, binascii.Error) as error:
        raise BadConfiguration(
            f'"{text[:80]}" is no public signing key', hint="`clodo backup key` shows that of this machine."
        ) from error


def raise_unless_signed(content: bytes, signature: str, signer: str, trusted: Collection[str], *, what: str) -> None:
    """
    Check that one of the *trusted* keys signed *content*.

    Raises:
        SnapshotNotTrusted: The signer is not among them, or the signature is wrong.
    """
    if not trusted:
        raise SnapshotNotTrusted(
            f"{what}: nobody's signature is trusted here, so nothing proves who wrote it",
            hint="Name the backing-up machine's key in `signers` of [backups] in portfolio.toml.",
        )
    if signer not in trusted:
        raise SnapshotNotTrusted(
            f"{what}: it is signed by {signer or 'nobody'}, whom nobody here trusts",
            hint="If that machine is yours, add its key to `signers` of [backups] in portfolio.toml.",
        )
    try:
        public_key(signer).verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, ValueError, binascii.Error) as error:
        raise SnapshotNotTrusted(f"{what}: its signature is wrong: it was changed after it was written") from error


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(base64.b64encode(os.urandom(32)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # A hard link, unlike a rename, never replaces the key that another process made meanwhile.
        with suppress(FileExistsError):
            path.hardlink_to(fresh)
    finally:
        fresh.unlink(missing_ok=True)
