"""
The bytes of objects on disk.

A body is received into ``drafts/``, flushed to disk, and renamed into ``kept/`` before a row names it: what has no row
is a leftover of a crash, and is deleted at the next start. Files never change and their names are made up here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType

from clodo.emulator.r2.checksums import Hash, new_hash
from clodo.emulator.r2.customer_keys import CustomerKey
from clodo.emulator.r2.errors import full_disk_named
from clodo.emulator.r2.ranges import Span
from clodo.emulator.r2.records import Segment

#: Bytes that are gathered before a thread writes them, and read at once: what one request holds in memory.
CHUNK_BYTES = 512 * 1024


class Files:
    """
    The folder of object bytes.

    Args:
        folder: Made with mode 0700.
    """

    def __init__(self, folder: Path) -> None:
        self._drafts = folder / "drafts"
        self._kept = folder / "kept"
        for made in (folder, self._drafts, self._kept):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)

    def draft(self, algorithms: Iterable[str] = (), key: CustomerKey | None = None) -> Draft:
        """Return a place for a body, encrypted if there is a key; MD5 is always summed up, *algorithms* besides."""
        name = uuid.uuid4().hex
        return Draft(self._drafts / name, self.path(name), {*algorithms, "md5"}, key)

    def path(self, name: str) -> Path:
        """Return where a kept file is."""
        return self._kept / name[:2] / name

    def copied(self, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """Give the same bytes further names, without reading them."""
        made: list[Segment] = []
        with full_disk_named():
            try:
                for segment in segments:
                    twin = Segment(uuid.uuid4().hex, segment.size)
                    place = self.path(twin.file)
                    place.parent.mkdir(mode=0o700, exist_ok=True)
                    made.append(twin)
                    try:
                        os.link(self.path(segment.file), place)
                    except OSError as error:
                        # No hard links on this file system, or too many of this file already.
                        if error.errno not in (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                            raise
                        shutil.copyfile(self.path(segment.file), place)
            except OSError:
                self.delete(made)
                raise
        return tuple(made)

    def delete(self, segments: Iterable[Segment]) -> None:
        """Remove files; those that are gone don't matter."""
        for segment in segments:
            self.path(segment.file).unlink(missing_ok=True)

    def keep_only(self, names: Collection[str]) -> int:
        """Delete every draft and every kept file that isn't named; return how many."""
        deleted = 0
        for file in (*self._drafts.glob("*"), *self._kept.glob("*/*")):
            if file.parent == self._drafts or file.name not in names:
                file.unlink(missing_ok=True)
                deleted += 1
        return deleted

    async def read(
        self, segments: Sequence[Segment], span: Span, key: CustomerKey | None = None
    ) -> AsyncIterator[bytes]:
        """Give the bytes of *span*, decrypted if there is a key, never more than a chunk in memory."""
        begin = 0
        for segment in segments:
            first = max(span.start, begin)
            last = min(span.end, begin + segment.size)
            if first < last:
                file = await asyncio.to_thread(_opened_at, self.path(segment.file), first - begin)
                cipher = None if key is None else key.cipher(segment.file, first - begin)
                try:
                    left = last - first
                    while left:
                        chunk = await asyncio.to_thread(file.read, min(left, CHUNK_BYTES))
                        if not chunk:
                            raise OSError(f"{segment.file}: shorter than noted")
                        left -= len(chunk)
                        yield chunk if cipher is None else cipher.update(chunk)
                finally:
                    file.close()
            begin += segment.size


def _opened_at(path: Path, offset: int) -> FileIO:
    file = FileIO(path)
    file.seek(offset)
    return file


class Draft:
    """
    A body that is being received; use it as an async context manager, which discards what was not kept.

    Attributes:
        size: Bytes received.
    """

    def __init__(self, path: Path, place: Path, algorithms: set[str], key: CustomerKey | None) -> None:
        self.size = 0
        self._path = path
        self._place = place
        self._cipher = None if key is None else key.cipher(place.name)
        self._hashes: dict[str, Hash] = {name: new_hash(name) for name in algorithms}
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._descriptor: int | None = None
        self._is_kept = False

    async def write(self, chunk: bytes) -> None:
        """
        Take more bytes.

        Raises:
            R2Refused: The disk is full.
        """
        self.size += len(chunk)
        self._gathered.append(chunk)
        self._gathered_bytes += len(chunk)
        if self._gathered_bytes >= CHUNK_BYTES:
            await self._in_thread(self._flush)

    async def sums(self) -> dict[str, str]:
        """Return the checksums of all that was received, by name, in hex."""
        await self._in_thread(self._flush)
        return {name: hash_.hexdigest() for name, hash_ in self._hashes.items()}

    async def keep(self) -> tuple[Segment, ...]:
        """
        Flush the file to disk and give it its name; no file for an empty body.

        Raises:
            R2Refused: The disk is full.
        """
        if not self.size:
            return ()
        await self._in_thread(self._finish)
        self._is_kept = True
        return (Segment(self._place.name, self.size),)

    async def __aenter__(self) -> Draft:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if not self._is_kept:
            self._path.unlink(missing_ok=True)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        # Shielded: a cancelled request must not close the file under a thread that writes to it.
        job = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait([job])
            raise

    def _flush(self) -> None:
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_bytes = 0
        for hash_ in self._hashes.values():
            hash_.update(data)
        if self._cipher is not None:
            data = self._cipher.update(data)
        with full_disk_named():
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def _finish(self) -> None:
        self._flush()
        assert self._descriptor is not None
        with full_disk_named():
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
            self._place.parent.mkdir(mode=0o700, exist_ok=True)
            self._path.replace(self._place)
            folder = os.open(self._place.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
