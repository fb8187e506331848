"""What a project may be called, and the hostnames of its deployments."""

from __future__ import annotations

import re

from clodo.emulator.envelope import ApiError

INVALID_PROJECT_NAME = 8000015
INVALID_TEXT = 8000003
MAX_TEXT_CHARACTERS = 255

#: "Must begin with a lowercase letter or digit and contain only lowercase letters, digits, and hyphens": the schema.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,56}[a-z0-9])?")
#: Hostnames below this are projects' and their deployments'.
PAGES_DEV = ".pages.dev"
#: Of a branch, in its alias: https://developers.cloudflare.com/pages/configuration/preview-deployments/
MAX_ALIAS_CHARACTERS = 28


def check_project_name(name: object) -> str:
    """
    Return the name of a project.

    Raises:
        ApiError: It can't be one.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ApiError(
            400,
            INVALID_PROJECT_NAME,
            "Invalid project name: it must have 1 to 58 lowercase letters, digits and hyphens, and begin and end with a"
            " letter or digit.",
        )
    return name


def check_text(value: object, what: str) -> str:
    """
    Return a piece of text that can be stored.

    Raises:
        ApiError: It is none, too long, or no Unicode.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_CHARACTERS or "\0" in value:
        raise ApiError(400, INVALID_TEXT, f"{what} must be a text of 1 to {MAX_TEXT_CHARACTERS} characters.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ApiError(400, INVALID_TEXT, f"{what} must be Unicode.") from error
    return value


def branch_alias(branch: str) -> str:
    """Return what stands for a branch in hostnames: lowercase, other characters as hyphens, at most 28."""
    return re.sub(r"[^a-z0-9]+", "-", branch.lower())[:MAX_ALIAS_CHARACTERS].strip("-") or "branch"


def label_and_project(host: str) -> tuple[str, str] | None:
    """Return what a hostname of pages.dev says: a deployment or branch (empty for production), and the project."""
    if not host.endswith(PAGES_DEV):
        return None
    label, _, subdomain = host.removesuffix(PAGES_DEV).rpartition(".")
    return None if "." in label else (label, subdomain)
