"""
A configuration file as values plus the line each of them stands on.

Next door: `toml_lines` finds lines in TOML, `jsonc` reads JSON with comments.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from clodo.errors import BadConfiguration
from clodo.workspace import jsonc, toml_lines

KeyPath = tuple[str | int, ...]
MAX_FILE_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Document:
    """
    The values of one configuration file, and where they stand.

    Attributes:
        file: Absolute path.

        data: The whole file as plain dicts, lists and scalars.

        lines: Line (from 1) of each key path, ``("d1_databases", 0, "binding")``.

        text: The file as it was read, without a byte order mark.

        elsewhere: ``file:line`` of those key paths that another file says (see `clodo.workspace.layouts`).
    """

    file: Path
    data: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(repr=False)
    text: str = field(default="", repr=False)
    elsewhere: Mapping[KeyPath, str] = field(default_factory=dict, repr=False)

    def line_of(self, path: Sequence[str | int]) -> int:
        """Return the line of *path*, or of its nearest ancestor that has one; 1 when none has."""
        at = tuple(path)
        while at:
            if at in self.lines:
                return self.lines[at]
            at = at[:-1]
        return 1

    def place_of(self, path: Sequence[str | int]) -> str:
        """Return ``file:line`` of *path*."""
        at = tuple(path)
        while at and self.elsewhere and at not in self.lines:
            if at in self.elsewhere:
                return self.elsewhere[at]
            at = at[:-1]
        return f"{self.file}:{self.line_of(path)}"

    def error(self, path: Sequence[str | int], what: str, *, hint: str | None = None) -> BadConfiguration:
        """Build the error that says *what* is wrong at *path*; the caller raises it."""
        return BadConfiguration(f"{self.place_of(path)}: {what}", hint=hint)


def read_document(file: Path, *, content: bytes | None = None) -> Document:
    """
    Read a TOML, JSON or JSONC file with the line of every key.

    A byte order mark and CRLF line ends are tolerated.

    Args:
        content: What the file holds, when it was read before or is about to be written; None to read it.

    Raises:
        BadConfiguration: The file can't be read or parsed; the message opens with file:line.
    """
    text = _decode(file, _read(file) if content is None else content)
    if file.suffix == ".toml":
        return _read_toml(file, text)
    return _read_json(file, text)


def read_text(file: Path) -> str:
    """
    Read a text file of the user's; a byte order mark is left out, CRLF becomes a newline.

    Raises:
        BadConfiguration: It can't be read, is larger than MAX_FILE_BYTES, or is not UTF-8.
    """
    return _decode(file, _read(file))


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return the most similar of *names*, or None when none is close."""
    return _nearest(name, tuple(names))


@lru_cache(maxsize=1024)
def _nearest(name: str, names: tuple[str, ...]) -> str | None:
    # Comparing with a hundred keys takes milliseconds, and a fleet makes the same mistake in every config.
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return close[0]
    # "prod" is meant for "production", however much is missing.
    longer = [other for other in names if len(name) >= 3 and other.startswith(name)]
    return longer[0] if len(longer) == 1 else None


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Return `` (did you mean "x"?)`` for the most similar name, or an empty string."""
    close = nearest(name, names)
    return f' (did you mean "{close}"?)' if close else ""


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise BadConfiguration(f"{file}:1: no such file") from error
    except OSError as error:
        raise BadConfiguration(
            f"{file}:1: can't be read ({error.strerror})", hint="Check the file's permissions."
        ) from error


def _decode(file: Path, content: bytes) -> str:
    if len(content) > MAX_FILE_BYTES:
        raise BadConfiguration(
            f"{file}:1: is {len(content):,} bytes, over the limit of {MAX_FILE_BYTES:,} for a configuration file"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadConfiguration(f"{file}:{line}: is not UTF-8 text", hint="Save the file as UTF-8.") from error
    return text.replace("\r\n", "\n")


def _read_toml(file: Path, text: str) -> Document:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, what = toml_lines.locate(error, text)
        raise BadConfiguration(f"{file}:{line}: {what}", hint="Correct the TOML syntax on that line.") from error
    except RecursionError as error:
        raise BadConfiguration(f"{file}:1: values are nested too deeply") from error
    return Document(file, data, toml_lines.find(text), text)


def _read_json(file: Path, text: str) -> Document:
    try:
        data, lines = jsonc.parse(text)
    except jsonc.SyntaxFault as fault:
        raise BadConfiguration(
            f"{file}:{fault.line}: {fault.what}", hint="Correct the JSON syntax on that line."
        ) from fault
    if not isinstance(data, dict):
        raise BadConfiguration(f"{file}:1: must hold an object, {{…}}")
    return Document(file, data, lines, text)
