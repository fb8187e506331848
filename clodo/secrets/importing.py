"""Secrets that come through a pipe: env files and JSON."""

from __future__ import annotations

import json
import re
from io import StringIO

from dotenv.parser import parse_stream

from clodo.errors import BadConfiguration

NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
MAX_SECRET_BYTES = 5 * 1024
"""Cloudflare's limit for one secret: https://developers.cloudflare.com/workers/platform/limits/"""


def parse_secrets(text: str) -> dict[str, str]:
    """
    Return names and values from an env file's text, or from a JSON object of strings.

    Raises:
        BadConfiguration: Neither; a line, a name or a value is no good. Values are never quoted.
    """
    text = text.removeprefix("\ufeff")
    found = _from_json(text) if text.lstrip().startswith("{") else _from_env(text)
    if not found:
        raise BadConfiguration("standard input: no secrets in it", hint="Pipe NAME=value lines or a JSON object in.")
    for name, value in found.items():
        if not NAME.fullmatch(name):
            raise BadConfiguration(f"standard input: {name!r} can't be the name of a secret")
        if not value:
            raise BadConfiguration(f"standard input: {name} is empty")
        size = len(value.encode())
        if size > MAX_SECRET_BYTES:
            raise BadConfiguration(
                f"standard input: {name} has {size:,} bytes, over the {MAX_SECRET_BYTES:,} of a secret"
            )
    return found


def _from_json(text: str) -> dict[str, str]:
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise BadConfiguration(f"standard input:{line}: not JSON") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if not isinstance(value, str):
            raise BadConfiguration(f"standard input: the value of {name} is not text")
        if name in found:
            raise BadConfiguration(f"standard input: {name} is there twice")
        found[name] = value
    return found


def _from_env(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        said = binding.original.string
        line = binding.original.line + said[: len(said) - len(said.lstrip())].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            raise BadConfiguration(f"standard input:{line}: not a line like NAME=value")
        if binding.key is None:
            continue
        if binding.key in found:
            raise BadConfiguration(f"standard input:{line}: {binding.key} is there twice")
        found[binding.key] = binding.value or ""
    return found
