"""
The past of one database: files that make every committed state reachable, and the bookmarks that name them.

A database is a chain of *generations*, numbered from 0. Each has::

    00000003.sqlite      the database as the generation began; never changed after that
    00000003.sqlite-wal  SQLite's write-ahead log since then; only ever appended to, never folded back
    00000003.commits     how long the log was after each commit, and when that was

The state after any commit is therefore the first file plus the log up to that commit's last frame, and SQLite's own
recovery puts the two together and checks them. When the log has grown long, or when a restore goes back, the wanted
state is built beside the others as the first file of the next generation. Nothing that exists is changed, so a kill at
any point leaves either the old newest generation or the new one: the ``.commits`` file is renamed into place last, and
makes it count.

First files of generations in between are dropped when they can be rebuilt from the one before.
"""

from __future__ import annotations

import contextlib
import hmac
import itertools
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import apsw

from clodo.errors import Failed

PAGE_BYTES = 4096
#: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
_WAL_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
FRAME_BYTES = _FRAME_HEADER_BYTES + PAGE_BYTES

_MAGIC = b"clodoD1\x01"
_HEAD = struct.Struct("<8sIIIQI")  # magic, origin, parent generation, parent frames, milliseconds, CRC-32
_COMMIT = struct.Struct("<IQI")  # frames, milliseconds, CRC-32

_NAME = re.compile(r"([0-9a-f]{8})\.(commits|sqlite|sqlite-wal|sqlite-shm|sqlite-journal|building.*)")
_BOOKMARK = re.compile(r"([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{32})")
_DAY_MS = 24 * 60 * 60 * 1000


class HistoryDamaged(Failed):
    """A file of a database's past is missing or doesn't hold what it must."""


class Position(NamedTuple):
    """A committed state; later ones are greater."""

    generation: int
    frames: int


class Commit(NamedTuple):
    """A committed state and when it came to be, in milliseconds since 1970."""

    position: Position
    at_ms: int


class Origin(IntEnum):
    """How a generation began."""

    CREATED = 0
    ROTATED = 1
    RESTORED = 2


@dataclass(frozen=True, slots=True)
class Beginning:
    """
    How and when a generation began.

    Attributes:
        parent: The state that it began as; None for the first.
    """

    origin: Origin
    parent: Position | None
    at_ms: int


# --- bookmarks --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def write_bookmark(commit: Commit, key: bytes) -> str:
    """
    Name a state as Cloudflare does: generation, frames, day since 1970 and a check, in hexadecimal, sorting by time.

    Args:
        key: The database's own secret, so that bookmarks of other databases and made-up ones are refused.
    """
    generation, frames = commit.position
    text = f"{generation:08x}-{frames:08x}-{commit.at_ms // _DAY_MS:08x}"
    return f"{text}-{_check(text, key)}"


def read_bookmark(text: str, key: bytes) -> Position | None:
    """Return the state that a bookmark names; None if this database never gave it out."""
    match = _BOOKMARK.fullmatch(text)
    if match is None or not hmac.compare_digest(_check(text[:26], key), match[4]):
        return None
    return Position(int(match[1], 16), int(match[2], 16))


def _check(text: str, key: bytes) -> str:
    return hmac.digest(key, text.encode(), "sha256").hex()[:32]


# --- files ------------------------------------------------------------------------------------------------------------


