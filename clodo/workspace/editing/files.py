"""
Several files' edits at once: shown as a diff, written atomically, taken back when a later step fails.

Next door: `config_edits` turns operations on a wrangler config into an edit, `interrupted` takes back what a killed
process left.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import glob
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clodo.errors import BadConfiguration, Failed, NoSpaceLeft, PlanIsStale, UndoIncomplete

_NEW = ".clodo-new"
_STALE = "Somebody else edited it; run the command again to see the change on top of theirs."


@dataclass(frozen=True, slots=True)
class FileEdit:
    """
    What one file held when it was read, and what it shall hold.

    Attributes:
        file: Absolute path.

        before: None when there was no such file.

        after: None to take the file away.
    """

    file: Path
    before: bytes | None = field(repr=False)
    after: bytes | None = field(repr=False)

    @property
    def has_changes(self) -> bool:
        """Whether anything would be written."""
        return self.before != self.after

    def diff(self, root: Path | None = None) -> str:
        """Return the change as a unified diff, file names relative to *root*; empty when nothing changes."""
        name = str(self.file.relative_to(root) if root and self.file.is_relative_to(root) else self.file)
        lines = difflib.unified_diff(
            _lines(self.before),
            _lines(self.after),
            "/dev/null" if self.before is None else f"a/{name}",
            "/dev/null" if self.after is None else f"b/{name}",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def edit_of(file: Path, after: bytes | None) -> FileEdit:
    """
    Read what *file* holds now and say what it shall hold.

    Raises:
        BadConfiguration: It can't be read.
    """
    return FileEdit(file.absolute(), read_bytes(file), after)


def read_bytes(file: Path) -> bytes | None:
    """
    Return what *file* holds; None when there is no such file.

    Raises:
        BadConfiguration: It can't be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadConfiguration(
            f"{file}:1: can't be read ({error.strerror})", hint="Check the file's permissions."
        ) from error


def apply(edits: Iterable[FileEdit]) -> tuple[FileEdit, ...]:
    """
    Write *edits*, all or none; return those that changed something.

    Raises:
        PlanIsStale: A file is not what it was when its edit was made; nothing was written.

        BadConfiguration: A file may not be written.

        NoSpaceLeft: The disk is full.
    """
    wanted = tuple(edit for edit in edits if edit.has_changes)
    for edit in wanted:
        # All are looked at before the first is written.
        _raise_if_stale(edit)
    done: list[FileEdit] = []
    try:
        for edit in wanted:
            _write(edit)
            done.append(edit)
    except BaseException as error:
        undo(done, cause=error)
        raise
    return wanted


def undo(edits: Sequence[FileEdit], *, cause: BaseException | None = None) -> None:
    """
    Put back what the files held before *edits*, the last one first.

    Raises:
        UndoIncomplete: A file was changed since; the message names each that stays as it is.
    """
    left: list[str] = []
    for edit in reversed(edits):
        try:
            _write(FileEdit(edit.file, edit.after, edit.before))
        except (PlanIsStale, BadConfiguration, NoSpaceLeft, Failed) as error:
            left.append(error.message)
    if left:
        raise UndoIncomplete(
            "Not every file could be put back: " + "; ".join(left),
            hint="Compare these files with what your version control holds.",
        ) from cause


def _raise_if_stale(edit: FileEdit) -> None:
    if read_bytes(edit.file) != edit.before:
        raise PlanIsStale(f"{edit.file}: changed since it was read; nothing was written to it", hint=_STALE)


def _write(edit: FileEdit) -> None:
    # A link stays a link: what it leads to is written.
    file = Path(os.path.realpath(edit.file))
    try:
        if edit.after is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(file.parent):
            _raise_if_stale(edit)
            if edit.after is None:
                file.unlink(missing_ok=True)
            else:
                _raise_if_read_only(file)
                replace_file(file, edit.after)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceLeft(f"{edit.file}: no space left on the disk; the file is as it was") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise BadConfiguration(
                f"{edit.file}:1: can't be written ({error.strerror})", hint="Check who owns the file and its folder."
            ) from error
        raise Failed(f"{edit.file}: can't be written ({error.strerror})") from error


def replace_file(file: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write *file* anew, wholly or not at all, with the mode of the one before, or *mode* less the umask."""
    new = file.with_name(f".{file.name}.{secrets.token_hex(4)}{_NEW}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            _take_after(file, stream.fileno())
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def leftovers_of(file: Path) -> tuple[Path, ...]:
    """Return the half-written files that a killed process left beside *file*."""
    file = Path(os.path.realpath(file))
    return tuple(file.parent.glob(f".{glob.escape(file.name)}.*{_NEW}"))


def _take_after(file: Path, descriptor: int) -> None:
    """Give a new file the mode and, where we may, the owner of the one it replaces."""
    try:
        known = file.stat()
    except FileNotFoundError:
        return
    os.fchmod(descriptor, stat.S_IMODE(known.st_mode))
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, known.st_uid, known.st_gid)


def _raise_if_read_only(file: Path) -> None:
    # Renaming over it would work, which is not what its owner meant by taking the right to write away.
    if file.exists() and not file.stat().st_mode & 0o222:
        raise BadConfiguration(f"{file}:1: is read-only", hint="Give yourself the right to write it (chmod u+w).")


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let no other Clodo look at and replace files of *folder* at the same moment; sync the folder at the end."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lines(content: bytes | None) -> list[str]:
    text = "" if content is None else content.decode("utf-8", errors="replace")
    return [line for line in re.split(r"(?<=\n)", text) if line]
