"""Capturing a zone: what it is, and its records."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from clodo.backups.archive import seal
from clodo.backups.documents import to_line
from clodo.backups.manifest import Archive, Exactness, Kind
from clodo.backups.resources import Captured, Recipients
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.originals import RECORDS_PER_PAGE


@dataclass(slots=True)
class ZoneResource:
    """
    A DNS zone.

    Attributes:
        cloudflare: A view in the backup lane.
    """

    cloudflare: Cloudflare
    id: str
    name: str
    targets: tuple[str, ...] = ()
    kind: Kind = Kind.DNS
    _records: int = 0

    @property
    def account_id(self) -> str:
        """Where it is."""
        return self.cloudflare.account_id

    def is_unchanged_since(self, archive: Archive) -> bool:
        """Nobody can tell more cheaply than by reading it."""
        return False

    def capture(self, target: Path, recipients: Recipients, kept: Collection[str] = ()) -> Captured:
        """Read the zone and all its records."""
        self._records = 0
        sealed = seal(self._lines(), target, recipients)
        pages = max(1, -(-self._records // RECORDS_PER_PAGE))
        return Captured(sealed, Exactness.PER_KEY, 1 + pages, {"records": self._records})

    def _lines(self) -> Iterator[bytes]:
        zone = self.cloudflare.originals.zone(self.id)
        yield to_line("zone", zone)
        records = list(self.cloudflare.originals.dns_records(self.id))
        for record in sorted(records, key=lambda item: (str(item.get("name")), str(item.get("type")), str(item["id"]))):
            self._records += 1
            yield to_line("record", record)
