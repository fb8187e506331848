"""Archives as restores read them: from the beginning each time they are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from clodo.backups.manifest import Archive, Manifest
from clodo.backups.restoring.buckets import Packs
from clodo.backups.vault import Vault
from clodo.backups.verification import Identities, open_archive


@dataclass(frozen=True, slots=True)
class Source:
    """
    An archive: how to read what is in it, each time from its beginning, and what the manifest says of it.

    Attributes:
        packs: Of a bucket: its packs by their ids.
    """

    chunks: Callable[[], Iterator[bytes]]
    facts: Mapping[str, Any]
    packs: Packs = field(default_factory=dict)

    def held(self) -> Source:
        """Return it so that it is read once and then held in memory: for small ones, and for days when vaults fail."""
        content: list[bytes] = []

        def chunks() -> Iterator[bytes]:
            if not content:
                content.extend(list(self.chunks()))
            return iter(content)

        return replace(self, chunks=chunks)


def source_of(vault: Vault, manifest: Manifest, archive: Archive, identities: Identities) -> Source:
    """Return how *archive* of *manifest* is read from *vault*."""

    def reading(one: Archive) -> Callable[[], Iterator[bytes]]:
        return partial(open_archive, vault, one, identities)

    packs = {
        item.id: reading(item)
        for item in manifest.archives
        if (item.kind, item.account_id) == (archive.kind, archive.account_id)
        and item.facts.get("pack_of") == archive.id
    }
    return Source(reading(archive), archive.facts, packs)
