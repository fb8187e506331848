"""
Remembers what files held while they are edited, so that an edit whose process died is taken back by the next one.

The memory is one file in the workspace's ``.clodo``, for its owner only, and is gone when the edit is complete.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clodo.errors import LockHeld, UndoIncomplete
from clodo.workspace.editing.files import FileEdit, leftovers_of, read_bytes, replace_file, undo

MEMORY = "edits.json"
_LOCK = "edits.lock"


@contextlib.contextmanager
def remembered(edits: Sequence[FileEdit], state_dir: Path) -> Iterator[None]:
    """
    Remember what the files of *edits* hold for as long as the body runs; first take back what a dead process left.

    Raises:
        LockHeld: Somebody else is editing this workspace's files.

        UndoIncomplete: What a dead process left can't be taken back, because somebody edited it since.
    """
    with _alone(state_dir):
        _take_back(state_dir)
        memory = state_dir / MEMORY
        replace_file(memory, json.dumps([_written(edit) for edit in edits if edit.has_changes]).encode(), mode=0o600)
        try:
            yield
        finally:
            # Whatever ended the body, an error too, the files are complete or were put back by now.
            memory.unlink(missing_ok=True)


def interrupted_files(state_dir: Path) -> tuple[Path, ...]:
    """Return the files of an edit whose process died, or that runs at this moment; empty for none."""
    return tuple(Path(entry["file"]) for entry in _entries(state_dir))


def take_back_interrupted(state_dir: Path) -> tuple[Path, ...]:
    """
    Put back what files held before an edit whose process died; return those files.

    Raises:
        LockHeld: The edit isn't dead.

        UndoIncomplete: Somebody edited one of them since; it stays, and is named.
    """
    if not (state_dir / MEMORY).exists():
        return ()
    with _alone(state_dir):
        return _take_back(state_dir)


def _take_back(state_dir: Path) -> tuple[Path, ...]:
    entries = _entries(state_dir)
    written: list[FileEdit] = []
    foreign: list[str] = []
    for entry in entries:
        file, before = Path(entry["file"]), _decoded(entry["before"])
        now = read_bytes(file)
        for left in leftovers_of(file):
            left.unlink(missing_ok=True)
        if now == before:
            continue
        if _digest(now) != entry["after"]:
            foreign.append(str(file))
            continue
        written.append(FileEdit(file, before, now))
    undo(written)
    for left in (state_dir / MEMORY, *leftovers_of(state_dir / MEMORY)):
        left.unlink(missing_ok=True)
    if foreign:
        raise UndoIncomplete(
            f"An edit was interrupted, and {', '.join(foreign)} was changed since; it stays as it is",
            hint="Compare it with what your version control holds, then run the command again.",
        )
    return tuple(edit.file for edit in written)


def _entries(state_dir: Path) -> list[dict[str, Any]]:
    content = read_bytes(state_dir / MEMORY)
    return [] if content is None else list(json.loads(content))


def _written(edit: FileEdit) -> dict[str, Any]:
    before = None if edit.before is None else base64.b64encode(edit.before).decode()
    return {"file": str(edit.file), "before": before, "after": _digest(edit.after)}


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    descriptor = os.open(state_dir / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld(
                f"{state_dir.parent}: somebody else is editing this workspace's files", hint="Wait until they are done."
            ) from error
        yield
    finally:
        os.close(descriptor)
