"""What this machine remembers of a bucket: in which pack each object lies, so that it is not read again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Packed:
    """
    Where an object's content lies.

    Attributes:
        pack: Id of the pack's archive.

        member: Name in the pack.

        sha256: Of the content.
    """

    key: str
    etag: str
    size: int
    pack: str
    member: str
    sha256: str


class Memory:
    """
    Remembers packed objects in a file; a lost file only means that everything is read again.

    Snapshots are sealed for others, so that this machine can't look it up in them.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def load(self, packs: Collection[str]) -> dict[tuple[str, str, int], Packed]:
        """Return what lies in one of *packs*, by key, etag and size."""
        found: dict[tuple[str, str, int], Packed] = {}
        try:
            lines = [] if self._file is None else self._file.read_text(encoding="utf-8").splitlines()
            for line in lines:
                packed = Packed(**json.loads(line))
                if packed.pack in packs:
                    found[packed.key, packed.etag, packed.size] = packed
        except (OSError, ValueError, TypeError):
            return {}
        return found

    def save(self, objects: Iterable[Packed]) -> None:
        """Remember *objects* in place of what was remembered."""
        if self._file is None:
            return
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(packed), ensure_ascii=False) + "\n" for packed in objects)
        fresh.replace(self._file)
