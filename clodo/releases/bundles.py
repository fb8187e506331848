"""Comparing what would be uploaded with code that wrangler bundled from the service's own folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clodo.wrangler.uploads import Module

_SOURCE_MAP = "application/source-map"
_JAVASCRIPT = ("application/javascript+module", "application/javascript")
# Where esbuild writes a source's path: in a comment before its code, and as the label of a module that runs lazily.
_NAMED = re.compile(rb'^(// |  ")([^"\n]+)("\(.*|)$', re.MULTILINE)


def is_same_code(theirs: Mapping[str, bytes], ours: Sequence[Module], *, ours_from: Path, theirs_from: Path) -> bool:
    """
    Say whether two uploads have the same code, though each names its sources from the folder of its config.

    Args:
        theirs: Name to content, as the account gives it.

        ours_from: The folder of the config that *ours* was bundled with, absolute.

        theirs_from: The service's folder, from which everybody else deploys, absolute.
    """
    maps = {item.name for item in ours if item.content_type == _SOURCE_MAP}
    live = {name: content for name, content in theirs.items() if name not in maps}
    plain = {item.name: item.content for item in ours if item.content_type != _SOURCE_MAP}
    seen_from_there = {
        item.name: seen_from(item.content, ours_from, theirs_from) if item.content_type in _JAVASCRIPT else item.content
        for item in ours
        if item.content_type != _SOURCE_MAP
    }
    return live in (plain, seen_from_there)


def seen_from(code: bytes, here: Path, there: Path) -> bytes:
    """Return bundled *code* with the sources that it names from the folder *here* named from the folder *there*."""
    return _NAMED.sub(partial(_renamed, here, there), code)


def _renamed(here: Path, there: Path, found: re.Match[bytes]) -> bytes:
    before, name, after = found.groups()
    if bool(after) != (before != b"// "):
        return found.group()
    path = os.path.normpath(here / name.decode("utf-8", "surrogateescape"))
    # Anything else that looks like it, a line of somebody's text for one, names no file.
    if not Path(path).is_file():
        return found.group()
    return bytes(before + os.fsencode(os.path.relpath(path, there)) + after)
