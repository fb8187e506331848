"""Edits that hold only if what follows them works: written, and taken back when it fails or the process dies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from clodo.workspace.editing.files import FileEdit, apply, undo
from clodo.workspace.editing.interrupted import remembered


@contextlib.contextmanager
def applied(edits: Iterable[FileEdit], *, state_dir: Path | None = None) -> Iterator[None]:
    """
    Write *edits*, all or none, and take them back when the body raises; when the process dies, the next edit does.

    Args:
        state_dir: The workspace's ``.clodo``, where is remembered what a killed process can't take back itself.

    Raises:
        PlanIsStale: A file is not what it was when its edit was made; nothing was written.

        LockHeld: Somebody else is editing this workspace's files.

        UndoIncomplete: The body failed, and somebody changed one of the files in the meantime.
    """
    wanted = tuple(edits)
    with remembered(wanted, state_dir) if state_dir is not None else contextlib.nullcontext():
        written = apply(wanted)
        try:
            yield
        except BaseException as error:
            undo(written, cause=error)
            raise
