"""One environment's section of a wrangler config, read value by value; every complaint carries file:line."""

from __future__ import annotations

import datetime
import os.path
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from clodo.errors import BadConfiguration
from clodo.workspace import inheritance
from clodo.workspace.documents import Document, KeyPath

_Value = TypeVar("_Value")

_WORDS: Mapping[type, str] = {
    str: "a string",
    bool: "true or false",
    dict: "a table",
    list: "a list",
    int: "a whole number",
    float: "a number",
}


class Section:
    """
    An environment's values, those that it inherits included.

    Args:
        name: Under ``[env.…]``; None for the top level.
    """

    def __init__(self, document: Document, name: str | None) -> None:
        self.document = document
        self.name = name
        self.folder = document.file.parent
        self.flat = inheritance.flatten(document.data, name)
        self.values = self.flat.values

    @property
    def own(self) -> Mapping[str, Any]:
        """What the section says itself."""
        own: Mapping[str, Any] = self.document.data if self.name is None else self.document.data["env"][self.name]
        return own

    def at(self, key: str, *rest: str | int) -> KeyPath:
        """Return where a value stands, in the section or where it is inherited from."""
        return (*self.flat.origins.get(key, (key,)), *rest)

    def error(self, key: str, *rest: str | int, what: str, hint: str | None = None) -> BadConfiguration:
        """Build the error that says *what* is wrong; the caller raises it."""
        return self.document.error(self.at(key, *rest), what, hint=hint)

    def place(self, key: str, *rest: str | int) -> str:
        """Return ``file:line`` of a value."""
        return self.document.place_of(self.at(key, *rest))

    def take(self, key: str, kind: type[_Value]) -> _Value | None:
        """Return a value of this kind, None when there is none."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, kind):
            raise self.error(key, what=f'"{key}" must be {_WORDS[kind]}, not {word_of(value)}')
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """Return a list of strings; empty when there is none."""
        value = self.take(key, list)
        if value is None:
            return ()
        if not all(isinstance(item, str) for item in value):
            raise self.error(key, what=f'"{key}" must be a list of strings')
        return tuple(value)

    def path(self, key: str) -> Path | None:
        """Return an absolute path, None when there is none."""
        value = self.take(key, str)
        return absolute(self.folder, value) if value else None

    def tables(self, key: str, *inner: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield (index, table) of a list of tables, at *key* or deeper."""
        value: Any = self.values.get(key)
        for step in inner:
            if value is None:
                return
            if not isinstance(value, Mapping):
                raise self.error(key, what=f'"{key}" must be a table, not {word_of(value)}')
            value = value.get(step)
        if value is None:
            return
        name = ".".join((key, *inner))
        if not isinstance(value, list):
            raise self.error(key, *inner, what=f'"{name}" must be a list of tables, not {word_of(value)}')
        for index, item in enumerate(value):
            if not isinstance(item, Mapping):
                raise self.error(key, *inner, index, what=f'each of "{name}" must be a table, not {word_of(item)}')
            yield index, item

    def text(self, item: Mapping[str, Any], name: str, *where: str | int) -> str:
        """Return a string that must be there."""
        value = self.maybe_text(item, name, *where)
        if not value:
            key, *rest = where
            raise self.error(str(key), *rest, what=f'"{_dotted(where)}" lacks "{name}"')
        return value

    def maybe_text(self, item: Mapping[str, Any], name: str, *where: str | int) -> str | None:
        """Return a string, None when it is not there or empty."""
        value = item.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            key, *rest = where
            raise self.error(str(key), *rest, name, what=f'"{name}" must be a string, not {word_of(value)}')
        return value or None


def absolute(folder: Path, text: str) -> Path:
    """Join as wrangler does: no symlink is followed, ``..`` is taken away."""
    return Path(os.path.normpath(folder / text))


def word_of(value: object) -> str:
    """Return what kind of value it is, in a word."""
    if value is None:
        return "null"
    if isinstance(value, datetime.date | datetime.time):
        return "a date"
    return _WORDS.get(type(value), type(value).__name__)


def _dotted(where: Iterable[str | int]) -> str:
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
