"""Turns operations on a configuration file into an edit that changes nothing else, and checks that it is one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from clodo.errors import BadConfiguration, BadUsage, Failed
from clodo.workspace.documents import KeyPath, read_document
from clodo.workspace.editing import json_text, toml_text
from clodo.workspace.editing.changes import Change, Put, Remove, changed
from clodo.workspace.editing.files import FileEdit, read_bytes
from clodo.workspace.editing.operations import Operation
from clodo.workspace.jsonc import SyntaxFault
from clodo.workspace.wrangler_config import WranglerConfig

BYTE_ORDER_MARK = "\ufeff"


def edit_config(file: Path, operations: Iterable[Operation], *, content: bytes | None = None) -> FileEdit:
    """
    Return the edit of a wrangler config that *operations* make, in order; write it with `files.applied`.

    Comments, order, indentation, line ends and byte order mark stay. The result was read again: it says what was meant,
    nothing else changed, and wrangler's rules take it as well as before.

    Args:
        content: What the file holds, when it was read before; None to read it.

    Raises:
        BadConfiguration: The file can't be read or parsed, or would be refused after the edit.

        BadUsage: An operation doesn't fit the file.

        Failed: The file is written in a way that can't be edited without changing more.
    """
    edit = edit_document(file, operations, content=content)
    if edit.has_changes and edit.after is not None:
        _raise_if_refused(edit)
    return edit


def edit_document(file: Path, operations: Iterable[Operation], *, content: bytes | None = None) -> FileEdit:
    """
    Return the edit of any TOML, JSON or JSONC file; as `edit_config`, without wrangler's rules.

    Raises:
        BadConfiguration: The file can't be read or parsed.

        BadUsage: An operation doesn't fit the file.

        Failed: As `edit_config`.
    """
    file = file.absolute()
    before = read_bytes(file) if content is None else content
    if before is None:
        raise BadConfiguration(f"{file}:1: no such file")
    document = read_document(file, content=before)
    original = before.decode("utf-8")
    text, data = document.text, document.data
    for operation in operations:
        try:
            changes = tuple(operation.changes(data))
        except BadUsage as error:
            raise BadUsage(f"{file}: {error.message}", hint=error.hint) from error
        for change in changes:
            text, data = _step(file, text, data, change)
    after = _with_line_ends_of(original, text) if text != document.text else original
    return FileEdit(file, before, after.encode("utf-8"))


def _step(file: Path, text: str, data: Mapping[str, Any], change: Change) -> tuple[str, dict[str, Any]]:
    language = toml_text if file.suffix == ".toml" else json_text
    try:
        wanted = changed(data, change)
        result = language.write(text, change)
        found = language.read(result)
        for path in _vanished(found, wanted, change):
            # In TOML a table that held nothing but tables is gone with the last of them.
            result = language.write(result, Put(path, {}))
            found = language.read(result)
    except (tomllib.TOMLDecodeError, SyntaxFault, KeyError, TypeError, ValueError) as error:
        raise _beyond_us(file, change) from error
    if found != wanted:
        raise _beyond_us(file, change)
    return result, wanted


def _vanished(found: Mapping[str, Any], wanted: Mapping[str, Any], change: Change) -> list[KeyPath]:
    if not isinstance(change, Remove):
        return []
    here: Any = found
    expected: Any = wanted
    for length, step in enumerate(change.path[:-1], start=1):
        expected = expected[step]
        if isinstance(here, Mapping) and step not in here:
            return [change.path[:length]] if expected == {} else []
        here = here[step]
    return []


def _beyond_us(file: Path, change: Change) -> Failed:
    place = ".".join(str(step) for step in change.path)
    return Failed(
        f"{file}: {place} is written in a way that can't be changed without touching more; the file is as it was",
        hint="Make this change by hand.",
    )


def _with_line_ends_of(original: str, text: str) -> str:
    """Give *text* the byte order mark and, line by line, the line ends of *original*; new lines get the usual ones."""
    mark = BYTE_ORDER_MARK if original.startswith(BYTE_ORDER_MARK) else ""
    old = _lines(original.removeprefix(mark))
    count = sum(line.endswith("\r\n") for line in old)
    if count == 0:
        return mark + text
    usual = "\r\n" if count * 2 > len(old) else "\n"
    new = _lines(text)
    if count == sum(line.endswith("\n") for line in old):
        return mark + text.replace("\n", "\r\n")
    ends = ["\r\n" if line.endswith("\r\n") else "\n" for line in old]
    bare = [line.replace("\r\n", "\n") for line in old]
    result = [line.removesuffix("\n") + (usual if line.endswith("\n") else "") for line in new]
    for old_start, new_start, size in SequenceMatcher(None, bare, new, autojunk=False).get_matching_blocks():
        for offset in range(size):
            line = new[new_start + offset]
            if line.endswith("\n"):
                result[new_start + offset] = line.removesuffix("\n") + ends[old_start + offset]
    return mark + "".join(result)


def _lines(text: str) -> list[str]:
    return [line for line in re.split(r"(?<=\n)", text) if line]


def _raise_if_refused(edit: FileEdit) -> None:
    """Refuse an edit after which a section that was fine is refused, such as by two bindings of one name."""
    config = WranglerConfig.from_document(read_document(edit.file, content=edit.after))
    for environment in (None, *config.environments):
        try:
            config.for_environment(environment)
        except BadConfiguration:
            if _was_fine(edit, environment):
                raise


def _was_fine(edit: FileEdit, environment: str | None) -> bool:
    try:
        WranglerConfig.from_document(read_document(edit.file, content=edit.before)).for_environment(environment)
    except BadConfiguration as error:
        return f'has no environment "{environment}"' in error.message
    return True
