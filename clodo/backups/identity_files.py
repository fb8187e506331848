"""
Reading files with a private age key, in clear or protected by a passphrase; `clodo.backups.archive` writes them.

Archives themselves are always sealed for public keys: a passphrase on them would let the backing-up machine open them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyrage

from clodo.errors import BadUsage, IdentityMissing

_AGE = b"age-encryption.org/v1\n"
_LARGEST_BYTES = 1 << 20


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
