"""What a customer may be called, so that folders, sections, Workers and blocks can be called after it."""

from __future__ import annotations

import re

from clodo.errors import BadUsage
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace

MAX_NAME = 30
MAX_WORKER_NAME = 63
"""Beyond it there is no workers.dev hostname, a DNS label.

Source: https://developers.cloudflare.com/workers/configuration/routing/workers-dev/
"""

_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9])*")
_RESERVED = frozenset({"templates", "base", "default"})
_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,62}", re.IGNORECASE)


def raise_if_bad_name(name: str) -> None:
    """
    Refuse what can't be the name of a new customer.

    Raises:
        BadUsage: Letters that a Worker's name can't have, a path, a word with another meaning, or too long.
    """
    hint = "Use lower-case letters, digits and single hyphens between them, such as acme or acme-west."
    if len(name) > MAX_NAME:
        raise BadUsage(f"a customer's name has at most {MAX_NAME} characters, this one {len(name)}", hint=hint)
    if not _NAME.fullmatch(name):
        raise BadUsage(f"{name!r} can't be the name of a customer", hint=hint)
    if name in _RESERVED:
        raise BadUsage(f'"{name}" has another meaning in config/', hint=hint)


def raise_if_taken(workspace: Workspace, name: str, environment: str) -> None:
    """
    Refuse a customer whose section would be another's, or an environment's.

    Raises:
        BadUsage: It says whose.
    """
    section = f"{name}-{environment}"
    if section in workspace.portfolio.environments:
        raise BadUsage(f'"{section}" is an environment of the portfolio', hint="Name the customer otherwise.")
    for settings in workspace.customers:
        other = f"{settings.customer}-{settings.environment}"
        if other == section and (settings.customer, settings.environment) != (name, environment):
            raise BadUsage(
                f'"{section}" is the section of {settings.customer} in {settings.environment}',
                hint="Name the customer otherwise.",
            )


def raise_if_too_long(target: Target, worker: str) -> None:
    """
    Refuse a customer whose Worker could have no hostname.

    Raises:
        BadUsage: The Worker's name is too long.
    """
    if len(worker) > MAX_WORKER_NAME:
        raise BadUsage(
            f'{target}: the Worker would be called "{worker}", {len(worker)} characters of at most {MAX_WORKER_NAME}',
            hint="Choose a shorter name for the customer.",
        )


def domain_of(text: str) -> str:
    """
    Return *text* as a domain name, in lower case.

    Raises:
        BadUsage: It is none.
    """
    domain = text.strip().rstrip(".").lower()
    if not _HOST.fullmatch(domain):
        raise BadUsage(f"{text!r} is no domain name", hint="Write it without https:// and path: acme.example.com.")
    return domain
