"""
Files with a private age key, in clear or protected by a passphrase: made, opened, and their keys read.

Archives themselves are always sealed for public keys: a passphrase on them would let the backing-up machine open them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyrage

from clodo.errors import BadUsage, IdentityMissing

_AGE = b"age-encryption.org/v1\n"
_LARGEST_BYTES = 1 << 20


def write_identity(file: Path, passphrase: str | None = None) -> str:
    """
    Make a private age key, write it to *file*, and return the public one.

    Args:
        passphrase: Protects the file, as ``age -p`` does; in clear without one.

    Raises:
        BadUsage: The file is there already, or can't be written; or the passphrase is empty.
    """
    if passphrase == "":
        raise BadUsage("the passphrase is empty", hint="An identity in clear is made without --passphrase.")
    identity = pyrage.x25519.Identity.generate()
    public = str(identity.to_public())
    content = f"# public key: {public}\n{identity}\n".encode()
    if passphrase is not None:
        content = pyrage.passphrase.encrypt(content, passphrase)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(content)
    except FileExistsError as error:
        raise BadUsage(f"{file} is there already", hint="Name another file; this one may open snapshots.") from error
    except OSError as error:
        raise BadUsage(f"{file}: {error.strerror}") from error
    return public


def read_identity(file: Path, ask: Callable[[str], str] | None) -> str:
    """
    Return the text of an identity file.

    Args:
        ask: Asks for the passphrase of a protected one; None where nobody can be asked.

    Raises:
        BadUsage: It can't be read, or is protected and nobody can be asked.
        IdentityMissing: The passphrase is another one.
    """
    try:
        content = file.read_bytes()[:_LARGEST_BYTES]
        if content.startswith(_AGE):
            content = _opened(file, content, ask)
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"The age identity {file} can't be read", hint="Is it the right file?") from error


def identities(text: str) -> tuple[pyrage.x25519.Identity, ...]:
    """
    Read private keys, one ``AGE-SECRET-KEY-1…`` a line; comments are skipped.

    Raises:
        BadUsage: A line is none.
    """
    lines = [line.strip() for line in text.splitlines()]
    try:
        return tuple(pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#"))
    except pyrage.IdentityError as error:
        raise BadUsage(
            "The age identity can't be read: it holds a line that is no key",
            hint="Keys begin with AGE-SECRET-KEY-1.",
        ) from error


def _opened(file: Path, content: bytes, ask: Callable[[str], str] | None) -> bytes:
    if not content.startswith(_AGE + b"-> scrypt "):
        raise BadUsage(f"The age identity {file} is encrypted for another key", hint="Open it by `age -d` first.")
    if ask is None:
        raise BadUsage(
            f"The age identity {file} is protected by a passphrase, and nobody can be asked for it here",
            hint="Run it on a terminal, or open the file by `age -d` first.",
        )
    try:
        return bytes(pyrage.passphrase.decrypt(content, ask(f"Passphrase of {file}: ")))
    except pyrage.DecryptError as error:
        raise IdentityMissing(
            f"The passphrase does not open {file}", hint="Run it again with the right one; nothing was done."
        ) from error
