"""
Env files, read as python-dotenv reads them, and changed line by line.

Stricter where python-dotenv guesses: what is no ``NAME=value`` is refused, and so is a name that is given twice.
``${NAME}`` means an earlier value of the same file, never this process's environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from dotenv.variables import Literal, Variable, parse_variables

from clodo.errors import BadConfiguration, BadUsage
from clodo.workspace.documents import read_text
from clodo.workspace.editing.files import FileEdit, read_bytes

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNQUOTED = re.compile(r"[A-Za-z0-9_./:@%+,=?&~-]+")
_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class EnvFile:
    """
    The settings of one env file.

    Attributes:
        file: Absolute path; it need not exist.

        values: By name, in the file's order.

        lines: Line (from 1) of each name.
    """

    file: Path
    values: Mapping[str, str] = field(repr=False)
    lines: Mapping[str, int] = field(repr=False)

    def place_of(self, name: str | None = None) -> str:
        """Return ``file:line`` of a name; of the file's first line when it has no such name."""
        return f"{self.file}:{self.lines.get(name or '', 1)}"

    def error(self, name: str | None, what: str, *, hint: str | None = None) -> BadConfiguration:
        """Build the error that says *what* is wrong at *name*; the caller raises it."""
        return BadConfiguration(f"{self.place_of(name)}: {what}", hint=hint)


def read_env(file: Path) -> EnvFile:
    """
    Read *file*; a byte order mark and CRLF line ends are tolerated.

    Raises:
        BadConfiguration: It can't be read, is half-written, or gives a name twice; the message opens with file:line and
            quotes no value.
    """
    file = file.absolute()
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    for binding in parse_stream(StringIO(read_text(file))):
        line = _line_of(binding)
        if binding.error or (binding.key is not None and binding.value is None):
            raise BadConfiguration(f"{file}:{line}: is no NAME=value", hint="Write one NAME=value on each line.")
        if binding.key is None:
            continue
        if not _NAME.fullmatch(binding.key):
            raise BadConfiguration(
                f'{file}:{line}: "{binding.key}" can\'t be a name', hint="Use letters, digits and _, no digit first."
            )
        if binding.key in values:
            raise BadConfiguration(
                f'{file}:{line}: "{binding.key}" is given twice, first on line {lines[binding.key]}',
                hint="Keep one of the two.",
            )
        values[binding.key] = _resolved(file, line, binding.value or "", values)
        lines[binding.key] = line
    return EnvFile(file, values, lines)


def edit_env(
    file: Path,
    changes: Mapping[str, str | None],
    *,
    renamed: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> FileEdit:
    """
    Return the edit that gives names their values, takes away those of None, and renames; comments and line ends stay.

    Args:
        changes: New names come at the end of the file, in this order.

        renamed: Old name to new; applied first.

        content: What a file that doesn't exist yet begins with; None for nothing.

    Raises:
        BadConfiguration: The file can't be read, or is broken.

        BadUsage: A name or value that no env file can hold.
    """
    file = file.absolute()
    before = read_bytes(file)
    if before is not None:
        read_env(file)
    text = (before or content or b"").decode("utf-8")
    mark = _MARK if text.startswith(_MARK) else ""
    text = text.removeprefix(_MARK)
    ends = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    left = dict(changes)
    written: list[str] = []
    for binding in parse_stream(StringIO(text, newline="")):
        original = binding.original.string
        name = (renamed or {}).get(binding.key or "", binding.key)
        if name != binding.key:
            original = _renamed(original, str(binding.key), str(name))
        if name is None or name not in left:
            written.append(original)
            continue
        value = left.pop(name)
        blank = original[: len(original) - len(original.lstrip())]
        if value is None:
            written.append(blank)
        elif value == binding.value:
            written.append(original)
        else:
            tail = original[len(original.rstrip("\r\n")) :]
            written.append(f"{blank}{_export(original)}{_assignment(name, value)}{tail}")
    result = "".join(written)
    added = [_assignment(name, value) for name, value in left.items() if value is not None]
    if added and result and not result.endswith("\n"):
        result += ends
    result += "".join(line + ends for line in added)
    return FileEdit(file, before, (mark + result).encode("utf-8"))


def write_env(values: Mapping[str, str]) -> str:
    """
    Return *values* as the lines of an env file.

    Raises:
        BadUsage: A name or value that no env file can hold.
    """
    return "".join(f"{_assignment(name, value)}\n" for name, value in values.items())


def _resolved(file: Path, line: int, text: str, earlier: Mapping[str, str]) -> str:
    parts: list[str] = []
    for atom in parse_variables(text):
        if isinstance(atom, Literal):
            parts.append(atom.value)
        elif isinstance(atom, Variable):
            if atom.name not in earlier and atom.default is None:
                raise BadConfiguration(
                    f"{file}:{line}: ${{{atom.name}}} is not given above in this file",
                    hint="Write it above, or give it a default: ${NAME:-value}.",
                )
            parts.append(atom.resolve(earlier))
    return "".join(parts)


def _line_of(binding: Binding) -> int:
    """Return the line of the name itself; the parser counts from the blank lines before it."""
    text = binding.original.string
    return int(binding.original.line) + text[: len(text) - len(text.lstrip())].count("\n")


def _renamed(original: str, old: str, new: str) -> str:
    return re.sub(rf"(?<![A-Za-z0-9_])['\"]?{re.escape(old)}['\"]?(?=\s*=)", new, original, count=1)


def _export(original: str) -> str:
    found = re.match(r"\s*(export[^\S\r\n]+)", original)
    return found[1] if found else ""


def _assignment(name: str, value: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadUsage(f'"{name}" can\'t be the name of a setting', hint="Use letters, digits and _, no digit first.")
    if any(letter in value for letter in "\r\n\0") or (not value.isprintable() and value):
        raise BadUsage(f"the value of {name} holds what is no text on one line")
    if not value or _UNQUOTED.fullmatch(value):
        return f"{name}={value}"
    if "${" in value:
        raise BadUsage(f"the value of {name} holds ${{…}}, which would mean another setting")
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{escaped}'"
