"""API tokens in the operating system's keyring: a block then holds only where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clodo.errors import BadConfiguration, ToolchainMissing

if TYPE_CHECKING:
    from types import ModuleType

SERVICE = "clodo"
MARK = "keyring:"


def is_reference(text: str) -> bool:
    """Whether *text* says where a token is, instead of being one."""
    return text.startswith(MARK)


def resolve_token(text: str) -> str:
    """
    Return the token that *text* is, or that it names in the keyring.

    Raises:
        BadConfiguration: The keyring has no such token, or this machine has no keyring.

        ToolchainMissing: The keyring library is not installed.
    """
    if not is_reference(text):
        return text
    name = text.removeprefix(MARK)
    library = _library()
    try:
        found = library.get_password(SERVICE, name)
    except library.errors.KeyringError as error:
        raise _no_keyring() from error
    if not found:
        raise BadConfiguration(
            f'the keyring has no token called "{name}"', hint=f"Save it: `clodo secrets token {name} --keyring`."
        )
    return str(found)


def keep_token(name: str, token: str) -> str:
    """
    Save *token* in the keyring and return the reference to it.

    Raises:
        BadConfiguration: This machine has no keyring.

        ToolchainMissing: The keyring library is not installed.
    """
    library = _library()
    try:
        library.set_password(SERVICE, name, token)
    except library.errors.KeyringError as error:
        raise _no_keyring() from error
    return f"{MARK}{name}"


def _no_keyring() -> BadConfiguration:
    return BadConfiguration(
        "this machine has no keyring that can be used", hint="Unlock it, or keep the token in the Prefect block."
    )


def _library() -> ModuleType:
    try:
        import keyring
        import keyring.errors
    except ImportError as error:
        raise ToolchainMissing(
            "the keyring library is not installed", hint="Install it with `uv add 'clodo[keyring]'`."
        ) from error
    return keyring
