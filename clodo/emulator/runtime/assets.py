"""A version's static files as a folder, which is how workerd takes them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from clodo.emulator.runtime.ports import ScriptInvalid


def compose(files: Mapping[str, Path], folder: Path) -> None:
    """
    Make *folder* hold *files*, by hard links where the file system can, else by copies.

    All or nothing: a folder that is there is whole, and left alone.

    Raises:
        ScriptInvalid: A path leads out of the folder, or is a file's and a folder's at once.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=".composing-", dir=folder.parent))
    try:
        for name, blob in files.items():
            place = half.joinpath(*_parts(name))
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                _link(blob, place)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise ScriptInvalid(f"Asset {name} is in the way of another one") from error
        try:
            half.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            # Somebody else was faster; the content is the same.
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _parts(name: str) -> tuple[str, ...]:
    parts = PurePosixPath(name.lstrip("/")).parts
    if not parts or ".." in parts or "\0" in name:
        raise ScriptInvalid(f"Asset path {name!r} is not allowed")
    return parts


def _link(blob: Path, place: Path) -> None:
    try:
        os.link(blob, place)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(blob, place)
