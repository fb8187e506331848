"""The files of a folder that count as sources: all but what git ignores and what tools put there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

NEVER_SOURCES = frozenset({"node_modules", ".git", ".clodo", ".wrangler", "__pycache__", ".DS_Store"})


def files_below(folder: Path, *, is_whole: bool = False) -> Iterator[Path]:
    """
    Yield the source files below *folder*, sorted within each folder; linked folders are followed once.

    Args:
        folder: Absolute.

        is_whole: Yield what git ignores too (for folders that go into the upload whatever git thinks of them).

    Raises:
        OSError: A folder can't be listed.
    """
    ignored = None if is_whole else IgnoreRules(folder)
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        here = Path(parent)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(
            name
            for name in folders
            if name not in NEVER_SOURCES and not (ignored and ignored.ignores(here / name, is_folder=True))
        )
        for name in sorted(names):
            file = here / name
            if name in NEVER_SOURCES or (ignored and ignored.ignores(file)):
                continue
            # Sockets, pipes and dangling links have no content to hash.
            if file.is_file():
                yield file


class IgnoreRules:
    """
    What the ``.gitignore`` files from the repository's top down to a folder ignore.

    Args:
        folder: Absolute; files above it are read up to the folder that holds ``.git``.
    """

    def __init__(self, folder: Path) -> None:
        self._specs: dict[Path, GitIgnoreSpec | None] = {}
        self._tops = frozenset({repository_of(folder)})

    def ignores(self, path: Path, *, is_folder: bool = False) -> bool:
        """Whether git would ignore *path*, given that it does not ignore the folder *path* is in."""
        for folder in path.parents:
            spec = self._spec_of(folder)
            if spec is not None:
                name = path.relative_to(folder).as_posix() + ("/" if is_folder else "")
                verdict = spec.check_file(name).include
                if verdict is not None:
                    return verdict
            if folder in self._tops:
                return False
        return False

    def _spec_of(self, folder: Path) -> GitIgnoreSpec | None:
        if folder not in self._specs:
            file = folder / ".gitignore"
            try:
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                # None there, or unreadable: nothing is ignored, which only hashes more.
                lines = []
            self._specs[folder] = GitIgnoreSpec.from_lines(lines) if lines else None
        return self._specs[folder]


def _raise(error: OSError) -> None:
    # A folder that can't be listed must not count as empty.
    raise error


def repository_of(folder: Path) -> Path:
    """Return the top of the git repository; without one, *folder* itself."""
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return folder
