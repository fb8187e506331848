"""SHA-256 of files, remembered between runs so that an unchanged file is not read again."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from clodo.workspace import imports

# A file written within the clock's and the file system's grain of our reading it could change again unseen.
SETTLING_NANOSECONDS = 2_000_000_000
_READ_BYTES = 1024 * 1024
_SCHEMA = """
CREATE TABLE IF NOT EXISTS file_facts_2 (
    path TEXT PRIMARY KEY, device INTEGER, inode INTEGER, size INTEGER, modified INTEGER, changed INTEGER,
    read_at INTEGER, digest TEXT NOT NULL, imports TEXT NOT NULL, packages TEXT NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """
    What hashing needs to know of one file's content.

    Attributes:
        digest: SHA-256, hex.

        imports: The relative names it imports; empty for what is no source file.

        packages: The names of the packages it imports; likewise.
    """

    digest: str
    imports: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


_Stamp = tuple[int, int, int, int, int]


class FileDigests:
    """
    Digests of files, kept in a small SQLite file between runs.

    A remembered digest counts only if device, inode, size, mtime and ctime are the same, and the file had been left
    alone for 2 s when it was read. A lost or damaged store only costs time: everything is read again.

    Args:
        store: The SQLite file; None to remember nothing.

        now: Nanoseconds since the epoch, by the clock that stamps files.
    """

    def __init__(self, store: Path | None, *, now: Callable[[], int] = time.time_ns) -> None:
        self._store = store
        self._now = now
        self._known: dict[str, tuple[_Stamp, int, FileFacts]] = {}
        self._fresh: set[str] = set()
        self._is_loaded = store is None
        self._guard = threading.Lock()
        self.read_count = 0

    def facts_of(self, file: Path) -> FileFacts:
        """
        Return the digest and the imports of *file*'s content.

        Raises:
            OSError: The file can't be read, or goes on changing.
        """
        path = os.fspath(file)
        stamp = _stamp(file.stat())
        with self._guard:
            self._load()
            known = self._known.get(path)
        if known is not None and known[0] == stamp and max(stamp[3], stamp[4]) < known[1] - SETTLING_NANOSECONDS:
            return known[2]
        # The clock is read first, so that a write during the reading makes the entry unsettled, not wrong.
        read_at = self._now()
        facts = _read(path)
        with self._guard:
            self.read_count += 1
            self._known[path] = (stamp, read_at, facts)
            self._fresh.add(path)
        return facts

    def save(self) -> None:
        """Write what was learnt to the store; a store that can't be written is left as it is."""
        with self._guard:
            fresh = {path: self._known[path] for path in self._fresh}
            self._fresh.clear()
        if self._store is None or not fresh:
            return
        try:
            self._write(fresh)
        except sqlite3.Error:
            # The store only saves time; the digests in hand are right without it.
            self._store.unlink(missing_ok=True)

    def _write(self, fresh: Mapping[str, tuple[_Stamp, int, FileFacts]]) -> None:
        assert self._store is not None
        rows = [
            (path, *stamp, read_at, facts.digest, json.dumps(facts.imports), json.dumps(facts.packages))
            for path, (stamp, read_at, facts) in fresh.items()
        ]
        with closing(sqlite3.connect(self._store, timeout=5)) as connection, connection:
            connection.execute(_SCHEMA)
            connection.executemany("INSERT OR REPLACE INTO file_facts_2 VALUES (?,?,?,?,?,?,?,?,?,?)", rows)

    def _load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True
        assert self._store is not None
        if not self._store.exists():
            return
        try:
            with closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True, timeout=5)) as connection:
                for path, *stamp, read_at, digest, names, used in connection.execute("SELECT * FROM file_facts_2"):
                    device, inode, size, modified, changed = stamp
                    facts = FileFacts(digest, tuple(json.loads(names)), tuple(json.loads(used)))
                    self._known[path] = ((device, inode, size, modified, changed), read_at, facts)
        except (sqlite3.Error, ValueError):
            # Damaged: forget it and read the files again.
            self._known.clear()


def _stamp(status: os.stat_result) -> _Stamp:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(path: str) -> FileFacts:
    if imports.is_source(path):
        content = Path(path).read_bytes()
        digest_of_source = hashlib.sha256(content).hexdigest()
        return FileFacts(digest_of_source, imports.relative_imports(content), imports.imported_packages(content))
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(_READ_BYTES):
            digest.update(chunk)
    return FileFacts(digest.hexdigest())
