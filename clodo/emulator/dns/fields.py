"""The kinds of fields that records' data is made of: each reads a value, or says why it can't."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import Any

from clodo.emulator.dns import names

#: Reads a value; raises ValueError with what it must be.
Kind = Callable[[Any], Any]


def number(low: int, high: int) -> Kind:
    """Return a reader of whole numbers between two bounds, written as number or digits."""

    def read(value: Any) -> int:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
            value = int(value)
        if isinstance(value, float) and math.isfinite(value) and value == int(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a number between {low} and {high}")
        return value

    return read


def decimal(low: float, high: float) -> Kind:
    """Return a reader of numbers between two bounds, whole ones without a point."""

    def read(value: Any) -> int | float:
        if isinstance(value, str):
            try:
                value = float(value.removesuffix("m"))
            except ValueError:
                value = math.nan
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"must be a number between {low:g} and {high:g}")
        return int(value) if value == int(value) else value

    return read


def text(value: Any) -> str:
    """Read a string of a line."""
    if not isinstance(value, str) or len(value) > 4096 or any(ord(letter) < 32 for letter in value):
        raise ValueError("must be a line of text")
    return value


def word(value: Any) -> str:
    """Read letters and digits."""
    if not isinstance(value, str) or not re.match(r"^[A-Za-z0-9]{1,32}$", value):
        raise ValueError("must be a word")
    return value


def host(value: Any) -> str:
    """Read a hostname; the dot at the end goes."""
    name = names.hostname(value)
    if name is None:
        raise ValueError("must be a hostname")
    return name


def host_as_written(value: Any) -> str:
    """Read a hostname and leave a dot at its end, as HTTPS and SVCB records do (observed by octoDNS)."""
    name = host(value)
    return name + "." if name != "." and str(value).strip().endswith(".") else name


def hexadecimal(value: Any) -> str:
    """Read hex digits; blanks go."""
    digits = re.sub(r"\s", "", value) if isinstance(value, str) else ""
    if not re.match(r"^([0-9A-Fa-f]{2})+$", digits) or len(digits) > 4096:
        raise ValueError("must be hex digits")
    return digits


def encoded(value: Any) -> str:
    """Read Base64; blanks go."""
    letters = re.sub(r"\s", "", value) if isinstance(value, str) else ""
    try:
        if not letters or len(letters) > 8192 or not letters.isascii():
            raise ValueError
        base64.b64decode(letters, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError("must be Base64") from error
    return letters


def one_of(*choices: str) -> Kind:
    """Return a reader of one of several words."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value.upper() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value.upper()

    return read
