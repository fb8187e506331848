"""Names in DNS: read as people write them, kept as DNS has them."""

from __future__ import annotations

import re

from clodo.emulator.dns.limits import INVALID_NAME, refusal

_LABEL = re.compile(r"^(\*|[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_-])?)$")
MAX_NAME_BYTES = 253


def canonical(text: str) -> str | None:
    """Return a name in lower case and Punycode, without a dot at the end; None if it can't be one."""
    name = text.strip().removesuffix(".").lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    is_name = 0 < len(name) <= MAX_NAME_BYTES and all(_LABEL.match(label) for label in name.split("."))
    return name if is_name else None


def record_name(text: object, zone: str) -> str:
    """
    Return the whole name of a record in *zone*.

    Args:
        text: Whole, or relative to the zone; ``@`` for the zone itself; a dot at the end is allowed.

    Raises:
        ApiError: It is no name.
    """
    if not isinstance(text, str) or not text.strip():
        raise refusal(*INVALID_NAME)
    if text.strip() == "@":
        return zone
    name = canonical(text)
    if name is None:
        raise refusal(*INVALID_NAME)
    if name != zone and not name.endswith("." + zone):
        name = f"{name}.{zone}"
    # A star stands for whole labels, and only the first.
    if len(name) > MAX_NAME_BYTES or "*" in name.split(".", 1)[-1]:
        raise refusal(*INVALID_NAME)
    return name


def hostname(text: object) -> str | None:
    """Return the target of a record, without a dot at the end; ``.`` for the root, None if it is no name."""
    if not isinstance(text, str):
        return None
    if text.strip() == ".":
        return "."
    name = canonical(text)
    return None if name is None or "*" in name else name