class History:
    """
    The generations of one database, in one folder; used from one thread.

    Args:
        directory: The database's own folder; it holds at least one generation (see `create`).

        replayed_generations: At most so many generations are replayed one after the other to rebuild a state.
    """

    def __init__(self, directory: Path, *, replayed_generations: int = 4) -> None:
        self._directory = directory
        self._replayed_generations = replayed_generations
        self._beginnings = {number: _read_beginning(path) for number, path in _numbered(directory, "commits")}
        if not self._beginnings:
            raise HistoryDamaged(f"{directory}: no generation of the database is left")
        self._sweep()
        self._log: int | None = None
        self._log_size = 0
        self._unwritten = b""
        self._frames = 0
        self._at_ms = 0
        self._open_log()

    @classmethod
    def create(cls, directory: Path, at_ms: int, schema: str) -> None:
        """
        Make the first generation in an empty folder.

        Args:
            schema: SQL that the database begins with.
        """
        building = directory / "00000000.building"
        _prepare(building, schema)
        building.replace(directory / "00000000.sqlite")
        _write_beginning(directory, 0, Beginning(Origin.CREATED, None, at_ms))

    @property
    def generation(self) -> int:
        """Number of the newest generation."""
        return max(self._beginnings)

    @property
    def database(self) -> Path:
        """The file to open; open it in WAL mode and never checkpoint it."""
        return self._path(self.generation, "sqlite")

    @property
    def newest(self) -> Commit:
        """The state the database is in: the last commit, however long ago."""
        return self._canonical(Commit(Position(self.generation, self._frames), self._at_ms))

    @property
    def log_bytes(self) -> int:
        """Size of the newest generation's write-ahead log."""
        return self._frames * FRAME_BYTES

    def committed(self, frames: int, at_ms: int) -> None:
        """
        Note a commit.

        Args:
            frames: Length of the write-ahead log after it.
        """
        assert self._log is not None
        # Never back in time: the commits are searched by time.
        at_ms = max(at_ms, self._at_ms)
        self._frames, self._at_ms = frames, at_ms
        record = struct.pack("<IQ", frames, at_ms)
        self._unwritten += record + struct.pack("<I", zlib.crc32(record))
        written = 0
        with contextlib.suppress(OSError):
            # No space: kept for the next time. Should there be none, `reconcile` finds the commits again.
            written = os.write(self._log, self._unwritten)
        if written == len(self._unwritten):
            self._log_size += written
            self._unwritten = b""
        elif written:
            os.ftruncate(self._log, self._log_size)

    def reconcile(self, frames: int, now_ms: int) -> None:
        """
        Note the commits that SQLite found in its log and that a kill kept from being noted.

        Args:
            frames: Length of the log, as SQLite recovered it.

            now_ms: The time; they happened when the log was last written, or now if that is later than now.
        """
        if frames < self._frames:
            raise HistoryDamaged(
                f"{self.database}: the write-ahead log ends at frame {frames}, but {self._frames} were committed"
            )
        if frames > self._frames:
            log = self._path(self.generation, "sqlite-wal")
            at_ms = min(log.stat().st_mtime_ns // 1_000_000, now_ms)
            for end in _commit_frames(log, self._frames, frames):
                self.committed(end, at_ms)

    def find(self, position: Position) -> Commit | None:
        """Return the commit that led to exactly this state; None if there is none (any more)."""
        beginning = self._beginnings.get(position.generation)
        if beginning is None:
            return None
        if position.frames == 0:
            return self._canonical(Commit(position, beginning.at_ms))
        commits = self._commits(position.generation)
        low, high = 0, len(commits)
        while low < high:
            middle = (low + high) // 2
            if commits[middle].position < position:
                low = middle + 1
            else:
                high = middle
        return commits[low] if low < len(commits) and commits[low].position == position else None

    def at(self, at_ms: int) -> Commit | None:
        """Return the last commit at or before a time; None if the database was not there yet, or it is forgotten."""
        numbers = [number for number, beginning in sorted(self._beginnings.items()) if beginning.at_ms <= at_ms]
        if not numbers:
            return None
        commits = self._commits(numbers[-1])
        low, high = 0, len(commits)
        while low < high:
            middle = (low + high) // 2
            if commits[middle].at_ms <= at_ms:
                low = middle + 1
            else:
                high = middle
        if low:
            return commits[low - 1]
        return self._canonical(Commit(Position(numbers[-1], 0), self._beginnings[numbers[-1]].at_ms))

    def begin(self, origin: Origin, parent: Position, at_ms: int) -> None:
        """
        Build the state *parent* as the first file of a new generation, and make that the newest.

        The database must be closed meanwhile; afterwards open `database` again. If it fails, nothing has changed.

        Raises:
            HistoryDamaged: The state can't be rebuilt.

            OSError: No space left, for one.
        """
        number = self.generation + 1
        building = self._path(number, "building")
        try:
            self._build(parent, building)
            building.replace(self._path(number, "sqlite"))
            beginning = Beginning(origin, parent, max(at_ms, self._at_ms))
            _write_beginning(self._directory, number, beginning)
        except BaseException:
            for leftover in self._directory.glob(f"{number:08x}.*"):
                leftover.unlink()
            raise
        before = self.generation
        self._beginnings[number] = beginning
        self._open_log()
        self._drop_first_file(before)

    def forget(self, before_ms: int) -> None:
        """Remove the generations that hold no state later than that time and that no other one is rebuilt from."""
        numbers = sorted(self._beginnings)
        needed = {numbers[-1]}
        for number, successor in itertools.pairwise(numbers):
            if self._beginnings[successor].at_ms >= before_ms:
                needed.add(number)
        for number in list(needed):
            needed.update(position.generation for position in self._chain(Position(number, 0)))
        for number in numbers:
            if number not in needed:
                del self._beginnings[number]
                self._path(number, "commits").unlink()
                for suffix in ("sqlite", "sqlite-wal"):
                    self._path(number, suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the list of commits."""
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def _path(self, number: int, suffix: str) -> Path:
        return self._directory / f"{number:08x}.{suffix}"

    def _canonical(self, commit: Commit) -> Commit:
        """
        Give a state its only name.

        A generation that began because the log had grown long begins in the state that the one before ended in: nobody
        wrote, so the bookmark must not change.
        """
        beginning = self._beginnings[commit.position.generation]
        if commit.position.frames or beginning.origin is not Origin.ROTATED or beginning.parent is None:
            return commit
        if beginning.parent.generation not in self._beginnings:
            return commit
        found = self.find(beginning.parent)
        return commit if found is None else found

    def _commits(self, number: int) -> list[Commit]:
        return [
            Commit(Position(number, frames), at_ms) for frames, at_ms in _read_commits(self._path(number, "commits"))
        ]

    def _open_log(self) -> None:
        number = self.generation
        path = self._path(number, "commits")
        commits = _read_commits(path)
        self.close()
        self._log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        # A torn last record would put all later ones out of step.
        self._log_size = _HEAD.size + len(commits) * _COMMIT.size
        self._unwritten = b""
        os.ftruncate(self._log, self._log_size)
        self._frames, self._at_ms = commits[-1] if commits else (0, self._beginnings[number].at_ms)

    def _sweep(self) -> None:
        """Remove what a kill left half-made or half-removed."""
        for path in self._directory.iterdir():
            match = _NAME.fullmatch(path.name)
            if match and (int(match[1], 16) not in self._beginnings or match[2].startswith("building")):
                path.unlink()

    def _chain(self, position: Position) -> list[Position]:
        """Return the states to replay, one on the other, from the nearest first file on."""
        chain = [position]
        while not self._path(chain[-1].generation, "sqlite").exists():
            parent = self._beginnings[chain[-1].generation].parent
            if parent is None or parent.generation not in self._beginnings:
                raise HistoryDamaged(
                    f"{self._path(chain[-1].generation, 'sqlite')}: missing, and so is what it came from"
                )
            chain.append(parent)
        chain.reverse()
        return chain

    def _build(self, position: Position, target: Path) -> None:
        chain = self._chain(position)
        _copy(self._path(chain[0].generation, "sqlite"), target)
        for state in chain:
            if state.frames:
                _replay(self._path(state.generation, "sqlite-wal"), state.frames, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())

    def _drop_first_file(self, number: int) -> None:
        """Drop a first file that costs little to rebuild."""
        beginning = self._beginnings[number]
        if beginning.parent is None or beginning.parent.generation not in self._beginnings:
            return
        chain = self._chain(beginning.parent)
        replayed = sum(state.frames * FRAME_BYTES for state in chain)
        path = self._path(number, "sqlite")
        if len(chain) < self._replayed_generations and replayed <= 4 * max(path.stat().st_size, 16 * 1024 * 1024):
            path.unlink()


def size_of(directory: Path) -> int:
    """Return the size in bytes of the database in *directory* without opening it; 0 if there is none."""
    numbers = sorted(number for number, _ in _numbered(directory, "commits"))
    if not numbers:
        return 0
    stem = directory / f"{numbers[-1]:08x}"
    frames = _last_frames(stem.with_suffix(".commits"))
    if not frames:
        return stem.with_suffix(".sqlite").stat().st_size
    with stem.with_suffix(".sqlite-wal").open("rb") as log:
        log.seek(_WAL_HEADER_BYTES + (frames - 1) * FRAME_BYTES + 4)
        return int.from_bytes(log.read(4), "big") * PAGE_BYTES


def open_quietly(path: Path) -> apsw.Connection:
    """
    Open a database so that only we decide when its write-ahead log is folded back, and nobody else can open it.

    Exclusive locking keeps the log's index in memory: no ``-shm`` file, and no second process that would fold the log.
    """
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.wal_autocheckpoint(0)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    return connection


def _prepare(path: Path, schema: str) -> None:
    connection = apsw.Connection(str(path))
    try:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(schema)
    finally:
        connection.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("wb") as writing:
        _copy_bytes(reading.fileno(), writing.fileno(), os.fstat(reading.fileno()).st_size)


def _copy_bytes(source: int, target: int, count: int) -> None:
    """Copy inside the kernel where it can; file systems that share blocks between files then copy nothing at all."""
    copied = 0
    if hasattr(os, "copy_file_range"):
        try:
            while copied < count:
                done = os.copy_file_range(source, target, count - copied, copied, copied)
                if done == 0:
                    break
                copied += done
        except OSError:
            if copied:
                raise
    if copied < count:
        with os.fdopen(os.dup(source), "rb") as reading, os.fdopen(os.dup(target), "wb") as writing:
            reading.seek(copied)
            writing.seek(copied)
            left = count - copied
            while left and (block := reading.read(min(left, 1024 * 1024))):
                writing.write(block)
                left -= len(block)
            if left:
                raise HistoryDamaged(f"a copy ended {left} bytes early")


def _replay(log: Path, frames: int, target: Path) -> None:
    """Fold the first *frames* frames of a write-ahead log into a database file."""
    beside = target.with_name(target.name + "-wal")
    with log.open("rb") as reading, beside.open("wb") as writing:
        _copy_bytes(reading.fileno(), writing.fileno(), _WAL_HEADER_BYTES + frames * FRAME_BYTES)
    connection = open_quietly(target)
    try:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        recovered, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        if recovered != frames:
            raise HistoryDamaged(f"{log}: of {frames} frames only {recovered} are sound")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.Error as error:
        raise HistoryDamaged(f"{log}: {error}") from error
    finally:
        connection.close()
        beside.unlink(missing_ok=True)


def _numbered(directory: Path, suffix: str) -> Iterator[tuple[int, Path]]:
    for path in directory.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and match[2] == suffix:
            yield int(match[1], 16), path


def _write_beginning(directory: Path, number: int, beginning: Beginning) -> None:
    parent = beginning.parent or Position(0, 0)
    head = _HEAD.pack(_MAGIC, beginning.origin, parent.generation, parent.frames, beginning.at_ms, 0)[:-4]
    path = directory / f"{number:08x}.building-commits"
    path.write_bytes(head + struct.pack("<I", zlib.crc32(head)))
    path.replace(directory / f"{number:08x}.commits")


def _read_beginning(path: Path) -> Beginning:
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
    if len(head) < _HEAD.size or zlib.crc32(head[:-4]) != struct.unpack("<I", head[-4:])[0] or head[:8] != _MAGIC:
        raise HistoryDamaged(f"{path}: not a list of commits")
    _, origin, generation, frames, at_ms, _ = _HEAD.unpack(head)
    parent = None if origin == Origin.CREATED else Position(generation, frames)
    return Beginning(Origin(origin), parent, at_ms)


def _read_commits(path: Path) -> list[tuple[int, int]]:
    """Return frames and milliseconds of each commit, up to the first record that is torn."""
    records = path.read_bytes()[_HEAD.size :]
    commits: list[tuple[int, int]] = []
    for start in range(0, len(records) - _COMMIT.size + 1, _COMMIT.size):
        frames, at_ms, crc = _COMMIT.unpack_from(records, start)
        if zlib.crc32(records[start : start + _COMMIT.size - 4]) != crc:
            break
        commits.append((frames, at_ms))
    return commits


def _last_frames(path: Path) -> int:
    """Return the frames of the last whole commit, 0 if there is none."""
    with path.open("rb") as file:
        count = (file.seek(0, os.SEEK_END) - _HEAD.size) // _COMMIT.size
        for number in range(count - 1, -1, -1):
            file.seek(_HEAD.size + number * _COMMIT.size)
            record = file.read(_COMMIT.size)
            frames, _, crc = _COMMIT.unpack(record)
            if zlib.crc32(record[:-4]) == crc:
                return int(frames)
    return 0


def _commit_frames(log: Path, after: int, until: int) -> Iterator[int]:
    """Yield how long the log was after each commit beyond frame *after*: such frames carry the database's size."""
    with log.open("rb") as file:
        for frame in range(after, until):
            file.seek(_WAL_HEADER_BYTES + frame * FRAME_BYTES + 4)
            if file.read(4) != b"\0\0\0\0":
                yield frame + 1
