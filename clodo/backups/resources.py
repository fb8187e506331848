"""What can be captured: the port between a snapshot and the services it is made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyrage

from clodo.backups.archive import Sealed
from clodo.backups.manifest import Archive, Exactness, Kind

Recipients = Sequence[pyrage.x25519.Recipient]


@dataclass(frozen=True, slots=True)
class Pack:
    """
    Another archive of the same resource, which later snapshots may use again.

    Attributes:
        id: The resource's, a slash, and what tells its packs apart.

        file: Where it lies, beside the resource's own.
    """

    id: str
    file: Path
    sealed: Sealed
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Captured:
    """
    A resource that was read into a file.

    Attributes:
        requests: How many requests of the API it took.

        facts: What the manifest says of it, by kind.

        packs: What was written beside it.

        kept: Ids of earlier packs that it still needs.
    """

    sealed: Sealed
    exactness: Exactness
    requests: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    packs: tuple[Pack, ...] = ()
    kept: tuple[str, ...] = ()


class Resource(Protocol):
    """Something on an account that a snapshot holds."""

    @property
    def kind(self) -> Kind:
        """What it is."""
        ...

    @property
    def account_id(self) -> str:
        """Where it is."""
        ...

    @property
    def id(self) -> str:
        """Cloudflare's id; a Worker's or a bucket's name."""
        ...

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    targets: tuple[str, ...]
    """The targets whose bindings name it."""

    def is_unchanged_since(self, archive: Archive) -> bool:
        """Say whether it is provably as it was when *archive* was made; False when nobody can tell cheaply."""
        ...

    def capture(self, target: Path, recipients: Recipients, kept: Collection[str] = ()) -> Captured:
        """
        Read it into the file *target*, sealed for *recipients*; packs go beside it.

        Args:
            kept: Ids of packs of earlier snapshots that are still there, for those who have such.

        Raises:
            NotFound: It isn't there.
            TryLater: Cloudflare can't be reached for now.
        """
        ...
