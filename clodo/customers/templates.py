"""
Templates of customers' env files: ``config/templates/base.env``, ``<environment>.env`` and ``customer.env``.

Each says what the ones before it don't, or otherwise: base, then the environment, then the customer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clodo.errors import BadConfiguration
from clodo.workspace.documents import did_you_mean
from clodo.workspace.env_files import EnvFile, read_env

FOLDER = Path("config") / "templates"
BASE = "base"
CUSTOMER = "customer"
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]*)\s*\}\}")
_HALF = re.compile(r"\{\{|\}\}")

DEFAULT: Mapping[str, str] = {
    "CUSTOMER_ID": "{{CUSTOMER_NAME}}",
    "CUSTOMER_DOMAIN": "{{DOMAIN}}",
}
"""What a workspace without templates begins with."""

PLACEHOLDERS = ("CUSTOMER_NAME", "DOMAIN", "ENVIRONMENT", "ZONE_ID", "ACCOUNT_ID", "DATABASE_NAME", "DATABASE_ID")


@dataclass(frozen=True, slots=True)
class Rendered:
    """
    What a new env file says.

    Attributes:
        values: By name, in the templates' order.

        leftovers: Names without a value, because nobody gave what their placeholder stands for, each with that.

        sources: ``file:line`` of each name's template.
    """

    values: Mapping[str, str]
    leftovers: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


def render(root: Path, environment: str, given: Mapping[str, str]) -> Rendered:
    """
    Fill in the templates of the workspace at *root*.

    Args:
        given: Placeholder to value; those of PLACEHOLDERS that are not given are left over.

    Raises:
        BadConfiguration: A template is broken, or has a placeholder that there isn't.
    """
    templates: dict[str, tuple[str, str]] = {name: (text, "default") for name, text in DEFAULT.items()}
    for file in _files(root, environment):
        templates |= {name: (text, file.place_of(name)) for name, text in file.values.items()}
    values: dict[str, str] = {}
    leftovers: dict[str, str] = {}
    for name, (text, place) in templates.items():
        names = _PLACEHOLDER.findall(text)
        _raise_if_unknown(place, text, names)
        open_ones = [placeholder for placeholder in names if placeholder not in given]
        if open_ones:
            leftovers[name] = ", ".join(dict.fromkeys(open_ones))
        else:
            values[name] = _PLACEHOLDER.sub(lambda match: given[match[1]], text)
    return Rendered(values, leftovers, {name: place for name, (_, place) in templates.items()})


def _files(root: Path, environment: str) -> Iterator[EnvFile]:
    for name in dict.fromkeys((BASE, environment, CUSTOMER)):
        file = root / FOLDER / f"{name}.env"
        if file.is_file() or file.is_symlink():
            yield read_env(file)


def _raise_if_unknown(place: str, text: str, names: list[str]) -> None:
    for name in names:
        if name not in PLACEHOLDERS:
            raise BadConfiguration(
                f"{place}: there is no placeholder {{{{{name}}}}}{did_you_mean(name, PLACEHOLDERS)}",
                hint="There are " + ", ".join(f"{{{{{known}}}}}" for known in PLACEHOLDERS) + ".",
            )
    if _HALF.search(_PLACEHOLDER.sub("", text)):
        raise BadConfiguration(f"{place}: holds half a placeholder", hint="Write {{NAME}}, both braces twice.")
