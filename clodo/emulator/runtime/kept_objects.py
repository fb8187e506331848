"""Folders in which Durable Objects keep what they have: looked through, and moved from script to script."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_OBJECT_ID = re.compile(r"^[0-9a-f]{64}\Z")


def folder_of(objects: Path, account_id: str, script: str) -> Path:
    """Return where the Durable Objects of a script keep their data."""
    return objects / account_id / script


def kept_in(objects: Path, account_id: str, script: str, unique_key: str) -> list[str]:
    """Return the ids of the objects of one class that keep something."""
    folder = folder_of(objects, account_id, script) / unique_key
    return sorted(path.stem for path in folder.glob("*.sqlite") if _OBJECT_ID.match(path.stem))


def move(objects: Path, unique_key: str, source: tuple[str, str], target: tuple[str, str]) -> None:
    """Give what the objects of one class keep to another script; nothing happens if they keep nothing."""
    kept, folder = folder_of(objects, *source) / unique_key, folder_of(objects, *target)
    if kept.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept.rename(folder / unique_key)


def settle(objects: Path, owners: Mapping[str, tuple[str, str]]) -> None:
    """
    Complete moves that a kill cut off between the database's change and the folder's.

    Args:
        owners: Account and script by key: what the database says.
    """
    for folder in objects.glob("*/*/*"):
        found = folder.parent.parent.name, folder.parent.name
        owner = owners.get(folder.name)
        if owner is not None and owner != found and not (folder_of(objects, *owner) / folder.name).exists():
            move(objects, folder.name, found, owner)
