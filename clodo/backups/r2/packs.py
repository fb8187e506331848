"""Packs: tar files of objects, read one after the other as they come."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO, cast

from clodo.backups.archive import Source
from clodo.errors import SnapshotDamaged

_CHUNK_BYTES = 1 << 18


def read_pack(chunks: Iterator[bytes]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """
    Yield each member's name and content; the content must be read before the next member is asked for.

    Raises:
        SnapshotDamaged: It is no tar file, or ends early.
    """
    try:
        with tarfile.open(fileobj=cast(IO[bytes], Source(chunks)), mode="r|") as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is None:
                    raise SnapshotDamaged("The pack holds something that is no object")
                yield member.name, iter(lambda file=file: file.read(_CHUNK_BYTES), b"")  # type: ignore[misc]
    except (tarfile.TarError, EOFError) as error:
        raise SnapshotDamaged("The pack is damaged or cut off") from error
