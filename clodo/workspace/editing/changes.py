"""The three things that can happen to a file's values; everything else is made of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clodo.workspace.documents import KeyPath


@dataclass(frozen=True, slots=True)
class Put:
    """Give the key at *path* a value, whether it has one or not; tables above it are made."""

    path: KeyPath
    value: Any


@dataclass(frozen=True, slots=True)
class Append:
    """Add *value* at the end of the list at *path*, which is made when it isn't there."""

    path: KeyPath
    value: Any


@dataclass(frozen=True, slots=True)
class Remove:
    """Take away the key or the list's item at *path*, which is there."""

    path: KeyPath


Change = Put | Append | Remove


def changed(data: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """Return *data* after *change*: what the edited file must say."""
    result: dict[str, Any] = copy.deepcopy(dict(data))
    *above, last = change.path
    if isinstance(change, Remove):
        del value_at(result, tuple(above))[last]
        return result
    parent: Any = result
    for step in above:
        # JSON's null is as good as nothing, to wrangler too.
        if isinstance(step, str) and parent.get(step) is None:
            parent[step] = {}
        parent = parent[step]
    if isinstance(change, Append):
        parent[last] = [*(parent.get(last) or []), change.value]
    else:
        parent[last] = change.value
    return result


def value_at(data: Any, path: KeyPath) -> Any:
    """Return the value at *path*, which is there."""
    for step in path:
        data = data[step]
    return data
