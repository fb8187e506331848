"""The files that declare flags: read with places, changed without losing a comment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, JsonValue, ValidationError

from clodo.errors import BadUsage
from clodo.flags.flags import FLAG_NAME_LETTERS, Flag, ServiceFlags, Setting, has_type, is_flag_name
from clodo.workspace.documents import Document, did_you_mean, read_document
from clodo.workspace.editing.changes import Change, Put, Remove
from clodo.workspace.editing.config_edits import edit_document
from clodo.workspace.editing.files import FileEdit

FOLDER = Path("config") / "flags"


def file_of(root: Path, service: str) -> Path:
    """Return where the flags of *service* are declared."""
    return root / FOLDER / f"{service}.toml"


def read_flags(root: Path, service: str) -> ServiceFlags | None:
    """
    Return the flags of *service*; None when it has no file.

    Raises:
        BadConfiguration: The file is broken; the message opens with file:line.
    """
    file = file_of(root, service)
    if not file.is_file():
        return None
    return parse_flags(read_document(file))


def parse_flags(document: Document) -> ServiceFlags:
    """
    Check a file of flags.

    Raises:
        BadConfiguration: An unknown key, a wrong value, a name that can't be one.
    """
    try:
        found = ServiceFlags.model_validate(document.data)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        path = _path_in(document.data, fault["loc"])
        said = str(fault["msg"]).removeprefix("Value error, ")
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            wrong, known = str(fault["loc"][-1]), _keys_beside(fault["loc"])
            raise document.error(
                path, f'unknown key "{wrong}"{did_you_mean(wrong, known)}', hint=f"Known here: {', '.join(known)}."
            ) from None
        raise document.error(
            path, f'"{key}": {said[:1].lower()}{said[1:]}', hint="docs/flags.md has all keys."
        ) from None
    for name in found.flags:
        if not is_flag_name(name):
            raise document.error(("flags", name), f'"{name}" can\'t name a flag', hint=f"Use {FLAG_NAME_LETTERS}.")
    return found


def _keys_beside(loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys that may stand where pydantic found one that may not: at the top, in a flag, or in a setting."""
    sections: Mapping[int, type[BaseModel]] = {1: ServiceFlags, 3: Flag}
    return sorted(sections.get(len(loc), Setting).model_fields)


def services_with_flags(root: Path) -> tuple[str, ...]:
    """Return the services that have a file of flags, by name."""
    return tuple(sorted(file.stem for file in (root / FOLDER).glob("*.toml")))


@dataclass(frozen=True, slots=True)
class SetFlag:
    """
    What `clodo flag set` does to a file of flags; comments, order and formatting stay.

    Attributes:
        environment, customer: Where; neither changes the default.

        percent: Of the subjects that get *value* there; None for all.
    """

    flag: str
    value: JsonValue
    environment: str | None = None
    customer: str | None = None
    percent: float | None = None

    @property
    def where(self) -> tuple[str, str] | None:
        """The section of the flag that is meant; None for its default."""
        if self.customer is not None:
            return "customers", f"{self.customer}@{self.environment}" if self.environment else self.customer
        return ("environments", self.environment) if self.environment is not None else None

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """
        Yield what changes.

        Raises:
            BadUsage: No such flag, a value of another type, or a percentage of a default.
        """
        declared: Mapping[str, Any] = data.get("flags", {})
        if self.flag not in declared:
            raise BadUsage(
                f'no flag is called "{self.flag}"{did_you_mean(self.flag, list(declared))}',
                hint="Declare it there, with type and default, first.",
            )
        wanted = declared[self.flag].get("type")
        if not has_type(self.value, wanted):
            raise BadUsage(f"{self.flag} is of the type {wanted}", hint='Write true, 3, "text" or JSON, as it asks.')
        if self.where is None:
            if self.percent is not None:
                raise BadUsage("a default has no percentage", hint="Name an --environment or a --customer.")
            yield Put(("flags", self.flag, "default"), self.value)
            return
        kind, name = self.where
        place = ("flags", self.flag, kind, name)
        before = declared[self.flag].get(kind, {}).get(name, {})
        yield Put((*place, "value"), self.value)
        if self.percent is not None:
            percent = int(self.percent) if self.percent == int(self.percent) else self.percent
            yield Put((*place, "percent"), percent)
        elif "percent" in before:
            yield Remove((*place, "percent"))


def edit_flags(file: Path, change: SetFlag) -> FileEdit:
    """
    Return the edit of a file of flags; write it with `clodo.workspace.editing.files.apply`.

    Raises:
        BadUsage: As `SetFlag.changes`.

        BadConfiguration: There is no such file, or it is broken, before or after.
    """
    parse_flags(read_document(file))
    edit = edit_document(file, [change])
    parse_flags(read_document(file, content=edit.after))
    return edit


def _path_in(data: Mapping[str, Any], loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    path: list[str | int] = []
    at: Any = data
    for part in loc:
        try:
            at = at[part]
        except (KeyError, IndexError, TypeError):
            break
        path.append(part)
    return tuple(path)
